"""The sound files from which cases are made: python -m fuzz.stock FOLDER, once for all cases."""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent.parent
DONE = "done"


def made(folder):
    """The folder with the stock, which another process makes: this one starts no backend."""
    import subprocess

    folder = Path(folder)
    if not (folder / DONE).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        paths += os.pathsep + os.environ.get("PYTHONPATH", "")
        env = os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "SDEDIT_CACHE": ""}
        env |= {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        command = [sys.executable, "-m", "fuzz.stock", str(folder)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the stock of the fuzz tests: {done.stderr}")
    return folder


def make(folder):
    """Everything, in a process that may compute."""
    import program

    folder.mkdir(parents=True)
    shutil.copytree(program.exact_prior(), folder / "exact")
    shutil.copytree(program.grey_prior(), folder / "grey")
    shutil.copytree(program.tiny_prior(), folder / "tiny")
    pictures(folder, program)
    tables(folder)
    weights(folder)
    texts(folder)
    recognition(folder)
    results(folder, program)
    training(folder, program)
    data_sets(folder)
    evaluation(folder, program)
    (folder / DONE).touch()


def pictures(folder, program):
    photo = Image.fromarray(program.known())
    photo.save(folder / "photo.png")
    photo.save(folder / "photo.jpg", quality=90)
    photo.save(folder / "photo.webp", lossless=True)
    mask = Image.new("L", photo.size)
    mask.paste(255, (4, 4, 12, 12))
    mask.save(folder / "mask.png")
    photo.convert("RGBA").resize((6, 6)).save(folder / "patch.png")
    data = folder / "photos"
    for part in ("a", "b"):
        (data / part).mkdir(parents=True)
        for i in range(2):
            photo.rotate(90 * i).save(data / part / f"{part}{i}.png")
    with contextlib.chdir(data):
        import zipfile

        with zipfile.ZipFile(folder / "photos.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(data.rglob("*.png")):
                archive.write(file, file.relative_to(data))


def tables(folder):
    rows = "name,prompt\nphoto,a red apple\n"
    (folder / "prompts.csv").write_text(rows)
    (folder / "prompts.json").write_text(json.dumps({"photo": {"prompt": "a red apple"}}))
    captioned = folder / "captioned"
    shutil.copytree(folder / "photos" / "a", captioned)
    (captioned / "captions.csv").write_text("file,caption\na0.png,an apple\na1.png,a cherry\n")
    lines = [{"file_name": f"a{i}.png", "text": "an apple"} for i in range(2)]
    (captioned / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    (captioned / "manifest.csv").write_text("image,source_prompt\na0.png,an apple\na1.png,a b\n")


def weights(folder):
    import foreign_files

    tiny = folder / "tiny"
    (folder / "arch.json").write_text(json.dumps(foreign_files.given_for(tiny)))
    foreign_files.write_score_sde_flax(folder / "tiny.msgpack", tiny)
    from fuzz import torch_files

    averaged, raw = (foreign_files.torch_named(w) for w in foreign_files.weights_of(tiny))
    (folder / "tiny.pth").write_bytes(torch_files.score_sde(averaged, raw))
    import test_edm

    case, tensors = test_edm.small_case()
    test_edm.write(folder / "edm.pkl", test_edm.snapshot(case, tensors))
    unet = ROOT / "tests" / "goldens" / "unet2d_trained"
    shutil.copytree(unet, folder / "unet2d")


def texts(folder):
    import text_prior

    text_prior.write(folder / "text_source")
    shutil.copytree(text_prior.text_prior(), folder / "text")


def recognition(folder):
    import recognition_files

    (folder / "lpips").mkdir()
    _, heads = recognition_files.lpips_in(folder / "lpips")
    heads.rename(heads.with_name("alex.pth"))


def results(folder, program):
    """Results with recipes: of SDEdit, and of LEDITS."""
    photo = str(folder / "photo.png")
    few = {"samples": 1, "batch": 1, "input": photo}
    exact = few | {"prior": str(folder / "exact")}
    with contextlib.redirect_stdout(io.StringIO()):
        program.run(program.small("strokes", **exact, sampler__steps=1), folder / "edited")
        masked = exact | {"options__mask": str(folder / "mask.png")}
        program.run(program.small("inpaint", **masked, sampler__steps=1), folder / "inpainted")
        text = few | {"prior": str(folder / "text"), "concepts": "+red:5", "steps": 2}
        program.run(program.config_of("ledits", devices=1, **text), folder / "ledits")
        swept = {"sweep__t0": (0.3, 0.5), "sweep__seeds": (0, 1)}
        program.run(program.small("strokes", **exact, **swept), folder / "swept", "sweep")
        swept = text | {"sweep__scale": (1.0, 5.0), "sweep__seeds": (0,), "samples": 1}
        config = program.config_of("ledits", devices=1, **swept)
        program.run(config, folder / "swept_ledits", "sweep")


def data_sets(folder):
    """Small sets in the layouts in which they are published."""
    import numpy as np
    import test_data_sets as sets
    import tfds_files

    rng, photo = np.random.default_rng(0), (folder / "photo.png").read_bytes()
    values = {f"k{i}": photo for i in range(3)}
    sets.lmdb_folder(folder / "lsun" / "church_outdoor_val_lmdb", values)
    sets.imagenet(folder / "imagenet", rng)
    first, second = sets.SYNSETS
    for name, text in {
        "LOC_synset_mapping.txt": f"{first} tench, Tinca\n{second} goldfish\n",
        "LOC_val_solution.csv": f"ImageId,PredictionString\nILSVRC2012_val_00000001,{first} 1 2\n",
        "ILSVRC2012_validation_ground_truth.txt": "449\n1\n",
    }.items():
        (folder / "imagenet" / name).write_text(text)
    sets.faces(folder / "celeba_hq", rng)
    mapped = "idx orig_idx orig_file\n0 162770 162771.jpg\n2 162771 162772.jpg\n10 5 6.jpg\n"
    (folder / "celeba_hq" / "CelebA-HQ-to-CelebA-mapping.txt").write_text(mapped)
    sets.pie(folder / "pie", rng, [[0, 5, 1000, 2000], []], side=16)
    rows = [rng.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(4)]
    shutil.move(tfds_files.prepared(folder, "fuzzed", rows), folder / "made")
    shutil.rmtree(folder / "tfds")
    (folder / "made").rename(folder / "tfds")


def evaluation(folder, program):
    """A finished evaluation, with the names that cases give its files."""
    from fuzz.evaluations import EVALUATION, one_code

    one_code()

    with tempfile.TemporaryDirectory() as room, contextlib.chdir(room):
        Path("stock").symlink_to(folder.resolve())
        with contextlib.redirect_stdout(io.StringIO()):
            config = program.config_of("evaluate_strokes", **EVALUATION)
            program.run(config, folder.resolve() / "evaluated", "evaluate")


def training(folder, program):
    config = program.tiny_net(
        data__source=str(folder / "photos"),
        data__split="a",
        data__held_out="b",
        run__steps=1,
        run__batch=2,
        run__held_out=2,
        augment__flip=False,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        program.run(config, folder / "trained", "train")


if __name__ == "__main__":
    make(Path(sys.argv[1]))

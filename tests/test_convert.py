"""The importer end to end: file -> convert -> orbax -> load_prior -> predict, as the originals."""

import copy
import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
from conftest import HERE, SHARED, golden_folder
from program import config_of
from safetensors.numpy import load_file, save_file

import sdedit_jax as sj
from sdedit_jax import modes, registry
from sdedit_jax.weights import conversion, store
from sdedit_jax.weights.convert import convert

QUICK = [
    # golden case, file to import
    ("ncsnpp_ve_church", "checkpoint.pth"),
    ("ncsnpp_ve_celebahq256", "flax/checkpoint_12"),
    ("ddpm_vp_cifar10_discrete", "checkpoint.pth"),
    ("sdedit_ddpm_unet_legacyfile", "checkpoint.pth"),
]
MORE = [
    ("ddpmpp_vp_cifar10_continuous", "checkpoint.pth"),
    ("ddpmpp_vp_cifar10_discrete", "checkpoint.pth"),
    ("ncsnpp_subvp_cifar10_continuous", "checkpoint.pth"),
    ("ncsnpp_switch_cat", "checkpoint.pth"),
    ("ncsnpp_switch_ddpmres_fir_noconv", "checkpoint.pth"),
    ("ncsnpp_ve_celebahq256", "checkpoint.pth"),
    ("ncsnpp_ve_cifar10_continuous", "checkpoint.pth"),
    ("ncsnpp_ve_cifar10_discrete", "checkpoint.pth"),
    ("ncsnpp_ve_ffhq1024", "checkpoint.pth"),
    ("sdedit_ddpm_unet", "checkpoint.pth"),
    ("jax_ddpmpp_vp_discrete_resblockddpm", "flax/checkpoint_12"),
    ("jax_ncsnpp_ddpmres_firconv_outskip", "flax/checkpoint_12"),
    ("jax_ncsnpp_residual_fir", "flax/checkpoint_12"),
    ("jax_ncsnpp_residual_nofir_elu", "flax/checkpoint_12"),
]
CASES = QUICK + [pytest.param(*case, marks=pytest.mark.long) for case in MORE]


def original(name, file):
    """(folder, file) of a golden case as the original program wrote it."""
    folder = SHARED / "goldens" / name
    if not folder.exists():
        pytest.skip(f"the original file of {name} is too large for the repository")
    if "." in file:
        pytest.importorskip("torch")
    return folder, folder / file


@pytest.mark.parametrize(("name", "file"), CASES)
def test_outputs_equal_the_original_program(name, file, tmp_path):
    folder, path = original(name, file)
    report = convert(path, tmp_path / "new", architecture=folder / "config.json", check=False)
    assert report.metadata["source"]["ema"] is (None if name.startswith("sdedit") else True)
    prior = sj.load_prior(tmp_path / "new")
    with np.load(folder / "io.npz") as file:
        arrays = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in file.items()}
    eps, wanted = compare(prior, arrays)
    error = np.abs(eps - wanted).max(axis=(1, 2, 3)) / np.abs(wanted).max(axis=(1, 2, 3))
    assert error.max() < 1e-5


def compare(prior, arrays):
    """(eps of the prior, what the original's output says it must be) for the recorded inputs."""
    if "t" not in arrays:  # SDEdit: step i is t = (i + 1) / 1000
        arrays["t"] = (arrays["labels"] + 1) / 1000
    elif prior.metadata["prediction"]["name"] == "ddpm":  # score_sde samples between the steps
        made = registry.prior_of({**prior.metadata, "prediction": {"name": "score_sde_vp"}})
        prior = made.replace(params=prior.params)
    x, t, out = arrays["x"], arrays["t"].astype(np.float32), arrays["model_output"]
    if prior.metadata["range"] == [0, 1]:  # the output is the score of pictures in [0, 1]
        x = 2 * x - 1
        out = -out * np.asarray(jax.vmap(prior.process.sigma)(t))[:, None, None, None] / 2
    return np.asarray(jax.vmap(lambda x, t: prior.eps(prior.params, x, t))(x, t)), out


# --- one small network in SDEdit's layout, written here -----------------------------------------

SMALL = {
    "family": "sdedit_ddpm",
    "config": {
        "data": {"image_size": 8},
        "model": {"resamp_with_conv": True, "attn_resolutions": []},
        "diffusion": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
        | {"num_diffusion_timesteps": 1000},
    },
}
NET = {"image_size": 8, "ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": []}


def tensors(seed=0):
    """Random weights under SDEdit's names and in PyTorch's layout."""
    card = {"network": "ddpm_unet", "config": NET, "size": [8, 8, 3]}
    card |= {"process": {"name": "linear"}, "prediction": {"name": "ddpm"}}
    rng, out = np.random.default_rng(seed), {}
    for path, leaf in store.leaves(registry.prior_of(card).params):
        a = rng.normal(size=leaf.shape).astype(np.float32)
        turns = {4: (3, 2, 0, 1), 2: (1, 0)}
        turned = a.transpose(turns[a.ndim]) if path.endswith("kernel") else a
        out[conversion.default_name(path)] = np.ascontiguousarray(turned)
    return out


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "model.safetensors"
    save_file(tensors(), path)
    return path


def test_the_record_says_where_the_weights_are_from(file, tmp_path):
    report = convert(file, tmp_path / "new", architecture=SMALL, check=False)
    source = report.metadata["source"]
    assert source["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert report.metadata["sha256"] == store.digest(sj.load_prior(tmp_path / "new").params)
    assert (source["file"], source["family"], source["ema"]) == (
        "model.safetensors",
        "sdedit_ddpm",
        None,
    )


def test_attention_at_a_side_that_no_level_has_is_no_contradiction(file, tmp_path):
    """The network has levels of 8 and 4 pixels, and no attention."""
    for sides, fits in (([2, 16], True), ([2, 4], False)):
        given = copy.deepcopy(SMALL)
        given["config"]["model"]["attn_resolutions"] = sides
        folder = tmp_path / str(sides[1])
        if fits:
            made = convert(file, folder, architecture=given, check=False)
            assert made.metadata["config"]["attn_resolutions"] == []
        else:
            with pytest.raises(ValueError, match=r"attn_resolutions is \[4\] in what was given"):
                convert(file, folder, architecture=given, check=False)


def test_the_averages_of_a_training_are_taken_told_and_recorded(tmp_path, capsys):
    made, folder, new = golden_folder("unet2d_trained"), tmp_path / "run", tmp_path / "new"
    for part in ("unet", "unet_ema"):
        shutil.copytree(made, folder / part)
    name = "diffusion_pytorch_model.safetensors"
    tensors = load_file(made / name)
    save_file({n: a + np.float32(1) for n, a in tensors.items()}, folder / "unet" / name)
    network = json.loads((made / "config.json").read_text())
    fields = {"decay": 0.9999, "optimization_step": 91, "update_after_step": 0}
    (folder / "unet_ema" / "config.json").write_text(json.dumps(network | fields))
    shutil.copytree(made, folder / "scheduler")
    assert modes.run(config_of("convert", source=str(folder), check=False), new, "convert") == 0
    out = capsys.readouterr().out
    assert f"weights   averaged (EMA), decay {91 / 100:g} at step 91" in out
    assert "left out  unet/*: raw weights; their averages (unet_ema/) were taken" in out
    source = store.read_metadata(new)["source"]
    assert (source["ema"], source["averaging"]) == (True, fields)
    plain = convert(made, tmp_path / "plain", check=False).metadata
    assert store.read_metadata(new)["sha256"] == plain["sha256"]


def test_the_averages_of_a_text_prior_are_taken(tmp_path):
    """A folder with averages gives the weights of the folder whose U-Net is those averages."""
    small = HERE.parent / "checkpoints" / "fruits64-text"
    folder, name = tmp_path / "text", "diffusion_pytorch_model.safetensors"
    shutil.copytree(small, folder)
    (folder / "unet").rename(folder / "unet_ema")
    shutil.copytree(small / "unet", folder / "unet")
    tensors = load_file(small / "unet" / name)
    save_file({n: a + np.float16(1) for n, a in tensors.items()}, folder / "unet" / name)
    found = convert(folder, tmp_path / "new", check=False).metadata
    assert found["sha256"] == convert(small, tmp_path / "plain", check=False).metadata["sha256"]
    assert found["source"]["ema"] is True
    assert "unet/*" in found["source"]["left_out"]


def test_a_failed_check_warns_and_the_prior_loads(file, tmp_path, capsys):
    given, new = tmp_path / "given.json", tmp_path / "new"
    given.write_text(json.dumps(SMALL))
    config = config_of("convert", source=str(file), architecture=str(given))
    assert modes.run(config, new, "convert") == 0
    out, err = capsys.readouterr()
    assert "warning: the prior fails the denoise test: it looks untrained" in err
    assert "family sdedit_ddpm" in out
    card = store.read_metadata(new)
    assert (card["check"]["passed"], card["check"]["failure_mode"]) == (False, "untrained")
    sj.load_prior(new)
    before = (new / "prior.json").read_bytes()
    with pytest.raises(ValueError, match="--overwrite replaces it"):
        modes.run(config, new, "convert")
    strict = config_of("convert", source=str(file), architecture=str(given), strict=True)
    with pytest.raises(ValueError, match="strict: nothing is written"):
        modes.run(strict, new, "convert", overwrite=True)
    assert (new / "prior.json").read_bytes() == before


def test_a_conversion_that_was_killed_starts_again(file, tmp_path):
    """What it left beside the folder goes; --resume leaves a finished prior as it is."""
    new = tmp_path / "new"
    (tmp_path / ".new.sdedit_jax-partial" / "params").mkdir(parents=True)
    made = convert(file, new, architecture=SMALL, check=False, resume=True)
    assert made.made and [path.name for path in tmp_path.iterdir()] == ["new"]
    before = {path: path.stat().st_mtime_ns for path in new.rglob("*")}
    again = convert(file, new, architecture=SMALL, check=False, resume=True)
    assert not again.made and again.metadata == made.metadata
    assert {path: path.stat().st_mtime_ns for path in new.rglob("*")} == before
    new.rename(tmp_path / ".new.sdedit_jax-old")  # killed between two renames
    with pytest.raises(ValueError, match="not of score_sde"):
        convert(file, new, architecture=SMALL, family="score_sde", overwrite=True)
    assert store.read_metadata(new) == made.metadata


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"dtype": "float16"}, "settings.dtype: float32 then, float16 now"),
        ({"name": "x"}, "settings.name: new then, x now"),
        ({"architecture": {**SMALL, "more": 1}}, "settings.architecture: "),
    ],
)
def test_another_conversion_is_not_finished(options, line, file, tmp_path):
    convert(file, tmp_path / "new", architecture=SMALL, check=False)
    with pytest.raises(ValueError, match=line):
        given = {"architecture": SMALL, "check": False, "resume": True, **options}
        convert(file, tmp_path / "new", **given)


def _broken(change):
    made = tensors()
    change(made)
    return made


WRONG = {
    "missing": (lambda t: t.pop("mid.block_1.conv2.weight"), "lacks the tensor mid.block_1.conv2"),
    "extra": (lambda t: t.update(more=np.zeros(3, np.float32)), r"without use: \['more'\]"),
    "misshapen": (
        lambda t: t.update({"norm_out.weight": np.ones(31, np.float32)}),
        r"tensor norm_out.weight .* has shape \(31,\)",
    ),
    "nan": (
        lambda t: t["temb.dense.0.bias"].__setitem__(3, np.nan),
        "tensor temb.dense.0.bias .* not finite",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_tensors_are_named_and_leave_nothing(kind, tmp_path):
    change, message = WRONG[kind]
    save_file(_broken(change), tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "model.safetensors", tmp_path / "a" / "new", architecture=SMALL)
    assert not (tmp_path / "a").exists()


BAD = {
    "card": ({"card": "stylegan"}, "card"),
    "both": ({"card": "sdedit/celeba_hq", "architecture": SMALL}, "give one of them"),
    "architecture": ({"architecture": "nowhere.json"}, "architecture: cannot read nowhere.json"),
    "family": ({"architecture": SMALL, "family": "score_sde"}, "of sdedit_ddpm, not of score_sde"),
    "dtype": ({"architecture": SMALL, "dtype": "float8"}, "dtype must be one of"),
    "nothing": ({}, "do not contain .*image_size"),
}


@pytest.mark.parametrize("kind", BAD)
def test_wrong_arguments_are_named_and_leave_nothing(kind, file, tmp_path):
    options, message = BAD[kind]
    with pytest.raises(ValueError, match=message):
        convert(file, tmp_path / "a" / "new", **options)
    assert not (tmp_path / "a").exists()


def test_other_folders_are_left_alone(file, tmp_path):
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ValueError, match="holds other files"):
        convert(file, tmp_path, architecture=SMALL, overwrite=True)
    with pytest.raises(ValueError, match="is not a folder"):
        convert(file, tmp_path / "letters.txt", architecture=SMALL, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["letters.txt"]


def test_a_full_disk_is_told_before_anything_is_written(file, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="room|space|disk"):
        convert(file, tmp_path / "a" / "new", architecture=SMALL, check=False)
    assert not (tmp_path / "a").exists()

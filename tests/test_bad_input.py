"""Every bad input is one clear line; nothing half-written, earlier results kept."""

import gc
import json
import os
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from program import (
    ROOT,
    SIZE,
    known,
    names,
    picture,
    refused,
    run,
    small,
    tiny_card,
    tiny_params,
    tiny_prior,
)

from sdedit_jax.images import files
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.base import Finished
from sdedit_jax.weights import load, store


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


# --- fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("t0", 1.5, "t0 must be in [0, 1], got 1.5"),
        ("t0", -0.1, "t0 must be in [0, 1], got -0.1"),
        ("t0", float("nan"), "t0 must be in [0, 1], got nan"),
        ("sigma", 100.0, "sigma must be in ["),
        ("step", 1000.0, "step must be in [-1, 999], got 1000.0"),
        ("sampler__steps", 0, "sampler.steps must be at least 1, got 0"),
        ("sampler__repeats", 0, "sampler.repeats must be at least 1, got 0"),
        ("samples", 0, "samples must be at least 1, got 0"),
        ("batch", 0, "batch must be at least 1, got 0"),
        ("feather", -1, "feather must be at least 0, got -1"),
        ("sheet_scale", -1, "sheet_scale must be at least 0, got -1"),
        ("seed", -2, "in [0, 2**64 - 1], or -1 to draw one, got -2"),
        ("seed", 2**64, "seed must be a whole number in [0, 2**64 - 1], or -1"),
        ("cond", "3", "cond: the prior has no classes, got label 3"),
        (
            "devices",
            99,
            f"must be in [0, {jax.local_device_count()}] on this machine, got 99",
        ),
        ("sampler__rule", "foo", "sampler.rule must be one of ['adaptive', "),
        ("sampler__grid", "foo", "sampler.grid must be one of ['diffusers_ddim', "),
        ("sampler__corrector", "foo", "sampler.corrector must be one of ['langevin', 'none']"),
        ("sampler__hold", "foo", "sampler.hold must be one of ['diffusers', 'level', "),
        ("sampler__final", "foo", "sampler.final must be one of ['mean', 'sample'], got 'foo'"),
        ("task", "foo", "task must be one of ['composite', "),
        ("preset", "foo", "preset must be one of ['diffusers', 'diffusers-ddpm', "),
        ("fit", "foo", "fit must be one of ['crop', 'mask', 'pad', 'stretch'], got 'foo'"),
        ("output", "foo", "output must be one of ['original', 'prior'], got 'foo'"),
        ("compute", "foo", "compute must be one of ['bfloat16', 'float32', 'tf32'], got 'foo'"),
        ("prior", "no/such", "no/such/prior.json does not exist"),
        ("input", "no/such.png", "'no/such.png'"),
        ("preset", "official", "runs 1000 t0 = 500 steps, sampler.steps is 4"),
    ],
)
def test_a_field_out_of_its_range_is_named(field, value, told, tmp_path):
    assert told in refused(small("strokes", **{field: value}), tmp_path)
    assert names(tmp_path) == []


def test_two_strengths_at_once_are_refused(tmp_path):
    assert "exactly one" in refused(small("strokes", sigma=1.0, snr_db=0.0), tmp_path)


def test_the_batch_norm_is_refused(tmp_path):
    config = small("strokes", sampler__corrector="langevin(norm='batch')")
    assert "sampler.corrector: norm" in refused(config, tmp_path)


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("rule", "ancestrl", "got 'ancestrl'; did you mean 'ancestral'?"),
        ("rule", "ancestral(etta=0.5)", "ancestral has no parameter 'etta'; did you mean 'eta'?"),
        ("rule", "ancestral(eta='big')", "eta of ancestral must be a number, got 'big'"),
        ("rule", "ancestral(eta=2.0)", "eta must be in [0, 1], got 2.0"),
        ("rule", "ancestral(0.5)", "must be a name, or a name with keyword arguments"),
        ("rule", "ancestral(eta=", "must be a name, or a name with keyword arguments"),
        ("rule", "ancestral(**{'eta': 0.5})", "must be a name, or a name with keyword arguments"),
        ("rule", "ancestral(eta=__import__('os'))", "eta of ancestral must be a number, a string"),
        ("rule", "__import__('os').remove(path='x')", "must be a name, or a name with keyword"),
        ("rule", "os.remove(path='x')", "must be a name, or a name with keyword"),
        ("grid", "karras(sigma_end=0)", "sigma_end must be above 0"),
        ("grid", "karras(sigma=1)", "karras has no parameter 'sigma'"),
        ("grid", "diffusers_ddim(spacing='even')", "spacing must be one of"),
        ("grid", "diffusers_ddim(name='ddpm')", "diffusers_ddim has no parameter 'name'"),
        ("corrector", "langevin(steps=1.5)", "steps of langevin must be a whole number, got 1.5"),
        ("corrector", "none(steps=1)", "none has no parameter 'steps'"),
    ],
)
def test_a_wrong_part_of_the_sampler_is_refused_and_never_evaluated(field, text, told, tmp_path):
    line = refused(small("strokes", **{f"sampler__{field}": text}), tmp_path)
    assert line.startswith(f"sampler.{field}") and told in line
    assert names(tmp_path) == []


def test_an_unknown_option_of_a_task_is_named_once(tmp_path):
    config = small("strokes")
    with config.unlocked():
        config.options.colour = "red"
    assert "options.colour: task 'strokes' has no such field" in refused(config, tmp_path)
    for option, value, told in [
        ("fill", "foo", "fill must be one of"),
        ("invert", "yes", "invert must be true or false"),
    ]:
        config = small("inpaint")
        with config.unlocked():
            config.options = {**config.options.to_dict(), option: value}
        assert told in refused(config, tmp_path)


# --- pictures -------------------------------------------------------------------------------------


@pytest.fixture
def bad(tmp_path):
    """Files that are no pictures, and what is said of them."""
    folder = tmp_path / "bad"
    folder.mkdir()
    Image.fromarray(known()).save(folder / "good.png")
    whole = (folder / "good.png").read_bytes()
    (folder / "good.png").unlink()
    (folder / "empty.png").write_bytes(b"")
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "text.png").write_bytes(b"hello")
    Image.fromarray(known()).save(folder / "wrong.png", "BMP")
    told = {"empty": "empty", "cut": "damaged or truncated", "text": "not a PNG, JPEG or WebP"}
    return folder, told | {"wrong": "not a PNG, JPEG or WebP"}


def test_files_that_are_no_pictures(bad, tmp_path):
    folder, told = bad
    for stem, line in told.items():
        text = refused(small("strokes", input=str(folder / f"{stem}.png")), tmp_path / "out")
        assert line in text and f"{stem}.png" in text
    assert names(tmp_path / "out") == []


def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "in").mkdir()
    told = refused(small("strokes", input=str(tmp_path / "in")), tmp_path / "out")
    assert "no PNG, JPEG or WebP picture in the folder" in told


def test_the_good_files_of_a_folder_are_done_and_the_bad_ones_listed(bad, tmp_path, capsys):
    folder, told = bad
    for name in ("a", "z"):
        Image.fromarray(known()).save(folder / f"{name}.png")
    assert run(small("strokes", input=str(folder), samples=1), tmp_path / "out") == 1
    made = [f"{name}_{end}.png" for name in ("a", "z") for end in ("0", "guide", "mask")]
    assert names(tmp_path / "out") == sorted([*made, "record.json", "sheet.png"])
    lines = capsys.readouterr().err.splitlines()
    start = lines.index("error: 4 pictures could not be made:")
    listed = lines[start + 1 : start + 5]
    for (stem, line), text in zip(sorted(told.items()), listed, strict=True):
        assert f"{stem}.png" in text and line in text


NAMES = {
    b"gr\xfcn.png": "gr\\xfcn.png: the name is not UTF-8; rename the file",
    b"n" * 240 + b".png": "has more than 200 bytes; rename the file",
}


@pytest.mark.parametrize("mode", ["edit", "sweep"])
def test_bad_names_are_listed_before_the_others_are_done(mode, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in (b"a.png", *NAMES):
        Image.fromarray(known()).save(tmp_path / "photo.png")
        os.rename(tmp_path / "photo.png", os.path.join(os.fsencode(folder), name))
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    grid = {"sweep__t0": (0.5,), "sweep__seeds": (0,)} if mode == "sweep" else {"samples": 1}
    assert run(small("strokes", input=str(folder), **grid), tmp_path / "out", mode) == 1
    assert sum(name.startswith("a_") for name in names(tmp_path / "out")) == 3 + (mode == "sweep")
    out, wrong = capsys.readouterr()
    for told in (*NAMES.values(), "gone.png: no such file"):
        assert told in wrong and told in out.split("device    ")[0]
    assert "error: 3 pictures could not be made:" in wrong


def test_a_single_bad_name_is_one_line_in_program_and_python(tmp_path):
    file = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"gr\xfcn.png"))
    Image.fromarray(known()).save(tmp_path / "photo.png")
    os.rename(tmp_path / "photo.png", file)
    assert "gr\\xfcn.png: the name is not UTF-8" in refused(
        small("strokes", input=file), tmp_path / "out"
    )
    with pytest.raises(ValueError, match="the name is not UTF-8"):
        files.read(file)


def test_masks_and_strokes_that_do_not_fit(tmp_path):
    Image.new("L", (10, 12), 255).save(tmp_path / "small.png")
    Image.new("L", (256, 256), 0).save(tmp_path / "black.png")
    Image.new("RGBA", (256, 256), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    for task, options, told in [
        ("inpaint", {"mask": "small.png"}, "has 12x10 pixels (height x width), the picture has"),
        ("inpaint", {"mask": "black.png"}, "black everywhere; white marks what may change"),
        ("inpaint", {"mask": "none.png"}, "no such file"),
        ("scribble", {"strokes": "clear.png"}, "no strokes found"),
        ("scribble", {"strokes": "", "mask": "small.png"}, "12x10 pixels"),
    ]:
        config = small(task)
        files = {k: str(tmp_path / v) if v else "" for k, v in options.items()}
        config.options.update(files)
        assert told in refused(config, tmp_path / "out")
    assert names(tmp_path / "out") == []


# --- priors ---------------------------------------------------------------------------------------


@pytest.fixture
def prior(tmp_path):
    """A copy of the tiny prior's folder, to be damaged."""
    return shutil.copytree(tiny_prior(), tmp_path / "prior")


def card(prior, **changes):
    """Change prior.json; None takes a field away."""
    body = json.loads((prior / "prior.json").read_text()) | changes
    body = {name: value for name, value in body.items() if value is not None}
    (prior / "prior.json").write_text(json.dumps(body))


def told_of(prior, tmp_path):
    return refused(small("strokes", prior=str(prior)), tmp_path / "out")


def test_damaged_cards(prior, tmp_path):
    whole = json.loads((prior / "prior.json").read_text())
    net = whole["config"]
    for changes, told in [
        ({"sha256": "0" * 64}, f"have sha256 {whole['sha256']}, prior.json says {'0' * 64}"),
        ({"sha256": None}, "lacks 'sha256'"),
        ({"network": None}, "lacks 'network'"),
        ({"network": "foo"}, "network must be one of ["),
        ({"process": {"name": "foo"}}, "process.name must be one of ["),
        ({"process": {"name": "ve", "foo": 1}}, "foo"),
        ({"prediction": "edm"}, "prediction must be an object, got 'edm'"),
        ({"size": [16, 3]}, "size must be a list of 3 values, got [16, 3]"),
        ({"size": 16}, "size must be a list of 3 values, got 16"),
        ({"config": {**net, "nf": 16}}, "of shape (8,), the network of prior.json needs (16,)"),
        ({"config": {**net, "num_res_blocks": 2}}, "the network of prior.json"),
        ({"config": {**net, "ch_mult": [1]}}, "the network of prior.json"),
        ({"config": {**net, "foo": 1}}, "foo"),
        ({"config": {**net, "nf": "16"}}, "nf must be a whole number, got '16'"),
        ({"config": {**net, "ch_mult": 1}}, "ch_mult must be a list of 0 to 32 values, got 1"),
        ({"config": 3}, "config must be an object, got 3"),
        (
            {"process": {"name": "ve", "sigma_min": "low"}},
            "process.sigma_min must be a number, got 'low'",
        ),
        (
            {"prediction": {"name": "edm", "sigma_data": "x"}},
            "prediction.sigma_data must be a number, got 'x'",
        ),
    ]:
        card(prior, **{**whole, **changes})
        assert told in told_of(prior, tmp_path)
    for text, told in [("{", "the file is not JSON"), ("[]", "must hold a JSON object")]:
        (prior / "prior.json").write_text(text)
        assert told in told_of(prior, tmp_path)
    assert names(tmp_path / "out") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_damaged_weights(prior, tmp_path):
    parts = list((prior / "params").rglob("d/*"))  # not all of them are read
    for file in parts:
        file.write_bytes(file.read_bytes()[:10])
    assert f"cannot read {prior / 'params'}" in told_of(prior, tmp_path)
    for file in parts:
        file.unlink()
    assert f"cannot read {prior / 'params'}" in told_of(prior, tmp_path)
    shutil.rmtree(prior / "params")
    assert "params does not exist" in told_of(prior, tmp_path)
    gc.collect()  # reads that tensorstore gave up complain when they are collected


def test_weights_that_are_not_finite_are_refused(tmp_path):
    name, leaf = store.leaves(tiny_params())[0]
    broken = jax.tree.map(lambda a: np.full_like(a, np.nan) if a is leaf else a, tiny_params())
    store.save(tmp_path / "prior", broken, tiny_card())
    told = told_of(tmp_path / "prior", tmp_path)
    assert name in told and "not finite" in told


# --- numbers that run away ------------------------------------------------------------------------


def test_a_model_that_gives_nan_leaves_nothing_and_says_so(monkeypatch, tmp_path, capsys):
    prior = load.load_prior(tiny_prior())
    huge = prior.replace(params=jax.tree.map(lambda a: a * 1e30, prior.params))
    monkeypatch.setattr(load, "load_prior", lambda *args: huge)
    config = small("strokes", input="examples/strokes/cherry.png")
    assert run(config, tmp_path) == 1
    told = capsys.readouterr().err
    assert "cherry_0: the prior gave values that are not finite" in told
    assert names(tmp_path) == []


def test_a_nan_in_a_later_batch_keeps_the_others(monkeypatch, tmp_path, capsys):
    calls, events = [], executor.run

    def poisoned(*args, **options):
        calls.append(1)
        for event in events(*args, **options):
            if isinstance(event, Finished) and len(calls) == 2:  # green_apple_0 and _1
                image = event.result.image.copy()
                image[1, 5, 5, 0] = np.nan
                event = event._replace(result=event.result._replace(image=image))
            yield event

    monkeypatch.setattr(executor, "run", poisoned)
    assert run(small("strokes"), tmp_path) == 1
    assert "green_apple_1: the prior gave" in capsys.readouterr().err
    made = set(names(tmp_path))
    assert "green_apple_1.png" not in made
    assert {"cherry_1.png", "green_apple_0.png", "tomato_1.png", "sheet.png"} <= made
    body = json.loads((tmp_path / "record.json").read_text())
    assert len(body["pictures"]) == 7


# --- disks and folders ----------------------------------------------------------------------------


def test_a_full_disk_keeps_what_was_finished_and_no_part(monkeypatch, tmp_path):
    write, calls = files._write_through, []

    def full(path, data):
        calls.append(path)
        if len(calls) > 4:  # guide, mask, photo, first result
            write(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(files, "_write_through", full)
    told = refused(small("inpaint"), tmp_path)
    assert "apple_1.png" in told and "No space left on device" in told
    assert names(tmp_path) == [f"apple_{end}.png" for end in ("0", "guide", "mask", "photo")]
    assert picture(tmp_path / "apple_0.png").shape == (16, 16, 3)


def test_a_file_that_appears_meanwhile_is_not_overwritten(monkeypatch, tmp_path):
    events = executor.run

    def meanwhile(*args, **options):
        (tmp_path / "apple_0.png").write_bytes(b"mine")
        return events(*args, **options)

    monkeypatch.setattr(executor, "run", meanwhile)
    assert "apple_0.png exists" in refused(small("inpaint"), tmp_path)
    assert (tmp_path / "apple_0.png").read_bytes() == b"mine"


def test_results_are_not_put_among_the_inputs(tmp_path):
    Image.fromarray(known()).save(tmp_path / "a.png")
    told = refused(small("strokes", input=str(tmp_path)), tmp_path)
    assert "is the folder of the inputs" in told and names(tmp_path) == ["a.png"]


def test_a_result_never_replaces_an_input_or_its_mask(tmp_path):
    """Not with --overwrite either: a glob, or a single file, beside which the results shall lie."""
    for name in ("a.png", "a_0.png"):
        Image.fromarray(known()).save(tmp_path / name)
    half = np.repeat(np.uint8([0, 255]), SIZE // 2)
    Image.fromarray(np.tile(half, (SIZE, 1))).save(tmp_path / "a_mask.png")
    before = {name: (tmp_path / name).read_bytes() for name in ("a.png", "a_mask.png")}
    config = small("strokes", input=str(tmp_path / "a*.png"))
    assert "a_0.png would replace an input" in refused(config, tmp_path, overwrite=True)
    (tmp_path / "a_0.png").unlink()
    mask = str(tmp_path / "a_mask.png")
    config = small("inpaint", input=str(tmp_path / "a.png"), options__mask=mask)
    assert "a_mask.png would replace an input" in refused(config, tmp_path, overwrite=True)
    assert all((tmp_path / name).read_bytes() == data for name, data in before.items())


def test_an_empty_input_is_the_example_and_not_the_present_folder(tmp_path, monkeypatch):
    Image.fromarray(known()).save(tmp_path / "mine.png")
    monkeypatch.chdir(tmp_path)
    assert run(small("strokes", input="", samples=1), tmp_path / "out") == 0
    made = names(tmp_path / "out")
    assert "cherry_0.png" in made and "mine_0.png" not in made


@pytest.mark.parametrize("where", ["beside", "folder"])
def test_a_users_mask_is_never_replaced(where, tmp_path):
    """The result NAME_mask.png would have its name; also with --overwrite."""
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for folder in (photos, masks):
        folder.mkdir()
    shutil.copy(ROOT / "examples/inpaint/apple.webp", photos)
    home = photos if where == "beside" else masks
    shutil.copy(ROOT / "examples/inpaint/masks/apple.png", home / "apple_mask.png")
    before = (home / "apple_mask.png").read_bytes()
    option = "" if where == "beside" else str(masks)
    config = small("inpaint", input=str(photos / "apple.webp"), options__mask=option)
    assert "would replace an input" in refused(config, home, overwrite=True)
    assert (home / "apple_mask.png").read_bytes() == before


def test_a_second_run_does_not_take_the_mask_of_the_first(tmp_path):
    """An edit without a mask beside its photo, twice: both edit everything."""
    shutil.copy(ROOT / "examples/inpaint/apple.webp", tmp_path)
    file = str(tmp_path / "apple.webp")
    for name in (".", "more"):
        config = small("strokes", task="photo", input=file, samples=1, t0=0.3)
        assert run(config, tmp_path / name) == 0
        assert (picture(tmp_path / name / "apple_mask.png") == 255).all()

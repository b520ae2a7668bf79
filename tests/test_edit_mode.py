"""--mode=edit and --mode=sweep on the examples with a tiny prior: files, records, independence."""

import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from PIL import Image
from program import (
    ROOT,
    SIZE,
    compiled,
    exact_prior,
    four_devices,
    known,
    levels,
    names,
    noted,
    picture,
    recipe,
    refused,
    run,
    small,
)

import sdedit_jax as sj
from sdedit_jax import registry
from sdedit_jax.diffusion.noise import image_key
from sdedit_jax.modes import edit
from sdedit_jax.modes.config import resolve
from sdedit_jax.pipeline.cache import use_cache
from sdedit_jax.weights import load

INPUTS = {
    "strokes": ["cherry", "green_apple", "red_apple", "tomato"],
    "scribble": ["apple"],
    "composite": ["tomato"],
    "inpaint": ["apple"],
    "recolor": ["apple"],
    "sketch": ["apple"],
    "simulate": ["apple"],
    "outpaint": ["apple"],
}


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def strokes(tmp_path_factory):
    """The strokes edit: four guides, two samples each."""
    out = tmp_path_factory.mktemp("strokes")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert run(small("strokes"), out) == 0
    return out


def results(out, samples=2):
    """(entry of the record, result, guide, mask) of every picture."""
    for entry in noted(out)["pictures"]:
        stem = entry["file"].removesuffix(f"_{entry['sample']}.png")
        files = (entry["file"], f"{stem}_guide.png", f"{stem}_mask.png")
        yield entry, *(picture(out / file) for file in files)


def shows(sheet, cell):
    """Whether a picture stands somewhere in a sheet, pixel by pixel."""
    h, w = cell.shape[:2]
    starts = np.argwhere((sheet[: -h + 1, : -w + 1] == cell[0, 0]).all(axis=-1))
    return any((sheet[y : y + h, x : x + w] == cell).all() for y, x in starts)


# --- every task -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", INPUTS)
def test_every_task_writes_its_files_and_keeps_what_it_must(task, tmp_path):
    assert run(small(task), tmp_path) == 0
    ends = ("0", "1", "guide", "mask")
    wanted = {f"{stem}_{end}.png" for stem in INPUTS[task] for end in ends}
    if task in ("scribble", "composite", "inpaint", "recolor"):  # their masks have a grey rim here
        wanted |= {f"{stem}_photo.png" for stem in INPUTS[task]}
    assert set(names(tmp_path)) == wanted | {"sheet.png", "record.json"}
    for entry, result, guide, mask in results(tmp_path):
        assert result.shape == (SIZE, SIZE, 3) and result.dtype == np.uint8
        np.testing.assert_array_equal(result[mask == 0], guide[mask == 0])
        assert (result != guide).any()
        assert entry["max_change_outside_mask"] == 0
        away = (result.astype(float) - guide) / 255
        assert entry["l2"] == pytest.approx(math.sqrt((away**2).sum()), rel=1e-6)
        assert entry["rms"] == pytest.approx(math.sqrt((away**2).mean()), rel=1e-6)


@pytest.mark.parametrize("task", ["scribble", "composite", "inpaint", "recolor", "sketch"])
def test_output_original_keeps_the_input_exactly_outside_the_mask(task, tmp_path):
    config = small(task, output="original")
    if task == "sketch":
        config.options.lines = "held"
    assert run(config, tmp_path) == 0
    file = next((ROOT / "examples" / task).glob(f"{INPUTS[task][0]}.*"))
    before = np.asarray(Image.open(file).convert("RGB"))
    options = resolve(config, "edit").options.to_dict()
    item = registry.task(task)(str(file), options, (SIZE, SIZE), "crop")
    kept = item.original_mask == 0
    assert kept.any() and not kept.all()
    for entry in noted(tmp_path)["pictures"]:
        after = picture(tmp_path / entry["file"])
        np.testing.assert_array_equal(after[kept], before[kept])
        assert (after != before).any()
        assert entry["max_change_outside_mask"] == 0


def test_the_kept_region_of_inpainting_is_the_black_of_the_mask_file(tmp_path):
    assert run(small("inpaint", output="original", samples=1), tmp_path) == 0
    before = np.asarray(Image.open("examples/inpaint/apple.webp").convert("RGB"))
    black = np.asarray(Image.open("examples/inpaint/masks/apple.png").convert("L")) == 0
    np.testing.assert_array_equal(picture(tmp_path / "apple_0.png")[black], before[black])


def test_a_feathered_seam_lies_inside_the_mask(tmp_path):
    assert run(small("scribble", feather=2, samples=1), tmp_path) == 0
    (entry, result, guide, mask), *_ = results(tmp_path)
    np.testing.assert_array_equal(result[mask == 0], guide[mask == 0])
    assert entry["max_change_outside_mask"] == 0


# --- names, folders, records ----------------------------------------------------------------------


def test_folders_globs_and_equal_stems(tmp_path):
    folder = tmp_path / "in" / "deeper"
    folder.mkdir(parents=True)
    for file in ("a.png", "a.jpg", "b.webp"):
        Image.fromarray(known()).save(tmp_path / "in" / file)
    Image.fromarray(known()).save(folder / "c.png")
    (tmp_path / "in" / "notes.txt").write_text("no picture")

    def made(pattern, out):
        assert run(small("strokes", input=str(tmp_path / pattern), samples=1), tmp_path / out) == 0
        return {n.removesuffix("_0.png") for n in names(tmp_path / out) if n.endswith("_0.png")}

    assert made("in", "folder") == {"a_png", "a_jpg", "b"}
    assert made("in/*.png", "glob") == {"a"}
    assert made("in/**/*.png", "deep") == {"a", "c"}
    assert made("in/b.webp", "file") == {"b"}


def test_a_transparent_tiny_and_a_very_wide_input(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save(folder / "clear.png")
    Image.new("L", (1, 1), 7).save(folder / "dot.png")
    Image.new("RGB", (900, 3), (1, 2, 3)).save(folder / "wide.png")
    assert run(small("strokes", input=str(folder), samples=1), tmp_path / "out") == 0
    assert "wide.png: fit 'crop' shows 0.3% of its 3x900 pixels" in capsys.readouterr().err
    guides = [picture(tmp_path / "out" / f"{n}_guide.png") for n in ("clear", "dot", "wide")]
    for guide, color in zip(guides, ((255, 255, 255), (7, 7, 7), (1, 2, 3)), strict=True):
        assert (guide == color).all()


def test_the_record_says_what_ran(strokes):
    body = noted(strokes)
    assert body["evaluations"] == 4 and body["sampler"]["rule"] == "dpmpp_2m_sde"
    assert body["config"]["task"] == "strokes" and body["prior"]["name"] == "tiny"
    assert len(body["prior"]["sha256"]) == 64
    assert body["environment"]["versions"]["jax"] == jax.__version__
    assert [e["file"] for e in body["pictures"]] == [
        f"{stem}_{k}.png" for stem in INPUTS["strokes"] for k in (0, 1)
    ]
    entry = body["pictures"][0]
    assert entry["id"] == "cherry" and entry["seed"] == 0 and entry["seconds"] >= 0
    sigma = 0.01 * 8000**0.5  # VE at t0 = 0.5
    assert entry["strength"]["sigma"] == pytest.approx(sigma, rel=1e-5)
    assert entry["strength"]["snr_db"] == pytest.approx(-20 * math.log10(sigma), abs=1e-4)


def test_the_record_states_proposition_1(strokes, tmp_path):
    picture_of = {e["file"]: e["proposition_1"] for e in noted(strokes)["pictures"]}
    told = picture_of["cherry_0.png"]
    sigma, d, log = 0.01 * 8000**0.5, SIZE * SIZE * 3, math.log(0.05)
    limit = sigma**2 * (told["C"] * sigma**2 + d + 2 * math.sqrt(-d * log) - 2 * log)
    assert told["bound"] == pytest.approx(limit, rel=1e-4) and told["delta"] == 0.05
    assert 0 < told["distance"] < told["bound"] and "loose" in told["note"]
    assert run(small("inpaint"), tmp_path) == 0
    assert "not stated" in noted(tmp_path)["pictures"][0]["proposition_1"]


def test_the_sheet_shows_guide_mask_and_results(tmp_path):
    assert run(small("inpaint", sheet_scale=1), tmp_path) == 0
    sheet = picture(tmp_path / "sheet.png")
    for end in ("guide", "0", "1"):
        assert shows(sheet, picture(tmp_path / f"apple_{end}.png"))
    mask = picture(tmp_path / "apple_mask.png")
    assert shows(sheet, np.repeat(mask[..., None], 3, axis=-1))


def test_results_are_not_overwritten_without_being_asked(tmp_path):
    config = small("inpaint", samples=1)
    assert run(config, tmp_path) == 0
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    config.seed = 1
    with pytest.raises(ValueError, match=r"apple_0\.png exists, and 3 more; .*--overwrite"):
        run(config, tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert run(config, tmp_path, overwrite=True) == 0
    assert names(tmp_path) == sorted(before)
    assert (tmp_path / "apple_0.png").read_bytes() != before["apple_0.png"]
    assert (tmp_path / "apple_guide.png").read_bytes() == before["apple_guide.png"]


def test_the_sheet_has_no_column_of_white_masks(tmp_path):
    """Beside the labels: input, guide and two results, of 16 pixels and a gap each."""
    cherry = "examples/strokes/cherry.png"
    assert run(small("strokes", input=cherry, sheet_scale=1), tmp_path / "a") == 0
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[4:9] = 255
    Image.fromarray(mask).resize(Image.open(ROOT / cherry).size, 0).save(tmp_path / "mask.png")
    masked = small("inpaint", input=cherry, sheet_scale=1, options__mask=str(tmp_path / "mask.png"))
    assert run(masked, tmp_path / "b") == 0
    wide, wider = (picture(tmp_path / x / "sheet.png").shape[1] for x in "ab")
    assert SIZE <= wider - wide < 2 * SIZE
    assert not shows(picture(tmp_path / "a/sheet.png"), np.full((SIZE, SIZE, 3), 255, np.uint8))


def test_a_second_run_with_other_inputs_keeps_the_first_sheet(tmp_path):
    assert run(small("inpaint", samples=1), tmp_path) == 0
    assert run(small("composite", samples=1), tmp_path) == 0
    assert {"sheet.png", "sheet-2.png", "record.json", "record-2.json"} <= set(names(tmp_path))


def test_keep_writes_beside_earlier_runs(tmp_path):
    config = small("inpaint", samples=1)
    for folder in ("", "run-2", "run-3"):
        assert run(config, tmp_path / "out", keep=True) == 0
        assert "apple_0.png" in names(tmp_path / "out" / folder)
    made = [picture(tmp_path / "out" / f / "apple_0.png") for f in ("", "run-2", "run-3")]
    assert levels(made[0], made[1]) == levels(made[0], made[2]) == 0
    assert "sheet-2.png" not in names(tmp_path / "out")
    told = refused(config, tmp_path / "other", overwrite=True, keep=True)
    assert told == "keep, overwrite: give one of them" and not (tmp_path / "other").exists()
    assert "keep: is for the modes" in refused(config, tmp_path / "other", "train", keep=True)


def test_a_notebook_runs_a_mode_twice(tmp_path):
    config = small("inpaint", samples=1)
    assert sj.run(config, tmp_path / "a") == 0
    config.seed = 1
    with compiled() as parts:
        assert sj.run(config, tmp_path / "b") == 0
    assert parts == []
    assert levels(picture(tmp_path / "a/apple_0.png"), picture(tmp_path / "b/apple_0.png")) > 1
    assert "mode must be one of" in refused(config, tmp_path, "paint")


# --- another size ---------------------------------------------------------------------------------


def test_an_edit_of_another_size_keeps_its_pixels(tmp_path):
    config = small("inpaint", size="64x96", samples=1, batch=1, sampler__steps=2)
    assert run(config, tmp_path) == 0
    ((entry, result, guide, mask),) = results(tmp_path, samples=1)
    assert result.shape == (64, 96, 3) and entry["max_change_outside_mask"] == 0
    assert (mask == 0).any() and (mask == 255).any()
    np.testing.assert_array_equal(result[mask == 0], guide[mask == 0])
    assert (result != guide).any()
    assert recipe(tmp_path / "apple_0.png")["size"] == [64, 96, 3]


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("63x96", "multiples of 2"),
        ("64", "size must be HxW, such as \"64x96\", got '64'"),
        ("0x16", "size"),
        ("-16x16", "size must be HxW"),
    ],
)
def test_a_wrong_size_is_refused(size, told, tmp_path):
    assert told in refused(small("inpaint", size=size), tmp_path)
    assert names(tmp_path) == []


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_what_is_finished(number, code, tmp_path, monkeypatch, capsys):
    before, write = signal.getsignal(number), edit.write

    def interrupted(done, target):
        write(done, target)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(edit, "write", interrupted)
    config = small("inpaint", samples=3, batch=1)
    assert run(config, tmp_path) == code
    made = [f"apple_{end}.png" for end in ("0", "guide", "mask", "photo")]
    assert names(tmp_path) == [*made, "record.json", "sheet.png"]
    assert [entry["file"] for entry in noted(tmp_path)["pictures"]] == ["apple_0.png"]
    told = f"error: {signal.Signals(number).name}; finished results are kept"
    assert told in capsys.readouterr().err
    assert signal.getsignal(number) is before


def test_a_signal_in_the_middle_of_an_edit_stops_the_process(tmp_path):
    """Thousands of steps a picture: the first is finished, the second is cut off."""
    out = tmp_path / "out"
    arguments = [
        "--config=configs/strokes.py", f"--workdir={out}", f"--config.prior={exact_prior()}",
        "--config.input=examples/strokes/cherry.png", "--config.sampler.steps=4000",
        "--config.samples=200", "--config.batch=1", "--config.cache=",
    ]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "main.py", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(2400):
            if (out / "cherry_0.png").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        wrong = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode == 143, wrong
    assert "error: SIGTERM; finished results are kept" in wrong and "Traceback" not in wrong
    made = [entry["file"] for entry in noted(out)["pictures"]]
    assert 1 <= len(made) < 200
    assert names(out) == sorted(
        [*made, "cherry_guide.png", "cherry_mask.png", "record.json", "sheet.png"]
    )
    Image.open(out / "sheet.png").load()


# --- strength -------------------------------------------------------------------------------------


def test_strength_is_given_in_four_units(strokes, tmp_path):
    told = noted(strokes)["pictures"][0]["strength"]
    for unit in ("sigma", "snr_db", "step"):
        out = tmp_path / unit
        config = small("strokes", input="examples/strokes/cherry.png", **{unit: told[unit]})
        assert run(config, out) == 0
        assert noted(out)["pictures"][0]["strength"]["t0"] == pytest.approx(0.5, abs=1e-5)
        assert levels(picture(out / "cherry_0.png"), picture(strokes / "cherry_0.png")) <= 1


def test_strength_zero_gives_the_guide_and_one_gives_pictures(tmp_path):
    cherry = "examples/strokes/cherry.png"
    assert run(small("strokes", input=cherry, t0=0.0), tmp_path / "none") == 0
    for entry, result, guide, _ in results(tmp_path / "none"):
        np.testing.assert_array_equal(result, guide)
        assert entry["l2"] == 0 and entry["strength"]["snr_db"] is None
    assert run(small("strokes", input=cherry, t0=1.0), tmp_path / "all") == 0
    (_, first, guide, _), (_, second, _, _) = results(tmp_path / "all")
    assert levels(first, guide) > 30 and levels(first, second) > 30


# --- the sampler ----------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """Evaluations of the network, by the network itself; the prior is exact."""
    calls, prior = [], load.load_prior(exact_prior())

    def predict(params, x, t, cond=None, key=None):
        jax.debug.callback(lambda: calls.append(1))
        return prior.predict(params, x, t, cond, key)

    monkeypatch.setattr(load, "load_prior", lambda *args, **kw: prior.replace(predict=predict))
    return calls


@pytest.mark.parametrize(
    ("changes", "evaluations"),
    [
        ({"sampler__steps": 7}, 7),
        ({"sampler__steps": 3, "sampler__rule": "heun", "sampler__repeats": 2}, 12),
        ({"sampler__steps": 3, "sampler__corrector": "langevin(steps=2)"}, 9),
        ({"preset": "official", "t0": 0.013, "sampler__steps": None}, 13),
    ],
)
def test_as_many_evaluations_run_as_are_asked_for(counted, tmp_path, capsys, changes, evaluations):
    config = small("strokes", input="examples/strokes/cherry.png", samples=1, **changes)
    assert run(config, tmp_path) == 0
    jax.effects_barrier()
    assert len(counted) == evaluations
    assert noted(tmp_path)["evaluations"] == evaluations
    assert f"= {evaluations} evaluations" in capsys.readouterr().out


def test_evaluations_of_an_adaptive_solver_are_reported(counted, tmp_path, capsys):
    """Those of the picture; the run stops at the end of a chunk of ten steps."""
    changes = {"sampler__steps": None, "sampler__rule": "adaptive(rtol=0.2)"}
    config = small("strokes", input="examples/strokes/cherry.png", samples=1, **changes)
    assert run(config, tmp_path) == 0
    jax.effects_barrier()
    own = noted(tmp_path)["pictures"][0]["evaluations"]
    assert 0 < own <= len(counted) == -(-own // 20) * 20 < 2000 == noted(tmp_path)["evaluations"]
    out = capsys.readouterr().out
    assert "at most 1000 steps x 1 repeat = 2000 evaluations" in out
    assert f"  {own} evaluations  " in out


@pytest.mark.parametrize(
    ("preset", "process", "hold"),
    [
        ("paper-ve", "VE(", "paper"),
        ("paper-vp", "VP(", "paper"),
        ("official", "VP table", "official"),
    ],
)
def test_presets_bring_any_guide_to_the_one_picture_that_the_prior_knows(
    preset, process, hold, tmp_path
):
    t0, steps = (0.5, 20) if preset != "official" else (0.02, None)
    changes = {"t0": t0, "sampler__steps": steps, "preset": preset, "prior": exact_prior()}
    config = small("strokes", input="examples/strokes/cherry.png", **changes)
    assert run(config, tmp_path) == 0
    body = noted(tmp_path)
    assert body["process"].startswith(process)
    assert body["sampler"]["hold"] == hold and body["sampler"]["steps"] == 20
    for _, result, guide, _ in results(tmp_path):
        away = np.abs(result.astype(float) - known()).mean()
        there = np.abs(guide.astype(float) - known()).mean()
        # the prior's spread is 0.05 (6.4 levels), and 20 steps of paper-vp end with noise of 0.12;
        # the weak official edit goes part of the way
        assert away < {"paper-ve": 8, "paper-vp": 15, "official": 0.9 * there}[preset] < there


# --- independence ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "devices"), [(1, 1), pytest.param(3, 4, marks=four_devices), (8, 1)]
)
def test_batch_and_devices_do_not_change_the_pictures(strokes, tmp_path, batch, devices):
    assert run(small("strokes", batch=batch, devices=devices), tmp_path) == 0
    for entry in noted(strokes)["pictures"]:
        a, b = (picture(out / entry["file"]) for out in (strokes, tmp_path))
        assert levels(a, b) <= 1
        assert recipe(tmp_path / entry["file"])["place"]["devices"] == devices


def test_neighbours_and_order_do_not_change_the_pictures(strokes, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    # other neighbours before and after, so that tomato stands elsewhere in its batch
    shutil.copy("examples/strokes/tomato.png", folder)
    for name in ("a", "b", "z"):
        Image.fromarray(known()).save(folder / f"{name}.png")
    assert run(small("strokes", input=str(folder), samples=1), tmp_path / "out") == 0
    a, b = (picture(out / "tomato_0.png") for out in (strokes, tmp_path / "out"))
    assert levels(a, b) <= 1


def test_seeds_and_names_change_the_noise(strokes, tmp_path):
    shutil.copy("examples/strokes/cherry.png", tmp_path / "other.png")
    first = picture(strokes / "cherry_0.png")
    assert levels(first, picture(strokes / "cherry_1.png")) > 1
    assert run(small("strokes", input=str(tmp_path / "other.png")), tmp_path / "name") == 0
    assert levels(first, picture(tmp_path / "name" / "other_0.png")) > 1
    config = small("strokes", input="examples/strokes/cherry.png", seed=1)
    assert run(config, tmp_path / "seed") == 0
    assert levels(first, picture(tmp_path / "seed" / "cherry_0.png")) > 1


def test_the_noise_of_an_image_is_bit_equal_in_any_batch():
    draw = jax.jit(jax.vmap(lambda key: jax.random.normal(key, (4, 4, 3))))
    keys = jnp.stack([image_key(0, f"image {i}") for i in range(8)])
    whole = draw(keys)
    for size in (1, 3):
        np.testing.assert_array_equal(whole[:size], draw(keys[:size]))
    np.testing.assert_array_equal(whole, jax.pmap(draw)(keys.reshape(4, 2)).reshape(whole.shape))


# --- sweep ----------------------------------------------------------------------------------------


def test_a_sweep_makes_the_pictures_of_single_runs_in_one_program(tmp_path, capsys):
    config = small("strokes", input="examples/strokes/cherry.png", sheet_scale=1)
    config.sweep.t0, config.sweep.seeds = (0.3, 0.55, 0.7), (0, 5)
    with compiled() as parts:
        assert run(config, tmp_path / "sweep", "sweep") == 0
    assert max(map(parts.count, parts), default=0) <= 1
    assert re.findall(r"t0 (\S+) \| sigma", capsys.readouterr().out) == ["0.3", "0.55", "0.7"]
    cells = [f"cherry_t{t0}_s{seed}.png" for t0 in (0.3, 0.55, 0.7) for seed in (0, 5)]
    beside = ["cherry_guide.png", "cherry_mask.png", "cherry_sweep.png", "record.json"]
    assert names(tmp_path / "sweep") == sorted(cells + beside)
    sheet = picture(tmp_path / "sweep" / "cherry_sweep.png")
    for cell in [*cells, "cherry_guide.png"]:
        assert shows(sheet, picture(tmp_path / "sweep" / cell))
    one = small("strokes", input="examples/strokes/cherry.png", t0=0.55, seed=5)
    assert run(one, tmp_path / "one") == 0
    a = picture(tmp_path / "one" / "cherry_0.png")
    assert levels(a, picture(tmp_path / "sweep" / "cherry_t0.55_s5.png")) <= 1


def test_a_sweep_refuses_what_it_cannot_do(tmp_path):
    for field, value, told in [
        ("sweep__t0", (0.5, 1.5), r"sweep.t0\[1\] must be in \[0, 1\], got 1.5"),
        ("sweep__t0", (0.5, 0.5), "sweep.t0 must be distinct"),
        ("sweep__seeds", (), "must not be empty"),
        ("sweep__seeds", (-2,), "or -1 to draw one, got -2"),
        ("sweep__seeds", (0.5,), r"sweep.seeds\[0\] must be a whole number .*got 0.5"),
        ("sweep__t0", ("half",), r"sweep.t0\[0\] must be a number, got 'half'"),
        ("sampler__grid", "diffusers_ddim", "has no t0"),
        ("preset", "official", "compiles for each t0"),
        ("sigma", 5.0, "sigma: a sweep takes its strengths from sweep.t0, got 5.0"),
    ]:
        with pytest.raises(ValueError, match=told):
            run(small("strokes", **{field: value}), tmp_path, "sweep")
    assert names(tmp_path) == []


# --- the machine ----------------------------------------------------------------------------------


def test_compiled_programs_are_kept_in_the_users_cache_folder(monkeypatch, tmp_path):
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("SDEDIT_CACHE")
    try:
        use_cache("auto")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        compilation_cache.reset_cache()  # of the programs before, which went elsewhere
        jax.jit(lambda x: jnp.sin(x) + 3)(jnp.ones(7))
        assert list((tmp_path / "sdedit_jax" / "xla").iterdir())
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


@pytest.mark.parametrize("kind", ["file", "pipe", "circle"])
@pytest.mark.parametrize("named", ["cache", "SDEDIT_CACHE"])
def test_a_cache_that_is_no_folder(kind, named, monkeypatch, tmp_path):
    path, before = tmp_path / "cache", jax.config.jax_compilation_cache_dir
    make = {"file": path.touch, "pipe": lambda: os.mkfifo(path)}
    make.get(kind, lambda: path.symlink_to(path))()
    monkeypatch.setenv("SDEDIT_CACHE", str(path))
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        with pytest.raises(ValueError, match=f"{named}: cannot make the folder .*cache: "):
            use_cache("auto" if named == "SDEDIT_CACHE" else path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_a_home_without_a_place_for_the_cache_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "home").touch()
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SDEDIT_CACHE")
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        use_cache("auto")
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)

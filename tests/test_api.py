"""The Python API: the program's pictures, batches, streams, few programs, clear errors."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from program import (
    ROOT,
    SIZE,
    compiled,
    exact_prior,
    known,
    levels,
    picture,
    run,
    small,
    tiny_prior,
)

import sdedit_jax as sj
from sdedit_jax import devices
from sdedit_jax.diffusion.solvers import Heun
from sdedit_jax.edits.sdedit import Recorded
from sdedit_jax.pipeline import cache, executor


@pytest.fixture(scope="module")
def prior():
    return sj.load_prior(tiny_prior())


@pytest.fixture(scope="module")
def exact():
    return sj.load_prior(exact_prior())


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def test_it_gives_the_picture_of_the_program(prior, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert run(small("inpaint", t0=0.45, seed=3), tmp_path) == 0
    guide, mask = (picture(tmp_path / f"apple_{end}.png") for end in ("guide", "mask"))
    plain = (mask == 0) | (mask == 255)  # elsewhere the program blends with the photo
    for k in (0, 1):
        edited = sj.edit(prior, guide, mask, t0=0.45, steps=4, seed=3, id="apple", sample=k)
        assert levels(edited[plain], picture(tmp_path / f"apple_{k}.png")[plain]) <= 1


def test_a_picture_of_any_size_is_fitted_as_the_program_does(prior, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    for file, fit in (("strokes/cherry.png", "crop"), ("composite/tomato.jpg", "pad")):
        config = small("strokes", input=f"examples/{file}", fit=fit)
        assert run(config, tmp_path / fit) == 0
        image = np.asarray(Image.open(f"examples/{file}").convert("RGB"))
        name = config.input.split("/")[-1].split(".")[0]
        edited = sj.edit(prior, image, steps=4, id=name, fit=fit)
        assert levels(edited, picture(tmp_path / fit / f"{name}_0.png")) <= 1


def test_other_strengths_masks_and_seeds_compile_nothing(exact, noise):
    traces = []

    def predict(params, x, t, cond=None, key=None):
        traces.append(1)
        return exact.predict(params, x, t, cond, key)

    prior = exact.replace(predict=predict)
    sj.edit(prior, noise, steps=3)
    once = len(traces)
    assert once > 0
    half = np.zeros((SIZE, SIZE), bool)
    half[4:9] = True
    for changes in ({"t0": 0.1}, {"t0": 1.0}, {"mask": half}, {"seed": 5}, {"id": "x"}):
        sj.edit(prior, noise, steps=3, **changes)
    sj.edit(prior, known()[:9, :12], steps=3, sample=2, fit="pad")
    assert len(traces) == once
    sj.edit(prior, noise, steps=4)
    assert len(traces) == 2 * once


def test_an_exact_prior_of_one_picture_gives_that_picture(exact, noise):
    edited = sj.edit(exact, noise, t0=1.0, steps=30).astype(float)
    # the prior's spread is 0.05, 6.4 levels; clipping at black and white pulls a little
    away = edited - known()
    assert np.abs(away).mean() < 7 and np.abs(away).max() < 6 * 6.4


def test_kept_pixels_are_exact_and_strength_zero_changes_nothing(exact, noise):
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[4:9, 3:12] = 1
    for given in (mask, mask[..., None], mask > 0, (mask * 255).astype(np.uint8)):
        edited = sj.edit(exact, noise, given, t0=0.8, steps=3)
        np.testing.assert_array_equal(edited[mask == 0], noise[mask == 0])
        assert levels(edited, noise) > 10
    np.testing.assert_array_equal(sj.edit(exact, noise, t0=0.0, steps=3), noise)
    floats = noise / 127.5 - 1
    np.testing.assert_array_equal(sj.edit(exact, floats, t0=0.0, steps=3), noise)


def test_seed_id_and_sample_draw_other_noise_and_nothing_else_does(exact, noise):
    first = sj.edit(exact, noise, steps=3)
    np.testing.assert_array_equal(first, sj.edit(exact, noise, steps=3, seed=0, id="", sample=0))
    for changes in ({"seed": 1}, {"seed": 2**32}, {"id": "a"}, {"sample": 1}):
        assert levels(first, sj.edit(exact, noise, steps=3, **changes)) > 1


def test_a_drawn_seed_is_printed_and_gives_the_same_again(exact, noise, capsys):
    first = sj.edit(exact, noise, steps=3, seed=-1)
    _, seed, _ = capsys.readouterr().out.split()
    np.testing.assert_array_equal(first, sj.edit(exact, noise, steps=3, seed=int(seed[:-1])))
    both = sj.edit(exact, [noise, noise], steps=3, seed=-1)  # one for all
    np.testing.assert_array_equal(*both)
    each = sj.edit(exact, [noise, noise], steps=3, seed=[-1, 0])
    assert capsys.readouterr().out.splitlines()[-1].endswith(", 0], drawn")
    np.testing.assert_array_equal(each[1], sj.edit(exact, noise, steps=3, seed=0))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"t0": 1.2}, r"t0 must be in \[0, 1\], got 1.2"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seed": -2}, "seed must be a whole number in"),
        ({"cond": 2}, "cond: the prior has no classes"),
        ({"fit": "foo"}, "fit must be one of"),
        ({"rule": "foo"}, "rule must be one of"),
        ({"rule": "ancestral(etta=0.5)"}, "no parameter 'etta'; did you mean 'eta'"),
        ({"output": "both"}, r"output must be one of \['prior', 'original'\], got 'both'"),
        ({"feather": -1}, "feather must be at least 0, got -1"),
        ({"samples": 0}, "samples must be at least 1, got 0"),
        ({"sigma": 2.0, "t0": 0.3}, "exactly one"),
        ({"snr_db": float("nan")}, "snr_db must be a finite number, got nan"),
        ({"preset": "foo"}, "preset must be one of"),
        ({"strength": 0.5}, "strength is of the presets of diffusers"),
        ({"seed": [1, 2]}, "seed: one for all or one for each of 1, got 2"),
        ({"image": []}, "got an empty list"),
        ({"size": (16, 17)}, r"size must be 16x16 .* with this prior, got 16x17|size must be"),
        (
            {"mask": np.ones((3, 4))},
            "mask has 3x4 pixels .*, the picture has 16x16; both must have",
        ),
        ({"mask": np.full((16, 16), 2.0)}, r"mask must be in \[0, 1\]"),
        ({"mask": np.zeros((16, 16), np.uint8)}, "mask is black everywhere"),
        ({"mask": np.zeros((16, 16), bool)}, "mask is black everywhere"),
        ({"mask": np.full((16, 16), 1e-4)}, "mask is black everywhere"),
        ({"strength_map": np.zeros((16, 16))}, "strength_map is black everywhere"),
        (
            {"strength_map": np.full((16, 16), 0.5), "hold": "none"},
            "hold: a strength map needs one of .* got 'none'",
        ),
        ({"strength_map": np.ones((3, 4))}, "strength_map has 3x4 pixels .* 16x16"),
        ({"strength_map": np.full((16, 16), 2.0)}, r"strength_map must be in \[0, 1\]"),
        ({"strength_map": [np.ones((16, 16))] * 2}, r"strength_map must be \(16, 16\) like"),
        (
            {"strength_map": np.full((16, 16), 0.5), "preset": "official", "steps": None},
            'strength_map: preset "official" runs 1000 t0 steps, .* largest share is 0.5; give',
        ),
        ({"image": np.zeros((9, 9, 2))}, r"image must be \[H, W, 3\], or .*, got \(9, 9, 2\)"),
        ({"image": np.zeros((0, 5, 3))}, r"image must be .* alpha, got \(0, 5, 3\)"),
        ({"image": np.zeros((16, 16, 3), int)}, "image must be uint8 or floats"),
        ({"image": np.full((16, 16, 3), 200.0)}, r"floats must be in \[-1, 1\]"),
        ({"image": np.full((16, 16, 3), np.nan)}, r"floats must be in \[-1, 1\]"),
    ],
)
def test_wrong_arguments_are_named(exact, changes, told):
    with pytest.raises(ValueError, match=told):
        sj.edit(exact, **{"image": known(), "steps": 3, **changes})


def test_a_mask_that_the_fit_crops_away_is_refused(exact):
    wide = np.zeros((SIZE, 3 * SIZE, 3), np.uint8)
    mask = np.zeros(wide.shape[:2])
    mask[:, 0] = 1
    with pytest.raises(ValueError, match="mask: fit 'crop' leaves nothing of it at 16x16 pixels"):
        sj.edit(exact, wide, mask, steps=3)
    assert sj.edit(exact, wide, mask, t0=0.0, steps=3, fit="pad").shape == (SIZE, SIZE, 3)


def test_a_model_that_gives_nan_is_refused(exact):
    broken = {**exact.params, "means": exact.params["means"] * np.nan}
    with pytest.raises(FloatingPointError, match="not finite"):
        sj.edit(exact.replace(params=broken), known(), steps=3)


def test_the_prior_speaks_the_units_of_its_process(exact):
    # the exact prior of one picture with std d: E[z | x_t] = sigma (x - m) / (d^2 + sigma^2)
    m = known() / 127.5 - 1
    z = np.random.default_rng(0).standard_normal(m.shape)
    sigma = float(exact.process.sigma(0.5))
    wanted = sigma * sigma * z / (0.05**2 + sigma**2)
    found = exact.eps(exact.params, np.float32(m + sigma * z), 0.5)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"smaples": 2},
            r"edit\(\) got an unexpected argument 'smaples'; did you mean 'samples'\?",
        ),
        ({"seeds": [1]}, "unexpected argument 'seeds'; did you mean 'seed'"),
        ({"t0": "high"}, r"t0 must be one of \['auto', 'map'\], got 'high'"),
        ({"seed": 0.5}, r"seed must be a whole number in \[0, .* got 0.5"),
        ({"id": 3}, "id must be a text in UTF-8, got 3"),
        ({"cond": "apple"}, "cond: the prior has no classes, got 'apple'"),
        ({"samples": 2.0}, "samples must be a whole number, got 2.0"),
        ({"batch": True}, "batch must be a whole number, got True"),
        ({"image": None}, "image must be an array, a PIL image or a path"),
        ({"image": [known(), 3]}, r"image\[1\] must be"),
        ({"prior": "checkpoints/fruits64"}, "prior must be a Prior of load_prior, .* got 'checkp"),
    ],
)
def test_arguments_of_another_type_are_named(exact, changes, told):
    with pytest.raises((TypeError, ValueError), match=told):
        sj.edit(**{"prior": exact, "image": known(), "steps": 3, **changes})


# --- batches --------------------------------------------------------------------------------------


@pytest.fixture
def rows(rng):
    return rng.integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def test_a_row_of_a_batch_is_the_single_call(exact, rows):
    masks = np.zeros((3, SIZE, SIZE), bool)
    for i in range(3):
        masks[i, i : 8 + i] = True
    each = {"seed": [3, 4, 5], "id": ["a", "b", "c"]}
    many = sj.edit(exact, rows, masks, steps=3, **each)
    assert many.shape == (3, SIZE, SIZE, 3) and many.dtype == np.uint8
    for i in range(3):
        own = {name: values[i] for name, values in each.items()}
        assert levels(many[i], sj.edit(exact, rows[i], masks[i], steps=3, **own)) <= 1
        np.testing.assert_array_equal(many[i][~masks[i]], rows[i][~masks[i]])
    small_batches = sj.edit(exact, rows, list(masks), steps=3, batch=2, **each)
    assert levels(many, small_batches) <= 1
    for given in (masks[0], masks[0][..., None], Image.fromarray(masks[0])):  # one for all
        edited = sj.edit(exact, rows, given, steps=3)
        np.testing.assert_array_equal(edited[:, ~masks[0]], rows[:, ~masks[0]])


def test_a_batch_is_an_array_a_list_pil_images_or_paths(exact, rows, tmp_path):
    wanted = sj.edit(exact, rows, steps=3)
    for given in (list(rows), [Image.fromarray(row) for row in rows], rows / 127.5 - 1):
        np.testing.assert_array_equal(sj.edit(exact, given, steps=3), wanted)
    files = [tmp_path / f"{name}.png" for name in "abc"]
    for file, row in zip(files, rows, strict=True):
        Image.fromarray(row).save(file)
    by_name = sj.edit(exact, rows, steps=3, id=["a", "b", "c"])
    np.testing.assert_array_equal(sj.edit(exact, files, steps=3), by_name)
    np.testing.assert_array_equal(sj.edit(exact, str(files[1]), steps=3), by_name[1])
    one = sj.edit(exact, Image.fromarray(rows[0]), steps=3)
    np.testing.assert_array_equal(one, wanted[0])
    unequal = [rows[0], rows[1][:9, :12]]
    edited = sj.edit(exact, unequal, steps=3, t0=0.0, output="original")
    assert isinstance(edited, list)
    for a, b in zip(edited, unequal, strict=True):
        assert a.shape == b.shape
    with pytest.raises(ValueError, match="mask: one for all or one for each of 3, got 2"):
        sj.edit(exact, rows, [None, None], steps=3)


def test_strength_maps_of_a_batch(exact, rows):
    """Rows with another map and without one are the single calls; no map compiles anew."""
    half, ramp = np.full((SIZE, SIZE), 0.5), np.tile(np.linspace(0, 1, SIZE), (SIZE, 1))
    with compiled() as parts:
        made = sj.edit(exact, rows, steps=3, t0=0.6, strength_map=[half, None, ramp])
        same = sj.edit(exact, rows, steps=3, t0=0.3)
        whole = sj.edit(exact, rows, steps=3, t0=0.6)
    assert len(parts) == len(set(parts))  # each part once
    np.testing.assert_array_equal(made[0], same[0])
    np.testing.assert_array_equal(made[1], whole[1])
    np.testing.assert_array_equal(made[2][:, 0], rows[2][:, 0])
    assert (made[2][:, 1:] != rows[2][:, 1:]).any() and (made[2] != whole[2]).any()
    one = sj.edit(exact, rows[2], steps=3, t0=0.6, strength_map=ramp)
    assert levels(made[2], one) <= 1


@pytest.mark.parametrize("preset", ["paper-ve", "official", "diffusers", "diffusers-pndm"])
def test_a_strength_map_of_two_values_is_a_mask_with_presets(exact, noise, preset):
    mask = np.zeros((SIZE, SIZE))
    mask[3:9, 5:12] = 1
    own = {"strength": 0.5, "steps": 4} if "diffusers" in preset else {"t0": 0.004}
    own |= {"steps": 3} if preset == "paper-ve" else {}
    edits = [
        sj.edit(exact, noise, preset=preset, **own, **given)
        for given in ({"mask": mask}, {"strength_map": mask}, {})
    ]
    np.testing.assert_array_equal(edits[0], edits[1])
    assert (edits[1] != edits[2]).any()


def test_what_a_strength_map_keeps_is_exact_at_the_pictures_own_size(exact, rng):
    image = rng.integers(0, 256, (40, 24, 3), dtype=np.uint8)
    shares = np.zeros((40, 24))
    shares[15:25, 5:15] = np.linspace(0.3, 1, 10)
    edited = sj.edit(exact, image, steps=3, strength_map=shares, output="original", feather=1)
    np.testing.assert_array_equal(edited[shares == 0], image[shares == 0])
    assert (edited[shares > 0] != image[shares > 0]).any()
    mask = (shares > 0).astype(float)
    by_map = sj.edit(exact, image, steps=3, strength_map=mask, output="original")
    np.testing.assert_array_equal(by_map, sj.edit(exact, image, mask, steps=3, output="original"))


def test_samples_are_an_axis_of_their_own(exact, rows):
    made = sj.edit(exact, rows[:2], steps=3, samples=3)
    assert made.shape == (2, 3, SIZE, SIZE, 3)
    one = sj.edit(exact, rows[1], steps=3, samples=3)
    assert one.shape == (3, SIZE, SIZE, 3)
    assert levels(made[1], one) <= 1
    assert levels(one[2], sj.edit(exact, rows[1], steps=3, sample=2)) <= 1
    assert levels(one[0], one[1]) > 1
    first = sj.edit(exact, rows[1], steps=3, samples=2, sample=1)
    assert levels(first, one[1:]) <= 1


def test_other_units_of_strength_are_t0(exact, noise):
    told = sj.describe(exact.process, 0.4)
    wanted = sj.edit(exact, noise, t0=0.4, steps=3)
    for unit in ("sigma", "snr_db", "step"):
        edited = sj.edit(exact, noise, steps=3, **{unit: getattr(told, unit)})
        assert levels(edited, wanted) <= 1


def test_a_preset_brings_its_sampler(exact, noise):
    fields = {"rule": "reverse_diffusion", "grid": "paper", "hold": "paper", "final": "sample"}
    preset = sj.edit(exact, noise, steps=4, preset="paper-ve")
    np.testing.assert_array_equal(preset, sj.edit(exact, noise, steps=4, **fields))
    with pytest.raises(ValueError, match="^rule: preset 'paper-ve' has"):
        sj.edit(exact, noise, preset="paper-ve", rule="heun")
    with pytest.raises(ValueError, match='t0: preset "diffusers" takes strength'):
        sj.edit(exact, noise, preset="diffusers", t0=0.4)


def test_a_result_of_the_size_of_the_input_is_pasted_into_it(exact, rng):
    image = rng.integers(0, 256, (40, 24, 3), dtype=np.uint8)
    mask = np.zeros((40, 24), bool)
    mask[15:25, 5:15] = True
    edited = sj.edit(exact, image, mask, steps=3, output="original", feather=1)
    assert edited.shape == image.shape
    np.testing.assert_array_equal(edited[~mask], image[~mask])
    assert (edited[mask] != image[mask]).any()


def test_an_edit_of_another_size(prior, rng):
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[5:15, 5:15] = True
    edited = sj.edit(prior, image, mask, steps=2, size=(20, 30))
    assert edited.shape == (20, 30, 3)
    np.testing.assert_array_equal(edited[~mask], image[~mask])
    assert (edited[mask] != image[mask]).any()
    for size in ((21, 30), (0, 2), 20, (20, 30, 3), "20x30"):
        with pytest.raises(ValueError, match="size must be .*multiples of 2"):
            sj.edit(prior, image, size=size)


def test_pil_images_out(exact, rows):
    one = sj.edit(exact, rows[0], steps=3, as_pil=True)
    assert isinstance(one, Image.Image)
    np.testing.assert_array_equal(np.asarray(one), sj.edit(exact, rows[0], steps=3))
    many = sj.edit(exact, rows[:2], steps=3, samples=2, as_pil=True)
    assert [[type(picture) for picture in row] for row in many] == [[Image.Image] * 2] * 2


# --- what is compiled -----------------------------------------------------------------------------


def test_batches_of_many_sizes_share_programs(exact, rng):
    with compiled() as parts:
        for count in (6, 2, 5, 6):
            rows = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
            assert len(sj.edit(exact, rows, steps=2, rule="euler_maruyama")) == count
    assert 1 <= parts.count("advance") <= 2
    assert max(map(parts.count, parts)) <= 2


def test_padding_stays_within_the_batch():
    """Rows that are run: powers of two, no more than the batch, and never fewer than pictures."""
    for most in (1, 3, 12, 16):
        ran = {executor.padded(size, 1, most=most) for size in range(1, most + 1)}
        powers = [2**i for i in range(6) if 2**i < most]
        assert ran == {*powers, most}
    for size in range(1, 9):
        assert executor.padded(size, 1, rows=8) == 8
        assert executor.padded(size, 4, most=8) in (4, 8)
    assert executor.padded(3, 2, most=4) == 4 and executor.padded(5, 4, most=6) == 8


def test_several_devices_take_powers_of_two(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 8)
    chosen = [executor.devices_for(size, {"w": np.ones(3)}) for size in (1, 2, 3, 5, 8, 20)]
    assert chosen == [1, 2, 4, 8, 8, 8]


@pytest.mark.parametrize(("large", "shared", "chosen"), [(0, 1, 8), (1, 1, 1), (1, 0, 8)])
def test_large_parameters_are_copied_to_no_other_device_of_a_cpu(
    large, shared, chosen, monkeypatch
):
    devices_there = [SimpleNamespace(platform="cpu" if shared else "gpu")] * 8
    monkeypatch.setattr(jax, "local_device_count", lambda: 8)
    monkeypatch.setattr(jax, "local_devices", lambda: devices_there)
    params = {"w": np.broadcast_to(np.int8(0), executor.LARGE - 1 + large)}
    assert executor.devices_for(16, params) == chosen
    assert executor.devices_for(16, params, devices=2) == 2  # who asks for two gets them


def test_parameters_are_sent_to_several_devices_once(exact):
    if jax.local_device_count() < 4:
        pytest.skip("needs 4 devices")
    params = jax.tree.map(jnp.asarray, exact.params)
    first, again = (devices.replicate(params, 4) for _ in range(2))
    assert all(a is b for a, b in zip(*map(jax.tree.leaves, (first, again)), strict=True))
    other = devices.replicate(jax.tree.map(lambda a: a + 1, params), 4)
    for a, b in zip(*map(jax.tree.leaves, (other, params)), strict=True):
        np.testing.assert_array_equal(a, b + 1)


def test_a_preset_refuses_what_it_fixes_even_at_the_default(exact, noise):
    for given in ({"rule": "dpmpp_2m_sde"}, {"hold": "level"}, {"final": "mean"}):
        name = next(iter(given))
        with pytest.raises(ValueError, match=rf"^{name}: preset 'paper-ve' has"):
            sj.edit(exact, noise, preset="paper-ve", **given)


@pytest.mark.parametrize("rule", [Heun, {}, 3, object()])
def test_a_part_that_is_none_is_named(exact, noise, rule):
    with pytest.raises((TypeError, ValueError), match="^rule must be"):
        sj.edit(exact, noise, rule=rule)


def test_arguments_are_named_as_in_python(exact, noise):
    with pytest.raises(ValueError, match="^steps must be at least 1, got 0"):
        sj.edit(exact, noise, steps=0)


def test_recorded_noise_has_the_shapes_of_the_plan(exact, noise, rng):
    shape = (SIZE, SIZE, 3)
    right = Recorded(rng.normal(size=(1, *shape)), rng.normal(size=(1, 3, 2, *shape)))
    first = sj.edit(exact, noise, steps=3, noise=right)
    np.testing.assert_array_equal(first, sj.edit(exact, noise, steps=3, noise=right, seed=9))
    wrong = [
        right._replace(steps=right.steps[:, :2]),
        right._replace(start=right.start[:, 1:]),
        right._replace(steps=right.steps[:, :, :, 1:]),
    ]
    for record in wrong:
        with pytest.raises(ValueError, match="^noise: start must be"):
            sj.edit(exact, noise, steps=3, noise=record)
    with pytest.raises(ValueError, match="^noise: .* leave out samples"):
        sj.edit(exact, noise, steps=3, noise=right, samples=2)


def test_without_hold_the_kept_region_comes_back_at_the_end_alone(exact, noise):
    """The region that may change is that of an edit without a mask; the other one is the input."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:, : SIZE // 2] = True
    free, held = (sj.edit(exact, noise, mask, steps=3, hold=hold) for hold in ("none", "level"))
    whole = sj.edit(exact, noise, steps=3)
    np.testing.assert_array_equal(free[:, : SIZE // 2], whole[:, : SIZE // 2])
    np.testing.assert_array_equal(free[:, SIZE // 2 :], held[:, SIZE // 2 :])


def test_a_prior_that_is_loaded_anew_compiles_nothing(prior, noise):
    first = sj.edit(prior, noise, steps=2)
    again = sj.load_prior(tiny_prior())
    with compiled() as parts:
        np.testing.assert_array_equal(sj.edit(again, noise, steps=2), first)
    assert parts == [] and again == prior


CACHED = """
import jax, numpy as np
import sdedit_jax as sj
misses = []
jax.monitoring.register_event_listener(
    lambda name, **_: misses.append(name) if name.endswith("/cache_misses") else None
)
sj.use_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
image = np.zeros((8, 8, 3), np.uint8)
prior = sj.gaussian(sj.VE(), np.zeros((8, 8, 3)), 0.5)
assert sj.edit(prior, image, steps=2).shape == image.shape
print(len(misses))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    """Edits from Python keep their programs on the disk, as those of the program do."""
    env = {**os.environ, "SDEDIT_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}

    def misses():
        done = subprocess.run(
            [sys.executable, "-c", CACHED], env=env, capture_output=True, text=True, check=True
        )
        return int(done.stdout.split()[-1])

    assert misses() > 0
    kept = sorted(file.name for file in tmp_path.iterdir())
    assert kept and misses() == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == kept


def test_an_empty_variable_turns_the_cache_off(exact, noise, monkeypatch):
    monkeypatch.setenv("SDEDIT_CACHE", "")
    sj.edit(exact, noise, steps=3)
    assert jax.config.jax_compilation_cache_dir is None


def test_a_cache_that_was_turned_off_stays_off(exact, noise, monkeypatch, tmp_path):
    monkeypatch.setenv("SDEDIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_CHOSEN", [])
    try:
        sj.use_cache(None)
        sj.edit(exact, noise, steps=3)
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


# --- streams --------------------------------------------------------------------------------------


def test_a_stream_counts_what_it_does(exact, rows):
    options = {"steps": 20, "repeats": 2, "corrector": "langevin"}
    events = list(sj.stream(sj.edit, exact, rows[:2], **options))
    *events, done = events
    assert [type(event) for event in events] == [sj.Event] * 20  # a tenth of a stage at a time
    assert [event.step for event in events] == list(range(2, 41, 2))
    assert {(e.stage, e.steps, e.total) for e in events} == {("edit", 40, 80)}
    assert [e.evaluations for e in events] == [2 * e.step for e in events]
    assert all(e.preview is None for e in events)
    assert sorted(e.seconds for e in events) == [e.seconds for e in events]
    assert isinstance(done, sj.Done)
    np.testing.assert_array_equal(done.result, sj.edit(exact, rows[:2], **options))


def test_a_stream_of_several_batches_names_them(exact, rows):
    *events, done = sj.stream(sj.edit, exact, rows, steps=2, batch=2)
    assert [(e.batch, e.batches) for e in events] == [(1, 2), (1, 2), (2, 2), (2, 2)]
    assert len(done.result) == 3


def test_previews_come_when_asked_for(exact, rows):
    events = list(sj.stream(sj.edit, exact, rows[:2], steps=20, preview_every=4))
    *events, done = events
    shown = [event.preview for event in events]
    assert [view is not None for view in shown] == [False, False, False, True] * 2 + [False] * 2
    assert shown[3].shape == (2, SIZE, SIZE, 3) and np.abs(shown[7]).max() < 2
    # the exact prior knows one picture: a late preview is nearer to it than the guide is
    away = [np.abs(view - (known() / 127.5 - 1)).mean() for view in (shown[7], rows / 127.5 - 1)]
    assert away[0] < away[1]
    np.testing.assert_array_equal(done.result, sj.edit(exact, rows[:2], steps=20))


def test_a_stream_is_closed_or_cancelled_after_the_chunk_in_hand(exact, noise):
    steps = 20
    events = sj.stream(sj.edit, exact, noise, steps=steps)
    assert next(events).step == 2
    events.close()
    assert list(events) == []
    token, seen = threading.Event(), []
    for event in sj.stream(sj.edit, exact, noise, steps=steps, cancel=token):
        seen.append(event)
        if event.step == 6:
            setter = threading.Thread(target=token.set)
            setter.start()
            setter.join()
    assert [event.step for event in seen] in ([2, 4, 6], [2, 4, 6, 8])
    assert not any(isinstance(event, sj.Done) for event in seen)


def test_a_cancelled_call_raises(exact, rows):
    class Later:
        """Set at the third question."""

        asked = 0

        def is_set(self):
            self.asked += 1
            return self.asked >= 3

    token = Later()
    with pytest.raises(sj.Cancelled, match="the edit was stopped"):
        sj.edit(exact, rows, steps=20, batch=1, cancel=token)
    assert token.asked == 3
    token = threading.Event()
    token.set()
    with pytest.raises(sj.Cancelled, match="was stopped"), compiled() as parts:
        sj.edit(exact, rows, steps=7, cancel=token)
    assert parts == []


def test_a_stream_refuses_what_it_does_not_know(exact):
    with pytest.raises(TypeError, match="function must be edit, text_edit, invert or ledits"):
        sj.stream(sj.load_prior, "folder")
    with pytest.raises(TypeError, match="unexpected argument 'stpes'; did you mean 'steps'"):
        sj.stream(sj.edit, exact, known(), stpes=3)
    with pytest.raises(TypeError, match="preview_every must be a whole number"):
        sj.stream(sj.edit, exact, known(), preview_every=0.5)


def test_floats_in_another_range(exact):
    """[0, 1], [0, 255] and [-1, 1] of one picture give one result; only a guess is warned about."""
    rgb = known()
    wanted = sj.edit(exact, rgb, steps=3)
    spans = {(0, 1): rgb / 255, (0, 255): rgb.astype(np.float32), (-1, 1): rgb / 127.5 - 1}
    for span, floats in spans.items():
        assert np.array_equal(sj.edit(exact, floats, steps=3, value_range=span), wanted), span
    with pytest.warns(UserWarning, match=r"image: no value is below 0.*value_range=\(0, 1\)"):
        sj.edit(exact, rgb / 255, steps=3)
    for wrong in ((1, 0), (0, np.inf), (0, 1, 2), "0..1", 3):
        with pytest.raises(ValueError, match='value_range must be "auto" or'):
            sj.edit(exact, rgb / 255, value_range=wrong)
    with pytest.raises(ValueError, match=r"floats must be in \[0, 1\]; give value_range"):
        sj.edit(exact, rgb.astype(np.float32), value_range=(0, 1))


def test_alpha_comes_back_at_the_pictures_own_size(exact):
    """An array, a PIL image and a file alike; results of the size of the edit have no alpha."""
    rgb = known()
    rgba = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    rgba[:4, :, 3] = 90
    own = sj.edit(exact, rgba, steps=3, output="original")
    assert own.shape == rgba.shape and np.array_equal(own[..., 3], rgba[..., 3])
    same = sj.edit(exact, Image.fromarray(rgba), steps=3, output="original", as_pil=True)
    assert same.mode == "RGBA" and np.array_equal(np.asarray(same), own)
    opaque = sj.edit(exact, rgba, steps=3, output="original", opaque=True)
    assert (opaque[..., 3] == 255).all()
    assert sj.edit(exact, rgba, steps=3).shape[-1] == 3
    with pytest.raises(ValueError, match="opaque is for output 'original', got output 'prior'"):
        sj.edit(exact, rgba, steps=3, opaque=True)
    with pytest.raises(TypeError, match="opaque must be true or false, got 'no'"):
        sj.edit(exact, rgba, steps=3, output="original", opaque="no")


def test_floats_of_sixteen_bits_are_read(exact):
    floats = jnp.asarray(known() / 127.5 - 1)
    wanted = sj.edit(exact, np.asarray(floats.astype(jnp.bfloat16).astype(jnp.float32)), steps=3)
    for kind in (jnp.bfloat16, jnp.float16):
        got = sj.edit(exact, floats.astype(kind), steps=3)
        assert levels(got, wanted) <= 3 and got.shape == wanted.shape
    assert np.array_equal(sj.edit(exact, floats.astype(jnp.bfloat16), steps=3), wanted)

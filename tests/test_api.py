"""sj.edit: the program's pictures, nothing compiled twice, exact kept pixels, clear errors."""

import numpy as np
import pytest
from PIL import Image
from program import ROOT, SIZE, exact_prior, known, levels, picture, quick, run, small, tiny_prior  # noqa: F401

import sdedit_jax as sj


@pytest.fixture(scope="module")
def prior():
    return sj.load_prior(tiny_prior())


@pytest.fixture(scope="module")
def exact():
    return sj.load_prior(exact_prior())


@pytest.fixture
def noise(rng):
    return rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def test_it_gives_the_picture_of_the_program(quick, prior, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(ROOT)
    assert run(small("inpaint", t0=0.45, seed=3), tmp_path) == 0
    guide, mask = (picture(tmp_path / f"apple_{end}.png") for end in ("guide", "mask"))
    for k in (0, 1):
        edited = sj.edit(prior, guide, mask, t0=0.45, steps=4, seed=3, id="apple", sample=k)
        assert levels(edited, picture(tmp_path / f"apple_{k}.png")) <= 1


def test_a_picture_of_any_size_is_fitted_as_the_program_does(quick, prior, tmp_path, monkeypatch):  # noqa: F811
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

    prior = exact._replace(predict=predict)
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
    for changes in ({"seed": 1}, {"id": "a"}, {"sample": 1}):
        assert levels(first, sj.edit(exact, noise, steps=3, **changes)) > 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"t0": 1.2}, r"t0 must be in \[0, 1\], got 1.2"),
        ({"steps": 0}, "sampler.steps must be at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number in"),
        ({"cond": 2}, "cond: the prior has no classes"),
        ({"fit": "foo"}, "fit must be one of"),
        ({"rule": "foo"}, "sampler.rule must be one of"),
        ({"foo": 1}, "field of sampler must be one of"),
        ({"mask": np.ones((3, 3))}, r"mask must be \(16, 16\) like the image, got shape \(3, 3\)"),
        ({"mask": np.full((16, 16), 2.0)}, r"mask must be in \[0, 1\]"),
        ({"mask": np.ones((16, 16), np.uint8)}, "in uint8 white is 255"),
        ({"image": np.zeros((16, 16))}, r"image must be \[H, W, 3\], got shape \(16, 16\)"),
        ({"image": np.zeros((0, 5, 3))}, r"image must be \[H, W, 3\], got shape \(0, 5, 3\)"),
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
    with pytest.raises(ValueError, match="mask: fit 'crop' leaves nothing of it at 16 pixels"):
        sj.edit(exact, wide, mask, steps=3)
    assert sj.edit(exact, wide, mask, t0=0.0, steps=3, fit="pad").shape == (SIZE, SIZE, 3)


def test_a_model_that_gives_nan_is_refused(exact):
    broken = {**exact.params, "means": exact.params["means"] * np.nan}
    with pytest.raises(FloatingPointError, match="not finite"):
        sj.edit(exact._replace(params=broken), known(), steps=3)


def test_the_prior_speaks_the_units_of_its_process(exact):
    # the exact prior of one picture with std d: E[z | x_t] = sigma (x - m) / (d^2 + sigma^2)
    m = known() / 127.5 - 1
    z = np.random.default_rng(0).standard_normal(m.shape)
    sigma = float(exact.process.sigma(0.5))
    wanted = sigma * sigma * z / (0.05**2 + sigma**2)
    found = exact.eps(exact.params, np.float32(m + sigma * z), 0.5)
    np.testing.assert_allclose(found, wanted, atol=1e-4)

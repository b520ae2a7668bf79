"""Automatic strength: the statistic against closed forms, the choice, the calibration, the map."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageDraw
from program import ROOT, SIZE, config_of, noted, picture, refused, run, small, tiny_prior
from recorded import Codec

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.diffusion.sde import VE, VP
from sdedit_jax.edits import auto_strength
from sdedit_jax.images.guide import Guide
from sdedit_jax.modes import calibrate, check
from sdedit_jax.pipeline import auto_strength as strengths
from sdedit_jax.priors.analytic import gaussian
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.tasks.simulate import simulate
from sdedit_jax.weights import store

PHOTOS = sorted((ROOT / "examples/flowers/photos").glob("*.webp"))


# --- the statistic --------------------------------------------------------------------------------


@pytest.mark.parametrize("process", [VE(0.01, 80.0), VP()], ids=["ve", "vp"])
def test_energies_of_a_gaussian_prior_have_their_closed_form(process):
    """With std s and x = mean + a: r = (sigma a - s^2 z) / (s^2 + sigma^2), so E r^2 =
    (sigma^2 a^2 + s^4) / (s^2 + sigma^2)^2 and E(-z r) = s^2 / (s^2 + sigma^2)."""
    s, sigmas = 0.5, (0.1, 1.0, 5.0)
    prior = gaussian(process, np.full((64, 64, 3), 0.2), s)
    away = 0.8 * np.random.default_rng(0).standard_normal((64, 64, 3)).astype(np.float32)
    guide = Guide(0.2 + away, np.ones((64, 64, 1)))
    (seen,) = strengths.observe(prior, [guide], [None], sigmas, 8, [0])
    found = np.mean(seen.energies, axis=(2, 3))
    square, variance = np.mean(away**2), s**2 + np.square(sigmas)
    wanted = (np.square(sigmas) * square + s**4) / variance**2
    np.testing.assert_allclose(found[:, 0], wanted, rtol=0.02)
    np.testing.assert_allclose(found[:, 3], s**2 / variance, rtol=0.02, atol=0.002)
    np.testing.assert_allclose(found[1, 1:3] / found[1, 0], [1 / 4, 1 / 16], rtol=0.2)


def test_guides_are_judged_in_latents_as_pictures_of_their_class():
    """Latents are means of 2 x 2 pixels; class c has the mean 0.2 + c. Of a condition that guides,
    the class itself counts."""
    s, sigmas, side = 0.5, (0.3, 1.0), 64
    process, shape = VP(), (side // 2, side // 2, 3)

    def predict(params, x, t, cond=None, key=None):
        prior = gaussian(process, jnp.full(shape, 0.2) + cond, s)
        return prior.predict(prior.params, x, t)

    def encode(params, image, z=None):
        return image.reshape(side // 2, 2, side // 2, 2, 3).mean((1, 3))

    codec = Codec(encode, lambda params, x0: x0.repeat(2, 0).repeat(2, 1))
    prior = gaussian(process, np.zeros((side, side, 3)), s).replace(predict=predict, codec=codec)
    drawn = np.random.default_rng(0).uniform(-1, 1, (side, side, 3)).astype(np.float32)
    guide, ones = Guide(drawn, np.ones((side, side, 1), np.float32)), np.float32(1)
    conds = [np.float32(0), ones, CFGCond(ones, np.float32(0), np.float32(3))]
    for cond in conds:
        (seen,) = strengths.observe(prior, [guide], [cond], sigmas, 8, [0])
        label = float(getattr(cond, "cond", cond))
        away = np.mean((encode(None, drawn) - 0.2 - label) ** 2)
        square = np.square(sigmas)
        wanted = (square * away + s**4) / (s**2 + square) ** 2
        np.testing.assert_allclose(seen.energies[:, 0].mean((1, 2)), wanted, rtol=0.05)
        assert seen.denoised.shape == (2, *shape)


def test_averages_are_those_of_a_window():
    a = np.random.default_rng(0).standard_normal((6, 7, 2)).astype(np.float32)
    wide = np.pad(a, ((1, 2), (1, 2), (0, 0)), "edge")
    wanted = [[wide[i : i + 4, j : j + 4].mean((0, 1)) for j in range(7)] for i in range(6)]
    np.testing.assert_allclose(auto_strength.averaged(jnp.asarray(a), 4), wanted, atol=1e-6)


def test_a_level_is_where_the_difference_falls_below_the_share():
    """Differences d / sigma and errors e sigma cross SHARE at sigma = sqrt(d / (SHARE e)); a
    difference that returns at a higher level counts."""
    sigmas = np.array([0.1, 0.3, 1.0, 3.0])
    ratio = 0.8 / sigmas / (2.0 * sigmas)
    found = auto_strength.needed(ratio[None] ** 2, np.ones(4), tuple(sigmas))
    np.testing.assert_allclose(np.exp(found), np.sqrt(0.4 / auto_strength.SHARE), rtol=1e-6)
    again = np.array([9.0, 0.1, 9.0, 0.1]) * auto_strength.SHARE
    assert 1 < np.exp(auto_strength.needed(again**2, np.ones(4), tuple(sigmas))) < 3


def test_a_fit_knows_photos_and_levels():
    """Photos of another draw count as such in the share asked for; guides far away do not, and
    their levels are a linear function of the statistic, within the limits."""
    rng, size = np.random.default_rng(0), 7 * auto_strength.KINDS
    mixing = rng.standard_normal((size, size)) / size**0.5
    photos, more = (rng.standard_normal((n, size)) @ mixing for n in (400, 1000))
    guides = rng.standard_normal((300, size)) @ mixing + 4 * mixing[0] + rng.choice([-3, 3], size)
    slope = rng.standard_normal(size) / 10
    levels = guides @ slope - 1
    fit = auto_strength.fitted(photos, np.arange(400), guides, guides, levels, 0.95)
    assert np.mean(auto_strength.score(fit, more) <= 0) == pytest.approx(0.95, abs=0.03)
    assert np.all(auto_strength.score(fit, guides) > 0)
    found = np.log([auto_strength.of_picture(fit, one) for one in guides])
    np.testing.assert_allclose(found, np.clip(levels, *fit.limits), atol=0.1 * levels.std())
    assert auto_strength.of_picture(fit, photos.mean(axis=0)) == 0


# --- the included priors --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flowers():
    return sj.load_prior("flowers64")


def photo(number):
    return images.flatten(images.read(PHOTOS[number]))


def found(prior, rgb, way="guide", mask=None):
    mask = np.ones((*rgb.shape[:2], 1), np.float32) if mask is None else mask[..., None]
    guide = Guide(images.to_unit(rgb), mask.astype(np.float32))
    return strengths.find(prior, [guide], [None], way)[0]


def test_photos_need_no_strength_and_crude_guides_more(flowers):
    photos = [photo(k) for k in range(0, len(PHOTOS), 23)]
    own, crude, fine = (
        [found(flowers, picture).t0 for picture in some]
        for some in (photos, [simulate(p, 3) for p in photos], [simulate(p, 50) for p in photos])
    )
    assert np.median(own) == 0
    assert 0.3 < np.median(fine) < np.median(crude) < 0.75


def test_the_region_of_the_mask_counts(flowers):
    """A picture whose right half is a painting, with a mask on either half."""
    rgb = photo(3).copy()
    rgb[:, 32:] = simulate(rgb, 6)[:, 32:]
    right = np.zeros((64, 64))
    right[:, 32:] = 1
    assert found(flowers, rgb, mask=right).t0 > 0.3
    assert found(flowers, rgb, mask=1 - right).t0 < found(flowers, rgb, mask=right).t0


def scribbled():
    """A daisy with red strokes, and their mask."""
    painted, mask = Image.fromarray(photo(1)), Image.new("L", (64, 64))
    for layer, color in ((painted, (220, 20, 60)), (mask, 255)):
        draw = ImageDraw.Draw(layer)
        for line in ([(32, 20), (30, 4)], [(40, 24), (56, 10)]):
            draw.line(line, color, 9)
    return np.asarray(painted), np.asarray(mask) > 0


def test_scribbles_are_found_without_a_mask(flowers):
    rgb, mask = scribbled()
    made = found(flowers, rgb, "map")
    told = made.shares > 0
    assert (told & mask).sum() / (told | mask).sum() > 0.4
    assert made.t0 > 0.3 and made.shares.max() == 1
    result = sj.edit(flowers, rgb, t0="map", steps=4)
    np.testing.assert_array_equal(result[~told], rgb[~told])
    assert (result[told & mask] != rgb[told & mask]).any()
    np.testing.assert_array_equal(
        result, sj.edit(flowers, rgb, t0=made.t0, strength_map=made.shares, steps=4)
    )


@pytest.mark.parametrize("name", ["flowers64", "fruits64"])
def test_the_included_calibrations_are_of_photos(name):
    known = strengths.calibration(sj.load_prior(name))
    assert known.sigmas == auto_strength.SIGMAS and known.draws == auto_strength.DRAWS
    for fit in (known.picture, known.window):
        assert len(fit.center) == len(fit.weights) == len(known.sigmas) * auto_strength.KINDS
        assert np.log(0.05) < fit.limits[0] < fit.limits[1] <= np.log(8.01)


# --- the program ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """A tiny prior, calibrated on 24 small photos."""
    folder, photos = (tmp_path_factory.mktemp(name) for name in ("calibrated", "photos"))
    shutil.copytree(tiny_prior(), folder, dirs_exist_ok=True)
    for k in range(calibrate.LEAST):
        Image.fromarray(images.fit(photo(2 * k), (SIZE, SIZE))[0]).save(photos / f"p{k}.png")
    assert run(small("base", prior=str(folder), input=str(photos)), None, "calibrate") == 0
    return folder


@pytest.fixture
def calibrated(once, tmp_path):
    """A copy of it."""
    return shutil.copytree(once, tmp_path / "calibrated")


def test_a_calibrated_prior_finds_records_and_replays(calibrated, tmp_path, capsys):
    out, card = tmp_path / "out", json.loads((calibrated / "prior.json").read_text())
    assert card["auto_t0"]["source"] == "photos" and card["auto_t0"]["pictures"] == 24
    card["auto_t0"]["picture"]["constant"] = 1e6  # the prior tells every guide
    (calibrated / "prior.json").write_text(json.dumps(card))
    config = small("strokes", prior=str(calibrated), auto_t0="guide")
    assert run(config, out) == 0
    entries, prior = noted(out)["pictures"], sj.load_prior(calibrated)
    for entry in entries:
        rgb = picture(out / f"{entry['id']}_guide.png")
        t0 = found(prior, rgb).t0
        assert entry["strength"]["t0"] == pytest.approx(t0) and t0 > 0
    capsys.readouterr()
    file = out / entries[0]["file"]
    assert run(config_of("base", input=str(file), trust=True), None, "replay") == 0
    assert "bit-equal" in capsys.readouterr().out
    alone = sj.edit(prior, rgb, t0="auto", steps=4, id=entries[-1]["id"], sample=1)
    np.testing.assert_array_equal(alone, picture(out / entries[-1]["file"]))


def test_a_found_map_is_written_and_replayed(calibrated, tmp_path, capsys):
    card = json.loads((calibrated / "prior.json").read_text())
    card["auto_t0"]["window"]["constant"] = 1e6  # the prior tells every pixel
    (calibrated / "prior.json").write_text(json.dumps(card))
    out = tmp_path / "out"
    assert run(small("strokes", prior=str(calibrated), auto_t0="map"), out) == 0
    entry = noted(out)["pictures"][0]
    assert picture(out / f"{entry['id']}_strength.png").max() == 255
    capsys.readouterr()
    config = config_of("base", input=str(out / entry["file"]), trust=True)
    assert run(config, None, "replay") == 0
    assert "bit-equal" in capsys.readouterr().out


def test_samples_calibrate_where_there_are_no_photos(tmp_path, monkeypatch):
    folder = tmp_path / "prior"
    shutil.copytree(tiny_prior(), folder)
    monkeypatch.setattr(calibrate, "PICTURES", 24)
    assert run(small("base", prior=str(folder)), None, "calibrate") == 0
    assert sj.load_prior(folder).metadata["auto_t0"]["source"] == "samples"


def test_a_prior_without_calibration_names_the_command(tmp_path):
    told = refused(small("strokes", auto_t0="guide"), tmp_path / "out")
    assert "not calibrated" in told and "--mode=calibrate --config.prior=tiny" in told
    with pytest.raises(ValueError, match="--mode=calibrate"):
        sj.edit(sj.load_prior(tiny_prior()), np.zeros((SIZE, SIZE, 3), np.uint8), t0="auto")


def test_a_calibration_needs_enough_photos_and_no_workdir(tmp_path):
    config = small("base", input=str(PHOTOS[0]))
    assert "at least 24 photos" in refused(config, None, "calibrate")
    assert "workdir" in refused(config, tmp_path, "calibrate")
    with pytest.raises(ValueError, match="t0: has no effect in --mode=calibrate"):
        check.check("calibrate", config, {"t0": 0.3})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"auto_t0": "all"}, "auto_t0 must be one of"),
        ({"auto_t0": "guide", "sigma": 0.3}, "given twice, auto_t0 guide and sigma 0.3"),
        ({"auto_t0": "guide", "preset": "official"}, "auto_t0=guide needs another preset"),
        ({"auto_t0": "guide", "preset": "diffusers"}, "auto_t0=guide needs another preset"),
        ({"auto_t0": "map", "options__strength_map": "a.png"}, "given twice, auto_t0 map and"),
    ],
)
def test_another_strength_beside_it_is_refused(changes, told, tmp_path):
    assert told in refused(small("strokes", **changes), tmp_path)


def test_the_command_line_and_a_sweep_refuse_it(tmp_path):
    config = config_of("base", auto_t0="guide")
    with pytest.raises(ValueError, match="given twice, t0 0.4 and auto_t0 guide"):
        check.check("edit", config, {"t0": 0.4})
    assert "sweep.t0" in refused(small("strokes", auto_t0="guide"), tmp_path, "sweep")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"t0": "guide"}, "t0 must be one of"),
        ({"t0": "auto", "sigma": 0.3}, "given twice, t0 auto and sigma 0.3"),
        ({"t0": "map", "strength_map": np.ones((SIZE, SIZE))}, "t0 map and strength_map"),
        ({"t0": "auto", "preset": "official"}, "needs another preset"),
    ],
)
def test_python_refuses_it_too(given, told):
    with pytest.raises(ValueError, match=told):
        sj.edit(sj.load_prior(tiny_prior()), np.zeros((SIZE, SIZE, 3), np.uint8), **given)


def test_a_folder_of_diffusers_keeps_its_calibration_with_an_underscore(tmp_path):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    file = store.add_metadata(tmp_path, "auto_t0", {"rows": [[1.0, -2e-05], [3.0, 4.0]]})
    assert file.name == "model_index.json" and "[1.0, -2e-05]" in file.read_text()
    assert json.loads(file.read_text())["_auto_t0"]["rows"] == [[1.0, -2e-05], [3.0, 4.0]]


def test_strengths_are_times_of_the_process():
    """A level is the same noise in every process."""
    low, high, ratio = 0.01, 80.0, 0.7
    b0, b1, decay = 0.1, 20.0, np.log(1 + ratio**2)  # VP: 1 + sigma^2 = exp(b0 t + (b1 - b0) t^2/2)
    closed = {
        VE(low, high): np.log(ratio / low) / np.log(high / low),
        VP(): (np.sqrt(b0**2 + 2 * (b1 - b0) * decay) - b0) / (b1 - b0),
    }
    for process, t in closed.items():
        prior = gaussian(process, np.zeros((4, 4, 3)), 1.0)
        np.testing.assert_allclose(strengths._t0(prior, [0.0, ratio]), [0, t], rtol=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("sigmas", ["a"], "could not convert"),
        ("sigmas", [0.1, 1.0], "must be finite numbers of shape"),
        ("draws", 0, "draws must be a whole number above 0"),
        ("picture", {"weights": [1.0]}, "required positional argument"),
    ],
)
def test_a_damaged_calibration_is_one_line(once, field, value, told):
    prior = sj.load_prior(once)
    values = dict(prior.metadata["auto_t0"]) | {field: value}
    damaged = dataclasses.replace(prior, metadata={**prior.metadata, "auto_t0": values})
    with pytest.raises(ValueError, match=f"auto_t0: the calibration of tiny is damaged: .*{told}"):
        strengths.calibration(damaged)


def test_a_mask_of_zeros_is_refused(flowers):
    with pytest.raises(ValueError, match="mask: is 0 everywhere"):
        found(flowers, photo(0), mask=np.zeros((64, 64)))

"""Strengths by LPIPS, with weights of a fixed rule; distances are taken again on the results."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image
from program import config_of, names, noted, recipe, refused, run, small, tiny_prior
from recognition_files import lpips_in

import sdedit_jax as sj
from sdedit_jax.evaluation import recognition, untrained
from sdedit_jax.evaluation.opening import open_lpips
from sdedit_jax.modes import check
from sdedit_jax.pipeline import target
from sdedit_jax.weights import published

SIDE = 64
TOLERANCE = 0.012
"""The search allows 0.01; results of other batches may differ by a level."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return lpips_in(tmp_path_factory.mktemp("lpips"))


@pytest.fixture(autouse=True)
def any_weights(monkeypatch):
    """The weights of the rule do not look trained everywhere."""
    monkeypatch.setattr(untrained, "check", lambda *args: {})
    monkeypatch.setattr(recognition, "ROWS", 4)


@pytest.fixture
def distance(files, any_weights):
    return recognition.lpips("alex", *files)


@pytest.fixture
def weights(files):
    return {"features__lpips_alex": str(files[0]), "features__lpips_heads": str(files[1])}


def away(distance, result, guide, free=None):
    """LPIPS by the network itself; with a region, the mean of its map there."""
    loaded = distance.loaded
    run = functools.partial(loaded.network.apply, loaded.params)
    a, b = (np.float32(x[None] / 127.5 - 1) for x in (result, guide))
    if free is None:
        return float(jax.jit(run)(a, b)[0])
    return float(jax.jit(functools.partial(run, method="spatial"))(a, b)[0][free].mean())


def picture(rng):
    """Blocks of colours with noise."""
    blocks = rng.integers(60, 200, (4, 4, 3)).repeat(16, 0).repeat(16, 1)
    return np.uint8(blocks + rng.integers(0, 50, blocks.shape))


def gaussian(channels=3):
    return sj.gaussian(sj.VP(), np.full((SIDE, SIDE, channels), 0.2), 0.4)


def test_edits_of_an_exact_prior_have_the_distance(rng, distance, capsys):
    """Two samples and two pictures, one with a mask; each is found as if it were alone."""
    prior, images = gaussian(), np.stack([picture(rng), picture(rng)])
    masks = np.ones((2, SIDE, SIDE))
    masks[1, :24] = 0
    goal, free = 0.5, [None, masks[1] > 0]
    made = sj.edit(prior, images, masks, target_lpips=goal, lpips=distance, steps=4, samples=2)
    found = capsys.readouterr().out.split("t0 ")[1:]
    for image, where, own in zip(images, free, made, strict=True):
        for result in own:
            assert abs(away(distance, result, image, where) / goal - 1) < TOLERANCE
    alone = sj.edit(prior, images[1], masks[1], target_lpips=goal, lpips=distance, steps=4)
    assert capsys.readouterr().out.split("t0 ")[1].split()[0] == found[2].split()[0]
    assert np.abs(alone.astype(int) - made[1, 0]).max() <= 1


def test_edits_of_grey_pictures_have_the_distance(rng, distance):
    image = picture(rng)[..., :1]
    made = sj.edit(gaussian(1), image, target_lpips=0.3, lpips=distance, steps=4)
    assert made.shape == (SIDE, SIDE, 1)
    wide = (x.repeat(3, -1) for x in (made, image))
    assert abs(away(distance, *wide) / 0.3 - 1) < TOLERANCE


def test_the_measure_may_be_any_function(rng):
    """With the RMS distance it finds what target_l2 finds."""
    image = picture(rng)
    made = sj.edit(gaussian(), image, target_lpips=0.1, lpips=target.rms, steps=4)
    np.testing.assert_array_equal(made, sj.edit(gaussian(), image, target_l2=0.1, steps=4))


def test_the_rms_distance_is_exact(rng):
    a, b = rng.integers(0, 256, (2, 3, 5, 6, 3)).astype(np.uint8)
    mask = np.float32(rng.random((3, 5, 6)) < 0.5)
    squares = ((a / 255 - b / 255) ** 2).mean(-1)
    inside = (squares * mask).sum((1, 2)) / mask.sum((1, 2))
    np.testing.assert_allclose(target.rms(a, b, None), np.sqrt(squares.mean((1, 2))), rtol=1e-12)
    np.testing.assert_allclose(target.rms(a, b, mask), np.sqrt(inside), rtol=1e-12)


def broken(results, guides, mask):
    return np.full(len(results), np.nan)


def one(results, guides, mask):
    return 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lpips": None}, "target_lpips needs lpips, the function"),
        ({"target_lpips": None}, "lpips: it has no effect without target_lpips"),
        ({"target_l2": 0.1}, "given twice, target_l2 0.1 and target_lpips 0.2"),
        ({"t0": 0.4}, "given twice, target_lpips 0.2 and t0 0.4"),
        ({"t0": "auto"}, "given twice, target_lpips 0.2 and t0 auto"),
        ({"preset": "official"}, 'preset "official" compiles for each t0; target_lpips needs'),
        ({"preset": "diffusers"}, 'preset "diffusers" has no t0; target_lpips needs'),
        ({"target_lpips": 0.0}, "target_lpips must be above 0, got 0.0"),
        ({"target_lpips": -0.1}, "target_lpips must be above 0, got -0.1"),
        ({"target_lpips": np.inf}, "target_lpips must be a finite number, got inf"),
        ({"target_lpips": 5.0}, r"target_lpips: no strength gives 5; image reaches 0.\d+ to"),
        ({"lpips": one}, r"target_lpips: the distances must be of shape \(\d+,\), got \(\)"),
    ],
)
def test_conflicts_are_named(changes, message):
    given = {"target_lpips": 0.2, "lpips": target.rms, "steps": 2}
    image = np.full((8, 8, 3), 90, np.uint8)
    prior = sj.gaussian(sj.VP(), np.zeros((8, 8, 3)), 0.4)
    with pytest.raises(ValueError, match=message):
        sj.edit(prior, image, **given | changes)


def test_a_measure_that_is_none(distance):
    image = np.full((8, 8, 3), 90, np.uint8)
    prior = sj.gaussian(sj.VP(), np.zeros((8, 8, 3)), 0.4)
    with pytest.raises(TypeError, match="lpips must be a function"):
        sj.edit(prior, image, target_lpips=0.2, lpips="alex.pth")
    with pytest.raises(FloatingPointError, match="not finite"):
        sj.edit(prior, image, target_lpips=0.2, lpips=broken, steps=2)
    with pytest.raises(ValueError, match="target_lpips: pictures must be .* sides from 63"):
        sj.edit(prior, image, target_lpips=0.2, lpips=distance, steps=2)


# --- the program ----------------------------------------------------------------------------------


def ramp():
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.stack([4 * x, 4 * y, 255 - 2 * (x + y)], axis=-1).astype(np.uint8)


@pytest.fixture
def prior(tmp_path):
    """The folder of the exact prior of one picture, `ramp()`."""
    folder = tmp_path / "exact"
    folder.mkdir()
    Image.fromarray(ramp()).save(folder / "ramp.png")
    card = {"name": "exact", "network": "mixture", "std": 0.05, "size": [SIDE, SIDE, 3]}
    card["process"] = {"name": "vp"}
    (folder / "prior.json").write_text(json.dumps(card))
    return str(folder)


def test_the_program_finds_and_records_the_strength(
    tmp_path, prior, files, weights, distance, capsys, monkeypatch
):
    """The distance, t0, measure and sha256 in the recipe; a replay needs no weights."""
    (tmp_path / "in").mkdir()
    guide = 255 - ramp()
    Image.fromarray(guide).save(tmp_path / "in" / "a.png")
    fields = {"prior": prior, "input": str(tmp_path / "in"), **weights}
    out = tmp_path / "out"
    assert run(small("strokes", target_lpips=0.3, report=True, **fields), out) == 0
    assert "target    a_0: t0 0." in capsys.readouterr().out and "a_target.png" in names(out)
    assert "LPIPS where it may change" in (out / "report.html").read_text()
    sha256 = "+".join(published.sha256_of(file) for file in files)
    wanted = {"field": "target_lpips", "value": 0.3, "measure": "LPIPS 0.1 (alex)"}
    for k, entry in enumerate(noted(out)["pictures"]):
        result = np.asarray(Image.open(out / f"a_{k}.png"))
        assert abs(away(distance, result, guide) / 0.3 - 1) < TOLERANCE
        found = entry["target_lpips"]
        assert found["distance"] == pytest.approx(away(distance, result, guide), rel=1e-4)
        own = recipe(out / f"a_{k}.png")
        assert own["target"] == wanted | {"sha256": sha256}
        assert own["value"] == entry["strength"]["t0"] in [t0 for t0, _ in found["trials"]]
    far = tmp_path / "far"
    assert run(small("strokes", target_lpips=9.0, **fields), far) == 1
    assert "a_0: target_lpips: no strength gives 9; the edit reaches" in capsys.readouterr().err
    monkeypatch.setattr(recognition, "lpips", lambda *args: pytest.fail("weights are opened"))
    replay = small("base", input=str(out / "a_1.png"), samples=1, trust=True)
    assert run(replay, None, "replay") == 0 and "bit-equal" in capsys.readouterr().out


def test_conflicts_of_a_config_are_named(tmp_path, weights, files):
    def message(name="edit", /, **changes):
        return refused(small("strokes", **{"target_lpips": 0.2, **changes}), tmp_path, name)

    needs = "target_lpips needs weights; give features.lpips_vgg or features.lpips_alex, with"
    assert needs in message()
    alone = {"features__lpips_alex": str(files[0])}
    assert "features.lpips_alex needs features.lpips_heads" in message(**alone)
    assert "takes one network; give" in message(**weights, features__lpips_vgg="vgg16.pth")
    folder = {**weights, "features__lpips_heads": str(tmp_path)}
    assert f"cannot read {tmp_path / 'alex.pth'}" in message(**folder)
    assert "twice, target_l2 0.1 and target_lpips 0.2" in message(target_l2=0.1, **weights)
    assert "twice, auto_t0 guide and target" in message(auto_t0="guide", **weights)
    assert "target_lpips must be above 0, got 0" in message(target_lpips=0.0)
    assert 'preset "diffusers" has no t0' in message(preset="diffusers", **weights)
    assert "a sweep takes its strengths from sweep.t0" in message("sweep", **weights)
    assert "a search finds the strength" in message("search", **weights)
    assert "target_lpips: pictures must be" in message(prior=tiny_prior(), **weights)
    given = {"features.lpips_alex": "alex.pth"}
    with pytest.raises(ValueError, match="features.lpips_alex: it has no effect without target_"):
        check.check("edit", config_of("strokes"), given)
    check.check("edit", config_of("strokes", target_lpips=0.2), given)


@pytest.mark.parametrize("name", ["evaluate_strokes", "evaluate_ledits", "measure"])
def test_other_configs_have_the_same_fields(name):
    assert set(config_of("base").features) <= set(config_of(name).features)


def test_heads_of_a_folder(tmp_path, files):
    """A folder has the heads of both networks, each in a file with the network's name."""
    shutil.copy(files[1], tmp_path / "alex.pth")
    fields = {"lpips_alex": str(files[0]), "lpips_heads": str(tmp_path)}
    found = open_lpips(fields, "target_lpips")
    fields["lpips_heads"] = str(files[1])
    assert found.facts["sha256"] == open_lpips(fields, "target_lpips").facts["sha256"]

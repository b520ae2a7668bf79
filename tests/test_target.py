"""Strengths by distance: the search on known curves, and edits of exact priors."""

import functools
import threading

import jax
import numpy as np
import pytest
from PIL import Image
from program import SIZE, exact_prior, known, names, noted, recipe, refused, run, small

import sdedit_jax as sj
from sdedit_jax.diffusion.grids import Listed
from sdedit_jax.edits import target
from sdedit_jax.modes import check
from sdedit_jax.pipeline.base import Cancelled

CURVES = {
    "line": lambda t: t,
    "late": lambda t: t**6,
    "early": lambda t: 1 - (1 - t) ** 8,
    "not monotone": lambda t: t + 0.2 * np.sin(12 * t) * t,
}


def line(factor, trials):
    return [factor * t0 for _, t0 in trials]


@pytest.mark.parametrize("curve", CURVES)
def test_the_search_finds_the_strength_of_known_curves(curve):
    """Several pictures with other curves of one form; the prediction may be wrong by any factor."""
    tried, goal = [], 0.3

    def measure(trials):
        tried.append(len(trials))
        return [CURVES[curve](t0) * (1 + i) for i, t0 in trials]

    for factor in (0.05, 0.5, 3.0):
        tried.clear()
        found = target.search(2, goal, measure, functools.partial(line, factor))
        for one in found:
            assert abs(one.distance - goal) <= 0.01 * goal
            assert list(one.trials) == sorted(one.trials) and one.trials[one.t0] == one.distance
            assert np.float32(one.t0) == one.t0
        assert sum(tried) < 80 and max(tried) <= 2 * target.TRIALS
        alone = target.search(1, goal, measure, functools.partial(line, factor))
        assert alone == found[:1]  # a picture's trials do not depend on the others


def test_a_distance_out_of_reach_has_no_strength():
    found = target.search(
        2,
        0.9,
        lambda trials: [t0 / (1 + i) for i, t0 in trials],
        lambda trials: [0.1] * len(trials),
    )
    assert found[0].t0 is not None and found[1].t0 is None
    assert min(found[1].trials) == pytest.approx(target.LEAST) and max(found[1].trials) == 1


def test_a_target_inside_of_a_jump_has_no_strength():
    def jump(trials):
        return [0.1 * t0 + 0.5 * (t0 >= 0.5) for _, t0 in trials]

    (found,) = target.search(1, 0.2, jump, jump)
    assert found.t0 is None and found.why_not(0.2) == "jumps from 0.05 to 0.55 at t0 0.5"
    (found,) = target.search(1, 0.2, lambda trials: [np.nan] * len(trials), jump)
    assert found.t0 is None and "no finite distance" in found.why_not(0.2)


def away(result, guide, free):
    return np.sqrt(np.mean(((result.astype(float) - guide)[free] / 255) ** 2))


def test_edits_of_an_exact_prior_have_the_distance(rng, capsys):
    """Two samples and two pictures, one with a mask; the found t0 gives the same result."""
    prior = sj.gaussian(sj.VP(), np.full((SIZE, SIZE, 3), 0.2), 0.4)
    images = rng.integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    masks = np.ones((2, SIZE, SIZE))
    masks[1, :8] = 0
    for goal in (0.05, 0.2):
        made = sj.edit(prior, images, masks, target_l2=goal, steps=6, samples=2)
        for image, mask, own in zip(images, masks, made, strict=True):
            for result in own:
                assert abs(away(result, image, mask > 0) / goal - 1) < 0.02
    t0 = float(capsys.readouterr().out.splitlines()[-1].split()[2])
    again = sj.edit(prior, images[0], t0=t0, steps=6)
    assert np.abs(again.astype(int) - made[0, 0]).max() <= 1
    with pytest.raises(
        ValueError, match=r"target_l2: no strength gives 0.9; image reaches 0.0.*to"
    ):
        sj.edit(prior, images, masks, target_l2=0.9, steps=6, samples=2)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        sj.edit(prior, images, masks, target_l2=0.2, steps=6, samples=2, cancel=stop)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"t0": 0.4}, "given twice, target_l2 0.1 and t0 0.4"),
        ({"sigma": 0.4}, "given twice, target_l2 0.1 and sigma 0.4"),
        ({"strength": 0.4}, "given twice, target_l2 0.1 and strength 0.4"),
        ({"preset": "official"}, 'preset "official" compiles for each t0; target_l2 needs'),
        ({"preset": "diffusers"}, 'preset "diffusers" has no t0; target_l2 needs'),
        ({"grid": " diffusers_ddim"}, 'grid "diffusers_ddim.*" has no t0; target_l2 needs'),
        ({"grid": Listed((700, 400))}, "grid .*has no t0; target_l2 needs"),
        ({"target_l2": 0.0}, r"target_l2 must be in \(0, 1\), got 0.0"),
    ],
)
def test_conflicts_are_named(changes, told):
    prior = sj.gaussian(sj.VP(), np.zeros((4, 4, 3)), 0.4)
    with pytest.raises(ValueError, match=told):
        sj.edit(prior, np.zeros((4, 4, 3), np.uint8), **{"target_l2": 0.1, **changes})


def test_the_program_finds_and_records_the_strength(tmp_path, capsys):
    """The distance, t0 in the recipe, the plot; a replay takes the recorded t0."""
    (tmp_path / "in").mkdir()
    Image.fromarray(255 - known()).save(tmp_path / "in" / "a.png")
    out, fields = tmp_path / "out", {"prior": exact_prior(), "input": str(tmp_path / "in")}
    assert run(small("strokes", target_l2=0.1, **fields), out) == 0
    assert "target    a_0: t0 0." in capsys.readouterr().out
    assert "a_target.png" in names(out)
    for k, entry in enumerate(noted(out)["pictures"]):
        found = entry["target_l2"]
        assert abs(found["distance"] / 0.1 - 1) < 0.02 and found["target"] == 0.1
        assert entry["strength"]["t0"] in [t0 for t0, _ in found["trials"]]
        assert recipe(out / f"a_{k}.png")["value"] == entry["strength"]["t0"]
    Image.fromarray(known()).save(tmp_path / "in" / "b.png")  # near the prior: never 0.3 away
    far = tmp_path / "far"
    assert run(small("strokes", target_l2=0.3, **fields), far) == 1
    shown = capsys.readouterr().err
    assert "b_0: target_l2: no strength gives 0.3; the edit reaches" in shown
    assert "a_0.png" in names(far) and "b_0.png" not in names(far)
    replay = small("base", input=str(out / "a_1.png"), trust=True, samples=1)
    assert run(replay, None, "replay") == 0 and "bit-equal" in capsys.readouterr().out
    assert "given twice, target_l2 0.1 and sigma 2" in refused(
        small("strokes", target_l2=0.1, sigma=2.0, **fields), tmp_path / "new"
    )
    config = small("strokes", target_l2=0.1, **fields)
    with pytest.raises(ValueError, match="given twice, t0 0.3 and target_l2 0.1"):
        check.check("edit", config, {"target_l2": 0.1, "t0": 0.3})
    assert "a sweep takes its strengths from sweep.t0" in refused(config, tmp_path / "new", "sweep")


def test_a_failure_of_the_device_is_one_line(tmp_path, monkeypatch):
    def fail(*args, **options):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nmore")

    monkeypatch.setattr("sdedit_jax.pipeline.executor.run", fail)
    (tmp_path / "in").mkdir()
    Image.fromarray(known()).save(tmp_path / "in" / "a.png")
    config = small("strokes", target_l2=0.1, prior=exact_prior(), input=str(tmp_path / "in"))
    told = refused(config, tmp_path / "out")
    assert "the device failed with 2 pictures at a time (RESOURCE_EXHAUSTED: out of memory)" in told

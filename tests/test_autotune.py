"""--mode=autotune, and the distances that it uses."""

import contextlib
import json
import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import sdedit_jax as sj
from sdedit_jax import signals
from sdedit_jax.configs import exact
from sdedit_jax.evaluation.candidates import Candidate, Measured, choose, pareto
from sdedit_jax.evaluation.kid import energy_kernel, grouped, mmd2
from sdedit_jax.evaluation.wasserstein import sliced_wasserstein
from sdedit_jax.modes import autotune, autotune_candidates, autotune_report, check
from sdedit_jax.registry import included


def config(**changes):
    found = exact.get_config()
    found.budget = 3000.0
    found.autotune.rules = ("dpmpp_2m_sde",)
    found.autotune.grids = ("karras",)
    found.autotune.steps = (2, 12)
    found.autotune.reference = 20
    for name, value in changes.items():
        found[name] = value
    return found


@pytest.mark.filterwarnings("error")
def test_enough_steps_are_found_and_the_written_config_has_them(tmp_path, monkeypatch):
    """On the exact prior two steps are far from the law of many, twelve are not."""
    monkeypatch.setattr(autotune, "MOST", 32)
    assert sj.run(config(), tmp_path, "autotune") == 0
    found = json.loads((tmp_path / "autotune.json").read_text())
    few, more = found["candidates"]
    assert few["distance"] > found["floor"]["distance"] + 2 * few["error"]
    assert more["distance"] < few["distance"] / 5
    assert found["chosen"] == {"rule": "dpmpp_2m_sde", "grid": "karras", "steps": 12}
    assert found["not_measured"] == []
    assert found["floor_reached"] is True
    table = (tmp_path / "autotune.md").read_text()
    assert "**dpmpp_2m_sde** (chosen) | karras | 12 | 12 |" in table
    scope = {}
    exec((tmp_path / "tuned.py").read_text(), scope)
    written, given = scope["get_config"](), config()
    assert written.sampler.steps == 12 and written.prior == given.prior == "exact"
    assert (written.t0, written.task) == (given.t0, given.task)
    assert included.config(str(tmp_path / "tuned.py"))
    with pytest.raises(ValueError, match="autotune.json exists"):
        sj.run(config(), tmp_path, "autotune")


@pytest.mark.filterwarnings("ignore:budget")
def test_the_evaluations_of_an_adaptive_solver_are_those_it_used(tmp_path, monkeypatch):
    """Its number of steps is a bound: 12 attempts, of which an edit needs far fewer."""
    monkeypatch.setattr(autotune, "MOST", 16)
    given = config()
    given.autotune.rules, given.autotune.steps = ("adaptive(rtol=2.0)",), (12,)
    given.autotune.reference = 13
    assert sj.run(given, tmp_path, "autotune") == 0
    found = json.loads((tmp_path / "autotune.json").read_text())
    assert 2 <= found["candidates"][0]["evaluations"] < 24  # two in an attempt
    assert found["floor"]["evaluations"] == 13


def test_the_table_says_that_nothing_reached_the_floor():
    far, floor = (
        Measured(Candidate("r", "g", n), n, 0.1, distance, 0.01)
        for n, distance in ((5, 0.2), (100, 0.005))
    )
    text = "No candidate reaches the noise floor, and the nearest one is chosen."
    results = autotune_report.Results(config(), 16, [far.candidate], floor, (far,), far)
    assert text in autotune_report.table(results)
    assert text not in autotune_report.table(results._replace(floor=far))


@pytest.mark.filterwarnings("ignore:budget")
@pytest.mark.parametrize("after", [0, 1])
def test_a_signal_keeps_what_is_measured(tmp_path, monkeypatch, capsys, after):
    """The signal comes in the batch after the floor (0), or after the first candidate (1)."""
    caught, found = signals.Signals(), []
    monkeypatch.setattr(signals, "catch", lambda: contextlib.nullcontext(caught))
    monkeypatch.setattr(autotune, "MOST", 16)
    plain_distance = autotune.distance

    def counting(*args):
        found.append(plain_distance(*args))
        if len(found) > after:
            caught.receive(signal.SIGTERM)
        return found[-1]

    monkeypatch.setattr(autotune, "distance", counting)
    given = config()
    given.autotune.steps, given.autotune.reference = (1, 2), 3
    assert sj.run(given, tmp_path, "autotune") == 143
    shown = capsys.readouterr().err
    if not after:
        assert "SIGTERM; no candidate was measured" in shown and not list(tmp_path.glob("auto*"))
        return
    assert "SIGTERM; the candidates measured so far are kept" in shown
    record = json.loads((tmp_path / "autotune.json").read_text())
    assert [one["steps"] for one in record["candidates"]] == [record["chosen"]["steps"]] == [1]
    assert [one["steps"] for one in record["not_measured"]] == [2]
    assert all((tmp_path / name).exists() for name in autotune_report.FILES)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"budget": 0.0}, "budget must be above 0"),
        ({"budget": 0.5}, "budget: 0.5 s are too few here"),
        ({"preset": "paper-ve"}, "preset: 'paper-ve' fixes the sampler"),
    ],
)
def test_settings_that_cannot_be_tuned_are_refused(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        sj.run(config(**changes), tmp_path, "autotune")
    assert not list(tmp_path.glob("autotune*"))


@pytest.mark.parametrize(
    ("field", "values", "match"),
    [
        ("rules", (), "autotune.rules must not be empty"),
        ("rules", ("ddim", "foo"), "autotune.rules must be one of .* got 'foo'"),
        ("rules", ("ancestral(eta=2)",), "autotune.rules: .*eta"),
        ("rules", ("plms",), "autotune.rules: 'plms' is for grids of diffusers"),
        ("grids", ("diffusers_pndm",), "autotune.grids: 'diffusers_pndm' has no t0"),
        ("grids", (3,), r"autotune.grids\[0\] must be a text, got 3"),
        ("steps", ("a",), r"autotune.steps\[0\] must be a whole number, got 'a'"),
        ("steps", (4.5,), r"autotune.steps\[0\] must be a whole number, got 4.5"),
        ("steps", (0,), r"autotune.steps\[0\] must be at least 1, got 0"),
        ("steps", (5, 5), "autotune.steps must be distinct"),
        ("steps", (5, 20), "autotune.reference must be above 20"),
    ],
)
def test_a_wrong_candidate_is_named_before_the_prior_is_loaded(tmp_path, field, values, match):
    given = config(prior="missing")
    given.autotune[field] = values
    with pytest.raises(ValueError, match=match):
        sj.run(given, tmp_path, "autotune")


def test_a_candidate_that_the_prior_cannot_run_is_named_before_any_edit(tmp_path, monkeypatch):
    def cannot(given, prior):
        raise ValueError("clip_sample_range must be 1")

    monkeypatch.setattr(autotune_candidates.settings, "scheduler_step", cannot)
    given = config()
    given.autotune.rules = ("ddim", "diffusers_ddpm")
    with pytest.raises(ValueError, match="autotune.rules: 'diffusers_ddpm': clip_sample_range"):
        sj.run(given, tmp_path, "autotune")


def test_a_size_that_the_features_cannot_measure_is_refused():
    with pytest.raises(ValueError, match="size: autotune needs multiples of 8"):
        autotune_candidates.check_size(SimpleNamespace(size=(36, 64)))


def test_options_without_effect_are_refused():
    given = exact.get_config()
    for mode, name in (
        ("autotune", "sampler.steps"),
        ("autotune", "samples"),
        ("edit", "budget"),
        ("sweep", "autotune.steps"),
    ):
        with pytest.raises(ValueError, match=name):
            check.check(mode, given, {name: 3})
    check.check("autotune", given, {"budget": 3.0, "autotune.steps": (3,), "t0": 0.4})


def test_the_cheapest_good_candidate_is_chosen():
    def one(steps, distance, error=0.01):
        return Measured(Candidate("r", "g", steps), steps, 0.1 * steps, distance, error)

    floor = one(100, 0.005)
    assert choose([one(5, 0.2), one(8, 0.02), one(12, 0.001)], floor).evaluations == 8
    assert choose([one(5, 0.02)], floor).evaluations == 5
    with pytest.warns(UserWarning, match="no candidate reaches the noise floor"):
        assert choose([one(5, 0.4), one(8, 0.2), one(12, 0.3)], floor).evaluations == 8
    with pytest.warns(UserWarning, match="budget: no candidate can be told"):  # all are good
        assert choose([one(5, 0.2, 1.0), one(8, 0.1, 1.0)], floor).evaluations == 5
    front = pareto([one(5, 0.2), one(8, 0.3), one(12, 0.1)])
    assert [m.evaluations for m in front] == [5, 12]


def test_the_energy_distance_of_normal_sets_is_that_of_the_closed_form():
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of N(0, 1) and N(m, 1); five standard errors: 6e-7."""
    rng, m, n = np.random.default_rng(0), 0.7, 1500
    x, y = rng.standard_normal((n, 1)), m + rng.standard_normal((n, 1))
    away = math.sqrt(4 / math.pi) * math.exp(-(m**2) / 4) + m * math.erf(m / 2)
    expected = 2 * away - 2 * math.sqrt(4 / math.pi)
    of = np.arange(n) % 5
    value, error = grouped(x, y, of, of)
    assert abs(value - expected) < 5 * error < 0.2
    assert abs(mmd2(x, y, energy_kernel) - expected) < 5 * error
    with pytest.raises(ValueError, match="at least 3 rows"):
        grouped(x[:8], y[:8], of[:8], of[:8])
    with pytest.raises(ValueError, match="at least 2 rows"):
        grouped(x[:9], y[:9], np.arange(9), np.arange(9))
    with pytest.raises(ValueError, match="the same in x and y"):
        grouped(x, y, of, of + 1)


@pytest.mark.parametrize(("groups", "rows", "least", "most"), [(24, 2, 0.8, 1.25), (4, 6, 1, 3)])
def test_the_error_of_groups_is_that_of_repetition(groups, rows, least, most):
    """300 pairs of sets of one skewed law: the mean of the squared errors against the variance of
    the distances. The spread over many groups agrees with it. The jackknife of few groups is too
    large for equal laws."""
    rng, of = np.random.default_rng(3), np.arange(groups * rows) % groups
    sets = rng.exponential(size=(300, 2, groups * rows, 2)) + of[:, None]
    found = np.array([grouped(x, y, of, of) for x, y in sets])
    assert abs(found[:, 0].mean()) < 4 * found[:, 0].std() / math.sqrt(300)
    assert least < np.mean(found[:, 1] ** 2) / found[:, 0].var() < most


def test_groups_are_compared_by_themselves():
    """Sets that agree as a whole and not in their groups: two groups, exchanged."""
    rng = np.random.default_rng(1)
    of = np.arange(400) % 2
    x = rng.standard_normal((400, 3)) + 3 * of[:, None]
    y = rng.standard_normal((400, 3)) + 3 * (1 - of)[:, None]
    assert abs(mmd2(x, y, energy_kernel)) < 0.05
    assert grouped(x, y, of, of)[0] > 1


def test_the_sliced_distance_of_shifted_normal_sets():
    """SW_2^2 of N(0, I) and N(m, I) is |m|^2 / D."""
    rng, d = np.random.default_rng(2), 6
    m = np.full(d, 0.5)
    x, y = rng.standard_normal((20000, d)), m + rng.standard_normal((20000, d))
    expected = np.linalg.norm(m) / math.sqrt(d)
    assert abs(sliced_wasserstein(x, y, directions=2000) - expected) < 0.04
    assert sliced_wasserstein(x, x) == 0
    with pytest.raises(ValueError, match="both be"):
        sliced_wasserstein(x, y[:-1])

"""What experiments/precision measures, against closed forms, and the command on an exact prior."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import SIZE, exact_prior, known

import sdedit_jax as sj

FOLDER = Path(__file__).parent.parent / "experiments" / "precision"
sys.path.append(str(FOLDER))

import measures  # noqa: E402
import precision  # noqa: E402


def pictures(n=6, low=0, high=200, seed=0):
    return np.random.default_rng(seed).integers(low, high, (n, SIZE, SIZE, 3), np.uint8)


def test_differences_of_known_shifts():
    a = pictures()
    assert measures.difference(a, a) == {"mean": 0, "p99": 0, "max": 0}
    assert measures.difference(a + 3, a) == {"mean": 3, "p99": 3, "max": 3}
    assert measures.difference(a, a + 3) == {"mean": 3, "p99": 3, "max": 3}  # uint8 does not wrap
    few = a.reshape(-1).copy()
    few[:46] += 50  # 46 of 4608 values, fewer than one in a hundred
    found = measures.difference(few.reshape(a.shape), a)
    assert found == {"mean": pytest.approx(46 * 50 / 4608, abs=5e-4), "p99": 0, "max": 50}


def test_channels_of_two_colours():
    black, red = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), (200, 0, 10), np.uint8)
    found = measures.channels(np.concatenate([black, red]))
    assert found == {"mean": [100, 0, 5], "std": [100, 0, 5]}


def test_distances_of_points():
    """All rows of a set are one number a, those of the other b: each kernel is (a b + 1)^3."""
    zeros, ones = np.zeros((6, 1)), np.ones((9, 1))
    assert measures.kid(zeros, ones, 3) == [1 + 8 - 2, 0]
    assert measures.kid(ones, ones, 3) == [0, 0]


def test_equal_sets_are_at_no_distance_and_equal_laws_within_the_error():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 64, 5))
    assert measures.kid(x, x, 32) == [0, 0]
    value, error = measures.kid(x, y, 32)
    assert 0 < error < 1 and abs(value) < 4 * error
    value, error = measures.kid(x, y + 2, 32)
    assert value > 4 * error


def test_a_shifted_set_is_found_by_every_measure():
    photos = pictures(8, 40, 200)
    made = {"float32": photos, "bfloat16": photos + 2, "other noise": pictures(8, 40, 200, 1)}
    means = {"means": lambda p: p.mean((1, 2)) / 255}
    found = measures.compared(photos, made, means)
    assert found["difference"]["bfloat16"] == {"mean": 2, "p99": 2, "max": 2}
    base, own = (np.array(found["channels"][name]["mean"]) for name in ("float32", "bfloat16"))
    np.testing.assert_allclose(own - base, 2, atol=0.011)
    assert found["channels"]["float32"] == found["channels"]["photos"]
    assert found["kid"]["means"]["photos"]["float32"] == [0, 0]
    assert found["kid"]["means"]["float32"]["bfloat16"][0] > 0


def test_edits_are_guides_times_samples():
    prior, guides = sj.load_prior(exact_prior()), pictures(2)
    found = precision.edits(prior, guides, 3, 0.5, 4, seed=7)
    for k, (guide, sample) in enumerate([(0, 0), (1, 0), (0, 1)]):
        own = {"seed": 7, "id": str(guide), "sample": sample}
        assert np.array_equal(found[k], sj.edit(prior, guides[guide], t0=0.5, steps=4, **own))


def test_the_command(tmp_path, monkeypatch, capsys):
    """A prior without a network has no compute mode: nothing differs, but by the noise."""
    (tmp_path / "photos").mkdir()
    for i in range(4):
        Image.fromarray(np.roll(known(), i, 1)).save(tmp_path / "photos" / f"{i}.png")
    flags = ["--edits=6", "--steps=4", "--network=", f"--out={tmp_path}", "--t0", "0.3", "0.6"]
    data = f"{exact_prior()}={tmp_path / 'photos'}"
    monkeypatch.setattr(sys, "argv", ["precision.py", *flags, "--data", data])
    precision.main()
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["t0"] for row in rows] == [0.3, 0.6]
    for row in rows:
        assert row["difference"]["bfloat16"] == {"mean": 0, "p99": 0, "max": 0}
        assert row["difference"]["other noise"]["mean"] > 0
        assert row["kid"]["hand"]["float32"]["bfloat16"] == [0, 0]
        outside = {"float32": 0, "bfloat16": 0}
        assert row["masked"] == {"edits": 4, "outside": outside, "inside": 0}
    assert Image.open(tmp_path / "edits.png").height > 2 * 6 * SIZE
    printed = capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["precision.py", "--table", f"--out={tmp_path}"])
    precision.main()
    assert capsys.readouterr().out == printed
    assert all(len(set(map(len, lines(block)))) == 1 for block in printed.split("\n\n"))


def lines(block):
    """The cells of each line of a table."""
    return [line.split("|") for line in block.strip().splitlines()]

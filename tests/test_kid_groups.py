"""KID over pairs of different groups: by loops, and by simulation where rows belong together."""

import numpy as np
import pytest

from sdedit_jax.evaluation.kid import cubic_kernel, mmd2, standard_error
from sdedit_jax.evaluation.kid_groups import between_groups


def by_loops(x, y, of_x, of_y):
    kernels = {"xx": (x, x, of_x, of_x), "yy": (y, y, of_y, of_y), "xy": (x, y, of_x, of_y)}
    means = {}
    for name, (a, b, of_a, of_b) in kernels.items():
        values = cubic_kernel(a, b)
        every = [values[i, j] for i in range(len(a)) for j in range(len(b)) if of_a[i] != of_b[j]]
        means[name] = np.mean(every)
    return means["xx"] + means["yy"] - 2 * means["xy"]


@pytest.mark.parametrize("block", [3, 2048])
def test_value_and_jackknife_are_those_of_loops(rng, monkeypatch, block):
    monkeypatch.setattr("sdedit_jax.evaluation.kid_groups.BLOCK", block)
    of_x, of_y = np.array([0, 0, 1, 2, 2, 2, 3]), np.array([1, 0, 3, 2, 2])
    x, y = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    found = between_groups(x, y, of_x, of_y)
    assert found.value == pytest.approx(by_loops(x, y, of_x, of_y), rel=1e-12)
    without = [
        by_loops(x[of_x != g], y[of_y != g], of_x[of_x != g], of_y[of_y != g]) for g in range(4)
    ]
    variance = 3 / 4 * np.sum((without - np.mean(without)) ** 2)
    assert found.error == pytest.approx(np.sqrt(variance), rel=1e-10)


def test_rows_that_do_not_belong_together_give_mmd2(rng):
    """Each row a group of its own: the usual estimate and its usual error."""
    x, y = rng.normal(size=(30, 5)), rng.normal(0.3, 1, size=(40, 5))
    found = between_groups(x, y, np.arange(30), 30 + np.arange(40))
    assert found.value == pytest.approx(mmd2(x, y), rel=1e-10)
    assert found.error == pytest.approx(standard_error(x, y), rel=1e-10)


def test_edits_of_the_same_law_have_distance_0_from_their_own_photos(rng):
    """Photos y and edits x of one law, each edit like its photo. The mean over 300 repetitions is
    within 4 of its standard errors of 0 (false alarms: 1 in 16,000); that of mmd2 is not."""
    values, usual = [], []
    of = np.arange(20)
    for _ in range(300):
        y = rng.normal(size=(20, 3))
        x = 0.9 * y + np.sqrt(1 - 0.81) * rng.normal(size=(20, 3))
        values.append(between_groups(x, y, of, of).value)
        usual.append(mmd2(x, y))
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)
    assert np.mean(usual) < -4 * np.std(usual) / np.sqrt(300)


def test_the_error_is_the_spread_of_repetitions(rng):
    """Two edits of each photo: the mean stated variance is that of 200 repetitions within 40 %."""
    values, errors = [], []
    for _ in range(200):
        y = rng.normal(size=(40, 2))
        x = np.repeat(y, 2, axis=0) * 0.8 + rng.normal(0.5, 0.6, size=(80, 2))
        found = between_groups(x, y, np.repeat(np.arange(40), 2), np.arange(40))
        values.append(found.value)
        errors.append(found.error**2)
    assert np.mean(errors) == pytest.approx(np.var(values), rel=0.4)


def test_of_large_sets_random_groups_are_compared(rng):
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(100, 3))
    found = between_groups(x, y, np.repeat(np.arange(100), 2), np.arange(100), most=50)
    assert found.rows == (50, 25)
    whole = between_groups(x, y, np.repeat(np.arange(100), 2), np.arange(100))
    assert abs(found.value - whole.value) < 5 * found.error


def test_one_group_is_refused(rng):
    x = rng.normal(size=(3, 2))
    with pytest.raises(ValueError, match="two groups"):
        between_groups(x, x, np.zeros(3, int), np.arange(3))

"""Kernel distance between two sets of features: the unbiased MMD^2 of KID.

With features x_i, i = 1..n, and y_j, j = 1..m, of D numbers each and k(x, y) = (x.y / D + 1)^3,

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j).

Its expectation is 0 for sets of one distribution, so that values below 0 occur. Functions of arrays
alone. The name of the features (features.py) belongs beside every number.

References:
    Binkowski et al., Demystifying MMD GANs (1801.01401); Gretton et al. (2012), eq. 3.
"""

from typing import NamedTuple

import numpy as np


class Kid(NamedTuple):
    """A kernel distance.

    Attributes:
        value: the mean over the subsets.
        spread: the standard deviation over the subsets, as KID is usually quoted.
        error: the standard error of the distance of the whole sets (see `standard_error`).
    """

    value: float
    spread: float
    error: float


def cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x.y / D + 1)^3 of features [N, D] and [M, D]: float64 [N, M]."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return (x @ y.T / x.shape[1] + 1) ** 3


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased MMD^2 of features x [N, D] and y [M, D].

    Raises:
        ValueError: fewer than two rows, or rows of different lengths.
    """
    _check(x, y)
    return _distance(cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y))


def kid(
    x: np.ndarray, y: np.ndarray, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> Kid:
    """The unbiased MMD^2 over random subsets of `size` rows of each set, drawn without replacement.

    Args:
        x: features [N, D].
        y: features [M, D].
        subsets: how many.
        size: rows of each; at most the smaller set, of which then every subset takes all.
        seed: of the subsets.

    Raises:
        ValueError: see `mmd2`; no subset, or one of fewer than two rows.
    """
    _check(x, y)
    if subsets < 1 or size < 2:
        raise ValueError(f"kid: subsets must be at least 1 and size 2, got {subsets} and {size}")
    size = min(size, len(x), len(y))
    rng = np.random.default_rng(seed)
    kxx, kyy, kxy = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)
    values = []
    for _ in range(subsets):
        i, j = (rng.choice(len(a), size, replace=False) for a in (x, y))
        values.append(_distance(kxx[np.ix_(i, i)], kyy[np.ix_(j, j)], kxy[np.ix_(i, j)]))
    return Kid(float(np.mean(values)), float(np.std(values)), standard_error(x, y))


def standard_error(x: np.ndarray, y: np.ndarray) -> float:
    """The standard error of `mmd2` by the jackknife: each row of each set left out once.

    It takes rows as independent: edits that share a photo are not, and have a larger error.
    """
    _check(x, y)
    kxx, kyy, kxy = cubic_kernel(x, x), cubic_kernel(y, y), cubic_kernel(x, y)
    variance = _jackknife(kxx, kxy) + _jackknife(kyy, kxy.T)
    return float(np.sqrt(variance))


def _jackknife(own: np.ndarray, cross: np.ndarray) -> float:
    """The part of the variance that comes from the rows of one set."""
    n = len(own)
    if n < 3:
        return float("nan")
    rows = own.sum(1) - np.diag(own)
    total = rows.sum()
    without = (total - 2 * rows) / ((n - 1) * (n - 2))
    means = cross.mean(1)
    without = without - 2 * (means.sum() - means) / (n - 1)
    return (n - 1) / n * np.sum((without - without.mean()) ** 2)


def _distance(kxx: np.ndarray, kyy: np.ndarray, kxy: np.ndarray) -> float:
    return float(_off_diagonal_mean(kxx) + _off_diagonal_mean(kyy) - 2 * kxy.mean())


def _off_diagonal_mean(k: np.ndarray) -> float:
    n = len(k)
    return (k.sum() - np.trace(k)) / (n * (n - 1))


def _check(x: np.ndarray, y: np.ndarray) -> None:
    shapes = np.shape(x), np.shape(y)
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"features must be [N, D] and [M, D] with N, M > 1, got {shapes}")

"""Kernel distance between two sets of features: the unbiased MMD^2 of KID.

With features x_i, i = 1..n, and y_j, j = 1..m, of D numbers each and k(x, y) = (x.y / D + 1)^3,

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j).

Its expectation is 0 for sets of one distribution, so that values below 0 occur. Functions of arrays
alone. The name of the features (features.py) belongs beside every number.

`grouped` compares the edits of each guide by themselves, with the kernel of the energy distance.

References:
    Binkowski et al., Demystifying MMD GANs (1801.01401); Gretton et al. (2012), eq. 3.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sdedit_jax.registry import bounds


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


SPREAD = 8
"""The least number of groups whose spread is taken as their error."""
MOST_KERNELS = 10**11
"""Pairs of pictures in all subsets."""
MOST = 5000
"""Rows of each set of which a standard error is taken."""
BLOCK = 2048
"""Rows whose kernels are computed at a time."""
DEFINITION = "unbiased MMD^2 with the kernel (x.y / D + 1)^3, the mean over random subsets"

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x.y / D + 1)^3 of features [N, D] and [M, D]: float64 [N, M]."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return (x @ y.T / x.shape[1] + 1) ** 3


def energy_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """-|x - y| / sqrt(D) of features [N, D] and [M, D]: float64 [N, M].

    Its MMD^2 is the energy distance (Szekely and Rizzo, 2013). Single rows far from all others
    weigh less than with the cubic kernel: so it is the kernel for small sets.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    squares = np.sum(x**2, 1)[:, None] + np.sum(y**2, 1) - 2 * x @ y.T
    return -np.sqrt(np.maximum(squares, 0) / x.shape[1])


def mmd2(x: np.ndarray, y: np.ndarray, kernel: Kernel = cubic_kernel) -> float:
    """The unbiased MMD^2 of features x [N, D] and y [M, D].

    Raises:
        ValueError: fewer than two rows, or rows of different lengths.
    """
    _check(x, y)
    means = _means_of_others(x, kernel), _means_of_others(y, kernel), _sums(x, y, kernel) / len(y)
    return float(means[0].mean() + means[1].mean() - 2 * means[2].mean())


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
    check_subsets(subsets, size)
    size = min(size, len(x), len(y))
    if size == len(x) == len(y):  # all subsets are equal
        subsets = 1
    rng, values = np.random.default_rng(seed), []
    for _ in range(subsets):
        i, j = (rng.choice(len(rows), size, replace=False) for rows in (x, y))
        values.append(mmd2(x[i], y[j]))
    return Kid(float(np.mean(values)), float(np.std(values)), standard_error(x, y))


def check_subsets(subsets: int, size: int) -> None:
    """Raise ValueError unless there is a subset, of two rows at least."""
    if subsets < 1 or size < 2:
        raise ValueError(f"kid: subsets must be at least 1 and size 2, got {subsets} and {size}")
    kernels = {"measures.subsets": subsets, "measures.subset_size": size**2}
    bounds.work(kernels, MOST_KERNELS, "kernels")


def standard_error(x: np.ndarray, y: np.ndarray, kernel: Kernel = cubic_kernel) -> float:
    """The standard error of `mmd2` by the jackknife: each row of each set left out once.

    It takes rows as independent: edits that share a photo are not, and have a larger error. Of a
    set of more than MOST rows it takes random ones, and reduces their part of the variance by the
    share taken. For sets of equal distributions that is too large, for others about right.
    """
    _check(x, y)
    a, b = _some(x), _some(y)
    of_a, of_b = (_sums(*pair, kernel) / len(pair[1]) for pair in ((a, b), (b, a)))
    parts = (
        _jackknife(_means_of_others(a, kernel), of_a) * len(a) / len(x),
        _jackknife(_means_of_others(b, kernel), of_b) * len(b) / len(y),
    )
    return float(np.sqrt(sum(parts)))


def grouped(
    x: np.ndarray,
    y: np.ndarray,
    of_x: np.ndarray,
    of_y: np.ndarray,
    kernel: Kernel = energy_kernel,
) -> tuple[float, float]:
    """The mean over groups of `mmd2` between the rows of x and of y in a group; standard error.

    With the edits of each guide as a group it compares their laws given the guide: what differs
    between guides adds nothing to its error. The error is that of the spread over the groups where
    these are SPREAD or more, and else of the jackknife in each group, which is too large for equal
    laws. It takes groups as independent, and rows as independent in their group.

    Args:
        x, y: features [N, D] and [M, D]. of_x, of_y: the group of each row, [N] and [M].

    Raises:
        ValueError: other groups in x than in y, or in one of them fewer than two rows (of few
            groups: three).
    """
    names = np.unique(of_x)
    if not np.array_equal(names, np.unique(of_y)):
        raise ValueError(f"groups must be the same in x and y, got {names} and {np.unique(of_y)}")
    pairs = [(x[of_x == name], y[of_y == name]) for name in names]
    few = len(names) < SPREAD
    rows, least = min(len(rows) for pair in pairs for rows in pair), 3 if few else 2
    if rows < least:
        raise ValueError(f"groups must have at least {least} rows in x and in y, got {rows}")
    each = np.array([mmd2(*pair, kernel) for pair in pairs])
    variances = [standard_error(*pair, kernel) ** 2 for pair in pairs] if few else each.var(ddof=1)
    return float(each.mean()), float(np.sqrt(np.mean(variances) / len(names)))


def _jackknife(own: np.ndarray, cross: np.ndarray) -> float:
    """The part of the variance that comes from the rows of one set.

    Args:
        own: mean kernel of each row with the other rows of its set. cross: with the other set.
    """
    n = len(own)
    if n < 3:
        return float("nan")
    rows = own * (n - 1)
    without = (rows.sum() - 2 * rows) / ((n - 1) * (n - 2))
    without = without - 2 * (cross.sum() - cross) / (n - 1)
    return (n - 1) / n * np.sum((without - without.mean()) ** 2)


def _means_of_others(x: np.ndarray, kernel: Kernel) -> np.ndarray:
    """The mean kernel of each row with the other rows: [N]."""
    return _sums(x, x, kernel, own=True) / (len(x) - 1)


def _sums(x: np.ndarray, y: np.ndarray, kernel: Kernel, own: bool = False) -> np.ndarray:
    """The sum over the rows of y of their kernels with each row of x, [N], in blocks.

    Args:
        own: y is x, and kernels of a row with itself are left out.
    """
    sums = np.zeros(len(x))
    for i in range(0, len(x), BLOCK):
        for j in range(0, len(y), BLOCK):
            kernels = kernel(x[i : i + BLOCK], y[j : j + BLOCK])
            if own and i == j:
                np.fill_diagonal(kernels, 0)
            sums[i : i + BLOCK] += kernels.sum(1)
    return sums


def _some(x: np.ndarray) -> np.ndarray:
    """All rows, or MOST random ones."""
    if len(x) <= MOST:
        return x
    return x[np.sort(np.random.default_rng(0).choice(len(x), MOST, replace=False))]


def _check(x: np.ndarray, y: np.ndarray) -> None:
    shapes = np.shape(x), np.shape(y)
    if any(len(s) != 2 or s[0] < 2 for s in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"features must be [N, D] and [M, D] with N, M > 1, got {shapes}")

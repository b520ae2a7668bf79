"""KID of sets whose rows belong together: several edits of one photo, and the photo itself.

An edit is like its own photo, and like the other edits of it. Pairs of such rows make `mmd2` too
small or too large. Here the three means are over pairs of different groups alone,

    mean k(x_i, x_j) + mean k(y_i, y_j) - 2 mean k(x_i, y_j),    group of i != group of j,

so that the expectation is 0 where the rows of different groups have one distribution. The error is
that of a jackknife which leaves out each group at a time.

References:
    Gretton et al., A kernel two-sample test (2012), eq. 3; Efron and Stein (1981), the jackknife.
"""

from typing import NamedTuple

import numpy as np

from sdedit_jax.evaluation.kid import BLOCK, MOST, Kernel, cubic_kernel

DEFINITION = (
    "unbiased MMD^2 with the kernel (x.y / D + 1)^3 over all pairs of rows of different ids;"
    " standard error by leaving out each id"
)


class Distance(NamedTuple):
    """A kernel distance. error: its standard error. rows: of each set that were compared."""

    value: float
    error: float
    rows: tuple[int, int]


def between_groups(
    x: np.ndarray,
    y: np.ndarray,
    of_x: np.ndarray,
    of_y: np.ndarray,
    kernel: Kernel = cubic_kernel,
    most: int = MOST,
) -> Distance:
    """The distance of two sets over pairs of different groups.

    Args:
        x, y: features [N, D] and [M, D].
        of_x, of_y: the group of each row, whole numbers from 0, [N] and [M]; a group may have rows
            in both sets.
        most: rows of a set; of larger sets random groups are taken.

    Raises:
        ValueError: fewer than two groups in a set, or rows of different lengths.
    """
    groups = [np.unique(of) for of in (of_x, of_y)]
    if min(map(len, groups)) < 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"features must be of two groups in each set, and as long, got {x.shape} of"
            f" {len(groups[0])} and {y.shape} of {len(groups[1])} groups"
        )
    count = int(max(of_x.max(), of_y.max())) + 1
    kept = _kept(count, max(len(x), len(y)), most)
    x, of_x, y, of_y = x[kept[of_x]], of_x[kept[of_x]], y[kept[of_y]], of_y[kept[of_y]]
    own_x, own_y = (_of_set(rows, of, count, kernel) for rows, of in ((x, of_x), (y, of_y)))
    cross = _of_both(x, y, of_x, of_y, count, kernel)
    value = own_x.mean + own_y.mean - 2 * cross.mean
    without = own_x.without + own_y.without - 2 * cross.without
    in_x, in_y = (np.bincount(of, minlength=count) > 0 for of in (of_x, of_y))
    kinds = (in_x & in_y, in_x & ~in_y, in_y & ~in_x)
    return Distance(
        float(value),
        float(np.sqrt(sum(_jackknife(without[kind]) for kind in kinds))),
        (len(x), len(y)),
    )


class _Means(NamedTuple):
    """The mean kernel over pairs of different groups, and without each group, [groups]."""

    mean: float
    without: np.ndarray


def _of_set(x: np.ndarray, of: np.ndarray, count: int, kernel: Kernel) -> _Means:
    sizes = np.bincount(of, minlength=count)
    sums = np.bincount(of, _row_sums(x, x, of, of, kernel), count)
    pairs = sizes * (len(x) - sizes)
    return _means(sums.sum(), pairs.sum(), 2 * sums, 2 * pairs)


def _of_both(
    x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray, count: int, kernel: Kernel
) -> _Means:
    in_x, in_y = (np.bincount(of, minlength=count) for of in (of_x, of_y))
    rows = np.bincount(of_x, _row_sums(x, y, of_x, of_y, kernel), count)
    columns = np.bincount(of_y, _row_sums(y, x, of_y, of_x, kernel), count)
    pairs = in_x * (len(y) - in_y)
    both = pairs + in_y * (len(x) - in_x)
    return _means(rows.sum(), pairs.sum(), rows + columns, both)


def _means(total: float, pairs: int, sums: np.ndarray, fewer: np.ndarray) -> _Means:
    left = pairs - fewer
    return _Means(total / pairs, np.where(left > 0, total - sums, np.nan) / np.maximum(left, 1))


def _row_sums(
    x: np.ndarray, y: np.ndarray, of_x: np.ndarray, of_y: np.ndarray, kernel: Kernel
) -> np.ndarray:
    """The sum over the rows of y of other groups of their kernels with each row of x, in blocks."""
    sums = np.zeros(len(x))
    for i in range(0, len(x), BLOCK):
        for j in range(0, len(y), BLOCK):
            here, there = slice(i, i + BLOCK), slice(j, j + BLOCK)
            other = of_x[here, None] != of_y[None, there]
            sums[here] += np.sum(kernel(x[here], y[there]) * other, axis=1)
    return sums


def _jackknife(without: np.ndarray) -> float:
    """The variance of a statistic by its values without each group; 0 for no groups."""
    n = len(without)
    if n < 2:
        return 0.0
    return float((n - 1) / n * np.sum((without - without.mean()) ** 2))


def _kept(count: int, rows: int, most: int) -> np.ndarray:
    """Which groups are compared, bool [count]: all, or random ones where the sets are large."""
    if rows <= most:
        return np.ones(count, bool)
    chosen = np.random.default_rng(0).permutation(count)[: max(count * most // rows, 2)]
    return np.isin(np.arange(count), chosen)

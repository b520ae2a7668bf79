"""Means of float64 values, with the standard error of values that are independent in groups only.

With values v_ig of G groups, N in all, and their mean m,

    error^2 = G / (G - 1) sum_g (sum_i (v_ig - m))^2 / N^2.

With one value in each group it is the usual s^2 / N. Sums are rounded once (math.fsum), so the
order of the values, and who measured them, does not matter.

References:
    Liang and Zeger, Longitudinal data analysis using generalized linear models (1986).
"""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """A mean.

    Attributes:
        value: nan without values.
        error: its standard error; nan for fewer than two groups.
    """

    value: float
    error: float


def mean_and_error(
    values: Sequence[float] | np.ndarray, groups: Sequence[Hashable] | np.ndarray | None = None
) -> Mean:
    """The mean of all values, and its standard error over the groups.

    Args:
        values: [N]; nan: not measured, and left out.
        groups: of each value, such as the input of an edit; None: each value is independent.

    Raises:
        ValueError: other lengths.
    """
    rows = np.asarray(values, np.float64).tolist()
    names = list(range(len(rows)) if groups is None else groups)
    if len(names) != len(rows):
        raise ValueError(f"groups must be as many as the values, {len(rows)}, got {len(names)}")
    kept = [(v, name) for v, name in zip(rows, names, strict=True) if not math.isnan(v)]
    if not kept:
        return Mean(math.nan, math.nan)
    mean = math.fsum(v for v, _ in kept) / len(kept)
    return Mean(mean, _error(kept, mean))


def _error(kept: Sequence[tuple[float, Hashable]], mean: float) -> float:
    parts: dict[Hashable, list[float]] = {}
    for value, name in kept:
        parts.setdefault(name, []).append(value - mean)
    count = len(parts)
    if count < 2 or not math.isfinite(mean):
        return math.nan
    squares = math.fsum(math.fsum(part) ** 2 for part in parts.values())
    return math.sqrt(count / (count - 1) * squares) / len(kept)

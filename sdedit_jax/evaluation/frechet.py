"""Frechet distance between normal distributions fitted to two sets of features: FID.

    FID = |m_x - m_y|^2 + tr(S_x) + tr(S_y) - 2 tr((S_x S_y)^(1/2))

with means m and unbiased covariances S. With S = L L^T the last trace is the sum of the singular
values of L_x^T L_y. It has no square root of small eigenvalues, so it stays accurate where a
covariance is singular. The distance of samples is biased upward, the more the smaller the sets.

References:
    Heusel et al., GANs trained by a two time-scale update rule (1706.08500).
    Dowson and Landau, The Frechet distance between multivariate normal distributions (1982).
"""

from dataclasses import dataclass

import numpy as np

DEFINITION = (
    "Frechet distance of normal distributions fitted to the features, with unbiased covariances"
)
ROWS = 4096
"""Rows whose products are added at a time."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What a Frechet distance needs of a set of features. Moments of parts add up.

    Attributes:
        n: rows. sum: of the rows, float64 [D]. outer: sum of x x^T, float64 [D, D].
    """

    n: int
    sum: np.ndarray
    outer: np.ndarray

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.sum + other.sum, self.outer + other.outer)

    @property
    def mean(self) -> np.ndarray:
        """[D]."""
        return self.sum / self.n

    @property
    def covariance(self) -> np.ndarray:
        """The unbiased covariance [D, D]."""
        return (self.outer - self.n * np.outer(self.mean, self.mean)) / (self.n - 1)


def moments(features: np.ndarray) -> Moments:
    """The moments of features [N, D], added in blocks of ROWS rows, in their order.

    Raises:
        ValueError: other shapes, or no row.
    """
    if np.ndim(features) != 2 or not len(features):
        raise ValueError(f"features must be [N, D] with N > 0, got {np.shape(features)}")
    total = None
    for start in range(0, len(features), ROWS):
        x = np.asarray(features[start : start + ROWS], np.float64)
        part = Moments(len(x), x.sum(0), x.T @ x)
        total = part if total is None else total + part
    return total


def frechet(x: Moments | np.ndarray, y: Moments | np.ndarray) -> float:
    """The Frechet distance of two sets, given as moments or as features [N, D] and [M, D].

    Raises:
        ValueError: fewer than two rows, or rows of different lengths.
    """
    x, y = (v if isinstance(v, Moments) else moments(v) for v in (x, y))
    if min(x.n, y.n) < 2 or x.sum.shape != y.sum.shape:
        shapes = (x.n, *x.sum.shape), (y.n, *y.sum.shape)
        raise ValueError(f"features must be [N, D] and [M, D] with N, M > 1, got {shapes}")
    means = float(np.sum((x.mean - y.mean) ** 2))
    traces = np.trace(x.covariance) + np.trace(y.covariance)
    both = np.linalg.svd(_root(x.covariance).T @ _root(y.covariance), compute_uv=False)
    return max(means + float(traces - 2 * both.sum()), 0.0)


def caution(n: int, dimensions: int) -> str:
    """What to know of a distance of sets of at least n rows of D features; "": nothing."""
    if n > dimensions:
        return ""
    return (
        f"FID of {n} pictures on {dimensions} features: too few pictures to estimate a covariance,"
        " so it is biased upward; compare only sets of as many pictures, or take KID"
    )


def _root(covariance: np.ndarray) -> np.ndarray:
    """L [D, R] with L L^T = S, of rank R: eigenvalues that are rounding errors are left out."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return vectors[:, kept] * np.sqrt(values[kept])

"""Sliced Wasserstein distance between two sets of vectors.

SW_2^2 = the mean over unit directions u of W_2^2 of the projections x.u and y.u. In one dimension
W_2 pairs the sorted values. Functions of arrays alone.

References:
    Rabin et al., Wasserstein barycenter and its application to texture mixing (2011).
"""

import numpy as np


def sliced_wasserstein(
    x: np.ndarray, y: np.ndarray, *, directions: int = 64, seed: int = 0
) -> float:
    """SW_2 of two sets of as many vectors, in the units of the vectors.

    Args:
        x, y: [N, D].
        directions: random directions. seed: of the directions.

    Raises:
        ValueError: other shapes, or no direction.
    """
    if np.ndim(x) != 2 or np.shape(x) != np.shape(y) or not np.size(x):
        raise ValueError(f"x and y must both be [N, D], got {np.shape(x)} and {np.shape(y)}")
    if directions < 1:
        raise ValueError(f"directions must be at least 1, got {directions}")
    u = np.random.default_rng(seed).standard_normal((np.shape(x)[1], directions))
    u /= np.linalg.norm(u, axis=0)
    a, b = (np.sort(np.asarray(v, np.float64) @ u, axis=0) for v in (x, y))
    return float(np.sqrt(np.mean((a - b) ** 2)))

"""Colours of pixel lists [N, 3]: Oklab, and three methods of colour transfer.

Oklab (B. Ottosson, 2020) has a lightness L and two colour axes a, b that are nearly independent in
perception, so its channels can be changed one by one.
"""

import numpy as np

LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def to_oklab(rgb: np.ndarray) -> np.ndarray:
    """uint8 sRGB [..., 3] to Oklab float64 [..., 3]; L in [0, 1]."""
    u = np.asarray(rgb) / 255.0
    linear = np.where(u <= 0.04045, u / 12.92, ((u + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ LMS.T) @ LAB.T


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """Oklab [..., 3] to the nearest uint8 sRGB; colours that sRGB lacks are clipped."""
    linear = (lab @ np.linalg.inv(LAB).T) ** 3 @ np.linalg.inv(LMS).T
    linear = np.clip(linear, 0, 1)
    u = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.clip(np.rint(255 * u), 0, 255).astype(np.uint8)


def match_statistics(pixels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """uint8 [N, 3] with the mean and standard deviation of uint8 [M, 3] in each Oklab channel."""
    lab, goal = to_oklab(pixels), to_oklab(reference)
    spread = lab.std(axis=0)
    factor = goal.std(axis=0) / np.where(spread > 1e-6, spread, 1)
    return from_oklab((lab - lab.mean(axis=0)) * factor + goal.mean(axis=0))


def match_histogram(pixels: np.ndarray, reference: np.ndarray, steps: int = 24) -> np.ndarray:
    """uint8 [N, 3] with the colour histogram of uint8 [M, 3] (Pitie et al. 2007, in Oklab).

    Each step rotates the colour axes and matches the distribution along each axis. Equal colours
    stay equal. The rotations are fixed; the first one is the identity.
    """
    colors, index, weight = _distinct(pixels)
    known, _, known_weight = _distinct(reference)
    lab, goal = to_oklab(colors), to_oklab(known)
    for axes in _rotations(steps):
        new = lab @ axes
        for i, wanted in enumerate((goal @ axes).T):
            new[:, i] = _match_distribution(new[:, i], weight, wanted, known_weight)
        lab = new @ axes.T
    return from_oklab(lab)[index]


def _distinct(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct colours [K, 3], each pixel's index [N] in them, their counts [K]."""
    code = pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    code, index, counts = np.unique(code, return_inverse=True, return_counts=True)
    return np.stack([code >> 16, code >> 8 & 255, code & 255], axis=-1), index, counts


def _rotations(steps: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    drawn = [np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(steps - 1)]
    return [np.eye(3), *drawn]


def _match_distribution(
    values: np.ndarray, weight: np.ndarray, goal: np.ndarray, goal_weight: np.ndarray
) -> np.ndarray:
    """Map weighted 1-D values monotonically to the distribution of the weighted values `goal`.

    A value that covers the quantiles p to q maps to the mean of the goal's quantile function over p
    to q, so large plain areas stay plain.
    """
    order, goal_order = np.argsort(values, kind="stable"), np.argsort(goal, kind="stable")
    share = weight[order] / weight.sum()
    goal_share = goal_weight[goal_order] / goal_weight.sum()
    integral = _sums(goal_share * goal[goal_order])
    at = np.interp(_sums(share), _sums(goal_share), integral)
    new = np.empty_like(values)
    new[order] = np.diff(at) / share
    return new


def _sums(a: np.ndarray) -> np.ndarray:
    """Cumulative sums, starting with 0."""
    return np.concatenate([[0.0], np.cumsum(a)])


def match_palette(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """uint8 [N, 3] in the colours of a palette, uint8 [K, 3], from dark to light.

    The pixels' lightness is split into K clusters. Each cluster gets the palette colour of its rank
    and keeps its shading, the deviation from the cluster's mean lightness.
    """
    lab, colors = to_oklab(pixels), to_oklab(palette)
    colors = colors[np.argsort(colors[:, 0], kind="stable")]
    centres = clusters(lab[:, 0], len(colors))
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, lab[:, 0])
    new = colors[nearest]
    new[:, 0] += lab[:, 0] - centres[nearest]
    return from_oklab(new)


def clusters(values: np.ndarray, count: int, steps: int = 50) -> np.ndarray:
    """Sorted centres of `count` clusters of 1-D values: k-means from evenly spaced quantiles."""
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(steps):
        group = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
        size = np.bincount(group, minlength=count)
        sums = np.bincount(group, values, minlength=count)
        new = np.where(size > 0, sums / np.maximum(size, 1), centres)
        if np.array_equal(new, centres):
            break
        centres = new
    return centres

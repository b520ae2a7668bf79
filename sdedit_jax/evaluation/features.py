"""Features of pictures for distances between sets: by hand, or of a prior's own network.

A feature set is named by what it is; numbers on different sets cannot be compared.

    colour_8x8         mean colours of 8 x 8 cells
    gradients_8x8      histograms of the gradient's direction in 8 x 8 cells
    network            mean and spread of the activations on the way down in a prior's network

Not here: networks trained for recognition (Inception), which the project does not ship.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.sde import SDE, perturb
from sdedit_jax.diffusion.strength import t_from_sigma
from sdedit_jax.priors.adapters import PredictFn

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
DIRECTIONS = 8


def colour_8x8(images: np.ndarray, cells: int = 8) -> np.ndarray:
    """Mean colours of cells x cells squares.

    Args:
        images: float32 [B, H, W, 3] in [-1, 1], H and W multiples of `cells`.

    Returns:
        float32 [B, cells^2 3].
    """
    return _pooled(np.asarray(images, np.float32), cells).reshape(len(images), -1)


def gradients_8x8(images: np.ndarray, cells: int = 8) -> np.ndarray:
    """How strong the edges of each direction are in cells x cells squares.

    The gradient of the luminance by central differences (one-sided at the border); its length is
    shared between the two nearest of 8 directions of a line (0 to 180 degrees), and the square root
    of the mean length is taken, which keeps single sharp edges from deciding.

    Args:
        images: float32 [B, H, W, 3] in [-1, 1], H and W multiples of `cells`.

    Returns:
        float32 [B, cells^2 8].
    """
    grey = np.asarray(images, np.float32) @ LUMINANCE
    down, right = np.gradient(grey, axis=(1, 2))
    place = np.arctan2(down, right) % np.pi / np.pi * DIRECTIONS
    ways = np.arange(DIRECTIONS, dtype=np.float32)
    apart = np.abs(place[..., None] - ways)
    share = np.maximum(1 - np.minimum(apart, DIRECTIONS - apart), 0)
    lengths = np.hypot(down, right)[..., None] * share
    return np.sqrt(_pooled(lengths, cells)).reshape(len(images), -1)


HAND_MADE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "colour_8x8": colour_8x8,
    "gradients_8x8": gradients_8x8,
}
"""The feature sets that need no network, by name."""


def hand_made(images: np.ndarray) -> np.ndarray:
    """All sets of HAND_MADE beside each other: float32 [B, H, W, 3] in [-1, 1] -> [B, D]."""
    return np.concatenate([make(images) for make in HAND_MADE.values()], axis=1)


def pixel_statistics(images: np.ndarray) -> np.ndarray:
    """Mean and spread of the colours, and the fine detail at four scales.

    The detail of a scale is the root mean square of what a mean over 2 x 2 pixels takes away; each
    scale has half the size of the last one.

    Args:
        images: float32 [B, H, W, C] in [-1, 1], H and W multiples of 16.

    Returns:
        float32 [B, 2 C + 4].
    """
    x = np.asarray(images, np.float32)
    found = [x.mean((1, 2)), x.std((1, 2))]
    for _ in range(4):
        half = _pooled(x, x.shape[1] // 2, x.shape[2] // 2)
        away = x - half.repeat(2, 1).repeat(2, 2)
        found.append(np.sqrt(np.mean(away**2, axis=(1, 2, 3)))[:, None])
        x = half
    return np.concatenate(found, axis=1)


def standardised(features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Features [N, D] in units of the reference's [M, D] mean and standard deviation.

    With the same reference for both sets of a distance its size does not depend on the features'.
    What is constant in the reference is left out.

    Raises:
        ValueError: everything is, as where all its pictures are equal.
    """
    mean, std = reference.mean(0), reference.std(0)
    kept = std > 1e-6 * np.maximum(np.abs(mean), max(float(std.max()), 1e-12))
    if not kept.any():
        raise ValueError("features: the pictures of the reference have no differences; give others")
    return (features[:, kept] - mean[kept]) / std[kept]


def network_features(
    statistics: Callable[..., Array],
    adapter: Callable[..., PredictFn],
    process: SDE,
    params: Any,
    images: Array,
    *,
    ratio: float = 0.3,
    seed: int = 0,
    chunk: int = 16,
) -> Array:
    """Mean and standard deviation over the pixels of the activations in a prior's network.

    Pictures are noised as the network is used to, all with the same noise: so the features of a
    picture do not depend on the other pictures.

    Args:
        statistics: of the network: (params, x [1, H, W, C], label [1], y=None) -> [1, D].
        adapter: of the prior: (net, process) -> predict; it brings x and label to the network's
            convention.
        process: of the prior.
        params: of the network.
        images: float32 [B, H, W, C] in [-1, 1].
        ratio: sigma / alpha of the noise.
        seed: of the noise.
        chunk: pictures at once.

    Returns:
        float32 [B, D].
    """
    t = t_from_sigma(process, jnp.float32(ratio))
    z = jax.random.normal(jax.random.key(seed), images.shape[1:], images.dtype)

    def one(image: Array) -> Array:
        noted = []

        def net(params: Any, x: Array, label: Array, *, y: Any = None, key: Any = None) -> Array:
            noted.append(statistics(params, x, label, y=y))
            return jnp.zeros_like(x)

        adapter(net, process)(params, perturb(process, image, t, z), t)
        return noted[0][0]

    return jax.lax.map(one, images, batch_size=chunk)


def _pooled(values: np.ndarray, rows: int, columns: int = 0) -> np.ndarray:
    """Means over rows x columns cells, as many columns as rows by default: -> [B, rows, .., C]."""
    b, h, w, c = values.shape
    columns = columns or rows
    if h % rows or w % columns:
        raise ValueError(f"pictures must be multiples of {rows} x {columns} pixels, got {h} x {w}")
    return values.reshape(b, rows, h // rows, columns, w // columns, c).mean((2, 4))

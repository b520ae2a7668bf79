"""Filling the hole of a picture from its surroundings."""

import hashlib

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common

WORK = 20_000_000  # most pixel updates of a harmonic fill


def filled(photo: np.ndarray, mask: np.ndarray, rule: str) -> np.ndarray:
    """The photo with its hole filled from the pixels that are fully kept.

    Args:
        photo: uint8 [H, W, 3].
        mask: [H, W] in [0, 1]; the hole is where it is above 0.
        rule: "smooth", "mean", or "noise": the mean, to which `add_noise` adds noise after fitting.

    Raises:
        ValueError: the mask keeps no pixel.
    """
    if not (mask == 0).any():
        raise ValueError(
            f"the mask covers the whole picture, and fill {rule!r} needs kept pixels; give"
            " --config.options.fill=original, or a mask with black"
        )
    fill = fill_smooth if rule == "smooth" else fill_mean
    return fill(photo, mask > 0)


def add_noise(ready: common.TaskInput) -> common.TaskInput:
    """Noise with the kept pixels' mean and standard deviation, drawn from the input's id.

    It is made at the size of the edit, because fitting would average it away.
    """
    kept = ready.kept[ready.mask == 0] if (ready.mask == 0).any() else ready.kept.reshape(-1, 3)
    seed = int.from_bytes(hashlib.sha256(ready.id.encode()).digest()[:8])
    z = np.random.default_rng(seed).standard_normal(ready.fitted.shape)
    noise = np.clip(np.rint(kept.mean(0) + kept.std(0) * z), 0, 255).astype(np.uint8)
    return common.with_guide(ready, noise)._replace(detail=None)


def fill_mean(photo: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill the hole with the mean colour of the kept ring around it.

    Args:
        photo: uint8 [H, W, 3].
        hole: bool [H, W]; some pixels must be kept.

    Returns:
        uint8 [H, W, 3]; kept pixels are unchanged.
    """
    width = max(1, min(hole.shape) // 32)
    ring = images.grow(hole, width) & ~hole
    color = photo[ring].mean(axis=0)
    return np.where(hole[..., None], np.rint(color), photo).astype(np.uint8)


def fill_smooth(photo: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Fill the hole with the harmonic function of its rim: each pixel is its neighbours' mean.

    Conjugate gradients start from a coarse-to-fine guess. Large holes stop at a fixed cost.

    Args:
        photo: uint8 [H, W, 3].
        hole: bool [H, W]; some pixels must be kept.

    Returns:
        uint8 [H, W, 3]; kept pixels are unchanged.
    """
    box = _around(hole)
    values = photo[box].astype(np.float32)
    inside = hole[box][..., None].astype(np.float32)
    start = _pull_push(values, 1 - inside)
    steps = min(1000, WORK // inside.size)
    filled = _harmonic(start, inside, steps)
    out = photo.copy()
    out[box] = np.where(inside > 0, np.clip(np.rint(filled), 0, 255), values)
    return out


def _around(hole: np.ndarray) -> tuple[slice, slice]:
    """The hole's bounding box, one pixel wider on each side."""
    spans = [np.flatnonzero(hole.any(axis=axis)) for axis in (1, 0)]
    return tuple(slice(max(span[0] - 1, 0), span[-1] + 2) for span in spans)


def _pull_push(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Fill [H, W, C] where weight [H, W, 1] is 0, from successively coarser averages."""
    if weight.all() or max(values.shape[:2]) == 1:
        return values
    total = _halved(weight)
    coarse = _pull_push(_halved(values * weight) / np.maximum(total, 1), np.minimum(total, 1))
    fine = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)
    return np.where(weight > 0, values, fine[: values.shape[0], : values.shape[1]])


def _halved(a: np.ndarray) -> np.ndarray:
    """Sums over blocks of 2 x 2 pixels, with 0 beyond the border."""
    a = np.pad(a, [(0, a.shape[0] % 2), (0, a.shape[1] % 2), (0, 0)])
    return a[::2, ::2] + a[1::2, ::2] + a[::2, 1::2] + a[1::2, 1::2]


def _harmonic(u: np.ndarray, inside: np.ndarray, steps: int) -> np.ndarray:
    """Solve laplacian(u) = 0 where inside [H, W, 1] is 1; the rest of u [H, W, C] is fixed."""
    residual = -inside * _laplacian(u)
    direction = residual
    norm = _dot(residual, residual)
    for _ in range(steps):
        if norm.max() < 1e-6 * inside.sum():
            break
        image = inside * _laplacian(direction)
        length = norm / np.maximum(_dot(direction, image), 1e-20)
        u = u + length * direction
        residual = residual - length * image
        norm, before = _dot(residual, residual), norm
        direction = residual + norm / np.maximum(before, 1e-20) * direction
    return u


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("hwc,hwc->c", a, b)


def _laplacian(u: np.ndarray) -> np.ndarray:
    """degree * u - (sum of the neighbours inside the picture)."""
    out = np.zeros_like(u)
    down, right = np.diff(u, axis=0), np.diff(u, axis=1)
    out[:-1] -= down
    out[1:] += down
    out[:, :-1] -= right
    out[:, 1:] += right
    return out

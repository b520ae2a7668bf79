"""The rule of the self-tests: pictures and texts, and what is stored of the outputs on them.

The pictures come from whole numbers alone: they are the same in every program, version and machine.
Discs of many sizes cover each other (the "dead leaves" model, whose edges and spectrum resemble
those of photos) under a texture of several scales, slightly blurred. This file needs numpy alone:
programs without jax can load it by its path.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

RULE = "leaves-1"
"""Name of the rule; another rule gets another name."""
SIDE = 299
TEXTS = ("a photo of a cat", "two red apples on a wooden table", "the sky")
"""The texts of CLIP's self-test."""
ENDING = ".selftest.json"
"""NAME.selftest.json stands beside the weights NAME, a file or a folder."""
FIRST = 16
"""How many values of each row are stored."""

RADII = (96, 64, 44, 30, 20, 13, 8)
LEAVES = 210
GRAINS = (64, 32, 16, 8, 4)
"""Cell sizes of the texture in pixels."""


def pictures(count: int = 4, side: int = SIDE) -> np.ndarray:
    """The first pictures of the rule: uint8 [count, side, side, 3]."""
    return np.stack([_picture(k, side) for k in range(count)])


def summary(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What is stored of outputs [B, ...]: the shape, and of each row its norm and first values."""
    return {name: _stored(np.asarray(a, np.float64)) for name, a in outputs.items()}


def _stored(a: np.ndarray) -> dict[str, Any]:
    rows = a.reshape(len(a), -1)
    norms = np.linalg.norm(rows, axis=1)
    return {"shape": list(a.shape), "norms": norms.tolist(), "first": rows[:, :FIRST].tolist()}


def _picture(k: int, side: int) -> np.ndarray:
    canvas = np.full((side, side, 3), 128, np.int64)
    draws = _bytes(np.arange(LEAVES * 8, dtype=np.uint64) + np.uint64(k << 32)).reshape(-1, 8)
    for i, draw in enumerate(draws):  # large ones first, which the small ones cover
        size = i * len(RADII) // LEAVES + int(draw[0]) % 2
        _paint(canvas, draw, RADII[min(size, len(RADII) - 1)])
    sharp = np.clip(canvas + _texture(k, side)[..., None], 0, 255)
    return _blurred(_blurred(sharp)).astype(np.uint8)


def _blurred(x: np.ndarray) -> np.ndarray:
    """Weights 1, 2, 1 along both axes; the border is repeated."""
    for axis in (0, 1):
        last = [x.take([0], axis), x, x.take([-1], axis)]
        wide, n = np.concatenate(last, axis), x.shape[axis]
        parts = [wide.take(range(i, i + n), axis) for i in range(3)]
        x = (parts[0] + 2 * parts[1] + parts[2]) // 4
    return x


def _paint(canvas: np.ndarray, draw: np.ndarray, radius: int) -> None:
    """One disc; its place and colour come from the numbers 0 to 255 in `draw`."""
    side = len(canvas)
    y, x = ((draw[1:3] * 256 + draw[3:5]) * side) >> 16
    places = np.arange(side)
    inside = (places - y)[:, None] ** 2 + (places - x)[None] ** 2 < radius**2
    tint = np.stack([draw[6] - 128, -(draw[6] + draw[7]) // 2 + 128, draw[7] - 128]) // 3
    canvas[inside] = np.clip(draw[5] + tint, 0, 255)


def _texture(k: int, side: int) -> np.ndarray:
    """Noise of all scales, int64 [side, side] about 0."""
    return np.sum([_grain(k, grain, side) for grain in GRAINS], axis=0) // 20


def _grain(k: int, cell: int, side: int) -> np.ndarray:
    """Bilinear noise on cells of one size, int64 [side, side] from -128 to 127."""
    places = np.arange(side)
    first, share = places // cell, places % cell
    rows, columns = np.meshgrid(np.arange(side // cell + 2), np.arange(side // cell + 2))
    ids = (((k + 1) * 64 + cell) << 40) + rows * 65536 + columns
    nodes = _bytes(ids.astype(np.uint64)) - 128
    along = nodes[first] * (cell - share)[:, None] + nodes[first + 1] * share[:, None]
    return (along[:, first] * (cell - share) + along[:, first + 1] * share) // cell**2


def _bytes(ids: np.ndarray) -> np.ndarray:
    """A number from 0 to 255 for each id, by two rounds of a multiplicative hash; int64."""
    x = (ids + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    for _ in range(2):
        x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return (x >> np.uint64(56)).astype(np.int64)

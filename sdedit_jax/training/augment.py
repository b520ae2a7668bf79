"""Random augmentation of training pictures, drawn per picture and applied per batch.

Resampling is separable: two small matrices per picture, so that a batch is two matrix products.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.images.pixels import to_unit
from sdedit_jax.training.retake import View, relight, retake


class Augment(NamedTuple):
    """Random changes of a training picture; the defaults suit an object on a plain background.

    Attributes:
        flip: mirror left-right with probability 1/2.
        shift: whole pixels, uniform in -shift .. shift in both directions.
        scale: bounds of a factor, uniform in the logarithm.
        often: the probability of scaling; other pictures are not resampled.
        fill: the values outside of a picture: "border", the median colour of its border, or "edge",
            the nearest pixel. With `turn` or `side` the picture is mirrored instead.
        turn: degrees; the angle is uniform in -turn .. turn.
        turn_often: the probability of turning.
        side: of the results; 0: that of the inputs.
        brightness: the factor is uniform in the logarithm, within exp(-+ brightness).
        hue: degrees; the hue is rotated by a uniform angle in -hue .. hue.
    """

    flip: bool = True
    shift: int = 4
    scale: tuple[float, float] = (0.85, 1.1)
    often: float = 0.5
    fill: str = "border"
    turn: float = 0.0
    turn_often: float = 1.0
    side: int = 0
    brightness: float = 0.0
    hue: float = 0.0

    @property
    def views(self) -> bool:
        """Whether pictures are resampled from larger ones (retake.py) instead of warped."""
        return bool(self.turn or self.side)


def draw(augment: Augment, rng: np.random.Generator) -> tuple[bool, int, int, float]:
    """One picture's (flip, shift down, shift right, scale)."""
    low, high = np.log(augment.scale)
    flip, often, place = rng.random(3)
    moves = rng.integers(-augment.shift, augment.shift, 2, endpoint=True)
    scale = np.exp(low + place * (high - low)) if often < augment.often else 1.0
    return augment.flip and flip < 0.5, moves[0], moves[1], scale


def draw_more(augment: Augment, rng: np.random.Generator) -> tuple[float, float, float]:
    """One picture's (angle, brightness, hue)."""
    angle, light, hue = rng.uniform(-1, 1, 3)
    turn = augment.turn if rng.random() < augment.turn_often else 0.0
    return turn * angle, np.exp(augment.brightness * light), augment.hue * hue


def warp(
    images: np.ndarray, flip: np.ndarray, shift: np.ndarray, scale: np.ndarray, fill: str = "border"
) -> np.ndarray:
    """Mirror, scale about the middle and move pictures, by Keys' cubic along each axis.

    A whole shift at scale 1 moves pixels exactly.

    Args:
        images: uint8 [B, H, W, C].
        flip: bool [B], left-right.
        shift: pixels down and right [B, 2].
        scale: factors > 0 [B].
        fill: see Augment.

    Returns:
        float32 [B, H, W, C] in [-1, 1].
    """
    if fill not in ("border", "edge"):
        raise ValueError(f"augment.fill must be 'border' or 'edge', got {fill!r}")
    ground = _border(images) if fill == "border" else np.zeros((), np.float32)
    planes = np.moveaxis(to_unit(images) - ground, 3, 1)
    height, width = images.shape[1:3]
    down = _axis(height, shift[:, 0], scale, np.zeros_like(flip), fill)
    right = _axis(width, shift[:, 1], scale, flip, fill)
    moved = down[:, None] @ np.ascontiguousarray(planes) @ right.transpose(0, 2, 1)[:, None]
    return np.clip(np.moveaxis(moved, 1, 3) + ground, -1, 1).astype(np.float32, order="C")


def stack(elements: Sequence[dict[str, Any]], augment: Augment | None) -> dict[str, np.ndarray]:
    """Elements {"image": uint8 [H, W, C], "draw", "label"} as a batch, float32 in [-1, 1].

    Latents, which are float32, are not changed.
    """
    images = np.stack([element["image"] for element in elements])
    if augment is None:
        batch = {"image": images if images.dtype == np.float32 else to_unit(images)}
    else:
        batch = {"image": change(images, np.asarray([e["draw"] for e in elements]), augment)}
    if "label" in elements[0]:
        batch["label"] = np.asarray([element["label"] for element in elements], np.int32)
    return batch


def change(images: np.ndarray, drawn: np.ndarray, augment: Augment) -> np.ndarray:
    """Pictures uint8 [B, H, W, C] with the changes [B, 7] of `draw` and `draw_more`: float32."""
    flip, down, right, scale, angle, brightness, hue = np.asarray(drawn, np.float32).T
    if augment.views:
        views = [
            View(f > 0, *rest) for f, *rest in zip(flip, angle, scale, down, right, strict=True)
        ]
        side = augment.side or images.shape[1]
        images = to_unit(
            np.stack([retake(i, view, side) for i, view in zip(images, views, strict=True)])
        )
    else:
        images = warp(images, flip > 0, np.stack([down, right], 1), scale, augment.fill)
    if augment.brightness or augment.hue:
        images = relight(images, brightness, hue)
    return images


def _axis(n: int, shift: np.ndarray, scale: np.ndarray, flip: np.ndarray, fill: str) -> np.ndarray:
    """Resampling matrices [B, n out, n in] along one axis."""
    middle = np.float32((n - 1) / 2)
    place = (np.arange(n, dtype=np.float32) - middle - shift[:, None]) / scale[:, None]
    place = middle + np.where(flip[:, None], -place, place)
    if fill == "edge":
        place = np.clip(place, 0, n - 1)
    d = np.abs(place[:, :, None] - np.arange(n, dtype=np.float32))
    near, far = (1.5 * d - 2.5) * d * d + 1, ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0)).astype(np.float32)


def _border(images: np.ndarray) -> np.ndarray:
    """The median colour of each picture's border, float32 [B, 1, 1, C] in [-1, 1]."""
    sides = (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1])
    return to_unit(np.median(np.concatenate(sides, 1), 1)[:, None, None])

"""Views of a picture: rotated, scaled and moved, with another brightness and hue.

Rotation takes pictures that are larger than the network's and reduces them afterwards.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], np.float32
)
"""RGB -> luminance and two chrominances that are 0 for grey."""


class View(NamedTuple):
    """A view of a picture.

    Attributes:
        flip: mirrored left-right, before all other changes.
        angle: degrees, counter-clockwise about the middle.
        scale: factor > 0 about the middle.
        down, right: pixels of the result.
    """

    flip: bool = False
    angle: float = 0.0
    scale: float = 1.0
    down: float = 0.0
    right: float = 0.0


def retake(picture: np.ndarray, view: View, side: int) -> np.ndarray:
    """Rotate, scale and move a square picture, mirrored at its border, then reduce it.

    Args:
        picture: uint8 [S, S, C], S >= side.
        view: the changes.
        side: of the result.

    Returns:
        uint8 [side, side, C]; Keys' cubic for the rotation, Lanczos for the reduction.
    """
    size, channels = picture.shape[0], picture.shape[-1]
    if picture.shape[:2] != (size, size) or size < side:
        raise ValueError(
            f"a view of side {side} needs a square of that or more, got {picture.shape}"
        )
    picture = np.broadcast_to(picture, (size, size, 3))  # as Pillow needs it
    picture = picture[:, ::-1] if view.flip else picture
    if view[1:] != View()[1:]:
        picture = _turned(picture, view, size / side)
    image = Image.fromarray(np.ascontiguousarray(picture))
    small = image.resize((side, side), Image.Resampling.LANCZOS) if side < size else image
    return np.asarray(small)[..., :channels]


def _turned(picture: np.ndarray, view: View, step: float) -> np.ndarray:
    """The rotated picture at its own size; `step` of its pixels are one pixel of the view."""
    size, turn = picture.shape[0], np.deg2rad(view.angle)
    margin = min(size, int(np.ceil(size * (0.71 / view.scale - 0.5) + step * 2 + 2)))
    wide = np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), "symmetric")
    cos, sin = np.cos(turn) / view.scale, np.sin(turn) / view.scale
    across, along = size / 2 + step * view.right, size / 2 + step * view.down
    middle = size / 2 + margin
    rows = (
        *(cos, -sin, middle - cos * across + sin * along),
        *(sin, cos, middle - sin * across - cos * along),
    )
    image = Image.fromarray(wide)
    turned = image.transform(
        (size, size), Image.Transform.AFFINE, rows, Image.Resampling.BICUBIC, fillcolor=None
    )
    return np.asarray(turned)


def relight(images: np.ndarray, brightness: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """Change brightness and hue; greys stay grey, and a rotation of the hue keeps the luminance.

    Args:
        images: float32 [B, H, W, C] in [-1, 1], C 1 (grey) or 3.
        brightness: factors [B] of the values in [0, 1].
        hue: degrees [B] by which the chrominance plane of YIQ is rotated.

    Returns:
        float32 [B, H, W, C] in [-1, 1]; values outside are clipped.
    """
    a = np.deg2rad(hue)
    turn = np.zeros((len(a), 3, 3))
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = np.cos(a)
    turn[:, 2, 1] = np.sin(a)
    turn[:, 1, 2] = -turn[:, 2, 1]
    matrix = brightness[:, None, None] * (np.linalg.inv(YIQ) @ turn @ YIQ)
    rgb = np.broadcast_to(images, (*images.shape[:-1], 3))
    flat = (rgb + 1).reshape(len(a), -1, 3) @ matrix.astype(np.float32).transpose(0, 2, 1)
    return np.clip(flat - 1, -1, 1).reshape(rgb.shape)[..., : images.shape[-1]]

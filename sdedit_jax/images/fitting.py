"""Bringing a picture of any size to the prior's square, and the edit back into the picture.

Three rules. `crop` shows the largest centred square; `pad` shows all and fills the margin;
`stretch` shows all and changes the proportions. Each is one rectangle of the input (window) that
is resized to one rectangle of the square (target); both have whole pixels, so the same placement
serves pictures and masks.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax.images.pixels import paste

FITS = ("crop", "pad", "stretch")
Box = tuple[int, int, int, int]


class Placement(NamedTuple):
    """How a picture was fitted; boxes are (top, left, height, width).

    source: (height, width) of the input. window: the part of the input that is shown.
    target: where it is shown in the size x size square.
    """

    how: str
    size: int
    source: tuple[int, int]
    window: Box
    target: Box

    @property
    def scale(self) -> float:
        """Input pixels for one pixel of the square (the larger of the two directions)."""
        return max(self.window[2] / self.target[2], self.window[3] / self.target[3])


def place(source: tuple[int, int], size: int, how: str) -> Placement:
    """The placement of a picture of (height, width) `source` in a square of `size` pixels."""
    if how not in FITS:
        raise ValueError(f"fit must be one of {list(FITS)}, got {how!r}")
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    height, width = source
    window, target = (0, 0, height, width), (0, 0, size, size)
    if how == "crop":
        side = min(source)
        window = ((height - side) // 2, (width - side) // 2, side, side)
    if how == "pad":
        h, w = (max(1, round(size * length / max(source))) for length in source)
        target = ((size - h) // 2, (size - w) // 2, h, w)
    return Placement(how, size, (height, width), window, target)


def fit(
    rgb: np.ndarray, size: int, how: str = "crop", background: tuple[int, int, int] | None = None
) -> tuple[np.ndarray, Placement]:
    """Fit uint8 [H, W, 3] to uint8 [size, size, 3]; a picture of that size stays as it is.

    Args:
        rgb: the picture.
        size: the prior's side in pixels.
        how: "crop", "pad" or "stretch".
        background: colour of the margin of "pad"; None repeats the picture's edge.
    """
    placement = place(rgb.shape[:2], size, how)
    return fit_rgb(rgb, placement, background), placement


def fit_rgb(
    rgb: np.ndarray, placement: Placement, background: tuple[int, int, int] | None = None
) -> np.ndarray:
    """A picture of the input's size by a known placement: uint8 [size, size, 3] (Lanczos)."""
    _check_source(rgb, placement)
    shown = _resize(_cut(rgb, placement.window), placement.target[2:])
    if background is None:
        return np.pad(shown, (*_margins(placement), (0, 0)), "edge")
    out = np.empty((placement.size, placement.size, 3), np.uint8)
    out[:] = background
    _cut(out, placement.target)[:] = shown
    return out


def fit_mask(mask: np.ndarray, placement: Placement, told: str = "mask") -> np.ndarray:
    """A mask [H, W] in [0, 1] by the picture's placement: float32 [size, size].

    Shrinking averages over boxes (so edges become fractions), enlarging repeats pixels; values
    stay exactly 0 or 1 where the whole box is. The margin of "pad" repeats the mask's edge.

    Args:
        told: how an error names the mask.

    Raises:
        ValueError: the mask is not black, and what is left of it is.
    """
    _check_source(mask, placement)
    top, left, height, width = placement.window
    image = Image.fromarray(np.ascontiguousarray(_cut(mask, (top, left, height, width)), "float32"))
    shown = np.asarray(image.resize(placement.target[3:1:-1], Image.Resampling.BOX))
    shown = np.where(shown < 1e-5, 0, np.where(shown > 1 - 1e-5, 1, shown))
    if mask.any() and not shown.any():
        raise ValueError(
            f"{told}: fit {placement.how!r} leaves nothing of it at {placement.size} pixels"
        )
    return np.pad(shown, _margins(placement), "edge").astype(np.float32)


def unfit(
    result: np.ndarray,
    original: np.ndarray,
    mask: np.ndarray,
    placement: Placement,
    feather: int = 0,
) -> np.ndarray:
    """Bring an edit back to the input's size and paste it into the input.

    Outside the mask, and outside the part that the fit showed, the pixels are the input's bit
    for bit.

    Args:
        result: uint8 [size, size, 3].
        original: the input, uint8 [H, W, 3].
        mask: [H, W] in [0, 1] at the input's size.
        placement: from `fit`.
        feather: width of the ramp inside the mask, in pixels of the input.
    """
    _check_source(original, placement)
    edited = original.copy()
    shown = _cut(result, placement.target)
    _cut(edited, placement.window)[:] = _resize(shown, placement.window[2:])
    return paste(edited, original, mask, feather)


def _cut(array: np.ndarray, box: Box) -> np.ndarray:
    top, left, height, width = box
    return array[top : top + height, left : left + width]


def _margins(placement: Placement) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, height, width = placement.target
    return (top, placement.size - top - height), (left, placement.size - left - width)


def _resize(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(np.ascontiguousarray(rgb))
    # a gap of 3 first reduces huge pictures by whole factors; the result looks the same
    small = image.resize(size[::-1], Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(small)


def _check_source(array: np.ndarray, placement: Placement) -> None:
    if array.shape[:2] != placement.source:
        raise ValueError(f"placement is for {placement.source}, got an array {array.shape}")

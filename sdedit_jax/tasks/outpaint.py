"""Outpainting: the canvas grows beyond the picture, and the new border is painted."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.files import picture_file
from sdedit_jax.tasks import common
from sdedit_jax.tasks.fill import add_noise, filled

FILLS = ("smooth", "mean", "noise", "edge")
SIDES = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Options(common.Options):
    """How far the canvas grows, and how its border is filled before the edit.

    Attributes:
        left, right, top, bottom: width of the border on each side, in pixels of the input.
        fill: "smooth" (harmonic, from the picture's edge), "mean" of the pixels along the edge,
            "noise" with the picture's mean and standard deviation (drawn from the input's id), or
            "edge" (each pixel repeats the nearest one of the picture).
        overlap: pixels of the input beside the border that may change too.
    """

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0
    fill: str = "smooth"
    overlap: int = 0


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The photo `path` on its larger canvas; the mask is the border, and `overlap` beside it.

    A strength map has the size of the canvas.
    `original` of the result is the canvas with its filled border, at the input's own resolution.

    Raises:
        ValueError: no border, a negative number, an overlap that keeps nothing, a canvas that is
            too large, or a fit that would cut off a part of the border.
    """
    chosen = common.read_options(Options, options)
    photo = common.read_photo(path, chosen, _margins(chosen))
    return outpainted(path, photo, chosen, size, fit)


def outpainted(
    path: str, photo: common.Photo, chosen: Options, size: common.Size, fit: str
) -> common.TaskInput:
    """The input of a photo that is read; see `make`."""
    _check(chosen)
    _check_canvas(photo.size, chosen)
    mask, border = _mask(photo.size, chosen, chosen.overlap), _mask(photo.size, chosen)
    canvas = np.pad(photo.rgb, (*_margins(chosen), (0, 0)), "edge")
    if chosen.fill != "edge":
        canvas = filled(canvas, border, chosen.fill)
    photo = photo._replace(rgb=canvas, source=_padded(photo.source, canvas, border > 0, chosen))
    placement = common.place(path, photo, size, fit, mask)
    _check_window(placement, border)
    ready = common.assemble(path, canvas, mask, photo, placement)
    return add_noise(ready) if chosen.fill == "noise" else ready


def _padded(
    source: images.Picture, canvas: np.ndarray, border: np.ndarray, chosen: Options
) -> images.Picture:
    """The picture as read on its larger canvas: the border, bool [H, W], is filled and opaque."""
    margins = _margins(chosen)
    inside = np.pad(source.rgb, (*margins, (0, 0)))
    rgb = np.where(border[..., None], canvas, inside)
    alpha = source.alpha
    if alpha is not None:
        alpha = np.pad(alpha, margins, constant_values=255)
    return source._replace(rgb=rgb, alpha=alpha)


def _mask(size: common.Size, chosen: Options, overlap: int = 0) -> np.ndarray:
    """1 in the border and within `overlap` pixels of it, else 0: float32, as large as the canvas.

    Args:
        size: (height, width) of the picture.

    Raises:
        ValueError: no pixel is 0.
    """
    mask = np.ones(_canvas(size, chosen), np.float32)
    mask[tuple(map(_span, size, _margins(chosen), (overlap, overlap)))] = 0
    if not (mask == 0).any():
        raise ValueError(
            f"task option overlap must leave some of the picture's {images.size_text(size)} pixels"
            f" (height x width), got {overlap}"
        )
    return mask


def _span(length: int, margin: tuple[int, int], overlap: int) -> slice:
    """The kept pixels of one axis of the canvas."""
    before, after = margin
    start = before + (overlap if before else 0)
    return slice(start, max(before + length - (overlap if after else 0), 0))


def _canvas(size: common.Size, chosen: Options) -> common.Size:
    height, width = (a + sum(b) for a, b in zip(size, _margins(chosen), strict=True))
    return height, width


def _margins(chosen: Options) -> common.Growth:
    return (chosen.top, chosen.bottom), (chosen.left, chosen.right)


def _check(chosen: Options) -> None:
    common.one_of("fill", chosen.fill, FILLS)
    for name in (*SIDES, "overlap"):
        if getattr(chosen, name) < 0:
            value = getattr(chosen, name)
            raise ValueError(f"task option {name} must be at least 0 pixels, got {value}")
    if not any(getattr(chosen, name) for name in SIDES):
        raise ValueError(f"outpaint needs one of the task options {list(SIDES)} above 0 pixels")


def _check_canvas(size: common.Size, chosen: Options) -> None:
    """Raise ValueError for a canvas that `images.read` would refuse."""
    height, width = _canvas(size, chosen)
    most = picture_file.most_pixels()
    if height * width > most:
        raise ValueError(
            f"task options {list(SIDES)} must give at most {most // 10**6} megapixels, got a canvas"
            f" of {height}x{width} pixels (height x width)"
        )


def _check_window(placement: images.Placement, border: np.ndarray) -> None:
    """Raise ValueError where the fit cuts off a part of the border, which would stay unpainted."""
    if (images.in_window(border, placement) != border).any():
        raise ValueError(
            f"fit must be 'pad' or 'stretch' to paint the whole border of a canvas of"
            f" {images.size_text(placement.source)} pixels (height x width) at"
            f" {images.size_text(placement.size)}, got {placement.rule!r}"
        )

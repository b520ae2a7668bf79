"""A patch on a photo: the patch and its seam may change, so that they fit together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common

UNITS = ("fraction", "pixel")


LARGEST = 8
"""Sides of a patch, in units of the longer side of the photo."""


@dataclass(frozen=True)
class Options(common.Options):
    """The patch and its position.

    Attributes:
        patch: picture file, usually with alpha, or a folder of files with the inputs' stems.
        x, y: position of the patch's centre, from the photo's top left corner.
        units: of x and y: "fraction" of the photo's width and height, or "pixel" of the photo.
        scale: factor on the patch's size.
        seam: width of the ring around the patch that may change, in pixels at the size of the edit.
    """

    patch: str = ""
    x: float = 0.5
    y: float = 0.5
    units: str = "fraction"
    scale: float = 1.0
    seam: float = 2.0


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the photo `path` with the patch on it; the mask is the patch and its seam."""
    chosen = common.read_options(Options, options)
    common.one_of("units", chosen.units, UNITS)
    if not chosen.patch:
        raise ValueError("composite needs the task option patch: a picture file or a folder")
    photo = common.read_photo(path, chosen)
    patch = images.read(images.paired(chosen.patch, path, "patch"), "patch")
    return composed(path, photo, patch, chosen, size, fit)


def composed(
    path: str,
    photo: common.Photo,
    patch: images.Picture,
    chosen: Options,
    size: common.Size,
    fit: str,
) -> common.TaskInput:
    """The input of a photo and a patch that are read."""
    patch = _scaled(patch, chosen.scale, photo.size)
    guide, alpha = lay(photo.rgb, patch, _corner(photo.size, patch, chosen))
    if not alpha.any():
        raise ValueError(f"patch at x={chosen.x}, y={chosen.y} shows nothing on {path or 'image'}")
    placement = common.place(path, photo, size, fit, alpha, chosen.seam)
    mask = common.grow(alpha > 0, chosen.seam, placement)
    return common.assemble(path, guide, mask, photo, placement)


def _scaled(patch: images.Picture, scale: float, photo: common.Size) -> images.Picture:
    """The patch, resized, with an alpha channel (255 where it has none).

    Raises:
        ValueError: a scale that is not above 0, or a patch much larger than the photo.
    """
    if not scale > 0:
        raise ValueError(f"task option scale must be above 0, got {scale}")
    size, most = [length * scale for length in patch.rgb.shape[:2]], LARGEST * max(photo)
    if not max(size) <= most:
        raise ValueError(
            f"task option scale {scale:g} makes a patch of {max(size):.3g} pixels; at most"
            f" {LARGEST} times the sides of the picture, {most}, are allowed"
        )
    height, width = (max(1, round(length)) for length in size)
    return images.resize_layer(patch, (height, width))


def _corner(photo: common.Size, patch: images.Picture, chosen: Options) -> tuple[int, int]:
    """Row and column of the patch's top left corner in the photo."""
    (height, width), (h, w) = photo, patch.rgb.shape[:2]
    unit = (height, width) if chosen.units == "fraction" else (1, 1)
    return round(chosen.y * unit[0] - h / 2), round(chosen.x * unit[1] - w / 2)


def lay(
    photo: np.ndarray, patch: images.Picture, corner: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Composite a patch over a photo: uint8 [H, W, 3], and the patch's alpha there [H, W]."""
    size = np.array(photo.shape[:2])
    start = np.clip(corner, 0, size)
    stop = np.clip(np.add(corner, patch.rgb.shape[:2]), 0, size)
    here = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    there = tuple(slice(a - c, b - c) for a, b, c in zip(start, stop, corner, strict=True))
    guide, alpha = photo.copy(), np.zeros(photo.shape[:2], np.uint8)
    alpha[here] = patch.alpha[there]
    guide[here] = images.over(patch.rgb[there], alpha[here], photo[here])
    return guide, alpha

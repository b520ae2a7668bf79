"""Strokes on a photo: the painted region is edited, the rest is kept.

The strokes have one of three sources: a layer with alpha (`strokes`), a mask file (`mask`, where
the painted picture is `painted` or the input itself), or the difference between the input and the
painted picture (`painted` alone). A mask file may also be combined with `strokes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options(common.MaskOptions):
    """The strokes; each of strokes, mask and painted is a file, or a folder by the inputs' stems.

    Attributes:
        strokes: layer with alpha over the photo; a stroke is where alpha > 0.
        painted: the photo with the strokes painted on it.
        threshold: levels (0..255) by which a channel of a painted pixel differs.
        grow: width by which the strokes' mask is grown, in pixels at the size of the edit.
    """

    strokes: str = ""
    painted: str = ""
    threshold: int = 24
    grow: float = 1.0


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the photo `path` with its strokes; the mask is the strokes, grown by `grow`.

    A mask file is used without growing.

    Raises:
        ValueError: there is no source of strokes, or it has no strokes.
    """
    chosen = common.read_options(Options, options)
    common.one_source("scribble", {"strokes": chosen.strokes, "painted": chosen.painted})
    photo = common.read_photo(path, chosen)
    mask = common.read_mask(chosen, path, photo.size)
    if not (chosen.strokes or chosen.painted) and mask is None:
        raise ValueError("scribble needs one of the task options strokes, mask, painted")
    guide, strokes = _painting(path, photo.rgb, chosen)
    return scribbled(path, photo, guide, strokes, mask, chosen.grow, size, fit)


def scribbled(
    path: str,
    photo: common.Photo,
    guide: np.ndarray,
    strokes: np.ndarray,
    mask: np.ndarray | None,
    grow: float,
    size: common.Size,
    fit: str,
) -> common.TaskInput:
    """The input of a photo and its painted copy, uint8 [H, W, 3], that are read.

    Args:
        strokes: bool [H, W], the painted pixels. mask: float32 [H, W]; None: the strokes, grown.
    """
    region = (strokes, grow) if mask is None else (mask, 0)
    placement = common.place(path, photo, size, fit, *region)
    if mask is None:
        mask = common.grow(strokes, grow, placement)
    if not mask.any():
        raise ValueError(f"no strokes found for {path or 'image'}")
    painted = strokes if strokes.any() else mask > 0
    return common.assemble(path, guide, mask, photo, placement, painted=painted)


def _painting(path: str, photo: np.ndarray, chosen: Options) -> tuple[np.ndarray, np.ndarray]:
    """The painted photo, uint8 [H, W, 3], and the pixels of its strokes, bool [H, W]."""
    if chosen.strokes:
        layer = common.read_layer(chosen.strokes, path, "strokes", photo.shape[:2])
        return images.over(layer.rgb, layer.alpha, photo), layer.alpha > 0
    if not chosen.painted:
        return photo, np.zeros(photo.shape[:2], bool)
    file, size = images.paired(chosen.painted, path, "painted"), photo.shape[:2]
    painted = common.read_flat(file, chosen.background)
    if images.agrees(f"painted {file}", painted.shape[:2], size):
        return painted, difference(photo, painted) > chosen.threshold
    # they are compared at the smaller size, where both have the same detail
    small = min(size, painted.shape[:2])
    differs = difference(images.resize(photo, small), images.resize(painted, small))
    strokes = images.resize_mask(differs > chosen.threshold, size) > 0
    return images.resize(painted, size), strokes


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The largest difference over the channels of two uint8 [H, W, 3]: levels [H, W]."""
    return np.abs(first.astype(np.int16) - second).max(axis=-1)

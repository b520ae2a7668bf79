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
class Options:
    """The strokes; each of strokes, mask and painted is a file, or a folder by the inputs' stems.

    Attributes:
        strokes: layer with alpha over the photo; a stroke is where alpha > 0.
        mask: mask file, white may change.
        painted: the photo with the strokes painted on it.
        invert: black may change instead of white.
        threshold: levels (0..255) by which a channel of a painted pixel differs.
        grow: width by which the strokes' mask is grown, in pixels at the size of the edit.
        background: colour behind transparent parts and in the margin of fit "pad".
    """

    strokes: str = ""
    mask: str = ""
    painted: str = ""
    invert: bool = False
    threshold: int = 24
    grow: float = 1.0
    background: str = ""


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the photo `path` with its strokes; the mask is the strokes, grown by `grow`.

    A mask file is used without growing.

    Raises:
        ValueError: there is no source of strokes, or it has no strokes.
    """
    chosen = common.read_options(Options, options)
    if not (chosen.strokes or chosen.mask or chosen.painted):
        raise ValueError("scribble needs one of the task options strokes, mask, painted")
    common.one_source("scribble", {"strokes": chosen.strokes, "painted": chosen.painted})
    photo = common.read_flat(path, chosen.background)
    placement = images.place(photo.shape[:2], size, fit)
    guide, strokes = _painting(path, photo, chosen)
    if chosen.mask:
        mask = common.read_mask_beside(chosen.mask, path, photo.shape[:2], chosen.invert)
    else:
        mask = common.grow(strokes, chosen.grow, placement)
    if not mask.any():
        raise ValueError(f"no strokes found for {path}")
    return common.assemble(path, guide, mask, photo, placement, chosen.background)


def _painting(path: str, photo: np.ndarray, chosen: Options) -> tuple[np.ndarray, np.ndarray]:
    """The painted photo, uint8 [H, W, 3], and the pixels of its strokes, bool [H, W]."""
    if chosen.strokes:
        layer = common.read_beside(chosen.strokes, path, "strokes", photo.shape[:2])
        if layer.alpha is None:
            raise ValueError(f"strokes {chosen.strokes}: the layer has no alpha channel")
        return images.over(layer.rgb, layer.alpha, photo), layer.alpha > 0
    if not chosen.painted:
        return photo, np.zeros(photo.shape[:2], bool)
    picture = common.read_beside(chosen.painted, path, "painted", photo.shape[:2])
    painted = images.flatten(picture, images.color(chosen.background or "#ffffff"))
    return painted, difference(photo, painted) > chosen.threshold


def difference(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The largest difference over the channels of two uint8 [H, W, 3]: levels [H, W]."""
    return np.abs(first.astype(np.int16) - second).max(axis=-1)

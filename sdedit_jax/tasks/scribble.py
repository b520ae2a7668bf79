"""Photo + strokes painted on it: what was painted becomes real, the rest stays.

The strokes come from one of three sources: a layer with alpha (`strokes`), a mask file (`mask`;
the painted picture is `painted`, or the input itself), or the difference between the input and
the painted picture (`painted` alone). A mask file may be given with `strokes`, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options:
    """Each of strokes, mask and painted is a file or a folder with files named as the inputs.

    strokes: layer with alpha, laid over the photo; where alpha > 0 there is a stroke.
    mask: mask file, white = may change. invert: black = may change.
    painted: the photo with the strokes painted on it.
    threshold: levels (0..255) by which a channel must differ to count as painted.
    grow: width in pixels of the prior's size by which the strokes' mask is grown.
    background: colour behind transparent parts and in the margin of fit "pad".
    """

    strokes: str = ""
    mask: str = ""
    painted: str = ""
    invert: bool = False
    threshold: int = 24
    grow: float = 1.0
    background: str = ""


def make(path: str, options: Mapping[str, object], size: int, fit: str) -> common.TaskInput:
    """The photo `path` with its strokes as a guide; the mask is the strokes and `grow` around.

    A mask file is taken as it is, without growing.

    Raises:
        ValueError: no source of strokes is named, or no strokes are found.
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

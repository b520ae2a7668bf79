"""New colours for a picture: from a palette, or from the colours of a reference picture."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common
from sdedit_jax.tasks.colors import match_histogram, match_palette, match_statistics
from sdedit_jax.tasks.regions import rim, spread

TRANSFERS = ("histogram", "statistics")
AUTO = "auto"


@dataclass(frozen=True)
class Options:
    """Either palette or reference.

    palette: colours (#rrggbb or CSS names), a list or one text with commas; they replace the
    picture's tones from dark to light.
    reference: picture file, or a folder with files named as the inputs.
    transfer: of the reference, its "histogram" or its "statistics" (mean and spread of each
    Oklab channel).
    mask: mask file or folder, white = may change: only this is recoloured and edited;
    "auto" what stands on a plain ground, found from the picture's border; "" everything.
    invert: black = may change.
    threshold: for "auto", levels by which a channel must differ from the border's colour.
    background: colour behind transparent parts and in the margin of fit "pad".
    """

    palette: tuple[str, ...] = ()
    reference: str = ""
    transfer: str = "histogram"
    mask: str = ""
    invert: bool = False
    threshold: int = 24
    background: str = ""


def make(path: str, options: Mapping[str, object], size: int, fit: str) -> common.TaskInput:
    """The photo `path` in new colours as a guide; the mask is what may be recoloured.

    With mask "auto" only the foreground of the reference gives its colours.
    """
    chosen = common.read_options(Options, options)
    common.one_of("transfer", chosen.transfer, TRANSFERS)
    sources = {"palette": chosen.palette, "reference": chosen.reference}
    common.one_source("recolor", sources, needed=True)
    photo = common.read_flat(path, chosen.background)
    mask = _mask(path, photo, chosen)
    if not mask.any():
        raise ValueError(f"the mask of {path} is black everywhere: nothing to recolor")
    guide = images.paste(_recolored(path, photo, mask > 0, chosen), photo, mask)
    placement = images.place(photo.shape[:2], size, fit)
    return common.assemble(path, guide, mask, photo, placement, chosen.background)


def _mask(path: str, photo: np.ndarray, chosen: Options) -> np.ndarray:
    if chosen.mask == AUTO:
        return foreground(photo, chosen.threshold).astype(np.float32)
    if chosen.mask:
        return common.read_mask_beside(chosen.mask, path, photo.shape[:2], chosen.invert)
    return np.ones(photo.shape[:2], np.float32)


def _recolored(path: str, photo: np.ndarray, where: np.ndarray, chosen: Options) -> np.ndarray:
    """The photo with new colours in the pixels `where`, bool [H, W]."""
    if chosen.palette:
        colors = np.array([images.color(text) for text in chosen.palette], np.uint8)
        new = match_palette(photo[where], colors)
    else:
        file = images.paired(chosen.reference, path, "reference")
        source = common.read_flat(file, chosen.background)
        whole = np.ones(source.shape[:2], bool)
        taken = foreground(source, chosen.threshold) if chosen.mask == AUTO else whole
        match = match_histogram if chosen.transfer == "histogram" else match_statistics
        new = match(photo[where], source[taken if taken.any() else whole])
    out = photo.copy()
    out[where] = new
    return out


def foreground(photo: np.ndarray, threshold: int) -> np.ndarray:
    """What stands on the plain ground of a photo: bool [H, W].

    The ground is connected with the border and differs by at most `threshold` levels from the
    border's median colour; white highlights within the thing belong to the thing.
    """
    border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
    color = np.median(border, axis=0)
    other = np.abs(photo - color).max(axis=-1) > threshold
    return spread(rim(other.shape), other) < 0

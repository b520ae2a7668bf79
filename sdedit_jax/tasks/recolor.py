"""New colours for a picture, from a palette or from a reference picture."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common
from sdedit_jax.tasks.colors import match_histogram, match_palette, match_statistics
from sdedit_jax.tasks.regions import rim, spread

TRANSFERS = ("histogram", "statistics")
AUTO = "auto"
SHADE = 0.4  # the darkest shadow, as a share of the background's brightness
# shares of the picture's shorter side: half the width of the softest rim of an object, and half
# the width of the gaps in a rim that are closed
RIM, GAP = 0.06, 0.03
STEEP = 1.4  # a change is a rim if it is at most this times as deep as its steepest part goes on


@dataclass(frozen=True)
class Options(common.MaskOptions):
    """The new colours, and where they apply. Set either `palette` or `reference`.

    Attributes:
        palette: colours (#rrggbb or CSS names), as a list or one string with commas. They replace
            the picture's tones from dark to light.
        reference: picture file, or a folder of files with the inputs' stems.
        transfer: what is taken from the reference: its "histogram", or its "statistics" (mean and
            standard deviation of each Oklab channel).
        mask: only white is recoloured and edited. "auto" is the foreground on a plain background,
            without its shadow, found from the picture's border. "" is the mask beside the input, or
            everything.
        threshold: for "auto", levels by which a channel must differ from the border's colour and
            from its shades.
    """

    palette: tuple[str, ...] = ()
    reference: str = ""
    transfer: str = "histogram"
    threshold: int = 24


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the photo `path` in new colours; the mask is the recoloured region.

    With mask "auto", colours are taken from the reference's foreground only.
    """
    chosen = common.read_options(Options, options)
    common.one_of("transfer", chosen.transfer, TRANSFERS)
    sources = {"palette": chosen.palette, "reference": chosen.reference}
    common.one_source("recolor", sources, needed=True)
    photo = common.read_photo(path, chosen)
    mask = None if chosen.mask == AUTO else common.read_mask(chosen, path, photo.size)
    return recolored(path, photo, mask, chosen, size, fit)


def recolored(
    path: str,
    photo: common.Photo,
    mask: np.ndarray | None,
    chosen: Options,
    size: common.Size,
    fit: str,
) -> common.TaskInput:
    """The input of a photo that is read, with its mask, float32 [H, W] or None."""
    mask = _mask(photo, mask, chosen)
    if not mask.any():
        raise ValueError(
            f"no foreground found in {path or 'image'}: nothing to recolor; give a lower task"
            " option threshold, or the task option mask"
        )
    guide = _recolored(path, photo.rgb, mask > 0, chosen)
    placement = common.place(path, photo, size, fit, mask)
    return common.assemble(path, guide, mask, photo, placement)


def _mask(photo: common.Photo, mask: np.ndarray | None, chosen: Options) -> np.ndarray:
    if chosen.mask == AUTO:
        found, alpha = foreground(photo.rgb, chosen.threshold), photo.source.alpha
        return (found if alpha is None else found & (alpha >= 128)).astype(np.float32)
    return np.ones(photo.size, np.float32) if mask is None else mask


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
    """The foreground of a photo with a plain background: bool [H, W].

    The background is connected with the border and differs by at most `threshold` levels from the
    border's median colour, or from a shade of it that begins softly: a cast shadow. White
    highlights inside the object belong to the object. So do narrow gaps in its rim, where object
    and shadow are equally bright.
    """
    border = np.concatenate([photo[0], photo[-1], photo[:, 0], photo[:, -1]])
    color = np.median(border, axis=0)
    other = _largest(np.abs(photo - color)) > threshold
    soft, shadow = _shadows(photo, color, threshold)
    gap = max(1, round(GAP * min(other.shape)))
    wide = images.grow(images.shrink(~other | shadow, gap), gap)
    ground = spread(rim(other.shape), other & ~(shadow & wide)) >= 0
    beside = images.grow(ground, max(1, gap // 3)) & (~other | soft)
    return spread(ground, ~(ground | beside)) < 0


def _shadows(photo: np.ndarray, color: np.ndarray, threshold: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels whose colour is a shade of `color` without a sharp rim, and those without any rim.

    An object in a shade of the background has a rim, which may be blurred: the brightness changes
    within RIM, while that of a shadow goes on changing.
    """
    brightness = photo @ color / max(color @ color, 1)
    shade = _largest(np.abs(photo - brightness[..., None] * color)) <= threshold / 2
    level = brightness * color.max()
    soft = shade & (_swing(level, 1) <= threshold) & (brightness > SHADE) & (brightness <= 1)
    width = max(4, round(RIM * min(level.shape)))
    near, depth = max(1, width // 3), _swing(level, width)
    steepest = _swing(level, near) * width / (2 * near)
    return soft, soft & ((depth <= threshold) | (depth >= STEEP * steepest))


def _largest(channels: np.ndarray) -> np.ndarray:
    """The largest value of each pixel's channels, [H, W, C] -> [H, W]."""
    return functools.reduce(np.maximum, np.moveaxis(channels, -1, 0))


def _swing(level: np.ndarray, radius: int) -> np.ndarray:
    """The difference of the largest and the smallest value within `radius` pixels."""
    return images.grow(level, radius) - images.shrink(level, radius)

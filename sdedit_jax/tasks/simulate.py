"""Stroke simulation as in the SDEdit paper: a median filter, then few colours.

The paper filters 256 x 256 pictures with a window of 23 pixels and quantizes to an adaptive palette
of 6 colours. Here the window scales with the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options(common.Options):
    """The simulated painting.

    Attributes:
        colors: 3 to 50.
        median: odd window in pixels at the size of the edit; 0 scales it, 23 at 256 pixels.
    """

    colors: int = 6
    median: int = 0


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the photo `path`, fitted and then simulated; the mask is 1 everywhere."""
    chosen = common.read_options(Options, options)
    photo = common.read_photo(path, chosen)
    return simulated(path, photo, chosen, size, fit)


def simulated(
    path: str,
    photo: common.Photo,
    chosen: Options,
    size: common.Size,
    fit: str,
    mask: np.ndarray | None = None,
) -> common.TaskInput:
    """The input of a photo that is read, with its mask, float32 [H, W] or None."""
    placement = common.place(path, photo, size, fit, mask)
    ready = common.assemble(path, photo.rgb, mask, photo, placement, detail=False)
    return common.with_guide(ready, simulate(ready.fitted, chosen.colors, chosen.median))


def simulate(rgb: np.ndarray, colors: int = 6, median: int = 0) -> np.ndarray:
    """A stroke painting of uint8 [H, W, 3], with at most `colors` colours.

    Args:
        rgb: the photo.
        colors: 3 to 50.
        median: odd window in pixels; 0 is `window` of the shorter side.
    """
    if not 3 <= colors <= 50:
        raise ValueError(f"task option colors must be from 3 to 50, got {colors}")
    blurred = median_filter(rgb, median or window(min(rgb.shape[:2])))
    image = Image.fromarray(blurred)
    few = image.quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return np.array(few.convert("RGB"))


def scribbled(rgb: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A photo, uint8 [H, W, 3], with one to three thick lines of random colours; bool [H, W]."""
    side, painted = min(rgb.shape[:2]), Image.fromarray(rgb)
    mask = Image.new("L", painted.size)
    for _ in range(rng.integers(1, 4)):
        points = [tuple(map(float, rng.uniform(0.1, 0.9, 2) * painted.size)) for _ in range(3)]
        width, color = int(side * rng.uniform(0.08, 0.18)) + 1, rng.integers(0, 256, 3)
        for picture, fill in ((painted, tuple(map(int, color))), (mask, 255)):
            ImageDraw.Draw(picture).line(points, fill, width, "curve")
    return np.array(painted), np.array(mask) > 0


def window(side: int) -> int:
    """The largest odd window up to 23 pixels per 256 of the side, at least 3."""
    return max(3, 2 * ((23 * side // 256 - 1) // 2) + 1)


def median_filter(rgb: np.ndarray, width: int) -> np.ndarray:
    """Median over square windows of each channel; the edge is repeated outwards.

    The cost does not depend on the window's width. Pillow's filter takes minutes at 91 pixels.

    Args:
        rgb: uint8 [H, W, C].
        width: odd, 1 to 255 pixels.
    """
    if width % 2 != 1 or not 1 <= width <= 255:
        raise ValueError(f"median window must be odd and from 1 to 255 pixels, got {width}")
    wide = np.pad(rgb, [(width // 2, width // 2)] * 2 + [(0, 0)], "edge")
    channels = [_median(wide[..., c], width) for c in range(rgb.shape[-1])]
    return np.stack(channels, axis=-1)


def _median(wide: np.ndarray, width: int) -> np.ndarray:
    """Median of each full window of uint8 [H + width - 1, W + width - 1], row by row.

    `below[x, v]` counts the pixels <= level v in the window's part of column x. The median is the
    number of levels v for which at most half of the window's pixels are <= v.
    """
    levels, half = np.arange(256, dtype=np.uint8), width * width // 2
    # uint16 sums may wrap; their differences are correct while width * width fits
    below = np.zeros((wide.shape[1], 256), np.uint16)
    rows = []
    for top, row in enumerate(wide):
        below += row[:, None] <= levels
        if top >= width - 1:
            sums = np.cumsum(below, axis=0, dtype=np.uint16)
            sums[width:] -= sums[:-width].copy()
            rows.append(np.count_nonzero(sums[width - 1 :] <= half, axis=1))
            below -= wide[top - width + 1][:, None] <= levels
    return np.array(rows, np.uint8)

"""Line drawings: dark lines on light paper, kept or free, with optional colours in the regions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.caution import warn
from sdedit_jax.tasks import common
from sdedit_jax.tasks.regions import enclosed, spread

LINES = ("free", "held")


@dataclass(frozen=True)
class Options(common.Options):
    """The lines, and colours for the regions between them.

    Attributes:
        lines: "free" (everything may change) or "held" (the lines are kept).
        threshold: a pixel with luminance (0..255) below it belongs to a line. 0 finds it by
            Otsu's method, which separates the lines from the paper.
        grow: width by which held lines are grown, in pixels at the size of the edit. It keeps thin
            lines from vanishing there.
        colors: colours for the enclosed regions, largest first. The last colour fills all remaining
            regions; without colours the paper stays.
        hints: picture file with alpha, or a folder of files with the inputs' stems. Its colours
            spread up to the surrounding lines, and leak through gaps in them.
    """

    lines: str = "free"
    threshold: int = 0
    grow: float = 0.75
    colors: tuple[str, ...] = ()
    hints: str = ""


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the drawing `path`, with its colours.

    The mask is 1 everywhere. With lines "held" it is 0 on the lines, grown by `grow`. At the
    input's own size, the lines are kept without growing.
    """
    chosen = common.read_options(Options, options)
    common.one_of("lines", chosen.lines, LINES)
    common.one_source("sketch", {"colors": chosen.colors, "hints": chosen.hints})
    drawing = common.read_photo(path, chosen)
    line = _lines(path, drawing.rgb, chosen.threshold)
    free = ~line if chosen.lines == "held" else None
    placement = common.place(path, drawing, size, fit, free)
    guide = _filled(path, drawing.rgb, line, chosen)
    mask = None
    if chosen.lines == "held":
        mask = ~common.grow(line, chosen.grow, placement)
        if not mask.any():
            raise ValueError(
                f"the lines of {path}, grown by {chosen.grow} pixels, cover all of it; give lower"
                " task options grow or threshold"
            )
    ready = common.assemble(path, guide, mask, drawing, placement, detail=False, kept=guide)
    if mask is None:
        return ready
    # at the input's size only the lines are kept, without a rim of paper
    wide = common.bounded(1 - line.astype(np.float32), drawing.strength_map)
    return ready._replace(original_mask=wide)


def _lines(path: str, drawing: np.ndarray, threshold: int) -> np.ndarray:
    """The pixels of the lines, bool [H, W].

    Raises:
        ValueError: there are none.

    Warns:
        UserWarning: they cover less than 0.2 % of the drawing, or more than 25 %.
    """
    grey = images.luminance(drawing)
    if not 0 <= threshold <= 255:
        raise ValueError(f"task option threshold must be from 0 to 255, got {threshold}")
    threshold = threshold or otsu(grey)
    if not threshold:
        raise ValueError(f"no lines found in {path}: all its pixels have one level")
    line = grey < threshold
    if not line.any():
        raise ValueError(f"no lines darker than {threshold} found in {path}")
    if line.mean() < 0.002:
        warn(
            f"{path}: lines darker than {threshold} cover {line.mean():.2%} of it; a higher"
            " --config.options.threshold finds more"
        )
    if line.mean() > 0.25:
        warn(
            f"{path}: lines darker than {threshold} cover {line.mean():.0%} of it; a lower"
            " --config.options.threshold leaves the paper out"
        )
    return line


def otsu(grey: np.ndarray) -> int:
    """The threshold that separates the levels best: the dark class is below it (Otsu, 1979).

    It maximises the variance between the two classes, w0 w1 (mean1 - mean0)^2.

    Args:
        grey: uint8 [H, W].

    Returns:
        1 to 255; 0 for a picture of one level.
    """
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    dark = np.cumsum(counts)[:-1]
    light = grey.size - dark
    sums = np.cumsum(counts * np.arange(256))
    with np.errstate(divide="ignore", invalid="ignore"):
        between = dark * light * ((sums[-1] - sums[:-1]) / light - sums[:-1] / dark) ** 2
    between = np.nan_to_num(between)
    return int(np.argmax(between)) + 1 if between.max() > 0 else 0


def _filled(path: str, drawing: np.ndarray, line: np.ndarray, chosen: Options) -> np.ndarray:
    """The drawing with its regions in flat colours; pixels of the lines are unchanged."""
    if chosen.colors:
        colors = np.array([images.color(text) for text in chosen.colors], np.uint8)
        number = enclosed(line)
        return np.where(
            number[..., None] >= 0, colors[np.minimum(number, len(colors) - 1)], drawing
        )
    if not chosen.hints:
        return drawing
    layer = common.read_layer(chosen.hints, path, "hints", drawing.shape[:2])
    source = spread(layer.alpha > 127, line)
    flat = layer.rgb.reshape(-1, 3)[source]
    return np.where(source[..., None] >= 0, flat, drawing)

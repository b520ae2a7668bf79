"""Line drawing -> picture: dark lines on light paper, held or free, regions filled or not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common
from sdedit_jax.tasks.regions import enclosed, spread

LINES = ("free", "held")


@dataclass(frozen=True)
class Options:
    """lines: "free" (everything may change) or "held" (the lines are kept).

    threshold: luminance 0..255 below which a pixel belongs to a line.
    grow: width in pixels of the prior's size by which held lines are grown, so that thin ones
    are still kept there.
    colors: colours for the regions that lines enclose, the largest first; the last colour goes
    to all that remain; none leaves the paper.
    hints: picture file with alpha, or a folder with files named as the inputs: its colours
    spread from where they are painted to the lines around (gaps in the lines leak).
    background: colour behind transparent parts and in the margin of fit "pad".
    """

    lines: str = "free"
    threshold: int = 128
    grow: float = 0.75
    colors: tuple[str, ...] = ()
    hints: str = ""
    background: str = ""


def make(path: str, options: Mapping[str, object], size: int, fit: str) -> common.TaskInput:
    """The drawing `path`, filled with colours if asked for, as a guide.

    The mask is 1 everywhere, or with lines "held" 0 on the lines (grown by `grow` at the prior's
    size, as they are at the input's size).
    """
    chosen = common.read_options(Options, options)
    common.one_of("lines", chosen.lines, LINES)
    common.one_source("sketch", {"colors": chosen.colors, "hints": chosen.hints})
    drawing = common.read_flat(path, chosen.background)
    line = images.luminance(drawing) < chosen.threshold
    if not line.any():
        raise ValueError(f"no lines darker than {chosen.threshold} found in {path}")
    placement = images.place(drawing.shape[:2], size, fit)
    guide = _filled(path, drawing, line, chosen)
    if chosen.lines == "free":
        return common.assemble(path, guide, None, drawing, placement, chosen.background)
    kept = common.grow(line, chosen.grow, placement)
    ready = common.assemble(path, guide, ~kept, drawing, placement, chosen.background)
    # brought back to the input's size, only the lines themselves are kept: no rim of paper
    return ready._replace(original_mask=1 - line.astype(np.float32))


def _filled(path: str, drawing: np.ndarray, line: np.ndarray, chosen: Options) -> np.ndarray:
    """The drawing with its regions in flat colours; the lines' own pixels stay."""
    if chosen.colors:
        colors = np.array([images.color(text) for text in chosen.colors], np.uint8)
        number = enclosed(line)
        return np.where(
            number[..., None] >= 0, colors[np.minimum(number, len(colors) - 1)], drawing
        )
    if not chosen.hints:
        return drawing
    layer = common.read_beside(chosen.hints, path, "hints", drawing.shape[:2])
    if layer.alpha is None:
        raise ValueError(f"hints {chosen.hints}: the picture has no alpha channel")
    source = spread(layer.alpha > 127, line)
    flat = layer.rgb.reshape(-1, 3)[source]
    return np.where(source[..., None] >= 0, flat, drawing)

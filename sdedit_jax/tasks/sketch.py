"""Line drawings: dark lines on light paper, kept or free, with optional colours in the regions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common
from sdedit_jax.tasks.regions import enclosed, spread

LINES = ("free", "held")


@dataclass(frozen=True)
class Options:
    """The lines, and colours for the regions between them.

    Attributes:
        lines: "free" (everything may change) or "held" (the lines are kept).
        threshold: a pixel with luminance (0..255) below it belongs to a line.
        grow: width by which held lines are grown, in pixels at the size of the edit. It keeps thin
            lines from vanishing there.
        colors: colours for the enclosed regions, largest first. The last colour fills all remaining
            regions; without colours the paper stays.
        hints: picture file with alpha, or a folder of files with the inputs' stems. Its colours
            spread up to the surrounding lines, and leak through gaps in them.
        background: colour behind transparent parts and in the margin of fit "pad".
    """

    lines: str = "free"
    threshold: int = 128
    grow: float = 0.75
    colors: tuple[str, ...] = ()
    hints: str = ""
    background: str = ""


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the drawing `path`, with its colours.

    The mask is 1 everywhere. With lines "held" it is 0 on the lines, grown by `grow`. At the
    input's own size, the lines are kept without growing.
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
    # at the input's size only the lines are kept, without a rim of paper
    return ready._replace(original_mask=1 - line.astype(np.float32))


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
    layer = common.read_beside(chosen.hints, path, "hints", drawing.shape[:2])
    if layer.alpha is None:
        raise ValueError(f"hints {chosen.hints}: the picture has no alpha channel")
    source = spread(layer.alpha > 127, line)
    flat = layer.rgb.reshape(-1, 3)[source]
    return np.where(source[..., None] >= 0, flat, drawing)

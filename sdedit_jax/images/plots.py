"""Plots as pictures, by matplotlib, which is imported at the first plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Points = Sequence[tuple[float, float]]
HEAT, BRIGHTEST = "inferno", "pale yellow"
"""The colours of a heat map, from black, and the last of them in words."""


def figure(width: float = 7.0, height: float = 4.5) -> Any:
    """An empty figure of this size in inches, which needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def pixels(figure: Any) -> np.ndarray:
    """A figure as uint8 [H, W, 3], 100 pixels per inch."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def heat(values: np.ndarray, top: float) -> np.ndarray:
    """Values [H, W] as a heat map uint8 [H, W, 3]; the colours go from 0 to `top`."""
    from matplotlib import colormaps

    share = values / top if top > 0 else np.zeros_like(values)
    return colormaps[HEAT](share, bytes=True)[..., :3].copy()


def lines(series: Mapping[str, Points], x: str, y: str, level: float | None = None) -> np.ndarray:
    """A plot of lines with their points: uint8 [H, W, 3].

    Args:
        series: label -> its points (x, y), rising in x. x, y: titles of the axes.
        level: a y that a dashed line marks.
    """
    made = figure()
    axes = made.subplots()
    for label, points in series.items():
        axes.plot(*zip(*points, strict=True), marker="o", ms=3, label=label)
    if level is not None:
        axes.axhline(level, color="0.4", ls="--")
    axes.set(xlabel=x, ylabel=y, xlim=(0, None), ylim=(0, None))
    axes.grid(alpha=0.3)
    if len(series) > 1:
        axes.legend(fontsize="small")
    return pixels(made)

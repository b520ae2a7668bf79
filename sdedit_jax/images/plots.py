"""Plots as pictures, by matplotlib, which is imported at the first plot."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Points = Sequence[tuple[float, float]]
HEAT, BRIGHTEST = "inferno", "pale yellow"
"""The colours of a heat map, from black, and the last of them in words."""

COLOURS = ("#3b6fb6", "#c9803f", "#6a9c5a", "#8a6bb0")


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


def bars(groups: Mapping[str, Mapping[str, tuple[float, float]]], y: str) -> np.ndarray:
    """A plot of bars with their standard errors, a panel for each group: uint8 [H, W, 3].

    Args:
        groups: title -> label -> (value, standard error). y: title of the axis.
    """
    made = figure(3.5 * max(len(groups), 1), 3.5)
    panels = np.atleast_1d(made.subplots(1, max(len(groups), 1)))
    for axes, (title, values) in zip(panels, groups.items(), strict=False):
        heights, errors = zip(*values.values(), strict=True)
        axes.bar(list(values), heights, yerr=errors, capsize=6, color=COLOURS[: len(values)])
        axes.axhline(0, color="0.3", lw=0.8)
        axes.set(title=title, ylabel=y)
        axes.grid(axis="y", alpha=0.3)
    return pixels(made)


def histograms(series: Mapping[str, Sequence[float]], titles: Mapping[str, str]) -> np.ndarray:
    """A plot of histograms, a panel for each series of finite numbers: uint8 [H, W, 3].

    Args:
        series: name -> numbers. titles: name -> title of the axis.
    """
    made = figure(3.0 * max(len(series), 1), 2.8)
    panels = np.atleast_1d(made.subplots(1, max(len(series), 1)))
    for axes, (name, numbers) in zip(panels, series.items(), strict=False):
        axes.hist(numbers, bins=min(40, max(10, len(numbers) // 10)), color=COLOURS[0])
        axes.set(xlabel=titles.get(name, name), ylabel="edits")
        axes.grid(axis="y", alpha=0.3)
    return pixels(made)

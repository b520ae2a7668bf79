"""Draws control.png and compare.png from the results beside it.

python experiments/ledits/plots.py
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import measure
import numpy as np
import results

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

NAMES = {"ledits": "LEDITS", "leditspp": "LEDITS++", "sdedit": "SDEdit", "ddim": "DDIM inversion"}


def draw(path: Path, fill: Callable[..., None], rows: Sequence[results.Row]) -> None:
    """A picture of two panels."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    fill(axes, rows)
    for panel in axes:
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=72)
    plt.close(figure)


def control(axes: Sequence[Axes], rows: Sequence[results.Row]) -> None:
    """Colour against scale for each concept; colour against distance for each way to edit."""
    plain = next(results.fitting(rows, method="autoencoder"))
    for change in dict.fromkeys(row.get("change") for row in rows):
        found = [r for r in results.fitting(rows, method="ledits", change=change)]
        if len(found) > 1:
            moved = [moves(row, plain, change) for row in found]
            curve(axes[0], [0, *(r["strength"] for r in found)], [(0, 0), *moved], change)
    axes[0].set(xlabel="scale of the concept", ylabel="change of the mean colour, Lab units")
    for method in ("ledits", "sdedit", "ddim"):
        found = [r for r in results.fitting(rows, method=method, change="+green")]
        found = [r for r in found if r["strength"] != "matched"]
        moved = [moves(row, plain, "+green") for row in found]
        curve(axes[1], [np.mean(r["rms"]) for r in found], moved, f"+green, {NAMES[method]}")
    axes[1].set(xlabel="rms distance to the photo", ylabel="fall of a*, Lab units")


def compare(axes: Sequence[Axes], rows: Sequence[results.Row]) -> None:
    """Colour and success against distance, a line for each preset and number of steps."""
    plain = next(results.fitting(rows, method="autoencoder"))
    names = ("method", "steps", "threshold")
    for case in dict.fromkeys(tuple(r.get(name) for name in names) for r in rows):
        found = list(results.fitting(rows, **dict(zip(names, case, strict=True))))
        method, steps, _ = case
        if len(found) < 2:
            continue
        name, style = f"{NAMES[method]}, {steps} steps", "-" if method == "ledits" else "--"
        change = found[0]["change"]
        moved = [moves(row, plain, change) for row in found]
        curve(axes[0], [np.mean(r["rms"]) for r in found], moved, name, style)
        rates = [measure.mean_error(100 * np.array(results.success(r, change))) for r in found]
        away = [np.mean(r["ms_ssim"]) for r in found]
        curve(axes[1], away, rates, name, style)
    axes[0].set(xlabel="rms distance to the photo", ylabel="change of the mean colour, Lab units")
    axes[1].set(xlabel="MS-SSIM distance to the photo", ylabel="success, %")


def moves(row: results.Row, plain: results.Row, change: str) -> tuple[float, float]:
    """Mean and standard error of what a change did to the colour."""
    sign = -1 if change[0] == "-" else 1
    return measure.mean_error(sign * results.changes(row, plain, change[1:]))


def curve(
    panel: Axes, x: Sequence[float], y: Sequence[tuple[float, float]], name: str, style: str = "-"
) -> None:
    """A line with error bars of one standard error."""
    mean, error = np.array(y).T
    panel.errorbar(x, mean, error, label=name, marker="o", markersize=3, linestyle=style)

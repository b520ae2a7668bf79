"""The plot of profile_edit.py: the seconds of an edit by part, and rates beside the peaks."""

from collections.abc import Mapping, Sequence
from typing import Any

import peaks

from sdedit_jax.images.plots import COLOURS, figure

Row = Mapping[str, Any]


def draw(rows: Sequence[Row]) -> Any:
    """A figure with two panels for each case: the last line of each prior, device and compute."""
    last = {(row["prior"], row["device"], row["compute"]): row for row in rows}
    heights = [3 + 0.15 * len(row["gflops"]) for row in last.values()]
    made = figure(12, sum(heights))
    panels = made.subplots(len(last), 2, squeeze=False, height_ratios=heights)
    for (left, right), row in zip(panels, last.values(), strict=True):
        draw_parts(left, row)
        draw_rates(right, row)
    return made


def draw_parts(axes: Any, row: Row) -> None:
    """Seconds of each part, on a logarithmic axis; a part below 0 has a hollow mark."""
    pictures = f"{row['rows']} picture{'s' * (row['rows'] > 1)}"
    names = [*row["parts"], "edit"]
    values = [*row["parts"].values(), row["edit"]]
    for y, value in enumerate(values):
        colour = COLOURS[0] if names[y] != "edit" else COLOURS[1]
        face = colour if value > 0 else "none"
        axes.plot(max(abs(value), 1e-7), y, "o", color=colour, markerfacecolor=face)
        text = f"{value:.3g} s, {value / row['edit']:.1%}"
        axes.annotate(text, (max(abs(value), 1e-7), y), (8, -3), textcoords="offset points")
    axes.set(xscale="log", xlabel=f"seconds of an edit of {pictures}, {row['steps']} steps")
    axes.set(title=f"{row['prior']}, {row['compute']}, {row['device']}, {row['cores']} cores")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(right=50 * row["edit"])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)


def draw_rates(axes: Any, row: Row) -> None:
    """GFLOP/s of the network and of each product; lines at the best matrix and convolution."""
    rates = row["gflops"]
    kinds = [name.split()[0] for name in rates]
    colours = {"evaluation": COLOURS[1], "edit": COLOURS[1], peaks.MATRIX: COLOURS[3]}
    shown = [colours.get(kind, COLOURS[2]) for kind in kinds]
    bars = axes.barh(list(rates), list(rates.values()), color=shown)
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize="small")
    words = []
    for kind, style, word in ((peaks.MATRIX, "--", "dashed"), (peaks.CONVOLUTION, ":", "dotted")):
        best = max(rate for rate, one in zip(rates.values(), kinds, strict=True) if one == kind)
        axes.axvline(best, color="0.3", ls=style)
        words.append(f"best {kind} {best:.0f} ({word})")
    axes.set(xlabel=f"GFLOP/s, jax {row['jax']}", title=", ".join(words))
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)

"""Small plots: lines over two axes, and heat maps."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = (300, 420)
"""(height, width) of a plot."""
MARGIN = (24, 12, 34, 56)
"""Pixels above, to the right of, below and to the left of the axes."""
COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Colours of a heat map at equal distances, dark to bright: inferno of matplotlib."""
BRIGHTEST = "pale yellow"
"""The last of them, in words."""
Points = Sequence[tuple[float, float]]


def heat(values: np.ndarray, top: float) -> np.ndarray:
    """Values [H, W] as a heat map uint8 [H, W, 3]; HEAT goes from 0 to `top`."""
    share = np.clip(values / top if top > 0 else 0 * values, 0, 1) * (len(HEAT) - 1)
    channels = [np.interp(share, range(len(HEAT)), column) for column in np.transpose(HEAT)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def lines(series: Mapping[str, Points], x: str, y: str, level: float | None = None) -> np.ndarray:
    """A plot of lines with their points, from 0 on both axes: uint8 [H, W, 3].

    Args:
        series: label -> its points (x, y), rising in x. x, y: titles of the axes.
        level: a y that a dashed line marks.
    """
    every = np.array([point for points in series.values() for point in points] or [(1.0, 1.0)])
    most_x, most_y = every[:, 0].max() or 1.0, max(every[:, 1].max(), level or 0.0) * 1.05 or 1.0
    picture = Image.new("RGB", SIZE[::-1], "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default()
    top, right, bottom, left = MARGIN
    height, width = SIZE[0] - top - bottom, SIZE[1] - left - right

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return left + point[0] / most_x * width, top + (1 - point[1] / most_y) * height

    for share in (0, 0.25, 0.5, 0.75, 1):
        column, row = at((share * most_x, 0)), at((0, share * most_y))
        draw.line([column, (column[0], top)], "#dddddd")
        draw.line([row, (left + width, row[1])], "#dddddd")
        draw.text((column[0], column[1] + 4), f"{share * most_x:.3g}", "black", font, "ma")
        draw.text((row[0] - 4, row[1]), f"{share * most_y:.3g}", "black", font, "rm")
    draw.rectangle([at((0, most_y)), at((most_x, 0))], outline="black")
    draw.text((left + width / 2, SIZE[0] - 4), x, "black", font, "md")
    draw.text((4, 4), y, "black", font)
    if level is not None:
        (start, row), (end, _) = at((0, level)), at((most_x, level))
        for dash in np.arange(start, end, 8):
            draw.line([(dash, row), (min(dash + 4, end), row)], "black")
    for i, (label, points) in enumerate(series.items()):
        color, places = COLORS[i % len(COLORS)], [at(point) for point in points]
        draw.line(places, color, 1)
        for a, b in places:
            draw.ellipse([a - 2, b - 2, a + 2, b + 2], color)
        draw.text((left + 8, top + 6 + 12 * i), label, color, font)
    return np.array(picture)

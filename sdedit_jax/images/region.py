"""The window of a picture around the pixels that an edit may change."""

import math
from typing import NamedTuple

import numpy as np

MARGIN = 0.25
"""Width of the margin on each side of a region, in sides of the region."""
Size = tuple[int, int]
Box = tuple[int, int, int, int]


class Region(NamedTuple):
    """The pixels of a picture that may change.

    Attributes:
        box: the smallest that has them all, as (top, left, height, width).
        grown: width by which they are grown later, in pixels at the size of the edit.
    """

    box: Box
    grown: float = 0


def region_of(mask: np.ndarray, grown: float = 0) -> Region | None:
    """The region where a mask [H, W] is above 0; None where it is so nowhere or everywhere."""
    free = mask > 0
    if free.all() or not free.any():
        return None
    (top, height), (left, width) = _span(free.any(axis=1)), _span(free.any(axis=0))
    return Region((top, left, height, width), grown)


def _span(free: np.ndarray) -> tuple[int, int]:
    """The first True of bool [N], and the length up to the last one."""
    found = np.flatnonzero(free)
    return int(found[0]), int(found[-1] - found[0] + 1)


def window_around(region: Region, source: Size, size: Size, largest: Size) -> Box:
    """The smallest window that shows a region with its margin, in the proportions of the edit.

    It is not smaller than the edit, because enlarging a picture adds no detail to it. The region is
    in its middle, as far as the window stays inside the picture.

    Args:
        source: (height, width) of the picture. size: of the edit.
        largest: (height, width) of the largest window, which may be smaller than the edit.
    """
    sides = zip(region.box[2:], size, strict=True)
    scale = max(1.0, *(_scale(side, length, region.grown) for side, length in sides))
    inside = all(scale * length <= most for length, most in zip(size, largest, strict=True))
    height, width = (round(scale * length) for length in size) if inside else largest
    top, left = (
        min(max((2 * first + side - length) // 2, 0), whole - length)
        for first, side, length, whole in zip(
            region.box[:2], region.box[2:], (height, width), source, strict=True
        )
    )
    return top, left, height, width


def _scale(side: int, length: int, grown: float) -> float:
    """Input pixels per pixel of the edit, at which a side of the region has its margin.

    The grown region lies inside too. Its two pixels more make up for whole pixels of the window.
    """
    margins = (1 + 2 * MARGIN) * side / length
    if not grown:
        return margins
    room = length - 2 * grown
    return max(margins, (side + 2) / room) if room > 0 else math.inf

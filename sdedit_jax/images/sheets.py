"""Grids of pictures, and labelled contact sheets."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 4
INK = (0, 0, 0)
PAPER = (228, 228, 228)  # grey, so that the edges of white pictures and masks are visible
LONGEST = 220  # pixels of a row label


def grid(
    images: Sequence[np.ndarray], columns: int, pad: int = 2, background: int = 255
) -> np.ndarray:
    """Pictures uint8 [h, w, 3] or [h, w, 1] of one size, row by row: uint8 [H, W, 3]."""
    if not len(images) or columns < 1:
        raise ValueError(f"grid needs pictures and columns >= 1, got {len(images)} and {columns}")
    if len({image.shape for image in images}) > 1:
        raise ValueError(f"grid needs pictures of one size, got {[i.shape for i in images]}")
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    size = (rows * (height + pad) + pad, columns * (width + pad) + pad, 3)
    out = np.full(size, background, np.uint8)
    for i, image in enumerate(images):
        top, left = (pad + (i // columns) * (height + pad), pad + (i % columns) * (width + pad))
        out[top : top + height, left : left + width] = image
    return out


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray | None]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    scale: int = 1,
) -> np.ndarray:
    """A sheet of pictures with a label before each row and above each column: uint8 [H, W, 3].

    Pictures may have any sizes. A row is as high as its highest picture, a column as wide as its
    widest one, and each picture is placed in the top left corner of its cell.

    Args:
        rows: rows of uint8 [h, w, 3], or [h, w] for grey; None leaves the cell empty. Rows may
            have different lengths.
        row_labels: one for each row, or none. Long labels are cut to a fixed width.
        column_labels: one for each column, or none. Long labels are cut to the column.
        scale: whole factor by which pixels are repeated.
    """
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")
    cells = [[None if cell is None else _enlarge(cell, scale) for cell in row] for row in rows]
    heights, widths = _heights_and_widths(cells)
    font = ImageFont.load_default()
    row_labels = [_cut(font, text, LONGEST) for text in row_labels]
    left = max((_width(font, text) + GAP for text in row_labels), default=0) + GAP
    top = (_line(font) if column_labels else 0) + GAP
    tops, lefts = _starts(heights, top), _starts(widths, left)
    sheet = Image.new("RGB", (lefts[-1], tops[-1]), PAPER)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            if cell is not None:
                sheet.paste(Image.fromarray(cell), (lefts[j], tops[i]))
    draw = ImageDraw.Draw(sheet)
    for i, text in enumerate(row_labels):
        draw.text((GAP, tops[i] + (heights[i] - _line(font)) // 2), text, INK, font)
    for j, text in enumerate(column_labels):
        draw.text((lefts[j], GAP // 2), _cut(font, text, widths[j]), INK, font)
    return np.array(sheet)


def _heights_and_widths(
    cells: Sequence[Sequence[np.ndarray | None]],
) -> tuple[list[int], list[int]]:
    """The height of each row and the width of each column; empty ones get the largest.

    Raises:
        ValueError: there is no picture.
    """
    heights, widths = [0] * len(cells), [0] * max(map(len, cells), default=0)
    for i, row in enumerate(cells):
        for j, cell in enumerate(row):
            if cell is not None:
                heights[i] = max(heights[i], cell.shape[0])
                widths[j] = max(widths[j], cell.shape[1])
    if not any(heights):
        raise ValueError("rows: there is no picture for the contact sheet")
    return [n or max(heights) for n in heights], [n or max(widths) for n in widths]


def _starts(lengths: Sequence[int], first: int) -> list[int]:
    """Where each cell starts along one axis, and the end of the last one with its gap."""
    starts = [first]
    for length in lengths:
        starts.append(starts[-1] + length + GAP)
    return starts


def _enlarge(cell: np.ndarray, scale: int) -> np.ndarray:
    if cell.ndim == 2:
        cell = np.repeat(cell[..., None], 3, axis=-1)
    return cell if scale == 1 else np.repeat(np.repeat(cell, scale, axis=0), scale, axis=1)


def _width(font: ImageFont.ImageFont, text: str) -> int:
    return int(np.ceil(font.getlength(text)))


def _line(font: ImageFont.ImageFont) -> int:
    return int(np.ceil(font.getbbox("Ag")[3])) + 3


def _cut(font: ImageFont.ImageFont, text: str, width: int) -> str:
    """The text, shortened by dots until it is at most `width` pixels wide."""
    if _width(font, text) <= width:
        return text
    while text and _width(font, text + "..") > width:
        text = text[:-1]
    return text + ".."

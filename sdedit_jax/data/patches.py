"""Pasted patches: a set for compositing, made of any set of pictures by a fixed rule.

Row i gets a patch of another row, cut at the same place. Everything is drawn from the sha256 of the
id, the seed and what is drawn, so that a row depends on its id, the seed and the ids of the set.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from sdedit_jax.data.examples import DataSet, Example
from sdedit_jax.images import Picture, Size, fit, flatten
from sdedit_jax.text.spelling import one_of

SHAPES = ("either", "rectangle", "ellipse")
LEAST, MOST = 0.3, 0.5
"""The sides of a patch, as shares of the shorter side of the picture."""


def pasted(data: DataSet, seed: int = 0, shape: str = "either") -> DataSet:
    """The rows of a set, each with a patch of another row as its guide.

    The other row is drawn with equal probability. Its picture is fitted to the size of this one,
    and the patch is cut and pasted at the same place: pictures that are aligned, such as faces,
    stay plausible. The height and the width of the patch are drawn from 0.3 to 0.5 of the shorter
    side, its place from all places inside.

    Args:
        data: at least two rows.
        seed: of the draws.
        shape: of the patch: "rectangle", "ellipse", or "either", drawn with equal probability.

    Returns:
        `picture` and texts as in `data`; guide: the picture with the patch, without alpha; mask:
        the patch, float32 [H, W] of 0 and 1. A row is the same in `first(n)` of the result.

    Raises:
        ValueError: less than two rows, or an unknown shape.
    """
    one_of("shape", shape, SHAPES)
    if len(data) < 2:
        raise ValueError(f"pasted needs a set of at least two rows, {data.name} has {len(data)}")
    order = sorted(range(len(data)), key=list(data.ids).__getitem__)
    rules = _Rules(data, np.array(order), np.argsort(order), seed, shape, range(len(data)))
    return DataSet(f"{data.name}_pasted", data.ids, rules, _Reader(data.read))


@dataclass(frozen=True, eq=False)
class _Rules(Sequence[str]):
    """The reference of each row: those of the two pictures, and the draws.

    Attributes:
        order: int [n], the rows in the order of their ids. rank: int [n], its inverse.
        rows: those of `data` that are rows of the set.
    """

    data: DataSet
    order: np.ndarray
    rank: np.ndarray
    seed: int
    shape: str
    rows: range

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        rows = self.rows[i]
        if isinstance(rows, range):
            return _Rules(self.data, self.order, self.rank, self.seed, self.shape, rows)
        id, other = self.data.ids[rows], self.donor(rows)
        donor = [self.data.ids[other], self.data.references[other]]
        ellipse = self.shape == "ellipse"
        if self.shape == "either":
            ellipse = draw(id, self.seed, "shape") < 0.5
        box = [draw(id, self.seed, name) for name in ("height", "width", "top", "left")]
        return json.dumps([self.data.references[rows], *donor, ellipse, box], ensure_ascii=False)

    def donor(self, row: int) -> int:
        """Another row, drawn from all of them."""
        step = 1 + int(draw(self.data.ids[row], self.seed, "donor") * (len(self.order) - 1))
        return int(self.order[(self.rank[row] + step) % len(self.order)])


@dataclass(frozen=True)
class _Reader:
    """Reads a row and its donor, and pastes the patch."""

    read: Callable[[str, str], Example]

    def __call__(self, id: str, reference: str) -> Example:
        own, other, donor, ellipse, box = json.loads(reference)
        example = self.read(id, own)
        rgb = flatten(example.picture)
        mask = patch(rgb.shape[:2], box, ellipse)
        found, _ = fit(flatten(self.read(other, donor).picture), rgb.shape[:2])
        guide = np.where(mask[..., None] > 0, found, rgb)
        return example._replace(mask=mask, guide=Picture(guide))


def draw(id: str, seed: int, purpose: str) -> float:
    """A number in [0, 1), of the sha256 of a JSON list of the arguments."""
    text = json.dumps([id, seed, purpose])
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53


def patch(size: Size, box: Sequence[float], ellipse: bool) -> np.ndarray:
    """The region of a patch: float32 [H, W] of 0 and 1.

    Args:
        size: of the picture.
        box: four numbers in [0, 1): of the height, the width, the top and the left. Sides are
            LEAST to MOST of the shorter side, rounded, and at least one pixel.
        ellipse: the pixels whose centres are in the ellipse in the box, else the whole box.
    """
    shorter = min(size)
    sides = [max(1, round(shorter * (LEAST + (MOST - LEAST) * share))) for share in box[:2]]
    starts = [
        int(share * (whole - side + 1))
        for share, whole, side in zip(box[2:], size, sides, strict=True)
    ]
    inside = [
        (np.arange(whole) + 0.5 - start) / side * 2 - 1
        for whole, start, side in zip(size, starts, sides, strict=True)
    ]
    down, right = np.abs(inside[0])[:, None], np.abs(inside[1])[None, :]
    region = down**2 + right**2 <= 1 if ellipse else np.maximum(down, right) < 1
    return region.astype(np.float32)

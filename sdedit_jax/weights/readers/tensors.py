"""One rule for the tensors of every format: what a file claims must be in the file."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from sdedit_jax.files.wording import brief
from sdedit_jax.weights.readers.mapped import RANK, SIDES

MOST = 200_000
"""Tensors of a file."""
NAME = 300
"""Characters of a name."""
NUMBER = 9999
"""Largest number in a name, such as 3 in `down.3.conv`; the families count to it."""
TIED = 2
"""How often the bytes of a file may be claimed: tensors with two names share them."""
LONG = re.compile(r"(?:^|[._/])0*\d{5,}(?=$|[._/])")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def check(tensors: Mapping[str, np.ndarray], path: Path, size: int) -> None:
    """Check the names and the shapes of the tensors that are taken from a file.

    Args:
        size: bytes of the file.

    Raises:
        ValueError: too many tensors, a name that is no plain text or has a large number, more
            than RANK axes or SIDES entries of one, no real numbers, or more bytes than the file.
    """
    if len(tensors) > MOST:
        raise ValueError(f"source: {path} holds {len(tensors)} tensors, at most {MOST} are allowed")
    total = 0
    for name, a in tensors.items():
        check_name(name, path)
        if a.dtype.kind not in "biuf" and a.dtype != BFLOAT16:
            raise ValueError(f"source: tensor {name} in {path} has dtype {a.dtype}")
        check_shape(a.shape, f"tensor {name} in {path}")
        total += a.nbytes
        if a.nbytes > size or total > TIED * size:
            raise ValueError(
                f"source: tensor {name} in {path} has shape {tuple(a.shape)}: the tensors have"
                f" {total} bytes, the file has {size}"
            )


def check_name(name: Any, path: Path) -> None:
    """Raise ValueError for a name that is no plain text, is long, or has a large number."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= NAME:
        raise ValueError(
            f"source: {path} has a tensor of the name {brief(name)}; names are plain texts of 1 to"
            f" {NAME} characters"
        )
    if LONG.search(name):
        raise ValueError(
            f"source: tensor {brief(name)} in {path} has a number above {NUMBER} in its name"
        )


def check_shape(shape: Sequence[Any], what: str) -> None:
    """Raise ValueError unless a shape has at most RANK axes, each with up to SIDES entries."""
    whole = all(type(n) is int and 0 <= n <= SIDES for n in shape)
    if len(shape) > RANK or not whole:
        text = brief(list(shape))
        raise ValueError(
            f"source: {what} has shape {text}; allowed are {RANK} axes of at most {SIDES} entries"
        )


def check_storage(
    shape: Sequence[int], stride: Sequence[int], offset: int, held: int, what: str
) -> None:
    """Check that a view of a storage has at most its elements, and all of them within it.

    Args:
        stride: elements between neighbours of each axis. offset: of the first element.
        held: elements of the storage.

    Raises:
        ValueError: an element lies outside, or the elements repeat (strides of 0, overlaps).
    """
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if count and (min(offset, *stride, 0) < 0 or last >= held or count > held):
        raise ValueError(
            f"source: {what} has {count} elements of shape {brief(list(shape))}, its storage has"
            f" {held}"
        )

"""Memory-mapped files: arrays are read from disk at their first use."""

import math
import mmap
from pathlib import Path

import ml_dtypes
import numpy as np

from sdedit_jax.files import door
from sdedit_jax.files.wording import brief

RANK = 6
"""Axes of a tensor."""
SIDES = 2**31
"""Entries of an axis."""
WIDTHS = (8, 16, 32, 64)
DTYPES: dict[str, np.dtype] = {
    **{f"{kind}{bits}": np.dtype(f"{kind}{bits}") for kind in ("int", "uint") for bits in WIDTHS},
    **{f"float{bits}": np.dtype(f"float{bits}") for bits in WIDTHS[1:]},
    "bool": np.dtype(bool),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    **{f"complex{bits}": np.dtype(f"complex{bits}") for bits in (64, 128)},
}
"""Name -> dtype."""


def mapping(path: Path) -> mmap.mmap:
    """The file, memory-mapped and read-only.

    Raises:
        ValueError: see door.open_file; or the file is empty.
    """
    with door.open_file(path, "source") as file:
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise ValueError(f"source: cannot map {path}: {error}") from None


def contents(path: Path) -> memoryview:
    """The file's bytes, memory-mapped and read-only; the mapping lives as long as its views."""
    return memoryview(mapping(path))


def array(data: memoryview, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The C-order array that `data` holds: a view, read-only.

    Args:
        dtype: one of DTYPES.

    Raises:
        ValueError: another dtype, or a number of bytes that does not match the shape.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {brief(dtype)} is not one of {list(DTYPES)}")
    if len(shape) > RANK or not all(type(n) is int and 0 <= n <= SIDES for n in shape):
        raise ValueError(
            f"shape {brief(list(shape))} is not allowed: at most {RANK} axes of up to {SIDES}"
        )
    kind = DTYPES[dtype]
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"shape {shape} of {dtype} does not have {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape) if len(data) else np.empty(shape, kind)

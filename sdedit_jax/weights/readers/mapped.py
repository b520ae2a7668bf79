"""Memory-mapped files: arrays are read from disk at their first use."""

import math
import mmap
from pathlib import Path

import ml_dtypes
import numpy as np


def contents(path: Path) -> memoryview:
    """The file's bytes, memory-mapped and read-only; the mapping lives as long as its views."""
    with path.open("rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def array(data: memoryview, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The C-order array that `data` holds: a view, read-only.

    Args:
        dtype: its name, "float32", "bfloat16", ...

    Raises:
        ValueError: not a numeric dtype, or a number of bytes that does not match the shape.
    """
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else _dtype(dtype)
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"shape {shape} of {dtype} does not have {len(data)} bytes")
    return np.frombuffer(data, kind).reshape(shape) if len(data) else np.empty(shape, kind)


def _dtype(name: str) -> np.dtype:
    try:
        kind = np.dtype(name)
    except TypeError:
        raise ValueError(f"unknown dtype {name}") from None
    if kind.kind not in "biufc":
        raise ValueError(f"dtype {name} is not numeric")
    return kind

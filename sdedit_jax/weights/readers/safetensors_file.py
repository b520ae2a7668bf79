"""Safetensors files: a JSON header, then the tensors. The package checks the file; we map it.

The arrays of the package are copies, and it does not support bfloat16 in numpy.
"""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from sdedit_jax.files import json_file
from sdedit_jax.files.wording import brief, first_line
from sdedit_jax.weights.readers import mapped
from sdedit_jax.weights.source import Source

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}

HEADER = 2**23
"""Bytes of the JSON header; 100 bytes a tensor are usual."""


def read(path: str | Path) -> Source:
    """The tensors of a safetensors file as views of the mapped file, in the file's order.

    Raises:
        ValueError: the file is cut off or damaged, or a tensor has a dtype not in `DTYPES`.
    """
    path = Path(path)
    data = mapped.contents(path)
    header, start = _header(data, path), 8 + int.from_bytes(data[:8], "little")
    names = _checked(path)
    tensors = {name: _tensor(data[start:], name, header[name], path) for name in names}
    return Source(path, _bare(tensors))


def _header(data: memoryview, path: Path) -> dict[str, Any]:
    """The JSON header, whose names are distinct."""
    size = int.from_bytes(data[:8], "little")
    if size > HEADER or 8 + size > len(data):
        raise ValueError(
            f"source: {path} is a safetensors file that is cut off or damaged: its header claims"
            f" {size} bytes, the file has {len(data)}, allowed are {HEADER}"
        )
    found = json_file.parse(bytes(data[8 : 8 + size]), f"the header of {path}", "source")
    if not isinstance(found, dict):
        raise ValueError(f"source: the header of {path} must be an object, got {brief(found)}")
    return found


def _checked(path: Path) -> list[str]:
    """Tensor names in the order of the file, after the package has checked the file."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.offset_keys())
    except (safetensors.SafetensorError, OSError, ValueError, OverflowError) as error:
        reason = first_line(error)
        raise ValueError(
            f"source: {path} is a safetensors file that is cut off or damaged: {reason}"
        ) from None
    if not names:
        raise ValueError(f"source: {path} holds no tensors")
    return names


def _tensor(data: memoryview, name: str, entry: dict[str, Any], path: Path) -> np.ndarray:
    if entry["dtype"] not in DTYPES:
        raise ValueError(
            f"source: tensor {brief(name)} in {path} has dtype {entry['dtype']}, not one of"
            f" {list(DTYPES)}"
        )
    first, last = entry["data_offsets"]
    try:
        return mapped.array(data[first:last], DTYPES[entry["dtype"]], tuple(entry["shape"]))
    except ValueError as error:
        raise ValueError(f"source: tensor {brief(name)} in {path}: {error}") from None


def _bare(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): a for name, a in tensors.items()}
    return tensors

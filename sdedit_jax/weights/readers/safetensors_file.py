"""Safetensors files: a JSON header, then the tensors. The package checks the file; we map it.

The arrays of the package are copies, and it does not support bfloat16 in numpy.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

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


def read(path: str | Path) -> Source:
    """The tensors of a safetensors file as views of the mapped file, in the file's order.

    Raises:
        ValueError: the file is cut off or damaged, or a tensor has a dtype not in `DTYPES`.
    """
    path = Path(path)
    names = _checked(path)
    data = mapped.contents(path)
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(bytes(data[8:start]))
    tensors = {name: _tensor(data[start:], name, header[name], path) for name in names}
    return Source(path, _bare(tensors))


def _checked(path: Path) -> list[str]:
    """Tensor names in the order of the file, after the package has checked the file."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = list(file.offset_keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"source: {path} is a safetensors file that is cut off or damaged: {error}"
        ) from None
    if not names:
        raise ValueError(f"source: {path} holds no tensors")
    return names


def _tensor(data: memoryview, name: str, entry: dict[str, Any], path: Path) -> np.ndarray:
    if entry["dtype"] not in DTYPES:
        raise ValueError(
            f"source: tensor {name} in {path} has dtype {entry['dtype']}, not one of {list(DTYPES)}"
        )
    first, last = entry["data_offsets"]
    return mapped.array(data[first:last], DTYPES[entry["dtype"]], tuple(entry["shape"]))


def _bare(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): a for name, a in tensors.items()}
    return tensors

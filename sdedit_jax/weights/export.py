"""The inverse conversion: our parameters under torch's names and in its layouts.

    ours                        torch                 axes
    .../kernel [h, w, I, O]     ....weight [O, I, h, w]   (3, 2, 0, 1)
    .../kernel [I, O]           ....weight [O, I]         (1, 0)
    .../scale, .../embedding    ....weight                unchanged
    .../bias                    the same name             unchanged

For networks whose attributes have the original's names; conversion.py is the inverse.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from sdedit_jax.weights import conversion, store


def tensors(params: Mapping[str, Any], dtype: str = "float16") -> dict[str, np.ndarray]:
    """Name in torch -> array in torch's layout.

    Raises:
        ValueError: a value is not finite in that dtype.
    """
    found = {}
    for path, leaf in store.leaves(params):
        with np.errstate(over="ignore"):  # reported below, by name
            array = transposed(np.asarray(leaf), path).astype(dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"export: {path} has values that {dtype} cannot hold")
        found[conversion.default_name(path)] = np.ascontiguousarray(array)
    return found


def transposed(a: np.ndarray, path: str) -> np.ndarray:
    """A leaf in torch's layout."""
    if not path.endswith("kernel"):
        return a
    return a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T


def write(file: str | Path, params: Mapping[str, Any], dtype: str = "float16") -> None:
    """Write the parameters as a safetensors file; it appears whole or not at all."""
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(file.name + ".partial")
    # transformers refuses files without this entry
    aside.write_bytes(save(tensors(params, dtype), metadata={"format": "pt"}))
    os.replace(aside, file)

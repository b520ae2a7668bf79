"""Names that different releases of diffusers and transformers use for the same tensors."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax.weights import conversion, store
from sdedit_jax.weights.source import Source

Shapes = Mapping[str, Any]

OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
FOURIER = ("time_proj.weight", "time_proj.W")
PREFIX = "text_model."
POSITIONS = "embeddings.position_ids"


def attention(source: Source, shapes: Shapes) -> dict[str, str]:
    """Our paths -> `query`, `key`, `value`, `proj_attn`, where the source has those."""
    found = {}
    for path, _ in store.leaves(shapes):
        theirs = conversion.default_name(path)
        for new, old in OLD_ATTENTION.items():
            head, middle, last = theirs.rpartition(f".{new}.")
            if middle and f"{head}.{old}.{last}" in source.tensors:
                found[path] = f"{head}.{old}.{last}"
    return found


def fourier(source: Source, shapes: Shapes) -> dict[str, str]:
    """The name of the Fourier frequencies in the source."""
    if "W" not in shapes.get("time_proj", {}):
        return {}
    return {"time_proj/W": next((n for n in FOURIER if n in source.tensors), FOURIER[0])}


def fourier_twice(source: Source) -> dict[str, str]:
    """Fourier frequencies that are in the file under both names with equal values."""
    weight, old = (source.tensors.get(name) for name in FOURIER)
    if weight is None or old is None or not np.array_equal(weight, old):
        return {}
    return {FOURIER[1]: f"the same values as {FOURIER[0]}"}


def clip_text(source: Source, shapes: Shapes) -> dict[str, str]:
    """Names without the prefix `text_model.`, where the source has none."""
    if any(name.startswith(PREFIX) for name in source.tensors):
        return {}
    names = ((path, conversion.default_name(path)) for path, _ in store.leaves(shapes))
    return {path: name.removeprefix(PREFIX) for path, name in names if name.startswith(PREFIX)}


def clip_positions(source: Source) -> dict[str, str]:
    """The position ids of old text encoders."""
    names = (PREFIX + POSITIONS, POSITIONS)
    return {name: "position ids 0, 1, 2, ..." for name in names if name in source.tensors}

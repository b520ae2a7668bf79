"""The names under which diffusers and transformers have stored the same tensors over the years."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax.weights import rule, store
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
        theirs = rule.default_name(path)
        for new, old in OLD_ATTENTION.items():
            head, middle, last = theirs.rpartition(f".{new}.")
            if middle and f"{head}.{old}.{last}" in source.tensors:
                found[path] = f"{head}.{old}.{last}"
    return found


def fourier(source: Source, shapes: Shapes) -> dict[str, str]:
    """The Fourier frequencies under the name that the source has."""
    if "W" not in shapes.get("time_proj", {}):
        return {}
    return {"time_proj/W": next((n for n in FOURIER if n in source.tensors), FOURIER[0])}


def fourier_twice(source: Source) -> dict[str, str]:
    """Fourier frequencies that stand in the file under both names, the same numbers."""
    weight, old = (source.tensors.get(name) for name in FOURIER)
    if weight is None or old is None or not np.array_equal(weight, old):
        return {}
    return {FOURIER[1]: f"the same numbers as {FOURIER[0]}"}


def clip_text(source: Source, shapes: Shapes) -> dict[str, str]:
    """Names without `text_model.` in front, where the source leaves it away."""
    if any(name.startswith(PREFIX) for name in source.tensors):
        return {}
    names = ((path, rule.default_name(path)) for path, _ in store.leaves(shapes))
    return {path: name.removeprefix(PREFIX) for path, name in names if name.startswith(PREFIX)}


def clip_positions(source: Source) -> dict[str, str]:
    """The table 0, 1, 2, ... that old text encoders keep."""
    names = (PREFIX + POSITIONS, POSITIONS)
    return {name: "places 0, 1, 2, ..." for name in names if name in source.tensors}

"""What the tensors tell and what the user says, made one."""

from collections.abc import Iterable, Mapping
from typing import Any

from sdedit_jax.weights.families.family import missing


def merge(
    family: str, told: Mapping[str, Any], given: Mapping[str, Any], needed: Iterable[str]
) -> dict[str, Any]:
    """The fields of both; where both know one they must agree.

    Args:
        told: what the tensors tell; None where they do not.
        given: what the user gave; further fields are kept.
        needed: fields that must be known in the end.

    Raises:
        ValueError: a contradiction, or a needed field that neither knows.
    """
    told = {name: value for name, value in told.items() if value is not None}
    for name, value in told.items():
        if name in given and not same(given[name], value):
            raise ValueError(
                f"architecture: {name} is {given[name]!r} in what was given, "
                f"but the tensors of the source say {value!r}"
            )
    merged = {**given, **told}
    lacking = sorted(name for name in needed if merged.get(name) is None)
    if lacking:
        raise missing(family, lacking)
    return merged


def same(a: Any, b: Any) -> bool:
    """Equal, with lists and tuples alike and numbers to 1e-5."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    numbers = (int, float)
    if isinstance(a, numbers) and isinstance(b, numbers) and not isinstance(a, bool):
        return abs(a - b) <= 1e-5 * max(abs(a), abs(b))
    return a == b

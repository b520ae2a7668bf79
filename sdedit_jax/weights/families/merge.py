"""Fields inferred from the tensors and fields given by the user, merged."""

from collections.abc import Iterable, Mapping
from typing import Any

from sdedit_jax.files.wording import brief
from sdedit_jax.weights.families.family import missing


def merge(
    family: str, inferred: Mapping[str, Any], given: Mapping[str, Any], needed: Iterable[str]
) -> dict[str, Any]:
    """The fields of both; common fields must agree.

    Args:
        inferred: from the tensors; None where they do not determine a field.
        given: by the user; further fields are kept.
        needed: fields that must be in the result.

    Raises:
        ValueError: a contradiction, or a needed field that is in neither.
    """
    inferred = {name: value for name, value in inferred.items() if value is not None}
    for name, value in inferred.items():
        if name in given and not same(given[name], value):
            raise ValueError(
                f"architecture: {name} is {brief(given[name])} in what was given, "
                f"but the tensors of the source say {brief(value)}"
            )
    merged = {**given, **inferred}
    lacking = sorted(name for name in needed if merged.get(name) is None)
    if lacking:
        raise missing(family, lacking)
    return merged


def reached(given: Mapping[str, Any], inferred: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields, where attn_resolutions has only sides that the network's levels have.

    Networks compare the side of each level with the list, so further entries have no effect; nor
    have their order and repetitions.
    """
    side, widths = given.get("image_size"), inferred.get("ch_mult")
    listed = given.get("attn_resolutions")
    if not side or not widths or listed is None:
        return dict(given)
    sides = [side // 2**level for level in range(len(widths))]
    return {**given, "attn_resolutions": [n for n in sides if n in listed]}


def same(a: Any, b: Any) -> bool:
    """Equal, with lists and tuples alike and numbers to 1e-5."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    numbers = (int, float)
    if isinstance(a, numbers) and isinstance(b, numbers) and not isinstance(a, bool):
        return abs(a - b) <= 1e-5 * max(abs(a), abs(b))
    return a == b

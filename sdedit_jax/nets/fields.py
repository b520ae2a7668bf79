"""Fields of a network's configuration: types and ranges, checked before a network is built."""

import dataclasses
import math
import numbers
from typing import Any, get_args, get_origin

from sdedit_jax.files.wording import brief

LARGEST = 2**20
"""Of the whole numbers: widths, vocabularies, classes."""
LONGEST = 32
"""Entries of a list."""
SIDE, DEEPEST = 8192, 128

RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("image_size", "img_resolution", "sample_size"), (1, SIDE)),
    **dict.fromkeys(("attn_resolutions", "attention_resolutions"), (0, LARGEST)),
    **dict.fromkeys(("num_res_blocks", "num_blocks", "layers_per_block"), (1, DEEPEST)),
    **dict.fromkeys(("num_hidden_layers", "transformer_layers_per_block"), (1, DEEPEST)),
    **dict.fromkeys(("label_dim", "augment_dim", "downsample_padding"), (0, LARGEST)),
    "eos_token_id": (0, LARGEST),
    **dict.fromkeys(("num_head_channels", "num_heads_upsample"), (-1, LARGEST)),
    **dict.fromkeys(("dropout", "label_dropout"), (0, 1)),
}
"""Field -> least and largest number; of others (1, LARGEST), or (-LARGEST, LARGEST) of floats."""
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def check(field: dataclasses.Field, value: Any) -> Any:
    """The value of a field; lists become tuples.

    Raises:
        ValueError: another type than the field's, a number out of its range, or a long list.
    """
    kinds = get_args(field.type) if get_origin(field.type) is not tuple else ()
    for kind in kinds or (field.type,):
        if kind is type(None):
            if value is None:
                return None
        elif get_origin(kind) is tuple:
            if isinstance(value, list | tuple):
                return _listed(field.name, get_args(kind)[0], value)
        elif _is(value, kind):
            return _ranged(field.name, kind, value)
    raise ValueError(f"{field.name} must be {_wanted(field)}, got {brief(value)}")


def _listed(name: str, kind: type, values: Any) -> tuple[Any, ...]:
    if len(values) > LONGEST:
        raise ValueError(f"{name} must have at most {LONGEST} entries, got {len(values)}")
    for value in values:
        if not _is(value, kind):
            raise ValueError(f"{name} must be a list with {KINDS[kind]} each, got {brief(value)}")
    return tuple(_ranged(name, kind, value) for value in values)


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float):
        right = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, right) and not isinstance(value, bool)
    return isinstance(value, kind)


def _ranged(name: str, kind: type, value: Any) -> Any:
    """The value, if it is no number or within the range of its field."""
    if kind in (bool, str):
        return value
    low, high = RANGES.get(name, (1, LARGEST) if kind is int else (-LARGEST, LARGEST))
    if not low <= value <= high or not math.isfinite(value):
        raise ValueError(f"{name} must be in [{low}, {high}], got {brief(value)}")
    return value


def _wanted(field: dataclasses.Field) -> str:
    """What a field may be, for messages."""
    kinds = get_args(field.type) if get_origin(field.type) is not tuple else ()
    words = {type(None): "null"} | KINDS
    return " or ".join(
        words.get(kind) or f"a list with {KINDS[get_args(kind)[0]]} each"
        for kind in kinds or (field.type,)
    )

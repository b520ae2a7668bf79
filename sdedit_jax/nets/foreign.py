"""Fields of foreign configurations: those that our networks read, and those without effect.

Programs add fields over the years. One that we do not know is left out where it is off (null or
false) or has its documented default; with another value it may change the network, and is refused.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from sdedit_jax.files.wording import brief

Plain = Mapping[str, tuple[Any, ...]]


def is_off(value: Any) -> bool:
    """Whether a value switches a field off."""
    return value is None or value is False


def known(values: Mapping[str, Any], kind: type, plain: Plain | None = None) -> dict[str, Any]:
    """The values without fields that have no effect, for `layers.config_from`.

    Left out are unknown fields that are off, further ones, and names that start with "_". A null
    stands for the default where the class has no null.

    Args:
        plain: further fields -> their values without effect.

    Raises:
        ValueError: a further field has another value.
    """
    own = {field.name: field.type for field in dataclasses.fields(kind)}
    found = {}
    for name, value in values.items():
        allowed = (plain or {}).get(name)
        if name in own:
            if value is not None or type(None) in get_args(own[name]):
                found[name] = value
        elif not name.startswith("_") and not _without_effect(value, allowed):
            if allowed:
                raise ValueError(f"{name} must be one of {list(allowed)}, got {brief(value)}")
            found[name] = value
    return found


def present(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without nulls, which stand for the defaults."""
    return {name: value for name, value in values.items() if value is not None}


def _without_effect(value: Any, allowed: tuple[Any, ...] | None) -> bool:
    if allowed is None:
        return is_off(value)
    value = tuple(value) if isinstance(value, list) else value
    return value in allowed or (is_off(value) and any(is_off(each) for each in allowed))

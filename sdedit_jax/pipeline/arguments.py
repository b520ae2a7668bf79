"""Arguments of the Python API: unknown names, types and ranges."""

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from sdedit_jax.text.spelling import hint

KINDS: Mapping[type, str] = {
    numbers.Integral: "a whole number",
    numbers.Real: "a number",
    str: "a string",
    type(None): "None",
}
"""Types in messages."""

P = ParamSpec("P")
R = TypeVar("R")


def named(function: Callable[P, R]) -> Callable[P, R]:
    """Name an unknown argument as Python does, with the nearest one that exists."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        _check_names(function, signature, kwargs)
        return function(*args, **kwargs)

    return checked


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in [low, high].

    Raises:
        TypeError: no number. ValueError: out of range.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not low <= value <= high or not math.isfinite(value):
        ends = f"in [{low:g}, {high:g}]" if math.isfinite(high) else f"at least {low:g}"
        allowed = "finite" if math.isinf(low) and math.isinf(high) else ends
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return float(value)


def whole(name: str, value: Any, least: int = 0) -> int:
    """A whole number of at least `least`.

    Raises:
        TypeError: no whole number. ValueError: too small.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return int(value)


def each(name: str, value: Any, count: int, kind: type | tuple[type, ...]) -> list[Any]:
    """One value for all pictures, or one for each.

    Raises:
        TypeError: a value of another type. ValueError: another number of values.
    """
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    given = isinstance(value, list | tuple | np.ndarray)
    values = list(value) if given else [value] * count
    if len(values) != count:
        raise ValueError(f"{name}: one for all or one for each of {count}, got {len(values)}")
    for one in values:
        if not isinstance(one, kind) or isinstance(one, bool):
            kinds = kind if isinstance(kind, tuple) else (kind,)
            allowed = " or ".join(KINDS[k] for k in kinds)
            raise TypeError(f"{name} must be {allowed}, got {one!r}")
    return values


def bound(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of a call by name, defaults included.

    Raises:
        TypeError: an unknown or missing argument.
    """
    signature = inspect.signature(function)
    _check_names(function, signature, kwargs)
    made = signature.bind(*args, **kwargs)
    made.apply_defaults()
    return dict(made.arguments)


def _check_names(
    function: Callable[..., Any], signature: inspect.Signature, kwargs: Mapping[str, Any]
) -> None:
    known = list(signature.parameters)
    for name in kwargs:
        if name not in known:
            raise TypeError(
                f"{function.__name__}() got an unexpected argument {name!r}{hint(name, known)}"
            )

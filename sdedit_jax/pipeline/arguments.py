"""Arguments of the Python API: unknown names, types and ranges."""

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

import numpy as np

from sdedit_jax.files.values import Whole
from sdedit_jax.files.wording import brief
from sdedit_jax.registry.fields import (
    ATTENTION,
    BATCH,
    DEVICES,
    LIMIT,
    PROMPT,
    SAMPLES,
    SIDE,
    STEPS,
    TEXT,
)
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
    """Check the arguments of a call: their names, and the values of those in CHECKS.

    An unknown one is named as Python does, with the nearest one that exists.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        _check_names(function, signature, kwargs)
        _check_values(signature, signature.bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    return checked


def number(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number in [low, high].

    Raises:
        TypeError: no number. ValueError: out of range.
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number, got {brief(value)}")
    if not low <= value <= high or not -LIMIT <= value <= LIMIT:
        ends = f"in [{low:g}, {high:g}]" if math.isfinite(high) else f"at least {low:g}"
        free = math.isinf(low) and math.isinf(high)
        size = f"at most {LIMIT:g} in size" if abs(value) < math.inf else "finite"
        allowed = size if free else ends
        raise ValueError(f"{name} must be {allowed}, got {brief(value)}")
    return float(value)


def whole(name: str, value: Any, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number in [least, most].

    Raises:
        TypeError: no whole number. ValueError: too small or too large.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, got {brief(value)}")
    if not least <= value <= most:
        ends = f"at least {least}" if value < least else f"at most {most}"
        raise ValueError(f"{name} must be {ends}, got {brief(value)}")
    return int(value)


def text(name: str, value: Any) -> None:
    """Raise TypeError unless a value is a string, and ValueError if it is no UTF-8 or too long."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {brief(value)}")
    TEXT.check(value, name)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be UTF-8, got {brief(value)}") from None


def path(name: str, value: Any) -> None:
    """Raise TypeError unless a value is a path, and ValueError if it is too long."""
    if not isinstance(value, str | PurePath):
        raise TypeError(f"{name} must be a path, got {brief(value)}")
    TEXT.check(str(value), name)


def flag(name: str, value: Any) -> None:
    """Raise TypeError unless a value is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {brief(value)}")


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
            raise TypeError(f"{name} must be {allowed}, got {brief(one)}")
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
    _check_values(signature, made.arguments)
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


# --- the values of each argument ------------------------------------------------------------------

WHOLES: Mapping[str, Whole] = {
    "steps": STEPS,
    "repeats": STEPS,
    "samples": SAMPLES,
    "feather": SIDE,
    "batch": BATCH,
    "devices": DEVICES,
    "sample": Whole(0, 2**31 - 1),
    "slots": Whole(0, 1000),
    "attention": ATTENTION,
}
REALS = ("sigma", "snr_db", "step", "strength", "target_l2", "target_lpips", "skip")
REALS += ("source_scale", "target_scale", "intersect_to", "warmup", "threshold", "cooldown")
REALS += ("weight", "momentum", "beta")
WORDS = ("preset", "fit", "output", "hold", "final", "noise_by", "maps", "compute")
WORDS += ("card", "family", "name", "prediction", "dtype")
FLAGS = ("opaque", "details", "as_pil", "check", "strict", "overwrite", "resume")
PATHS = ("folder", "source", "tokenizer")


def _call(name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {brief(value)}")


def _token(name: str, value: Any) -> None:
    if not callable(getattr(value, "is_set", None)):
        raise TypeError(f"{name} must have is_set(), as threading.Event has, got {brief(value)}")


def _strength(name: str, value: Any) -> None:
    if not isinstance(value, str):
        number(name, value)


def _label(name: str, value: Any) -> None:
    if not isinstance(value, str):
        whole(name, value)


def _architecture(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        path(name, value)


def _texts(name: str, value: Any) -> None:
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, str):
            text(name, one)


def _prompts(name: str, value: Any) -> None:
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, str):
            PROMPT.check(one, name)


def _pictures(name: str, value: Any) -> None:
    for one in value if isinstance(value, list | tuple) else [value]:
        if isinstance(one, str | PurePath):
            path(name, one)


def _in(kind: Whole) -> Callable[[str, Any], int]:
    return lambda name, value: whole(name, value, kind.low, kind.high)


CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    **{name: _in(kind) for name, kind in WHOLES.items()},
    **dict.fromkeys(REALS, number),
    **dict.fromkeys(WORDS, text),
    **dict.fromkeys(FLAGS, flag),
    **dict.fromkeys(PATHS, path),
    "t0": _strength,
    "against": _label,
    "architecture": _architecture,
    "id": _texts,
    **dict.fromkeys(("concepts", "prompt", "negative_prompt", "source_prompt"), _prompts),
    **dict.fromkeys(("image", "mask", "strength_map"), _pictures),
    "lpips": _call,
    "cancel": _token,
}
"""Argument -> its check; None passes where it is the default."""


def _check_values(signature: inspect.Signature, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        unset = value is None and signature.parameters[name].default is None
        if name in CHECKS and not unset:
            CHECKS[name](name, value)

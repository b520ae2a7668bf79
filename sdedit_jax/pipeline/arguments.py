"""Arguments of the Python API: unknown names, types and ranges."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, ParamSpec, TypeVar

import numpy as np

from sdedit_jax.files.schema import Either, Named, Plain
from sdedit_jax.files.values import FUNCTION, UTF8, Having, Kind, Maybe, Text, Whole
from sdedit_jax.registry.fields import FLAG, LEDITS, NUMBER, PROMPT, SDEDIT, STEPS
from sdedit_jax.text.spelling import hint

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


def each(name: str, value: Any, count: int, kind: Kind) -> list[Any]:
    """One value for all pictures, or one for each.

    Raises:
        TypeError: a value of another type. ValueError: another number of values, or one that is not
            allowed.
    """
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value[()]
    given = isinstance(value, list | tuple | np.ndarray)
    values = list(value) if given else [value] * count
    if len(values) != count:
        raise ValueError(f"{name}: one for all or one for each of {count}, got {len(values)}")
    for one in values:
        kind.check(one, name)
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


@dataclasses.dataclass(frozen=True)
class Among:
    """A value or a list, in which values of a type are of a kind; others are checked where read."""

    type: type | tuple[type, ...]
    kind: Kind

    def check(self, value: Any, place: str) -> None:
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, self.type):
                self.kind.check(one, place)


PATH = Text(lines=True, words="a path", path=True)
WORD = Text(4096, True, UTF8, "a text in UTF-8")
INT32 = Whole(0, 2**31 - 1)
"""A number, from 0, that compiled programs and keys can hold."""
CLASS = Whole(0, 2**31 - 1, "the number or the name of a class")
LABEL = Maybe(Either(((str, WORD), (object, CLASS))))

OF_SDEDIT = ("sigma", "snr_db", "step", "strength", "target_l2", "target_lpips", "feather")
OF_SDEDIT += ("batch", "samples", "devices")
OF_LEDITS = ("skip", "source_scale", "target_scale", "intersect_to", "warmup", "threshold")
OF_LEDITS += ("cooldown", "weight", "momentum", "beta", "attention")
WORDS = ("preset", "fit", "output", "hold", "final", "noise_by", "maps", "compute")
WORDS += ("card", "family", "name", "prediction", "dtype")
FLAGS = ("opaque", "details", "as_pil", "check", "strict", "overwrite", "resume", "keep")

CHECKS: Mapping[str, Kind] = {
    **{name: SDEDIT[name] for name in OF_SDEDIT},
    **{name: LEDITS[name] for name in OF_LEDITS},
    **dict.fromkeys(WORDS, WORD),
    **dict.fromkeys(FLAGS, FLAG),
    **dict.fromkeys(("folder", "source", "tokenizer", "path", "workdir"), PATH),
    "where": Maybe(PATH),
    **dict.fromkeys(("steps", "repeats"), STEPS),
    "sample": INT32,
    "slots": Whole(0, 1000),
    "t0": Either(((str, WORD), (object, NUMBER))),
    "against": LABEL,
    "architecture": Either(((Mapping, Named(Plain(100_000))), (object, PATH))),
    "id": Among(str, WORD),
    **dict.fromkeys(("concepts", "prompt", "negative_prompt", "source_prompt"), Among(str, PROMPT)),
    **dict.fromkeys(("image", "mask", "strength_map"), Among((str, PurePath), PATH)),
    "lpips": FUNCTION,
    "cancel": Having("is_set", "a value with is_set(), as threading.Event is"),
}
"""Argument -> what it may be; None passes where it is the default."""


def _check_values(signature: inspect.Signature, given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        unset = value is None and signature.parameters[name].default is None
        if name in CHECKS and not unset:
            CHECKS[name].check(value, name)

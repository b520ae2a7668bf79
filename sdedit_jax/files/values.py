"""Kinds of single values: each checks a value and names its place."""

import math
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np

from sdedit_jax.files.wording import brief

LARGE = 1e30
"""The size of a number without a narrower range; float32 holds it."""
NUMBER = (int, float, np.integer, np.floating)


class WrongType(TypeError, ValueError):
    """A value of another type: a wrong value where a file holds it, a wrong type in Python."""


class Kind(Protocol):
    """What a value may be."""

    def check(self, value: Any, place: str) -> None:
        """Check a value.

        Args:
            place: the dotted name of the value, for messages.

        Raises:
            WrongType: the value, or one inside it, is of another type.
            ValueError: it is not allowed.
        """


@dataclass(frozen=True)
class Whole:
    """A whole number in [low, high]; allowed: the range in words, "" for the numbers."""

    low: int = 0
    high: int = 10**9
    allowed: str = ""

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise mistyped(place, self.allowed or "a whole number", value)
        if not self.low <= value <= self.high:
            end = f"at least {self.low}" if value < self.low else f"at most {self.high}"
            raise error(place, self.allowed or end, value)


@dataclass(frozen=True)
class Real:
    """A finite number in [low, high]; above, below: `low`, `high` itself is not allowed."""

    low: float = -LARGE
    high: float = LARGE
    above: bool = False
    below: bool = False

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, NUMBER) or isinstance(value, bool):
            raise mistyped(place, "a number", value)
        over = value > self.low if self.above else value >= self.low
        if not (over and (value < self.high if self.below else value <= self.high)):
            raise error(place, self._range(value), value)

    def _range(self, value: Any) -> str:
        """The range for the message about a value that is outside of it."""
        if self.high >= 1e3 and not abs(value) < math.inf:
            return "a finite number"
        if self.high >= 1e3:
            low = f"{'above' if self.above else 'at least'} {self.low:.16g}"
            return low if value <= self.low else f"at most {self.high:.16g}"
        ends = "(" if self.above else "[", ")" if self.below else "]"
        return f"in {ends[0]}{self.low:.16g}, {self.high:.16g}{ends[1]}"


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, bool | np.bool_):
            raise mistyped(place, "true or false", value)


@dataclass(frozen=True)
class Text:
    """A text.

    Attributes:
        most: characters. lines: line breaks, tabs and other control characters are allowed.
        form: a regular expression for the whole text; words: what it means, for the message.
        path: a path of Python may stand for the text.
    """

    most: int = 4096
    lines: bool = False
    form: str = ""
    words: str = ""
    path: bool = False

    def check(self, value: Any, place: str) -> None:
        value = str(value) if self.path and isinstance(value, PurePath) else value
        if not isinstance(value, str):
            raise mistyped(place, self.words or "a text", value)
        if len(value) > self.most:
            raise error(place, f"a text of at most {self.most} characters", value)
        if self.form and not re.fullmatch(self.form, value, re.DOTALL):
            raise error(place, self.words, value)
        if "\0" in value or not (self.lines or all(map(_printed, value))):
            raise error(place, "a text without control characters", value)


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def check(self, value: Any, place: str) -> None:
        if not any(type(value) is type(one) and value == one for one in self.values):
            listed = self.values[0] if len(self.values) == 1 else f"one of {list(self.values)}"
            raise error(place, str(listed), value)


@dataclass(frozen=True)
class Having:
    """A value of Python with a method; words: what it is, for the message."""

    method: str
    words: str

    def check(self, value: Any, place: str) -> None:
        if isinstance(value, type) or not callable(getattr(value, self.method, None)):
            raise mistyped(place, self.words, value)


@dataclass(frozen=True)
class Maybe:
    """A value or null."""

    kind: Kind

    def check(self, value: Any, place: str) -> None:
        if value is not None:
            self.kind.check(value, place)


UTF8 = "[^\\ud800-\\udfff]*"
"""The form of texts that hold no bytes of another encoding."""
FUNCTION = Having("__call__", "a function")
NAME = Text(256)
"""A name."""
WEIGHT = Real(-1e6, 1e6)
"""A guidance scale, or another factor."""
SHA256 = Text(64, form="[0-9a-f]{64}", words="a sha256 of 64 digits 0-9 and a-f")


def joined(place: str, name: str) -> str:
    """The dotted name of a field of an object."""
    shown = name if re.fullmatch(r"[\w.-]{1,60}", name) else brief(name)
    return f"{place}.{shown}" if place else shown


def error(place: str, allowed: str, value: Any) -> ValueError:
    """The error for a value that is not allowed."""
    return ValueError(f"{place} must be {allowed}, got {brief(value)}")


def mistyped(place: str, allowed: str, value: Any) -> WrongType:
    """The error for a value of another type."""
    return WrongType(*error(place, allowed, value).args)


def _printed(sign: str) -> bool:
    """Whether a character is no control character, and no mark that turns the order of others."""
    return (
        unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or sign in "\u200c\u200d"
    )

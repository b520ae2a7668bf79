"""What the values of a file may be: kinds, each of which checks a value and names its place."""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sdedit_jax.files.wording import brief

LARGE = 1e30
"""The size of a number without a narrower range; float32 holds it."""


class Kind(Protocol):
    """What a value may be."""

    def check(self, value: Any, place: str) -> None:
        """Check a value.

        Args:
            place: the dotted name of the value, for messages.

        Raises:
            ValueError: the value, or one inside it, is not allowed.
        """


@dataclass(frozen=True)
class Whole:
    """A whole number in [low, high]."""

    low: int = 0
    high: int = 10**9

    def check(self, value: Any, place: str) -> None:
        if type(value) is not int or not self.low <= value <= self.high:
            raise error(place, f"a whole number from {self.low} to {self.high}", value)


@dataclass(frozen=True)
class Real:
    """A finite number in [low, high]; above: `low` itself is not allowed."""

    low: float = -LARGE
    high: float = LARGE
    above: bool = False

    def check(self, value: Any, place: str) -> None:
        number = type(value) in (int, float)
        if not number or not self.low <= value <= self.high or (self.above and value == self.low):
            start = f"above {self.low:g}, at most" if self.above else f"from {self.low:g} to"
            raise error(place, f"a number {start} {self.high:g}", value)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def check(self, value: Any, place: str) -> None:
        if type(value) is not bool:
            raise error(place, "true or false", value)


@dataclass(frozen=True)
class Text:
    """A text.

    Attributes:
        most: characters. lines: line breaks, tabs and other control characters are allowed.
        form: a regular expression for the whole text; words: what it means, for the message.
    """

    most: int = 4096
    lines: bool = False
    form: str = ""
    words: str = ""

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, str):
            raise error(place, self.words or "a text", value)
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
class Maybe:
    """A value or null."""

    kind: Kind

    def check(self, value: Any, place: str) -> None:
        if value is not None:
            self.kind.check(value, place)


@dataclass(frozen=True)
class Many:
    """A list of `least` to `most` values of a kind."""

    kind: Kind
    most: int = 1000
    least: int = 0

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, list) or not self.least <= len(value) <= self.most:
            counts = self.least if self.least == self.most else f"{self.least} to {self.most}"
            raise error(place, f"a list of {counts} values", value)
        for i, one in enumerate(value):
            self.kind.check(one, f"{place}[{i}]")


@dataclass(frozen=True)
class Each:
    """A list with a kind for each of its values."""

    kinds: tuple[Kind, ...]

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) != len(self.kinds):
            raise error(place, f"a list of {len(self.kinds)} values", value)
        for i, (kind, one) in enumerate(zip(self.kinds, value, strict=True)):
            kind.check(one, f"{place}[{i}]")


@dataclass(frozen=True)
class Fields:
    """An object with some fields and no others.

    Attributes:
        fields: those that it must have. free: those that it may have.
    """

    fields: Mapping[str, Kind] = field(default_factory=dict)
    free: Mapping[str, Kind] = field(default_factory=dict)

    def check(self, value: Any, place: str) -> None:
        check_object(value, place)
        known = {**self.fields, **self.free}
        for name in self.fields:
            if name not in value:
                raise ValueError(f"{joined(place, name)} is missing")
        for name, one in value.items():
            if name not in known:
                listed = brief(sorted(known), 200)
                raise ValueError(f"{joined(place, name)} is no field; the fields are {listed}")
            known[name].check(one, joined(place, name))


@dataclass(frozen=True)
class Named:
    """An object of values of one kind by free names."""

    kind: Kind
    most: int = 1000

    def check(self, value: Any, place: str) -> None:
        check_object(value, place)
        if len(value) > self.most:
            raise ValueError(f"{place} must have at most {self.most} fields, got {len(value)}")
        for name, one in value.items():
            Text(256).check(name, f"a name in {place}")
            self.kind.check(one, joined(place, name))


@dataclass(frozen=True)
class Plain:
    """A value of free form: finite numbers, texts, flags, nulls, and lists and objects of them."""

    most: int = 1000

    def check(self, value: Any, place: str) -> None:
        if isinstance(value, Mapping):
            Named(self, self.most).check(value, place)
        elif isinstance(value, list):
            Many(self, self.most).check(value, place)
        elif isinstance(value, str):
            Text(100_000, lines=True).check(value, place)
        elif value is not None and type(value) is not bool:
            Real().check(value, place)


@dataclass(frozen=True)
class Either:
    """A value of one of some kinds, chosen by its JSON type; the last one names the error."""

    kinds: tuple[tuple[type | tuple[type, ...], Kind], ...]

    def check(self, value: Any, place: str) -> None:
        fitting = (kind for types, kind in self.kinds if isinstance(value, types))
        next(fitting, self.kinds[-1][1]).check(value, place)


NAME = Text(256)
"""A name."""
SHA256 = Text(64, form="[0-9a-f]{64}", words="a sha256 of 64 digits 0-9 and a-f")


def check_object(value: Any, place: str) -> None:
    """Raise ValueError unless a value is an object."""
    if not isinstance(value, Mapping):
        raise error(place, "an object", value)


def check_some(kinds: Mapping[str, Kind], values: Any, place: str) -> None:
    """Check the fields of an object that are there and not null; it may have others.

    Raises:
        ValueError: no object, or a wrong value.
    """
    check_object(values, place)
    for name, kind in kinds.items():
        if values.get(name) is not None:
            kind.check(values[name], joined(place, name))


def check_named(kinds: Mapping[str, Kind], value: Any, place: str, by: str = "name") -> None:
    """Check an object by the kind that one of its fields names.

    Raises:
        ValueError: no such field, an unknown name, or see Kind.check.
    """
    check_object(value, place)
    if by not in value:
        raise ValueError(f"{joined(place, by)} is missing")
    Choice(tuple(sorted(kinds))).check(value[by], joined(place, by))
    kinds[value[by]].check({n: v for n, v in value.items() if n != by}, place)


def joined(place: str, name: str) -> str:
    """The dotted name of a field of an object."""
    shown = name if re.fullmatch(r"[\w.-]{1,60}", name) else brief(name)
    return f"{place}.{shown}" if place else shown


def error(place: str, allowed: str, value: Any) -> ValueError:
    """The error for a value that is not allowed."""
    return ValueError(f"{place} must be {allowed}, got {brief(value)}")


def _printed(sign: str) -> bool:
    """Whether a character is no control character, and no mark that turns the order of others."""
    return (
        unicodedata.category(sign) not in ("Cc", "Cf", "Cs", "Zl", "Zp") or sign in "\u200c\u200d"
    )

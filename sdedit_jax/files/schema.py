"""Kinds of lists and objects, and what their parts may be."""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sdedit_jax.files.values import Choice, Kind, Real, Text, error, joined
from sdedit_jax.files.wording import brief


@dataclass(frozen=True)
class Many:
    """A list of `least` to `most` values of a kind."""

    kind: Kind
    most: int = 1000
    least: int = 0

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, list | tuple) or not self.least <= len(value) <= self.most:
            counts = self.least if self.least == self.most else f"{self.least} to {self.most}"
            raise error(place, f"a list of {counts} values", value)
        for i, one in enumerate(value):
            self.kind.check(one, f"{place}[{i}]")


@dataclass(frozen=True)
class Each:
    """A list with a kind for each of its values."""

    kinds: tuple[Kind, ...]

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, list | tuple) or len(value) != len(self.kinds):
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
    """A value of free form: finite numbers, texts, flags, nulls, and lists and objects of them.

    Attributes:
        most: values of a list or object. deepest: lists and objects inside each other.
        number: what a number may be.
    """

    most: int = 1000
    deepest: int = 100
    number: Kind = Real()

    def check(self, value: Any, place: str) -> None:
        if isinstance(value, Mapping | list | tuple) and self.deepest:
            inside = replace(self, deepest=self.deepest - 1)
            kind = Named if isinstance(value, Mapping) else Many
            kind(inside, self.most).check(value, place)
        elif isinstance(value, str):
            Text(100_000, lines=True).check(value, place)
        elif isinstance(value, numbers.Real) and not isinstance(value, bool):
            self.number.check(value, place)
        elif value is not None and not isinstance(value, bool):
            raise error(place, "a number, a text, true, false or null", value)


@dataclass(frozen=True)
class Either:
    """A value of one of some kinds, chosen by its JSON type; the last one names the error."""

    kinds: tuple[tuple[type | tuple[type, ...], Kind], ...]

    def check(self, value: Any, place: str) -> None:
        fitting = (kind for types, kind in self.kinds if isinstance(value, types))
        next(fitting, self.kinds[-1][1]).check(value, place)


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

"""Kinds of lists and objects, and what their parts may be; the kinds of annotations."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args, get_origin

from sdedit_jax.files.values import (
    NUMBER,
    Choice,
    Flag,
    Kind,
    Maybe,
    Real,
    Text,
    Whole,
    error,
    joined,
    mistyped,
)
from sdedit_jax.files.wording import brief


@dataclass(frozen=True)
class Many:
    """A list of `least` to `most` values of a kind."""

    kind: Kind
    most: int = 1000
    least: int = 0

    def check(self, value: Any, place: str) -> None:
        check_list(value, place, self.least, self.most)
        for i, one in enumerate(value):
            self.kind.check(one, f"{place}[{i}]")


@dataclass(frozen=True)
class Each:
    """A list with a kind for each of its values."""

    kinds: tuple[Kind, ...]

    def check(self, value: Any, place: str) -> None:
        check_list(value, place, len(self.kinds), len(self.kinds))
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
        elif isinstance(value, NUMBER) and not isinstance(value, bool):
            self.number.check(value, place)
        elif value is not None and not isinstance(value, bool):
            raise mistyped(place, "a number, a text, true, false or null", value)


@dataclass(frozen=True)
class Either:
    """A value of one of some kinds, chosen by its type; the last one names the error."""

    kinds: tuple[tuple[type | tuple[type, ...], Kind], ...]

    def check(self, value: Any, place: str) -> None:
        fitting = (kind for types, kind in self.kinds if isinstance(value, types))
        next(fitting, self.kinds[-1][1]).check(value, place)


PLAIN: Mapping[Any, Kind] = {
    int: Whole(-(10**9)),
    float: Real(-1e9, 1e9),
    bool: Flag(),
    str: Text(lines=True, path=True),
}
"""Plain types of Python -> their values without a narrower range."""


def kind_of(annotation: Any, plain: Mapping[Any, Kind] = PLAIN, most: int = 1000) -> Kind | None:
    """The kind of an annotation: a plain type, tuple[T, ...], or such with T or None.

    Args:
        plain: the kinds of plain types. most: values of a list.

    Returns:
        None for other annotations.
    """
    parts = get_args(annotation)
    if get_origin(annotation) is tuple:
        return Many(plain[parts[0]], most)
    if get_origin(annotation) is not types.UnionType:
        return plain.get(annotation)
    kinds = {one: kind_of(one, plain, most) for one in parts if one is not types.NoneType}
    if None in kinds.values():
        return None
    kind, *others = kinds.values()
    if others:  # int | tuple[int, ...]
        kind = Either((((list, tuple), others[0]), (object, kind)))
    return Maybe(kind) if types.NoneType in parts else kind


def check_list(value: Any, place: str, least: int, most: int) -> None:
    """Raise ValueError unless a value is a list of `least` to `most` values."""
    listed = isinstance(value, list | tuple)
    if not listed or not least <= len(value) <= most:
        counts = str(most) if least == most else f"{least} to {most}"
        raise (error if listed else mistyped)(place, f"a list of {counts} values", value)


def check_object(value: Any, place: str) -> None:
    """Raise ValueError unless a value is an object."""
    if not isinstance(value, Mapping):
        raise mistyped(place, "an object", value)


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

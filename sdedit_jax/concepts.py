"""Concepts as text: "+green:7,-red:5"."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sdedit_jax.edits.ledits import KINDS

SIGNS = {"+": False, "-": True}
PLACES = ("scale", "warmup", "threshold")
"""What numbers without a name mean, in this order."""
NUMBERS = (*PLACES, "cooldown", "weight", "momentum", "beta")
"""Of a concept; the names of sega.Concepts."""


class Concept(NamedTuple):
    """A concept as it was asked for.

    Attributes:
        text: what is added or removed. reverse: removed.
        given: of NUMBERS those that were said.
    """

    text: str
    reverse: bool
    given: Mapping[str, float]


def parse(text: str | Sequence[str]) -> tuple[Concept, ...]:
    """Concepts of a text like "+green:7,-red:5", or of one text for each.

    A concept is a sign (+ adds, - removes), its words, and numbers behind colons: scale, warmup and
    threshold in this order, or by name, as in "+green:7:2:0.95" and "-red:scale=5:cooldown=20".
    "kind=object" takes the starting values of one of KINDS. Words with a comma in them need the
    second form, one text for each concept.

    Raises:
        ValueError: a concept without a sign or words, or a number that is none or out of its range.
    """
    if isinstance(text, str):
        return tuple(_concept(part) for part in text.split(",")) if text.strip() else ()
    if not isinstance(text, list | tuple) or not all(isinstance(part, str) for part in text):
        raise ValueError(f"concepts must be a text or a list of texts, got {text!r}")
    return tuple(map(_concept, text))


def shown(concept: Concept) -> str:
    """A concept as `parse` reads it."""
    sign = next(sign for sign, reverse in SIGNS.items() if reverse == concept.reverse)
    return ":".join(
        [sign + concept.text] + [f"{name}={value:.9g}" for name, value in concept.given.items()]
    )


def _concept(part: str) -> Concept:
    sign, (text, *numbers) = part.strip()[:1], part.strip()[1:].split(":")
    if sign not in SIGNS or not sign:
        raise ValueError(
            f'concepts: {part.strip()!r} must begin with + (add) or - (remove), as in "+green:7"'
        )
    if not text.strip():
        raise ValueError(f"concepts: {part.strip()!r} has no words behind its sign")
    given: dict[str, float] = {}
    for place, number in enumerate(numbers):
        name, equals, value = number.rpartition("=")
        if not equals and place >= len(PLACES):
            raise ValueError(f"concepts: {part.strip()!r} has more numbers than {list(PLACES)}")
        given |= _number(part.strip(), name.strip() if equals else PLACES[place], value.strip())
    return Concept(text.strip(), SIGNS[sign], given)


def _number(part: str, name: str, value: str) -> dict[str, float]:
    """One number of a concept, or several of a kind; none where nothing is said."""
    if name == "kind":
        if value not in KINDS:
            raise ValueError(f"concepts: kind of {part!r} must be one of {list(KINDS)}")
        return dict(KINDS[value])
    if name not in NUMBERS:
        raise ValueError(f"concepts: {name!r} in {part!r} must be one of {[*NUMBERS, 'kind']}")
    if not value:
        return {}
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    check_number(name, found, f"concepts: {name} in {part!r}")
    return {name: found}


def check_number(name: str, value: float, field: str) -> None:
    """See that a number of a concept is in its range.

    Raises:
        ValueError: it is not; the message begins with `field`.
    """
    top = 1 if name == "threshold" else math.inf
    least = 0 if name in ("threshold", "warmup", "cooldown") else -math.inf
    if not math.isfinite(value) or not least <= value <= top:
        allowed = "in [0, 1]" if top == 1 else "at least 0" if least == 0 else "a finite number"
        raise ValueError(f"{field} must be {allowed}, got {value:g}")

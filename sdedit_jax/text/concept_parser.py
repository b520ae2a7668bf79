"""Concepts as text: "+green:7,-red:5"."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sdedit_jax.text.spelling import one_of

SIGNS = {"+": False, "-": True}
PLACES = ("scale", "warmup", "threshold")
"""Names of unnamed numbers, in order."""
NUMBERS = (*PLACES, "cooldown", "weight", "momentum", "beta")
"""Names of a concept's numbers, as in guidance.sega.Concepts."""

KINDS: Mapping[str, Mapping[str, float]] = {
    "custom": {"scale": 7, "warmup": 2, "threshold": 0.95},
    "style": {"scale": 8, "warmup": 2, "threshold": 0.92},
    "faces": {"scale": 5, "warmup": 2, "threshold": 0.95},
    "object": {"scale": 15, "warmup": 5, "threshold": 0.95},
}
"""Defaults of the LEDITS demo for kinds of concepts."""


class Concept(NamedTuple):
    """A parsed concept.

    Attributes:
        text: the prompt that is added or removed.
        reverse: it is removed.
        given: the specified ones of NUMBERS.
    """

    text: str
    reverse: bool
    given: Mapping[str, float]


def parse(text: str | Sequence[str]) -> tuple[Concept, ...]:
    """Parse concepts, from one string like "+green:7,-red:5" or from one string for each.

    A concept is a sign (+ adds, - removes), a prompt, and numbers after colons: scale, warmup and
    threshold in this order, or by name, as in "+green:7:2:0.95" and "-red:scale=5:cooldown=20".
    "kind=object" uses the defaults of one of KINDS. Prompts with a comma need the second form, one
    string for each concept.

    Raises:
        ValueError: a concept lacks its sign or prompt, or a number is invalid or out of range.
    """
    if isinstance(text, str):
        return tuple(_concept(part) for part in text.split(",")) if text.strip() else ()
    if not isinstance(text, list | tuple) or not all(isinstance(part, str) for part in text):
        raise ValueError(f"concepts must be a string or a list of strings, got {text!r}")
    return tuple(map(_concept, text))


def as_text(concept: Concept) -> str:
    """The string of a concept, as `parse` reads it."""
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
        raise ValueError(f"concepts: {part.strip()!r} has no prompt after its sign")
    given: dict[str, float] = {}
    for place, number in enumerate(numbers):
        name, equals, value = number.rpartition("=")
        if not equals and place >= len(PLACES):
            raise ValueError(f"concepts: {part.strip()!r} has more numbers than {list(PLACES)}")
        given |= _number(part.strip(), name.strip() if equals else PLACES[place], value.strip())
    return Concept(text.strip(), SIGNS[sign], given)


def _number(part: str, name: str, value: str) -> dict[str, float]:
    """One number of a concept, several for a kind, or none for an empty value."""
    if name == "kind":
        return dict(KINDS[one_of(f"concepts: kind of {part!r}", value, KINDS)])
    one_of(f"concepts: {name!r} in {part!r}", name, [*NUMBERS, "kind"])
    if not value:
        return {}
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    check_number(name, found, f"concepts: {name} in {part!r}")
    return {name: found}


def check_number(name: str, value: float, field: str) -> None:
    """Check that a number of a concept is in its range.

    Raises:
        ValueError: it is not; the message starts with `field`.
    """
    top = 1 if name == "threshold" else math.inf
    least = 0 if name in ("threshold", "warmup", "cooldown") else -math.inf
    if not math.isfinite(value) or not least <= value <= top:
        allowed = "in [0, 1]" if top == 1 else "at least 0" if least == 0 else "a finite number"
        raise ValueError(f"{field} must be {allowed}, got {value:g}")

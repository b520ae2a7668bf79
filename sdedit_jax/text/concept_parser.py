"""Concepts as text: "+green:7,-red:5"."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sdedit_jax.files.json_file import SURROGATE
from sdedit_jax.files.wording import brief
from sdedit_jax.text.spelling import one_of

SIGNS = {"+": False, "-": True}
PLACES = ("scale", "warmup", "threshold")
"""Names of unnamed numbers, in order."""
NUMBERS = (*PLACES, "cooldown", "weight", "momentum", "beta")
"""Names of a concept's numbers, as in guidance.sega.Concepts."""

NOT_NEGATIVE = ("threshold", "warmup", "cooldown")

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


QUOTED = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
PART = re.compile(rf"\s*[+-]\s*{QUOTED.pattern}[^,]*|[^,]*", re.DOTALL)
"""A concept of several: up to the next comma outside of its quotes."""


def parse(text: str | Sequence[str]) -> tuple[Concept, ...]:
    """Parse concepts, from one string like "+green:7,-red:5" or from one string for each.

    A concept is a sign (+ adds, - removes), a prompt, and numbers after colons: scale, warmup and
    threshold in this order, or by name, as in "+green:7:2:0.95" and "-red:scale=5:cooldown=20".
    "kind=object" uses the defaults of one of KINDS. A prompt in double quotes may have commas and
    colons, as in '+"red, ripe":7'; it is a JSON string.

    Raises:
        ValueError: a concept lacks its sign or prompt, or a number is invalid or out of range.
    """
    if isinstance(text, str):
        return tuple(map(_concept, _parts(text))) if text.strip() else ()
    if not isinstance(text, list | tuple) or not all(isinstance(part, str) for part in text):
        raise ValueError(f"concepts must be a string or a list of strings, got {brief(text)}")
    return tuple(map(_concept, text))


def as_text(concept: Concept) -> str:
    """The string of a concept, as `parse` reads it."""
    sign = next(sign for sign, reverse in SIGNS.items() if reverse == concept.reverse)
    text = concept.text
    if set(text) & set(',:"') or text != text.strip():
        text = json.dumps(text, ensure_ascii=False)
    numbers = [f"{name}={_exact(value)}" for name, value in concept.given.items()]
    return ":".join([sign + text, *numbers])


def _exact(value: float) -> str:
    short = f"{value:.9g}"
    return short if float(short) == value else repr(float(value))


def _parts(text: str) -> Iterator[str]:
    """The concepts of a string, between commas outside of quotes."""
    at = 0
    while at <= len(text):
        part = PART.match(text, at)
        yield part[0]
        at = part.end() + 1


def _concept(part: str) -> Concept:
    part = part.strip()
    sign, (text, numbers) = part[:1], _text(part)
    if sign not in SIGNS or not sign:
        raise ValueError(
            f'concepts: {part!r} must begin with + (add) or - (remove), as in "+green:7"'
        )
    if not text.strip():
        raise ValueError(f"concepts: {part!r} has no prompt after its sign")
    given: dict[str, float] = {}
    for place, number in enumerate(numbers):
        name, equals, value = number.rpartition("=")
        if not equals and place >= len(PLACES):
            raise ValueError(f"concepts: {part!r} has more numbers than {list(PLACES)}")
        given |= _number(part, name.strip() if equals else PLACES[place], value.strip())
    return Concept(text, SIGNS[sign], given)


def _text(part: str) -> tuple[str, list[str]]:
    """The prompt of a concept, and the numbers after it.

    Raises:
        ValueError: a quote that is not closed, or something else than a colon after it.
    """
    rest = part[1:].strip()
    if not rest.startswith('"'):
        text, *numbers = rest.split(":")
        return text.strip(), numbers
    quoted = QUOTED.match(rest)
    after = rest[quoted.end() :].strip() if quoted else ""
    if not quoted or after[:1] not in ("", ":"):
        raise ValueError(f"concepts: {part!r} needs a closing quote, and a colon or comma after it")
    try:
        text = json.loads(quoted[0], strict=False)
    except ValueError as error:
        raise ValueError(f"concepts: {part!r} has an invalid quoted prompt: {error}") from None
    if SURROGATE.search(text):
        raise ValueError(f"concepts: {part!r} has half of a surrogate pair in its prompt")
    return text, after.split(":")[1:]


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
        hint = "; a comma separates concepts" if value[0] in SIGNS else ""
        raise ValueError(
            f"concepts: {name} in {part!r} must be {allowed(name)}, got {value!r}{hint}"
        ) from None
    check_number(name, found, f"concepts: {name} in {part!r}")
    return {name: found}


def check_number(name: str, value: float, field: str) -> None:
    """Check that a number of a concept is in its range.

    Raises:
        ValueError: it is not; the message starts with `field`.
    """
    top = 1 if name == "threshold" else math.inf
    least = 0 if name in NOT_NEGATIVE else -math.inf
    if not math.isfinite(value) or not least <= value <= top:
        raise ValueError(f"{field} must be {allowed(name)}, got {value:g}")


def allowed(name: str) -> str:
    """The range of a number of a concept, for messages."""
    if name == "threshold":
        return "in [0, 1]"
    return "at least 0" if name in NOT_NEGATIVE else "a finite number"

"""The allowed values of one field: its type, its range, and how many it may hold."""

import math
import numbers
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, NamedTuple

from sdedit_jax.files.wording import brief
from sdedit_jax.registry.names import check_kind
from sdedit_jax.text.spelling import counted

PATH = 4096
"""Characters of a path, a name or a word."""
PROSE = 100_000
"""Characters of a prompt or a list in one string."""
LIMIT = 1e9
"""The size of a number without a narrower range."""


class Bound(NamedTuple):
    """What a field may hold.

    Attributes:
        kind: int, float, str or bool.
        low, high: the range of a number; of a text `high` is its most characters.
        above: `low` itself is not allowed. below: `high` itself is not allowed.
        unset: None is allowed.
        least, most: how many values a tuple has; most 0: one value, no tuple.
        alone: a text alone may stand for a tuple.
        allowed: the range in words; "": from the numbers.
    """

    kind: type
    low: float = -LIMIT
    high: float = LIMIT
    above: bool = False
    below: bool = False
    unset: bool = False
    least: int = 0
    most: int = 0
    alone: bool = False
    allowed: str = ""

    def maybe(self) -> "Bound":
        """The same, or None."""
        return self._replace(unset=True)

    def many(self, most: int = 64, least: int = 0) -> "Bound":
        """A tuple of such values."""
        return self._replace(least=least, most=most)

    def check(self, value: Any, field: str) -> None:
        """Raise ValueError, naming the field, unless a value is allowed."""
        if value is None and self.unset:
            return
        if not self.most or (self.alone and isinstance(value, str)):
            self._check_one(value, field)
            return
        if not isinstance(value, list | tuple):
            raise ValueError(f"{field} must be a tuple, got {brief(value)}")
        if not self.least <= len(value) <= self.most:
            at = f"{self.least} to {self.most}" if self.least < self.most else f"{self.most}"
            raise ValueError(f"{field} must have {at} values, got {len(value)}")
        for one in value:
            self._check_one(one, field)

    def _check_one(self, value: Any, field: str) -> None:
        check_kind(str(value) if isinstance(value, PurePath) else value, self.kind, field)
        if self.kind is str:
            self._check_text(str(value), field)
        elif self.kind is not bool and not self._holds(value):
            raise ValueError(f"{field} must be {self.range(value)}, got {brief(value)}")

    def _check_text(self, text: str, field: str) -> None:
        if len(text) > self.high:
            most, found = counted(int(self.high), "character"), len(text)
            raise ValueError(f"{field} must have at most {most}, got {found}: {brief(text)}")
        if "\0" in text:
            raise ValueError(f"{field} must have no null character, got {brief(text)}")

    def _holds(self, value: Any) -> bool:
        over = value > self.low if self.above else value >= self.low
        return bool(over and (value < self.high if self.below else value <= self.high))

    def range(self, value: Any) -> str:
        """The range for the message about a value that is outside of it."""
        if self.allowed:
            return self.allowed
        if self.kind is int:
            least = value < self.low
            return f"at least {self.low}" if least else f"at most {self.high}"
        if abs(value) < math.inf and self.high >= 1e3:
            under = f"{'above' if self.above else 'at least'} {self.low:g}"
            return under if value <= self.low else f"at most {self.high:.16g}"
        ends = "(" if self.above else "[", ")" if self.below else "]"
        return f"in {ends[0]}{self.low:.16g}, {self.high:.16g}{ends[1]}"


# --- makers ---------------------------------------------------------------------------------------

Make = Callable[..., Bound]


def count(low: int = 0, high: int = 10**9) -> Bound:
    """A whole number."""
    return Bound(int, low, high)


def real(low: float = -LIMIT, high: float = LIMIT) -> Bound:
    """A finite number in [low, high]."""
    return Bound(float, low, high)


def over(low: float = 0, high: float = LIMIT) -> Bound:
    """A finite number in (low, high]."""
    return Bound(float, low, high, above=True)


def under(low: float = 0, high: float = 1) -> Bound:
    """A finite number in [low, high)."""
    return Bound(float, low, high, below=True)


FLAG = Bound(bool)
TEXT = Bound(str, high=PATH)
PROMPT = Bound(str, high=PROSE)
TEXTS = TEXT.many(256)._replace(alone=True)
SHARE = real(0, 1)
SEED = Bound(
    int, -1, 2**64 - 1, allowed="a whole number in [0, 2**64 - 1], or -1 to draw one"
)  # fmt: skip


def check_size(value: Any, field: str) -> None:
    """Raise ValueError for a number that is not finite, or of an absurd size."""
    real().check(value, field)


def of_any(value: Any, field: str) -> None:
    """Check a field of an open part: a flag, a finite number, a text, None, or a tuple of them."""
    if isinstance(value, list | tuple):
        if len(value) > TEXTS.most:
            raise ValueError(f"{field} must have at most {TEXTS.most} values, got {len(value)}")
        for one in value:
            _check_plain(one, field)
    elif value is not None:
        _check_plain(value, field)


def _check_plain(value: Any, field: str) -> None:
    if isinstance(value, str):
        PROMPT.check(value, field)
    elif isinstance(value, numbers.Real) and not isinstance(value, bool):
        check_size(value, field)
    elif not isinstance(value, bool):
        raise ValueError(f"{field} must be a number, a text, True or False, got {brief(value)}")

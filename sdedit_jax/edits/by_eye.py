"""A strength by eye: the paper's binary search over t0, by answers of a person."""

from typing import NamedTuple

LESS, MORE, DONE = "less", "more", "done"
ANSWERS = (LESS, MORE, DONE)
"""Less of a change than the middle candidate has, more of it, or that one."""


class Bracket(NamedTuple):
    """The strengths that are left.

    Attributes:
        low, high: its ends, in [0, 1].
    """

    low: float = 0.0
    high: float = 1.0

    @property
    def t0(self) -> float:
        """The candidate that an answer is about, and the strength of the answer "done"."""
        return (self.low + self.high) / 2

    @property
    def candidates(self) -> tuple[float, float, float]:
        """Strengths to show: that of the next round after "less", this one, that after "more"."""
        return self.after(LESS).t0, self.t0, self.after(MORE).t0

    def after(self, answer: str) -> "Bracket":
        """The bracket after an answer.

        Raises:
            ValueError: an unknown answer.
        """
        if answer not in ANSWERS:
            raise ValueError(f"answer must be one of {list(ANSWERS)}, got {answer!r}")
        if answer == DONE:
            return self
        return Bracket(self.low, self.t0) if answer == LESS else Bracket(self.t0, self.high)

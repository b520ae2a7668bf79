"""Candidates for a sampler: their distance to a reference, and which of them is chosen.

Chosen is the candidate of the fewest evaluations within two standard errors of the noise floor,
which is the distance between two independent references.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.caution import warn
from sdedit_jax.evaluation import features, kid

NONE_AT_FLOOR = "no candidate reaches the noise floor, and the nearest one is chosen"


class Candidate(NamedTuple):
    """A solver, a grid and the number of steps."""

    rule: str
    grid: str
    steps: int


class Measured(NamedTuple):
    """A candidate, measured.

    Attributes:
        candidate: its settings.
        evaluations: network evaluations of an edit, the mean for an adaptive solver.
        seconds: of an edit, in a batch, without compilation.
        distance: energy distance to the reference. error: its standard error.
    """

    candidate: Candidate
    evaluations: float
    seconds: float
    distance: float
    error: float

    @property
    def row(self) -> dict[str, Any]:
        """The settings and the measurements, for JSON."""
        measured = self._asdict()
        return {**measured.pop("candidate")._asdict(), **measured}


def features_of(pictures: np.ndarray) -> np.ndarray:
    """Hand-made features [N, D] of uint8 [N, H, W, 3]."""
    return features.hand_made(images.to_unit(pictures))


def distance(
    x: np.ndarray, y: np.ndarray, reference: np.ndarray, inputs: int
) -> tuple[float, float]:
    """The mean over the inputs of the unbiased energy distance of their edits; standard error.

    Args:
        x, y: features of edits, of the inputs in turn. reference: in whose units they are taken.
    """
    x, y = (features.standardised(rows, reference) for rows in (x, y))
    of_x, of_y = (np.arange(len(rows)) % len(x) % inputs for rows in (x, y))
    return kid.grouped(x, y, of_x, of_y)


def at_floor(one: Measured, floor: Measured) -> bool:
    """Whether a distance is within two of its standard errors of the floor, which is 0 at least."""
    return one.distance - max(floor.distance, 0.0) <= 2 * one.error


def choose(found: Sequence[Measured], floor: Measured) -> Measured:
    """The candidate of the fewest evaluations within two standard errors of the floor.

    Among those of as many evaluations it is the nearest one. Where none is within, it is the
    nearest of all.

    Warns:
        UserWarning: none is within, or all are: the budget is too small to tell them apart.
    """
    good = [m for m in found if at_floor(m, floor)]
    if not good:
        warn(f"autotune: {NONE_AT_FLOOR}; give more steps (autotune.steps) or other solvers")
        return min(found, key=lambda m: m.distance)
    if len(good) == len(found) > 1:
        warn(
            "budget: no candidate can be told from the noise floor; with more seconds more edits"
            " are compared"
        )
    return min(good, key=lambda m: (m.evaluations, m.distance))


def pareto(found: Sequence[Measured]) -> list[Measured]:
    """Those that no other one beats in evaluations and distance, by evaluations."""
    best, front = float("inf"), []
    for one in sorted(found, key=lambda m: (m.evaluations, m.distance)):
        if one.distance < best:
            best = one.distance
            front.append(one)
    return front

"""The strength at which an edit has a wanted distance from its guide, by bisection.

The functions only choose the next strengths to try. Callers run the edits, with the same noise for
all strengths, and measure them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sdedit_jax.diffusion.grids import Uniform
from sdedit_jax.diffusion.solvers import Ancestral
from sdedit_jax.edits.sdedit import SDEdit

LEAST = 1e-3
"""The lowest strength that is tried; lower ones are the guide up to the error of a codec."""
LEVELS = tuple(float(np.float32(i / 16)) for i in range(1, 17))
"""Strengths of a denoising curve."""
TOLERANCE = 0.01
"""The share of the target by which a distance may miss it."""
NARROW = 1e-6
"""The width of a bracket that is not divided."""
TRIALS = 4
"""Strengths that are tried for a picture in one round; no other picture changes them."""
SHARES = (1 / 3, 1.0)
"""Distances after one evaluation that bound where the whole edit has the target, as shares of it: a
denoised picture is a mean, and nearer to the guide than an edit."""

Trial = tuple[int, float]
"""The number of a picture, and a strength."""
Measure = Callable[[Sequence[Trial]], list[float]]
"""Trials -> the distance of each result from its guide."""


class Found(NamedTuple):
    """What the search found for a picture.

    Attributes:
        t0: the strength; None: no distance is near the target.
        trials: strength -> distance, in the order of the strengths.
    """

    t0: float | None
    trials: dict[float, float]

    @property
    def distance(self) -> float:
        """The distance at t0."""
        return self.trials[self.t0]

    def why_not(self, target: float) -> str:
        """Why no distance is near the target."""
        if not np.all(np.isfinite(list(self.trials.values()))):
            return "the edits have no finite distance"
        ends = bracket(self.trials, target)
        if ends is None:
            return f"reaches {min(self.trials.values()):.3g} to {max(self.trials.values()):.3g}"
        low, high = (self.trials[t0] for t0 in ends)
        return f"jumps from {low:.3g} to {high:.3g} at t0 {ends[1]:.4g}"


def denoising(plan: SDEdit) -> SDEdit:
    """The plan that goes from t0 to the clean end in one evaluation, with the noise of `plan`."""
    clips = getattr(plan.solver, "clip_x0", False)
    return replace(
        plan, solver=Ancestral(eta=0.0, clip_x0=clips), grid=Uniform(), n=1, repeats=1,
        corrector=None, final="mean", noise_by="step",
    )  # fmt: skip


def search(count: int, target: float, measure: Measure, denoise: Measure) -> list[Found]:
    """The strengths at which `count` pictures have the distance `target` from their guides.

    Args:
        measure: of whole edits. denoise: of one evaluation, see `denoising`.
    """
    every = range(count)
    values = np.reshape(denoise([(i, t0) for i in every for t0 in LEVELS]), (count, len(LEVELS)))
    wanted = [(i, t0) for i in every for t0 in first(LEVELS, values[i], target)]
    trials: list[dict[float, float]] = [{} for _ in every]
    while wanted:
        for (i, t0), distance in zip(wanted, measure(wanted), strict=True):
            trials[i][t0] = float(distance)
        unfinished = [i for i in every if not _near(trials[i], target)]
        wanted = [(i, t0) for i in unfinished for t0 in following(trials[i], target)]
    return [_found(own, target) for own in trials]


def first(times: Sequence[float], distances: Sequence[float], target: float) -> list[float]:
    """The strengths that are tried first: both ends, and the predicted bracket of the target.

    Args:
        times, distances: of the curve.
    """
    rising = np.maximum.accumulate(distances)
    low, high = (np.interp(share * target, [0, *rising], [LEAST, *times]) for share in SHARES)
    return _distinct([LEAST, *np.linspace(low, high, TRIALS - 2), 1.0])


def following(trials: Mapping[float, float], target: float) -> list[float]:
    """The strengths that are tried next: the bracket of the target is divided evenly.

    The one of the straight line between the ends is among them.

    Args:
        trials: strength -> distance.

    Returns:
        TRIALS strengths; none where no bracket has the target, or it is too narrow.
    """
    pair = bracket(trials, target)
    if pair is None or pair[1] - pair[0] < NARROW:
        return []
    inner = np.linspace(*pair, TRIALS + 2)[1:-1]
    low, high = (trials[t0] for t0 in pair)
    line = pair[0] + (target - low) / (high - low) * (pair[1] - pair[0])
    inner[np.argmin(np.abs(inner - line))] = line
    return [t0 for t0 in _distinct(inner) if t0 not in trials]


def bracket(trials: Mapping[float, float], target: float) -> tuple[float, float] | None:
    """The lowest two neighbouring strengths with distances on both sides of the target, or None."""
    times = sorted(trials)
    for low, high in zip(times[:-1], times[1:], strict=True):
        if (trials[low] - target) * (trials[high] - target) <= 0:
            return low, high
    return None


def _near(trials: Mapping[float, float], target: float) -> bool:
    return any(abs(distance - target) <= TOLERANCE * target for distance in trials.values())


def _found(trials: Mapping[float, float], target: float) -> Found:
    ordered = {t0: trials[t0] for t0 in sorted(trials)}
    if not _near(trials, target):
        return Found(None, ordered)
    return Found(min(ordered, key=lambda t0: abs(ordered[t0] - target)), ordered)


def _distinct(times: Sequence[float]) -> list[float]:
    """Strengths as an edit has them, float32, rising and distinct."""
    return sorted({float(np.float32(t0)) for t0 in times})

"""Heun's method on the probability flow, with EDM's churn."""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import CLEAN, SDE, level, transition
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, along_eps, from_noise
from sdedit_jax.diffusion.strength import noise_to_signal, t_from_sigma

MOST = math.sqrt(2) - 1
"""EDM's bound of the churn."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Heun:
    """Heun on the probability flow in the variables x / alpha, sigma / alpha (EDM Algorithm 1).

    d(x / alpha) = eps d(sigma / alpha). A step to the clean end is Euler's.

    Churn is that of EDM's Algorithm 2: before each step it raises sigma / alpha by the factor
    1 + churn with new noise. Here the levels of the grid are the raised ones. A step therefore goes
    below s by this factor, and its noise leads back up to s. The first step needs no noise, and a
    step to the clean end has none.

    Attributes:
        churn: S_churn / N of EDM, gamma in [0, sqrt(2) - 1].
        noise: S_noise, the scale of the new noise.
        churn_from, churn_to: S_tmin and S_tmax, between which sigma / alpha is raised.
    """

    churn: float = 0.0
    noise: float = 1.0
    churn_from: float = 0.0
    churn_to: float = math.inf
    evaluations: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.churn <= MOST:
            raise ValueError(f"churn must be in [0, sqrt(2) - 1], got {self.churn}")
        if not 0 < self.noise < math.inf:
            raise ValueError(f"noise must be above 0 and finite, got {self.noise}")
        if not 0 <= self.churn_from < self.churn_to:
            raise ValueError(
                "churn_from must be at least 0 and below churn_to,"
                f" got {self.churn_from} and {self.churn_to}"
            )

    def init(self, x: Array) -> tuple:
        del x
        return ()

    def step(
        self,
        process: SDE,
        memory: tuple,
        x: Array,
        prediction: Prediction,
        t: Array,
        s: Array,
        predict: Predict | None = None,
    ) -> tuple[Step, tuple]:
        first, end = prediction.eps, self._end(process, s) if self.churn else s
        second = predict(along_eps(process, x, first, t, end), jnp.maximum(end, 1e-5)).eps
        clean = level(process, end)[1] == 0
        eps = jnp.where(clean, first, (first + second) / 2)
        step = Step(along_eps(process, x, eps, t, end), jnp.zeros_like(t))
        step = self._raised(process, end, s, step) if self.churn else step
        return from_noise(process, x, first, t, s, step), memory

    def _end(self, process: SDE, s: Array) -> Array:
        """The time from which the noise leads up to s; s itself where there is no churn."""
        ratio = noise_to_signal(process, s) / (1 + self.churn)
        churned = (s != CLEAN) & (self.churn_from <= ratio) & (ratio <= self.churn_to)
        below = t_from_sigma(process, jnp.where(churned, ratio, 1.0))
        return jnp.where(churned, jnp.minimum(below, s), s)

    def _raised(self, process: SDE, end: Array, s: Array, step: Step) -> Step:
        """The kernel at s of a step that reaches `end`."""
        a, _, fresh = transition(process, s, end)
        std = level(process, s)[1] * jnp.sqrt(jnp.maximum(fresh, 0.0))
        raised = Step(a * step.mean, self.noise * std)
        return Step(*(jnp.where(end < s, new, old) for new, old in zip(raised, step, strict=True)))

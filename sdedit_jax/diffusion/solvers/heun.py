"""Heun's method on the probability flow."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import SDE, level
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, along_eps, from_noise


@jax.tree_util.register_static
@dataclass(frozen=True)
class Heun:
    """Heun on the probability flow in the variables x / alpha, sigma / alpha (EDM Algorithm 1).

    d(x / alpha) = eps d(sigma / alpha). A step to the clean end is Euler's.
    """

    evaluations: ClassVar[int] = 2

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
        first = prediction.eps
        second = predict(along_eps(process, x, first, t, s), jnp.maximum(s, 1e-5)).eps
        clean = level(process, s)[1] == 0
        eps = jnp.where(clean, first, (first + second) / 2)
        step = Step(along_eps(process, x, eps, t, s), jnp.zeros_like(t))
        return from_noise(process, x, first, t, s, step), memory

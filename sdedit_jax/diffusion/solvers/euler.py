"""Euler steps on the reverse SDE and on the probability flow."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import SDE, diffusion, drift, level
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, dt, from_noise


@jax.tree_util.register_static
@dataclass(frozen=True)
class EulerMaruyama:
    """Euler-Maruyama on the reverse SDE dx = (f - g^2 score) dt + g dw, from t to s."""

    evaluations: ClassVar[int] = 1

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
        del predict
        change = self.change(process, x, prediction, t, dt(t, s))
        step = Step(x + change.mean, change.std)
        return from_noise(process, x, prediction.eps, t, s, step), memory

    def change(
        self, process: SDE, x: Array, prediction: Prediction, t: Array, length: Array
    ) -> Step:
        """The kernel of what a step of this length adds, by the coefficients at (x, t)."""
        g = diffusion(process, t)
        slope = drift(process, x, t) + g**2 / level(process, t)[1] * prediction.eps
        return Step(-slope * length, g * jnp.sqrt(length))


@jax.tree_util.register_static
@dataclass(frozen=True)
class ProbabilityFlow:
    """Euler on the probability flow dx = (f - g^2 score / 2) dt (Song et al. eq. 13)."""

    evaluations: ClassVar[int] = 1

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
        del predict
        slope = flow_drift(process, x, t, prediction.eps)
        step = Step(x - slope * dt(t, s), jnp.zeros_like(t))
        return from_noise(process, x, prediction.eps, t, s, step), memory


def flow_drift(process: SDE, x: Array, t: Array, eps: Array) -> Array:
    """dx/dt [H, W, C] = f - g^2 score / 2 of the probability flow, for ODE solvers too."""
    return drift(process, x, t) + diffusion(process, t) ** 2 / 2 / level(process, t)[1] * eps

"""score_sde's reverse diffusion predictor."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import SDE, level, transition
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, from_noise


@jax.tree_util.register_static
@dataclass(frozen=True)
class ReverseDiffusion:
    """mean = (2 - a) x + b^2 score, std = b (Song et al. eq. 46); a, b: the kernel from s to t.

    On a VE process this is Algorithm 1 of SDEdit.

    Attributes:
        probability_flow: the score has half the weight, and std is 0.
    """

    probability_flow: bool = False
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
        sigma_t = level(process, t)[1]
        a, _, fresh = transition(process, t, s)
        b2 = sigma_t**2 * fresh
        weight = 0.5 if self.probability_flow else 1.0
        mean = (2 - a) * x - weight * b2 / sigma_t * prediction.eps
        step = Step(mean, jnp.zeros_like(b2) if self.probability_flow else jnp.sqrt(b2))
        return from_noise(process, x, prediction.eps, t, s, step), memory

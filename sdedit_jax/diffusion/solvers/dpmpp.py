"""DPM-Solver++ for diffusion SDEs (Lu et al., 2211.01095, section 5)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import CLEAN, SDE, level, transition, x0_from_eps
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, clipped


class _Last(NamedTuple):
    """The x0 and the step h of the last step, and whether there was one."""

    x0: Array
    h: Array
    started: Array


@jax.tree_util.register_static
@dataclass(frozen=True)
class DPMpp2MSDE:
    """SDE-DPM-Solver++ 2M, midpoint form.

    x_s = (sigma_s / sigma_t) q x + alpha_s (1 - q^2) D + sigma_s sqrt(1 - q^2) z, q = e^{-h},
    D = x0 + h / (2 h_last) (x0 - x0_last). The first step and a step to the clean end are of first
    order.

    Attributes:
        clip_x0: clip the predicted x0 to [-1, 1].
        first_order_to: steps to this time or below it are of first order. diffusers takes its last
            step so when it has fewer than 15 (lower_order_final).
    """

    clip_x0: bool = False
    first_order_to: float = CLEAN
    evaluations: ClassVar[int] = 1

    def init(self, x: Array) -> _Last:
        return _Last(jnp.zeros_like(x), jnp.ones(()), jnp.zeros((), bool))

    def step(
        self,
        process: SDE,
        memory: _Last,
        x: Array,
        prediction: Prediction,
        t: Array,
        s: Array,
        predict: Predict | None = None,
    ) -> tuple[Step, _Last]:
        del predict
        sigma_t, (alpha_s, sigma_s) = level(process, t)[1], level(process, s)
        _, q, fresh = transition(process, t, s)
        clean = q == 0  # or from a level without signal
        # h = -log q loses its digits near q = 1, where 1 - q^2 has them
        h = jnp.where(q > 0.7, -jnp.log1p(-fresh) / 2, -jnp.log(jnp.where(clean, 1.0, q)))
        eps = prediction.eps
        x0 = clipped(process, x, t, eps)[0] if self.clip_x0 else x0_from_eps(process, x, t, eps)
        second = memory.started & ~clean & (memory.h > 0)  # equal times give h = 0
        second &= s > self.first_order_to
        ahead = jnp.where(second, h / (2 * memory.h), 0.0)
        mean = sigma_s / sigma_t * q * x + alpha_s * fresh * (x0 + ahead * (x0 - memory.x0))
        return Step(mean, sigma_s * jnp.sqrt(fresh)), _Last(x0, h, jnp.ones((), bool))

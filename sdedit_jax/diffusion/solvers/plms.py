"""Pseudo linear multistep (PNDM)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import SDE, noise_from_eps
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, along_eps, from_noise

_WEIGHTS = [[24, 0, 0, 0], [12, 12, 0, 0], [36, -12, 0, 0], [46, -32, 10, 0], [55, -59, 37, -9]]


class _Slopes(NamedTuple):
    """The eps [3, H, W, C] of the last steps, newest first; the state and times of the first step;
    the number of steps so far."""

    eps: Array
    x: Array
    t: Array
    s: Array
    count: Array


@jax.tree_util.register_static
@dataclass(frozen=True)
class PLMS:
    """PNDM's linear multistep (Liu et al., 2202.09778, eq. 12 and 13), as diffusers runs it.

    DDIM's step along a weighted mean of the last four eps: (55, -59, 37, -9) / 24, of fewer at the
    start. The second step repeats the first one from its beginning, along the mean of both eps: a
    grid for this solver names its second time twice (timesteps.SCHEDULERS, "pndm").
    """

    evaluations: ClassVar[int] = 1

    def init(self, x: Array) -> _Slopes:
        none = jnp.zeros(())
        return _Slopes(jnp.zeros((3, *x.shape)), x, none, none, jnp.zeros((), int))

    def step(
        self,
        process: SDE,
        memory: _Slopes,
        x: Array,
        prediction: Prediction,
        t: Array,
        s: Array,
        predict: Predict | None = None,
    ) -> tuple[Step, _Slopes]:
        del predict
        first, again = memory.count == 0, memory.count == 1
        own = noise_from_eps(process, x, t, prediction.eps)
        every = jnp.concatenate([own[None], memory.eps])
        weights = jnp.asarray(_WEIGHTS, jnp.float32)[jnp.minimum(memory.count, 4)] / 24
        eps, now = jnp.tensordot(weights, every, 1, precision="highest"), (x, t, s)
        own = [jnp.where(first, a, b) for a, b in zip(now, memory[1:4], strict=True)]
        x, t, s = (jnp.where(again, b, a) for a, b in zip(now, own, strict=True))
        kept = jnp.where(again, memory.eps, every[:3])
        mean = along_eps(process, x, eps, t, s)
        step = from_noise(process, x, prediction.eps, t, s, Step(mean, jnp.zeros_like(t)))
        return step, _Slopes(kept, *own, memory.count + 1)

"""The adaptive solver of the reverse SDE (Jolicoeur-Martineau et al., 2105.14080)."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import CLEAN, SDE, level, x0_from_eps
from sdedit_jax.diffusion.solvers.base import (
    AdaptiveSolver,
    Attempt,
    Predict,
    Prediction,
    Settled,
    Step,
)
from sdedit_jax.diffusion.solvers.euler import EulerMaruyama

ERRORS = (1e-3, 1e6)
"""Errors below and above count as these, so that a length stays finite and above 0."""


class _Progress(NamedTuple):
    """The memory: the time of the state, CLEAN once it is finished; the length of the next attempt;
    the Euler-Maruyama end [H, W, C] of the last step that was taken."""

    t: Array
    length: Array
    euler: Array


@jax.tree_util.register_static
@dataclass(frozen=True)
class Adaptive(AdaptiveSolver):
    """Algorithm 1 of the paper, with its own step sizes in each picture.

    An attempt from t makes an Euler-Maruyama step x' and, with the same z, one from x with drift
    and diffusion at (x', s). Their mean x'' is the stochastic improved Euler step. The error is the
    root mean square of (x' - x'') / max(atol, rtol max(|x'|, |x'_last|)). An attempt with an error
    up to 1 is taken and leads to x''; another one is made again, with a new z unless the noise goes
    by time. The next length is safety length error^-exponent.

    The grid gives the ends: attempts lead from its first t to its last one, and a last step from
    there to x0. Its number of steps is the bound of attempts; the last attempt goes to x0 from
    wherever it is. The error is that of the whole state, the kept region included.

    Attributes:
        rtol, atol: tolerances, relative to a value and absolute; values are in [-1, 1].
        first: the length in t of the first attempt.
        safety, exponent: of the next length.
    """

    rtol: float = 0.05
    atol: float = 0.0078
    first: float = 0.01
    safety: float = 0.9
    exponent: float = 0.9
    evaluations: ClassVar[int] = 2

    def __post_init__(self) -> None:
        for name in ("rtol", "atol", "first", "safety", "exponent"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0 and finite, got {getattr(self, name)}")
        for name in ("safety", "exponent"):
            if getattr(self, name) > 1:
                raise ValueError(f"{name} must be at most 1, got {getattr(self, name)}")

    def init(self, x: Array) -> _Progress:
        return _Progress(jnp.float32(jnp.inf), jnp.float32(self.first), x)

    def idle(self, memory: _Progress) -> Array:
        return memory.t == CLEAN

    def attempt(self, memory: _Progress, t: Array, end: Array, last: Array) -> Attempt:
        idle = self.idle(memory)
        t = jnp.clip(memory.t, end, t)
        finishing = last | (t <= end)
        s = jnp.where(finishing, CLEAN, jnp.maximum(t - memory.length, end))
        return Attempt(t, s, finishing, idle, (t > end) & last)

    def step(
        self,
        process: SDE,
        memory: _Progress,
        x: Array,
        prediction: Prediction,
        t: Array,
        s: Array,
        predict: Predict | None = None,
    ) -> tuple[Step, _Progress]:
        del predict
        clean, end = s == CLEAN, jnp.where(s == CLEAN, t, s)
        euler = EulerMaruyama().step(process, (), x, prediction, t, end)[0]
        x0 = x0_from_eps(process, x, t, prediction.eps)
        step = Step(jnp.where(clean, x0, euler.mean), jnp.where(clean, 0.0, euler.std))
        return step, memory

    def settle(
        self,
        process: SDE,
        memory: _Progress,
        x: Array,
        after: Array,
        z: Array,
        t: Array,
        s: Array,
        predict: Predict,
    ) -> Settled:
        clean, end = s == CLEAN, jnp.where(s == CLEAN, t, s)
        again = EulerMaruyama().change(process, after, predict(after, end), end, t - end)
        improved = (after + x + again.mean + again.std * z) / 2
        scale = jnp.maximum(jnp.abs(after), jnp.abs(memory.euler))
        scale = jnp.maximum(self.atol, self.rtol * scale)
        error = jnp.sqrt(jnp.mean(((after - improved) / scale) ** 2))
        # a step to the clean end, or from a level without signal, has no improved Euler step
        plain = clean | (level(process, t)[0] == 0)
        error = jnp.where(plain, 1.0, jnp.clip(jnp.nan_to_num(error, nan=jnp.inf), *ERRORS))
        taken = error <= 1
        found = _Progress(
            jnp.where(taken, s, t),
            self.safety * (t - end) * error**-self.exponent,
            jnp.where(taken, after, memory.euler),
        )
        return Settled(jnp.where(plain, after, improved), found, taken)

"""Exponential multistep steps: the algebra that DPM-Solver++, UniPC and SA-Solver share.

In lambda = log(alpha / sigma), which grows by h in a step, the reverse process with noise tau has
the exact step (SA-Solver, 2309.05019; with tau 0 DPM-Solver++, 2211.01095)

    x_s = sigma_s / sigma_t e^{-tau^2 h} x_t + alpha_s D + sigma_s sqrt(1 - e^{-2 tau^2 h}) z,
    D = integral of k e^{-k (h - u)} x0(u) du over 0 < u < h, k = 1 + tau^2.

tau 0 is the probability flow and tau 1 the reverse SDE. A solver puts the polynomial through the
last predictions in the place of x0(u). A corrector computes D of the last step again, with the
prediction at its end, and adds the difference to the state.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, Protocol

import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import CLEAN, SDE, level, transition
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, denoised

FORMS = ("released", "exact")
"""Weights of a step: those of the authors' code, or the integral of the polynomial."""

_ENDLESS = 1e30
"""h of a step from a level without signal, or to the clean end."""

Moments = Sequence[Array]
"""The integrals of k e^{-k (h - u)} (u / h)^p du for p = 0, 1, ..."""


class History(NamedTuple):
    """The memory of a multistep solver.

    Attributes:
        x0: predictions [n, H, W, C] of the last steps, newest first.
        h: [n], the length of the step that each of them began.
        count: how many of them the next step may use.
        y: k h of the last step; mean: its D [H, W, C].
    """

    x0: Array
    h: Array
    count: Array
    y: Array
    mean: Array


class Rule(NamedTuple):
    """A multistep solver.

    Attributes:
        order: predictions that a step uses.
        tau: scale of the noise; a number or an array.
        corrector: degree of the corrector's polynomial; 0: there is none.
        weigh: (moments, y, degree of the polynomial) -> the moments that the solver uses.
        first_order_to: steps to this time or below it are of first order.
    """

    order: int
    tau: Array | float = 0.0
    corrector: int = 0
    weigh: Callable[[Moments, Array, Array], Moments] = lambda moments, y, degree: moments
    first_order_to: float = CLEAN


class Multistep(Protocol):
    """What the multistep solvers share; each of them gives its rule.

    Attributes:
        clip_x0: clip the predicted x0 to [-1, 1].
    """

    clip_x0: bool
    evaluations: ClassVar[int] = 1

    @property
    def kept(self) -> int:
        """How many predictions of earlier steps the memory has room for."""

    def rule(self, t: Array) -> Rule:
        """The rule of a step from t."""

    def init(self, x: Array) -> History:
        return history(x, self.kept)

    def step(
        self,
        process: SDE,
        memory: History,
        x: Array,
        prediction: Prediction,
        t: Array,
        s: Array,
        predict: Predict | None = None,
    ) -> tuple[Step, History]:
        del predict
        x0 = denoised(process, x, t, prediction.eps, self.clip_x0)
        return multistep(process, memory, x, x0, t, s, self.rule(t))


def history(x: Array, n: int) -> History:
    """The memory before the first step, with room for n predictions."""
    none, zero = jnp.zeros((n, *x.shape)), jnp.zeros(())
    return History(none, jnp.zeros(n), jnp.zeros((), int), zero, jnp.zeros_like(x))


def multistep(
    process: SDE, memory: History, x: Array, x0: Array, t: Array, s: Array, rule: Rule
) -> tuple[Step, History]:
    """The kernel of the step from t to s with the prediction x0 at (x, t), and the memory."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = level(process, t), level(process, s)
    if rule.corrector:
        x = x + alpha_t * _correction(memory, x0, rule)
    h = log_length(process, t, s)
    y = (1 + rule.tau**2) * h
    degree = jnp.where(s > rule.first_order_to, jnp.minimum(rule.order - 1, memory.count), 0)
    nodes = -jnp.cumsum(jnp.append(0.0, memory.h)) / jnp.where((degree > 0) & (h > 0), h, 1.0)
    values = jnp.concatenate([x0[None], memory.x0])[: rule.order]
    mean = _integral(values, nodes, rule.weigh(moments(y, rule.order), y, degree), degree)
    noise = rule.tau**2 * h
    step = Step(
        sigma_s / sigma_t * jnp.exp(-noise) * x + alpha_s * mean,
        sigma_s * jnp.sqrt(-jnp.expm1(-2 * noise)),
    )
    return step, _remember(memory, x0, h, y, mean)


def log_length(process: SDE, t: Array, s: Array) -> Array:
    """h = log(alpha_s / sigma_s) - log(alpha_t / sigma_t), at least 0 where times round."""
    _, q, fresh = transition(process, t, s)
    # -log q loses its digits near q = 1, where 1 - q^2 has them
    h = jnp.where(q > 0.7, -jnp.log1p(-fresh) / 2, -jnp.log(jnp.where(q == 0, 1.0, q)))
    return jnp.where(q == 0, _ENDLESS, jnp.maximum(h, 0.0))


def moments(y: Array, n: int) -> Moments:
    """The first n moments for k h = y, by their series where y is small."""
    small, found = jnp.minimum(y, 2.0), [-jnp.expm1(-y)]
    for p in range(1, n):
        series = jnp.ones_like(y)
        for j in range(16, p + 1, -1):
            series = 1 - small / j * series
        by_parts = 1 - p * found[-1] / jnp.maximum(y, 2.0)
        found.append(jnp.where(y < 2, small / (p + 1) * series, by_parts))
    return found


def linear_by_h(moments: Moments, y: Array, degree: Array) -> Moments:
    """The weight of the slope is k h / 2 where the polynomial is linear."""
    return [moments[0], jnp.where(degree == 1, y / 2, moments[1]), *moments[2:]]


def linear_by_midpoint(moments: Moments, y: Array, degree: Array) -> Moments:
    """The weight of the slope is half of that of the value where the polynomial is linear."""
    del y
    return [moments[0], jnp.where(degree == 1, moments[0] / 2, moments[1]), *moments[2:]]


def _correction(memory: History, x0: Array, rule: Rule) -> Array:
    """D of the last step with the prediction x0 at its end, less the D that it took."""
    degree = jnp.minimum(rule.corrector, memory.count)
    length = jnp.where(degree > 0, memory.h[0], 1.0)
    nodes = 1 - jnp.cumsum(jnp.append(0.0, memory.h)) / length
    values = jnp.concatenate([x0[None], memory.x0])[: rule.corrector + 1]
    weighed = rule.weigh(moments(memory.y, rule.corrector + 1), memory.y, degree)
    again = _integral(values, nodes, weighed, degree)
    return jnp.where(degree > 0, again - memory.mean, 0.0)


def _integral(values: Array, nodes: Array, weighed: Moments, degree: Array) -> Array:
    """D of Newton's polynomial of this degree through values [n, H, W, C] at the nodes u / h."""
    total, basis, table = weighed[0] * values[0], [1.0], values
    for j in range(1, len(values)):
        apart = nodes[: len(values) - j] - nodes[j : len(values)]
        apart = jnp.where(apart == 0, 1.0, apart)[:, None, None, None]
        table = (table[:-1] - table[1:]) / apart
        basis = [a - nodes[j - 1] * b for a, b in zip([0.0, *basis], [*basis, 0.0], strict=True)]
        weight = sum(c * m for c, m in zip(basis, weighed, strict=False))
        total = total + jnp.where(j <= degree, weight * table[0], 0.0)
    return total


def _remember(memory: History, x0: Array, h: Array, y: Array, mean: Array) -> History:
    """The memory after a step; one without length, or without end, is of no use to the next."""
    n = len(memory.h)
    useful = (h > 0) & (h < _ENDLESS)
    count = jnp.where(useful, jnp.minimum(memory.count + 1, n), 0)
    kept = jnp.concatenate([x0[None], memory.x0])[:n]
    lengths = jnp.append(jnp.where(useful, h, 0.0), memory.h)[:n]
    return History(kept, lengths, count, jnp.where(useful, y, 0.0), mean)

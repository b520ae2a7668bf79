"""Rules: the law of the next state x_s given the state x_t and a prediction, s < t.

A step is a Gaussian, mean and std; a rule is algebra only, without network or randomness. The
sampler draws mean + std z; an inversion solves z = (x_s - mean) / std. What a rule remembers
between steps travels in the carry. A rule that needs a second evaluation of the network names where
by `probe`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from sdedit_jax.sde import (
    CLEAN,
    SDE,
    diffusion,
    drift,
    eps_from_x0,
    level,
    transition,
    x0_from_eps,
)

VARIANCES = ("small", "large", "learned")


class Prediction(NamedTuple):
    """What a network says of x_t.

    Attributes:
        eps: predicted noise [H, W, C].
        variance: learned variance as a fraction in [0, 1] between the small and the large log
            variance [H, W, C] (Nichol and Dhariwal eq. 15), where the model has it.
        attention: attention maps, where the model gives them.
    """

    eps: Array
    variance: Array | None = None
    attention: Any = None


class Remembering(NamedTuple):
    """A predictor with memory, as guidance with momentum is; the loop carries the memory.

    Attributes:
        init: x [H, W, C] -> memory before the first step.
        predict: (memory, x [H, W, C], t, index of the step) -> (Prediction, memory).
    """

    init: Callable[[Array], Any]
    predict: Callable[..., tuple[Prediction, Any]]


class Step(NamedTuple):
    """The law N(mean, std^2) of x_s given x_t; std broadcasts against mean [H, W, C]."""

    mean: Array
    std: Array


class Rule(NamedTuple):
    """A transition rule.

    Attributes:
        init: x [H, W, C] -> memory before the first step.
        step: (process, memory, x, prediction, t, s) -> (Step, memory). With a probe, `prediction`
            is the pair of the predictions at t and at the probe.
        probe: (process, x, prediction, t, s) -> (x, t) of a second evaluation, or None.
        nfe: evaluations of the network per step.
    """

    init: Callable[[Array], Any]
    step: Callable[..., tuple[Step, Any]]
    probe: Callable[..., tuple[Array, Array]] | None = None

    @property
    def nfe(self) -> int:
        return 1 if self.probe is None else 2


def ancestral(
    eta: float | Callable[[Array], Array] = 1.0,
    variance: str = "small",
    clip_x0: bool = False,
    linear_eta: bool = False,
) -> Rule:
    """DDPM's ancestral step (eta = 1), DDIM (eta = 0) and what lies between.

    mean = alpha_s x0 + sqrt(sigma_s^2 - eta^2 v) eps with v = sigma_s^2 (1 - q^2), the variance of
    the posterior (DDPM eq. 7, DDIM eq. 12 and 16). On a VE process this is score_sde's ancestral
    predictor.

    Args:
        eta: scale of the noise, in [0, 1]; or a function of t that gives it.
        variance: std^2 is eta^2 times v ("small"), the forward variance of the step ("large") or
            the model's interpolation of the two ("learned").
        clip_x0: clip the predicted x0 to [-1, 1].
        linear_eta: the mean loses eta v instead of eta^2 v, as the released code of DDPM inversion
            has it; the std is the same. Another step only where 0 < eta < 1.
    """
    if not callable(eta) and not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {eta}")
    if variance not in VARIANCES:
        raise ValueError(f"variance must be one of {list(VARIANCES)}, got {variance!r}")

    def step(
        process: SDE, memory: tuple, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Step, tuple]:
        sigma_t, sigma_s = level(process, t)[1], level(process, s)[1]
        a, q, fresh = transition(process, t, s)
        eps = _clipped(process, x, t, prediction.eps)[1] if clip_x0 else prediction.eps
        part = eta(t) if callable(eta) else eta
        lost = part if linear_eta else part**2
        # sigma_s sqrt(1 - lost fresh) - sigma_t / a, without a difference of near numbers
        gain = sigma_t / a * fresh * (1 + lost * q**2) / (1 + q * jnp.sqrt(1 - lost * fresh))
        mean = x / a - gain * eps
        small, large = sigma_s**2 * fresh, sigma_t**2 * fresh
        return Step(mean, part * jnp.sqrt(_variance(variance, small, large, prediction))), memory

    return Rule(_nothing, step)


def reverse_diffusion(probability_flow: bool = False) -> Rule:
    """score_sde's reverse diffusion predictor: mean = (2 - a) x + b^2 score, std = b (eq. 46).

    a, b is the forward law from s to t. On a VE process this is Algorithm 1 of SDEdit. With
    `probability_flow` the score has half the weight and std is 0.
    """

    def step(
        process: SDE, memory: tuple, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Step, tuple]:
        sigma_t = level(process, t)[1]
        a, _, fresh = transition(process, t, s)
        b2 = sigma_t**2 * fresh
        weight = 0.5 if probability_flow else 1.0
        mean = (2 - a) * x - weight * b2 / sigma_t * prediction.eps
        return Step(mean, jnp.zeros_like(b2) if probability_flow else jnp.sqrt(b2)), memory

    return Rule(_nothing, step)


def euler_maruyama() -> Rule:
    """Euler-Maruyama on the reverse SDE dx = (f - g^2 score) dt + g dw, from t to s."""

    def step(
        process: SDE, memory: tuple, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Step, tuple]:
        dt, g = _dt(t, s), diffusion(process, t)
        slope = drift(process, x, t) + g**2 / level(process, t)[1] * prediction.eps
        return Step(x - slope * dt, g * jnp.sqrt(dt)), memory

    return Rule(_nothing, step)


def probability_flow() -> Rule:
    """Euler on the probability flow dx = (f - g^2 score / 2) dt (score_sde eq. 13), from t to s."""

    def step(
        process: SDE, memory: tuple, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Step, tuple]:
        slope = flow_drift(process, x, t, prediction.eps)
        return Step(x - slope * _dt(t, s), jnp.zeros_like(t)), memory

    return Rule(_nothing, step)


def flow_drift(process: SDE, x: Array, t: Array, eps: Array) -> Array:
    """dx/dt [H, W, C] = f - g^2 score / 2 of the probability flow, for solvers of ODEs too."""
    return drift(process, x, t) + diffusion(process, t) ** 2 / 2 / level(process, t)[1] * eps


def heun() -> Rule:
    """Heun on the probability flow in the variables x / alpha, sigma / alpha (EDM Algorithm 1).

    d(x / alpha) = eps d(sigma / alpha). A step to the clean end is Euler's.
    """

    def probe(
        process: SDE, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Array, Array]:
        return _along_eps(process, x, prediction.eps, t, s), jnp.maximum(s, 1e-5)

    def step(
        process: SDE, memory: tuple, x: Array, prediction: tuple, t: Array, s: Array
    ) -> tuple[Step, tuple]:
        first, second = (p.eps for p in prediction)
        clean = level(process, s)[1] == 0
        eps = jnp.where(clean, first, (first + second) / 2)
        return Step(_along_eps(process, x, eps, t, s), jnp.zeros_like(t)), memory

    return Rule(_nothing, step, probe)


class _Multistep(NamedTuple):
    """What a two-step rule remembers: the last x0, its step h, and whether there was one."""

    x0: Array
    h: Array
    started: Array


def dpmpp_2m_sde(clip_x0: bool = False, first_order_to: float = CLEAN) -> Rule:
    """SDE-DPM-Solver++ 2M (Lu et al., 2211.01095, section 5; midpoint form).

    x_s = (sigma_s / sigma_t) q x + alpha_s (1 - q^2) D + sigma_s sqrt(1 - q^2) z, q = e^{-h},
    D = x0 + h / (2 h_last) (x0 - x0_last); first order at the first step and at a step to clean.

    Args:
        clip_x0: clip the predicted x0 to [-1, 1].
        first_order_to: steps to this time or below it are of first order; diffusers takes its last
            step so when it has fewer than 15 (lower_order_final).
    """

    def init(x: Array) -> _Multistep:
        return _Multistep(jnp.zeros_like(x), jnp.ones(()), jnp.zeros((), bool))

    def step(
        process: SDE, memory: _Multistep, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Step, _Multistep]:
        sigma_t, (alpha_s, sigma_s) = level(process, t)[1], level(process, s)
        _, q, fresh = transition(process, t, s)
        clean = q == 0
        # h = -log q, which loses its digits near q = 1 and has them in 1 - q^2 there
        h = jnp.where(q > 0.7, -jnp.log1p(-fresh) / 2, -jnp.log(jnp.where(clean, 1.0, q)))
        x0 = _clipped(process, x, t, prediction.eps)[0] if clip_x0 else None
        x0 = x0_from_eps(process, x, t, prediction.eps) if x0 is None else x0
        second = memory.started & ~clean & (memory.h > 0)  # equal times give h = 0
        second &= s > first_order_to
        ahead = jnp.where(second, h / (2 * memory.h), 0.0)
        mean = sigma_s / sigma_t * q * x + alpha_s * fresh * (x0 + ahead * (x0 - memory.x0))
        return Step(mean, sigma_s * jnp.sqrt(fresh)), _Multistep(x0, h, jnp.ones((), bool))

    return Rule(init, step)


class _Slopes(NamedTuple):
    """What `plms` remembers: eps [3, H, W, C] of the last steps, newest first; the state and times
    of the first step; how many steps there were."""

    eps: Array
    x: Array
    t: Array
    s: Array
    count: Array


def plms() -> Rule:
    """Pseudo linear multistep (PNDM, Liu et al., 2202.09778, eq. 12 and 13), as diffusers runs it.

    DDIM's step along a mean of the last four eps: (55, -59, 37, -9) / 24, of fewer at the start.
    The second step does the first one again from where that began, along the mean of both eps: a
    grid for this rule names its second time twice (timesteps.SCHEDULERS, "pndm").
    """
    rows = [[24, 0, 0, 0], [12, 12, 0, 0], [36, -12, 0, 0], [46, -32, 10, 0], [55, -59, 37, -9]]

    def init(x: Array) -> _Slopes:
        none = jnp.zeros(())
        return _Slopes(jnp.zeros((3, *x.shape)), x, none, none, jnp.zeros((), int))

    def step(
        process: SDE, memory: _Slopes, x: Array, prediction: Prediction, t: Array, s: Array
    ) -> tuple[Step, _Slopes]:
        first, again = memory.count == 0, memory.count == 1
        every = jnp.concatenate([prediction.eps[None], memory.eps])
        weights = jnp.asarray(rows, jnp.float32)[jnp.minimum(memory.count, 4)] / 24
        eps, now = jnp.tensordot(weights, every, 1, precision="highest"), (x, t, s)
        own = [jnp.where(first, a, b) for a, b in zip(now, memory[1:4], strict=True)]
        x, t, s = (jnp.where(again, b, a) for a, b in zip(now, own, strict=True))
        kept = jnp.where(again, memory.eps, every[:3])
        mean = _along_eps(process, x, eps, t, s)
        return Step(mean, jnp.zeros_like(t)), _Slopes(kept, *own, memory.count + 1)

    return Rule(init, step)


def _nothing(x: Array) -> tuple:
    return ()


def _clipped(process: SDE, x: Array, t: Array, eps: Array) -> tuple[Array, Array]:
    x0 = jnp.clip(x0_from_eps(process, x, t, eps), -1, 1)
    return x0, eps_from_x0(process, x, t, x0)


def _variance(kind: str, small: Array, large: Array, prediction: Prediction) -> Array:
    if kind == "small":
        return small
    if kind == "large":
        return large
    if prediction.variance is None:
        raise ValueError(
            'variance "learned" needs a model with a learned variance; this one has none'
        )
    fraction, floor = prediction.variance, 1e-20
    return jnp.exp(
        fraction * jnp.log(jnp.maximum(large, floor))
        + (1 - fraction) * jnp.log(jnp.maximum(small, floor))
    )


def _dt(t: Array, s: Array) -> Array:
    return t - jnp.where(s == CLEAN, 0.0, s)


def _along_eps(process: SDE, x: Array, eps: Array, t: Array, s: Array) -> Array:
    """The straight line in (sigma / alpha, x / alpha) with slope eps, from t to s."""
    a, q, fresh = transition(process, t, s)
    return x / a - level(process, t)[1] / a * fresh / (1 + q) * eps

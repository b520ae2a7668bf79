"""Ancestral steps: DDPM, DDIM and what lies between them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import (
    SDE,
    ends_in_noise,
    level,
    noise_from_eps,
    transition,
    x0_from_eps,
)
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, clipped

VARIANCES = ("auto", "small", "large", "learned")


@jax.tree_util.register_static
@dataclass(frozen=True)
class Ancestral:
    """DDPM's ancestral step (eta = 1), DDIM (eta = 0) and what lies between.

    With eta = 0 a step may also lead to a noisier level, s > t (DDIM inversion).

    mean = alpha_s x0 + sqrt(sigma_s^2 - eta^2 v) eps with v = sigma_s^2 (1 - q^2), the variance of
    the posterior (DDPM eq. 7, DDIM eq. 12 and 16). On a VE process this is score_sde's ancestral
    predictor.

    Attributes:
        eta: scale of the noise, in [0, 1]; or a function of t that gives it.
        variance: std^2 is eta^2 times v ("small"), the forward variance of the step ("large") or
            the model's interpolation of the two ("learned"). "auto" is "learned" where the model
            has a learned variance, else "small".
        clip_x0: clip the predicted x0 to [-1, 1]. eps becomes the noise that belongs to it.
        keep_eps: with clip_x0, eps stays as predicted, as in DDIM of diffusers.
        linear_eta: the mean loses eta v instead of eta^2 v, as in the released code of DDPM
            inversion; the std is the same. It differs only where 0 < eta < 1.
    """

    eta: float | Callable[[Array], Array] = 1.0
    variance: str = "auto"
    clip_x0: bool = False
    keep_eps: bool = False
    linear_eta: bool = False
    evaluations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not callable(self.eta) and not 0 <= self.eta <= 1:
            raise ValueError(f"eta must be in [0, 1], got {self.eta}")
        if self.variance not in VARIANCES:
            raise ValueError(f"variance must be one of {list(VARIANCES)}, got {self.variance!r}")

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
        sigma_t, sigma_s = level(process, t)[1], level(process, s)[1]
        a, q, fresh = transition(process, t, s)
        eps = clipped(process, x, t, prediction.eps)[1] if self.clip_x0 else prediction.eps
        eta = self.eta(t) if callable(self.eta) else self.eta
        lost = eta if self.linear_eta else eta**2
        # sigma_s sqrt(1 - lost fresh) - sigma_t / a, without a difference of near numbers
        root = jnp.sqrt(1 - lost * fresh)
        gain = sigma_t / a * fresh * (1 + lost * q**2) / (1 + q * root)
        mean = x / a - gain * eps
        if self.clip_x0 and self.keep_eps:
            mean = mean + sigma_s * root * (prediction.eps - eps)
        if ends_in_noise(process):
            mean = _at_noise(process, x, eps, (t, s), lost * fresh, mean)
        if not callable(self.eta) and self.eta == 0:
            return Step(mean, jnp.zeros_like(fresh)), memory  # DDIM, which leads up as well
        small, large = sigma_s**2 * fresh, sigma_t**2 * fresh
        variance = _variance(self.variance, small, large, prediction)
        return Step(mean, eta * jnp.sqrt(variance)), memory


def _at_noise(
    process: SDE, x: Array, eps: Array, times: tuple[Array, Array], lost: Array, mean: Array
) -> Array:
    """The mean, by x0 where the step leaves or reaches a level without signal."""
    t, s = times
    (alpha_t, _), (alpha_s, sigma_s) = level(process, t), level(process, s)
    kept = jnp.sqrt(1 - jnp.where(alpha_s == 0, 0.0, lost))  # DDIM alone leads up to such a level
    noise = noise_from_eps(process, x, t, eps)
    by_x0 = alpha_s * x0_from_eps(process, x, t, eps) + sigma_s * kept * noise
    return jnp.where((alpha_t == 0) | (alpha_s == 0), by_x0, mean)


def _variance(kind: str, small: Array, large: Array, prediction: Prediction) -> Array:
    if kind == "large":
        return large
    if kind == "small" or (kind == "auto" and prediction.variance is None):
        return small
    if prediction.variance is None:
        raise ValueError('variance "learned" needs a model with a learned variance; it has none')
    fraction, floor = prediction.variance, 1e-20
    between = jnp.exp(
        fraction * jnp.log(jnp.maximum(large, floor))
        + (1 - fraction) * jnp.log(jnp.maximum(small, floor))
    )
    return jnp.where(small > 0, between, 0.0)  # a step to the clean end draws no noise

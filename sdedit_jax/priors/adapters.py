"""Adapters: networks with their own convention as predictors of the noise.

An adapter is a frozen dataclass, called as `(params, x, t, cond=None, key=None) -> Prediction` in
the units of the project: x [H, W, C] = alpha x0 + sigma z with x0 in [-1, 1], t in (0, 1]. Its
fields are the network, the process and the parameters of the convention (label, data range,
output). Equal adapters are equal and have the same hash, so they can be static arguments of
`jax.jit`.

A network is called as `net(params, x [1, H, W, C], label [1], y=None, key=None) -> [1, H, W, C]`:
a `nets.functional.Network`, or any function.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.sde import (
    SDE,
    ends_in_noise,
    eps_from_v,
    eps_from_x0,
    level,
    log_snr,
    step_of,
)
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.diffusion.strength import t_from_log_snr

Net = Callable[..., Array]
PredictFn = Callable[..., Prediction]
"""predict(params, x [H, W, C], t, cond=None, key=None) -> Prediction; key is for dropout."""

LABELS = ("log", "sigma")

PREDICTS: Mapping[str, Callable[..., Array]] = {
    "eps": lambda process, x, t, out: out,
    "v": eps_from_v,
    "x0": eps_from_x0,
}
"""Output of a network -> the noise, from (process, x, t, output)."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class ScoreSDEVE:
    """Continuous VE networks of score_sde: pictures in [0, 1], label sigma / 2, score out.

    eps = -sigma / 2 F((x + 1) / 2, sigma / 2).
    """

    net: Net
    process: SDE

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        label = level(self.process, t)[1] / 2
        return Prediction(-label * _call(self.net, params, (x + 1) / 2, label, cond, key))


@jax.tree_util.register_static
@dataclass(frozen=True)
class ScoreSDEVEDiscrete:
    """Discrete VE networks of score_sde: the label counts the levels from the noisiest one.

    eps = -sigma / 2 F((x + 1) / 2, round((1 - t) (levels - 1))).
    """

    net: Net
    process: SDE
    levels: int

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        label = jnp.round((1 - t) * (self.levels - 1))
        score = _call(self.net, params, (x + 1) / 2, label, cond, key)
        return Prediction(-level(self.process, t)[1] / 2 * score)


@jax.tree_util.register_static
@dataclass(frozen=True)
class ScoreSDEVP:
    """Continuous VP and subVP networks of score_sde: eps = F(x, 999 t)."""

    net: Net
    process: SDE

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        return Prediction(_call(self.net, params, x, 999 * t, cond, key))


@jax.tree_util.register_static
@dataclass(frozen=True)
class DDPM:
    """DDPM networks: eps = F(x, i) with the step i = round(steps t - 1) as label.

    On a respaced table the label is the step of the table from which it was taken.

    Attributes:
        steps: number of steps of the table that the network was trained on.
        learned_variance: the network gives [eps, v], 2 C channels; v in [-1, 1] is the fraction
            (v + 1) / 2 between the small and the large log variance (2102.09672 eq. 15).
        label_scale: factor of the label (improved-diffusion's rescale_timesteps: 1000 / steps).
        predicts: what the network gives, one of PREDICTS.
    """

    net: Net
    process: SDE
    steps: int = 1000
    learned_variance: bool = False
    label_scale: float = 1.0
    predicts: str = "eps"

    def __post_init__(self) -> None:
        check_predicts(self.predicts, self.process)

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        out = _call(self.net, params, x, self.label_scale * self._step(t), cond, key)
        if not self.learned_variance:
            return prediction(self.predicts, self.process, x, t, out)
        out, v = jnp.split(out, 2, axis=-1)
        return prediction(self.predicts, self.process, x, t, out)._replace(variance=(v + 1) / 2)

    def _step(self, t: Array) -> Array:
        kept = getattr(self.process, "steps", ())
        if not kept:
            return step_of(t, self.steps)
        levels = jnp.arange(len(kept), dtype=jnp.float32)
        return jnp.round(jnp.interp(len(kept) * t - 1, levels, jnp.asarray(kept, jnp.float32)))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Velocity:
    """Networks that predict v: eps = (alpha F(x, 999 t) + sigma x) / (alpha^2 + sigma^2)."""

    net: Net
    process: SDE

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        v = _call(self.net, params, x, 999 * t, cond, key)
        return prediction("v", self.process, x, t, v)


@jax.tree_util.register_static
@dataclass(frozen=True)
class EDM:
    """EDM's preconditioning (2206.00364 eq. 7, table 1) on any process.

    With n = sigma / alpha, u = x / alpha and d = sigma_data: D = c_skip u + c_out F(c_in u, label),
    c_skip = d^2 / (n^2 + d^2), c_out = n d / sqrt(n^2 + d^2), c_in = 1 / sqrt(n^2 + d^2);
    eps = (u - D) / n.

    Attributes:
        sigma_data: std of the data.
        label: "log": ln(n) / 4; "sigma": n, for networks that take the logarithm themselves
            (Fourier embedding).
    """

    net: Net
    process: SDE
    sigma_data: float = 0.5
    label: str = "log"

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise ValueError(f"label must be one of {list(LABELS)}, got {self.label!r}")

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        u, n = _rescaled(self.process, x, t)
        total = jnp.sqrt(n**2 + self.sigma_data**2)
        label = n if self.label == "sigma" else jnp.log(n) / 4
        f = _call(self.net, params, u / total, label, cond, key)
        # (u - D) / n without the cancellation at small n
        return Prediction(n / total**2 * u - self.sigma_data / total * f)


@jax.tree_util.register_static
@dataclass(frozen=True)
class EDMVP:
    """EDM's form of VP networks (2206.00364 table 1, VP) on any process: eps out.

    With n = sigma / alpha, u = x / alpha: D = u - n F(u / sqrt(n^2 + 1), (steps - 1) t(n)), where
    t(n) is the time at which the linear beta schedule reaches n.
    """

    net: Net
    process: SDE
    beta_d: float = 19.9
    beta_min: float = 0.1
    steps: int = 1000

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        u, n = _rescaled(self.process, x, t)
        # rounded as the original does, since one ulp of a label near 1000 moves F by 1e-5: no
        # log1p, and a barrier so that XLA does not merge the two constants
        root = jnp.sqrt(self.beta_min**2 + 2 * self.beta_d * jnp.log(1 + n**2))
        label = (self.steps - 1) * jax.lax.optimization_barrier(
            (root - self.beta_min) / self.beta_d
        )
        return Prediction(_call(self.net, params, u / jnp.sqrt(n**2 + 1), label, cond, key))


@jax.tree_util.register_static
@dataclass(frozen=True)
class EDMVE:
    """EDM's form of VE networks (2206.00364 table 1, VE) on any process.

    With n = sigma / alpha, u = x / alpha: D = u + n F(u, ln(n / 2)); eps = -F.
    """

    net: Net
    process: SDE

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        u, n = _rescaled(self.process, x, t)
        return Prediction(-_call(self.net, params, u, jnp.log(0.5 * n), cond, key))


@jax.tree_util.register_static
@dataclass(frozen=True)
class EDMIDDPM:
    """EDM's form of improved-DDPM and ADM networks (2206.00364 table 1, iDDPM) on any process.

    With n = sigma / alpha, u = x / alpha: D = u - n F(u / sqrt(n^2 + 1), steps - 1 - j), where
    level j of `iddpm_sigmas` is the nearest to n. The first half of the channels of F is eps. The
    other half, a learned variance in terms of the network's own table, is not used.
    """

    net: Net
    process: SDE
    steps: int = 1000
    c_1: float = 0.001
    c_2: float = 0.008

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        sigmas = iddpm_sigmas(self.steps, self.c_1, self.c_2).astype(np.float32)
        u, n = _rescaled(self.process, x, t)
        label = self.steps - 1 - jnp.argmin(jnp.abs(sigmas - n))
        out = _call(self.net, params, u / jnp.sqrt(n**2 + 1), label, cond, key)
        return Prediction(out[..., : x.shape[-1]])


def iddpm_sigmas(steps: int = 1000, c_1: float = 0.001, c_2: float = 0.008) -> np.ndarray:
    """The levels [steps + 1] of `EDMIDDPM`, decreasing to 0 (2206.00364 table 1).

    u_{j-1}^2 + 1 = (u_j^2 + 1) / max(abar_{j-1} / abar_j, c_1), u_steps = 0,
    abar_j = sin^2(pi/2 j / (steps (c_2 + 1))).
    """
    bar = np.sin(np.pi / 2 * np.arange(steps + 1) / (steps * (c_2 + 1))) ** 2
    ratio = np.maximum(bar[:-1] / bar[1:], c_1)
    return np.append(np.sqrt(1 / np.cumprod(ratio[::-1])[::-1] - 1), 0.0)


@jax.tree_util.register_static
@dataclass(frozen=True)
class ThroughProcess:
    """A predictor of one process as a predictor of another, by equal noise-to-signal ratio.

    x of `process` at t is alpha_own / alpha x of `own` at the time of the same log-SNR. A log-SNR
    outside the range of `own` is replaced by the end of that range.

    Attributes:
        predict: the predictor.
        own: the process of `predict`.
        process: the process of the states that it is called with.
    """

    predict: PredictFn
    own: SDE
    process: SDE

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        at = t_from_log_snr(self.own, log_snr(self.process, t))
        scale = level(self.own, at)[0] / level(self.process, t)[0]
        return self.predict(params, x * scale, at, cond, key)


def check_predicts(predicts: str, process: SDE) -> None:
    """Raise ValueError unless `predicts` is one of PREDICTS and says x0 at every level."""
    if predicts not in PREDICTS:
        raise ValueError(f"predicts must be one of {list(PREDICTS)}, got {predicts!r}")
    if predicts == "eps" and ends_in_noise(process):
        raise ValueError(
            "predicts: the process ends in pure noise (alpha 0, zero terminal SNR), where a network"
            " that predicts eps says nothing about the picture; it must predict v or x0, or the"
            " schedule must not be rescaled (rescale_betas_zero_snr)"
        )


def prediction(predicts: str, process: SDE, x: Array, t: Array, out: Array) -> Prediction:
    """The prediction from the output of a network that gives `predicts`, one of PREDICTS."""
    noise = PREDICTS[predicts]
    # noise is linear in (x, out)
    unit = None if predicts == "eps" else noise(process, jnp.float32(0), t, jnp.float32(1))
    return Prediction(noise(process, x, t, out), unit=unit)


def _rescaled(process: SDE, x: Array, t: Array) -> tuple[Array, Array]:
    """(u, n) = (x / alpha, sigma / alpha), the variables of EDM."""
    alpha, sigma = level(process, t)
    return x / alpha, sigma / alpha


def _call(net: Net, params: Any, x: Array, label: Array, cond: Any, key: Any) -> Array:
    y = None if cond is None else jnp.asarray(cond)[None]
    return net(params, x[None], jnp.asarray(label, jnp.float32)[None], y=y, key=key)[0]

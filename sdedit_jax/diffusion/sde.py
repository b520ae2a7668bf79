"""Processes: x_t = alpha(t) x0 + sigma(t) z, with t in [0, 1] and z standard normal.

A process is two functions, alpha and sigma; drift, diffusion, log-SNR and the conversions between
eps, x0, score and v follow from them once for all. A new process is a frozen dataclass with these
two methods. Images are in [-1, 1], so alpha and sigma are in these units.

Elsewhere: the label of a network (priors/adapters.py), the step from t to s (solvers/).

References:
    Song et al., Score-Based Generative Modeling through SDEs (2011.13456): VE eq. 9 and 30, VP eq.
    11 and 32, subVP eq. 12 and 29. Ho et al., DDPM (2006.11239). Nichol and Dhariwal (2102.09672),
    eq. 17.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.files.arrays import array
from sdedit_jax.files.values import Flag, Having, Real, mistyped

PROCESS = Having("alpha", "a process such as VP()")
CLEAN = -math.inf
"""The time of the clean end: alpha 1, sigma 0. It differs from t = 0, where VE has sigma_min."""


class SDE(Protocol):
    """What a process is. Instances are frozen and hashable, hence static under jit."""

    def alpha(self, t: Array) -> Array:
        """The scale of the clean image at time t in [0, 1]."""

    def sigma(self, t: Array) -> Array:
        """The standard deviation of the noise at time t in [0, 1]."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class VE:
    """Variance exploding: alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t.

    Attributes:
        sigma_min: std of the noise at t = 0, for pictures in [-1, 1].
        sigma_max: the same at t = 1.

    Raises:
        ValueError: not 0 < sigma_min < sigma_max.
    """

    sigma_min: float = 0.02
    sigma_max: float = 100.0

    def __post_init__(self) -> None:
        for name in ("sigma_min", "sigma_max"):
            Real().check(getattr(self, name), name)
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(
                "VE needs 0 < sigma_min < sigma_max, "
                f"got sigma_min={self.sigma_min}, sigma_max={self.sigma_max}"
            )

    def alpha(self, t: Array) -> Array:
        return jnp.ones_like(t)

    def sigma(self, t: Array) -> Array:
        # a power, not exp of a log: one ulp here moves Fourier features by 1e-5
        return self.sigma_min * (self.sigma_max / self.sigma_min) ** t


@jax.tree_util.register_static
@dataclass(frozen=True)
class VP:
    """Variance preserving with beta(t) = beta_min + t (beta_max - beta_min).

    alpha(t) = exp(-1/2 of the integral of beta from 0 to t), sigma^2 = 1 - alpha^2.

    Attributes:
        beta_min: rate of the noise at t = 0, for a time from 0 to 1.
        beta_max: the same at t = 1.

    Raises:
        ValueError: not 0 < beta_min < beta_max.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _check_betas("VP", self.beta_min, self.beta_max)

    def alpha(self, t: Array) -> Array:
        return jnp.exp(_log_alpha(self, t))

    def sigma(self, t: Array) -> Array:
        return jnp.sqrt(-jnp.expm1(2 * _log_alpha(self, t)))


@jax.tree_util.register_static
@dataclass(frozen=True)
class SubVP:
    """Sub-variance preserving: the alpha of VP, and sigma the square of VP's.

    Attributes:
        beta_min: as in VP.
        beta_max: as in VP.

    Raises:
        ValueError: not 0 < beta_min < beta_max.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _check_betas("SubVP", self.beta_min, self.beta_max)

    def alpha(self, t: Array) -> Array:
        return jnp.exp(_log_alpha(self, t))

    def sigma(self, t: Array) -> Array:
        return -jnp.expm1(2 * _log_alpha(self, t))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Tabulated:
    """A discrete table of N levels as a process: level i (0 .. N-1) stands at t = (i + 1) / N.

    Between levels the log-SNR is interpolated linearly in t. Below the first level sigma^2 /
    alpha^2 falls linearly to 0, so that t = 0 is clean. Where the last level has no signal, alpha
    falls linearly to 0 above the level before it.

    Attributes:
        log_snrs: log(alpha^2 / sigma^2) of each level, strictly decreasing; the last one may be
            -inf (see `ends_in_noise`).
        exploding: alpha = 1 (score_sde's VE tables) instead of alpha^2 + sigma^2 = 1 (DDPM tables).
        steps: the number of each level in the table that it was taken from (see `respaced`); (): it
            is a table of its own.
    """

    log_snrs: tuple[float, ...]
    exploding: bool = False
    steps: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        Flag().check(self.exploding, "exploding")
        for name in ("log_snrs", "steps"):
            if not isinstance(getattr(self, name), tuple):
                raise mistyped(f"Tabulated.{name}", "a tuple", getattr(self, name))
            array(getattr(self, name), f"Tabulated.{name}")
        if len(self.log_snrs) < 2 or not np.all(np.diff(self.log_snrs) < 0):
            raise ValueError(
                "Tabulated.log_snrs must hold at least 2 strictly decreasing values, "
                f"got {len(self.log_snrs)} values"
            )

    def __hash__(self) -> int:
        return hash((len(self.log_snrs), self.log_snrs[0], self.log_snrs[-1], self.exploding))

    def alpha(self, t: Array) -> Array:
        lam = self._log_snr(t)
        return jnp.ones_like(lam) if self.exploding else jnp.sqrt(jax.nn.sigmoid(lam))

    def sigma(self, t: Array) -> Array:
        lam = self._log_snr(t)
        return jnp.exp(-lam / 2) if self.exploding else jnp.sqrt(jax.nn.sigmoid(-lam))

    def _log_snr(self, t: Array) -> Array:
        n = len(self.log_snrs)
        times = jnp.asarray((np.arange(n) + 1) / n, jnp.float32)
        table = jnp.asarray(self.log_snrs, jnp.float32)
        # the level below t by an exact comparison: a floor of t n may come out as two different
        # numbers within one compiled program
        near = jnp.clip(jnp.round(t * n).astype(jnp.int32) - 1, 0, n - 1)
        i = jnp.clip(near - (t < times[near]), 0, n - 2)
        part = (t - times[i]) / (times[i + 1] - times[i])
        inside = table[i] + part * (table[i + 1] - table[i])
        if ends_in_noise(self):
            alpha = jnp.sqrt(jax.nn.sigmoid(table[n - 2])) * (1 - part)
            fading = 2 * jnp.log(alpha) - jnp.log1p(-(alpha**2))
            inside = jnp.where(i == n - 2, fading, inside)
        return jnp.where(t < times[0], table[0] - jnp.log(t * n), inside)


def ends_in_noise(process: SDE) -> bool:
    """Whether the last level of a process has no signal: alpha = 0 at t = 1 (zero terminal SNR).

    There x_t is the noise itself, which says nothing about x0. What predictors, guidance and
    solvers exchange as eps is then v = -x0, as v = alpha eps - sigma x0 of that level; see
    `x0_from_eps`.
    """
    return isinstance(process, Tabulated) and math.isinf(process.log_snrs[-1])


def from_betas(betas: Sequence[float]) -> Tabulated:
    """The DDPM table of forward variances beta_i: alpha^2 of level i is prod_{j<=i} (1 - beta_j).

    Raises:
        ValueError: a beta is not in (0, 1); the last one may be 1.
    """
    b = np.asarray(betas, np.float64)
    if b.ndim != 1 or b.size < 2 or not np.all((b > 0) & (b < 1) | _last_one(b)):
        ends = f"got {b.min()} .. {b.max()}" if b.size else "got none"
        raise ValueError(f"betas must be a list of values in (0, 1), the last may be 1, {ends}")
    with np.errstate(divide="ignore"):  # log 0 of a last level without signal
        log_abar = np.cumsum(np.log1p(-b))
    return Tabulated(tuple((log_abar - np.log(-np.expm1(log_abar))).tolist()))


@functools.cache
def linear_table(n: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tabulated:
    """DDPM's table: betas linear from beta_start to beta_end."""
    return from_betas(np.linspace(beta_start, beta_end, n))


@functools.cache
def scaled_linear_table(
    n: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
) -> Tabulated:
    """Stable Diffusion's table: square roots of the betas linear."""
    return from_betas(np.linspace(beta_start**0.5, beta_end**0.5, n) ** 2)


@functools.cache
def cosine_table(n: int = 1000) -> Tabulated:
    """The cosine table: beta_i = min(1 - f((i + 1) / n) / f(i / n), 0.999).

    f(u) = cos^2((u + 0.008) / 1.008 pi / 2), Nichol and Dhariwal eq. 17.
    """
    f = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
    return from_betas(np.minimum(1 - f[1:] / f[:-1], 0.999))


def _last_one(betas: np.ndarray) -> np.ndarray:
    """Which betas are 1 and the last one."""
    return (betas == 1) & (np.arange(betas.size) == betas.size - 1)


def respaced(table: Tabulated, kept: Sequence[int]) -> Tabulated:
    """The table of some levels of another, which keep their alpha and sigma.

    Its betas are 1 - abar_i / abar_j over neighbouring kept levels j < i (Nichol and Dhariwal
    section 4).

    Raises:
        ValueError: `kept` is not at least 2 increasing numbers of levels.
    """
    n, kept = len(table.log_snrs), tuple(int(i) for i in kept)
    if len(kept) < 2 or kept[0] < 0 or kept[-1] >= n or np.any(np.diff(kept) <= 0):
        raise ValueError(f"kept must be at least 2 increasing levels of 0 .. {n - 1}, got {kept}")
    return Tabulated(tuple(table.log_snrs[i] for i in kept), table.exploding, kept)


@functools.cache
def discretize(process: SDE, n: int) -> Tabulated:
    """score_sde's table of n levels for a VE or VP process (sde_lib, `discretize`).

    VE: sigmas geometric from sigma_min to sigma_max. VP: betas linear from beta_min / n to
    beta_max / n. A step from level i to i - 1 (and from level 0 to clean) of this table has the
    coefficients of the original's discretised SDE.

    Raises:
        ValueError: another process (score_sde steps subVP by Euler), or n too small for VP.
    """
    match process:
        case VE():
            ends = np.log([process.sigma_min, process.sigma_max])
            return Tabulated(tuple((-2 * np.linspace(*ends, n)).tolist()), exploding=True)
        case VP():
            if n <= process.beta_max:
                raise ValueError(f"n must be above beta_max = {process.beta_max}, got {n}")
            return from_betas(np.linspace(process.beta_min / n, process.beta_max / n, n))
    raise ValueError(f"process must be VE or VP to have a table, got {process!r}")


def level(process: SDE, t: Array | float) -> tuple[Array, Array]:
    """(alpha, sigma) at time t; (1, 0) where t is CLEAN."""
    t = jnp.asarray(t, jnp.float32)
    clean, inside = jnp.isneginf(t), jnp.maximum(t, 0.0)
    return (
        jnp.where(clean, 1.0, process.alpha(inside)),
        jnp.where(clean, 0.0, process.sigma(inside)),
    )


def step_of(t: Array, steps: int) -> Array:
    """The step round(steps t - 1) of a table of `steps`, in 0 .. steps - 1: a network's label.

    Step i stands at t = (i + 1) / steps.
    """
    return jnp.clip(jnp.round(steps * jnp.asarray(t, jnp.float32) - 1), 0, steps - 1)


def log_snr(process: SDE, t: Array | float) -> Array:
    """log(alpha^2 / sigma^2), decreasing in t; inf where sigma is 0."""
    alpha, sigma = level(process, t)
    return 2 * (jnp.log(alpha) - jnp.log(sigma))


def perturb(process: SDE, x0: Array, t: Array | float, z: Array) -> Array:
    """x_t = alpha x0 + sigma z."""
    alpha, sigma = level(process, t)
    return alpha * x0 + sigma * z


def x0_from_eps(process: SDE, x: Array, t: Array | float, eps: Array) -> Array:
    """x0 = (x - sigma eps) / alpha; -eps where alpha is 0."""
    alpha, sigma = level(process, t)
    if ends_in_noise(process):
        safe = jnp.where(alpha == 0, 1.0, alpha)
        return jnp.where(alpha == 0, -eps, (x - sigma * eps) / safe)
    return (x - sigma * eps) / alpha


def eps_from_x0(process: SDE, x: Array, t: Array | float, x0: Array) -> Array:
    """eps = (x - alpha x0) / sigma; -x0 where alpha is 0."""
    alpha, sigma = level(process, t)
    if ends_in_noise(process):
        return jnp.where(alpha == 0, -x0, (x - alpha * x0) / sigma)
    return (x - alpha * x0) / sigma


def noise_from_eps(process: SDE, x: Array, t: Array | float, eps: Array) -> Array:
    """The noise in x: eps, or x itself where alpha is 0."""
    return jnp.where(level(process, t)[0] == 0, x, eps) if ends_in_noise(process) else eps


def score_from_eps(process: SDE, t: Array | float, eps: Array) -> Array:
    """score = -eps / sigma."""
    return -eps / level(process, t)[1]


def eps_from_score(process: SDE, t: Array | float, score: Array) -> Array:
    """eps = -sigma score."""
    return -level(process, t)[1] * score


def v_from_eps(process: SDE, x: Array, t: Array | float, eps: Array) -> Array:
    """v = alpha eps - sigma x0 (Salimans and Ho, 2202.00512)."""
    alpha, sigma = level(process, t)
    return alpha * eps - sigma * x0_from_eps(process, x, t, eps)


def eps_from_v(process: SDE, x: Array, t: Array | float, v: Array) -> Array:
    """eps = (alpha v + sigma x) / (alpha^2 + sigma^2), the inverse of v_from_eps."""
    alpha, sigma = level(process, t)
    eps = (alpha * v + sigma * x) / (alpha**2 + sigma**2)
    return jnp.where(alpha == 0, v, eps) if ends_in_noise(process) else eps


def drift(process: SDE, x: Array, t: Array | float) -> Array:
    """f(x, t) = x d(log alpha)/dt, the drift of the forward SDE dx = f dt + g dw; t in (0, 1]."""
    return x * _log_alpha_rate(process, jnp.asarray(t, jnp.float32))


def diffusion(process: SDE, t: Array | float) -> Array:
    """g(t) with g^2 = d(sigma^2)/dt - 2 sigma^2 d(log alpha)/dt; t in (0, 1]."""
    t = jnp.asarray(t, jnp.float32)
    sigma, rate = jax.value_and_grad(process.sigma)(t)
    return jnp.sqrt(2 * sigma * (rate - sigma * _log_alpha_rate(process, t)))


class Transition(NamedTuple):
    """The forward law from s to t > s: x_t = a x_s + b z with b^2 = sigma_t^2 fresh.

    a = alpha_t / alpha_s; q = e^{-h}, the ratio of noise-to-signal at s to that at t; fresh =
    1 - q^2, the share of the variance at t that is new.
    """

    a: Array
    q: Array
    fresh: Array


def transition(process: SDE, t: Array, s: Array) -> Transition:
    """The forward law from s to t; `fresh` keeps its digits in small steps."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = level(process, t), level(process, s)
    a = alpha_t / alpha_s
    q = a * sigma_s / sigma_t
    clean = jnp.isneginf(s)
    fresh = _fresh(process, t, jnp.where(clean, 0.0, s), q)
    return Transition(a, q, jnp.where(clean, 1.0, fresh))


def _fresh(process: SDE, t: Array, s: Array, q: Array) -> Array:
    """1 - q^2 by differences of logs where these are known; else (1 - q)(1 + q)."""
    match process:
        case VE():
            return -jnp.expm1(-2 * (t - s) * math.log(process.sigma_max / process.sigma_min))
        case VP() | SubVP():
            # b^2 is 1 - a^2 for VP, and (1 - a^2)(1 - alpha_t^2 alpha_s^2) for subVP
            slope = (process.beta_max - process.beta_min) / 4
            b2 = -jnp.expm1(-2 * (t - s) * ((t + s) * slope + process.beta_min / 2))
            if isinstance(process, SubVP):
                b2 *= -jnp.expm1(2 * (_log_alpha(process, t) + _log_alpha(process, s)))
            return jnp.minimum(b2 / process.sigma(t) ** 2, 1.0)  # rounded, from s = 0
    return (1 - q) * (1 + q)


def _log_alpha(process: VP | SubVP, t: Array) -> Array:
    return -t * (t * (process.beta_max - process.beta_min) / 4 + process.beta_min / 2)


def _log_alpha_rate(process: SDE, t: Array) -> Array:
    alpha, rate = jax.value_and_grad(process.alpha)(t)
    return rate / alpha


def _check_betas(name: str, low: float, high: float) -> None:
    for field, beta in {"beta_min": low, "beta_max": high}.items():
        Real().check(beta, field)
    if not 0 < low < high:
        raise ValueError(f"{name} needs 0 < beta_min < beta_max, got {low} and {high}")

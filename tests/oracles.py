"""Closed forms in float64 numpy, written from the papers and not from the package.

A process here is a `Form`: alpha, sigma, the rate of log alpha, g, and the log-SNR. A rule is a
function (form, memory, x, eps, t, s) -> (mean, std, memory) on float64 numbers. CLEAN is t = -inf.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

CLEAN = -np.inf


class Form(NamedTuple):
    """A process in float64: alpha(t), sigma(t), d(log alpha)/dt, g(t)."""

    alpha: Callable
    sigma: Callable
    rate: Callable
    g: Callable

    def at(self, t: float) -> tuple[float, float]:
        return (1.0, 0.0) if t == CLEAN else (float(self.alpha(t)), float(self.sigma(t)))


def ve(low: float, high: float) -> Form:
    """Song et al. eq. 30: sigma = low (high / low)^t, g = sigma sqrt(2 log(high / low))."""

    def sigma(t: Any) -> Any:
        return low * (high / low) ** np.asarray(t, np.float64)

    return Form(
        lambda t: np.ones_like(np.asarray(t, np.float64)),
        sigma,
        lambda t: np.zeros_like(np.asarray(t, np.float64)),
        lambda t: sigma(t) * np.sqrt(2 * np.log(high / low)),
    )


def _log_mean(t: Any, low: float, high: float) -> Any:
    t = np.asarray(t, np.float64)
    return -(t**2) * (high - low) / 4 - t * low / 2


def _beta(t: Any, low: float, high: float) -> Any:
    return low + np.asarray(t, np.float64) * (high - low)


def vp(low: float = 0.1, high: float = 20.0) -> Form:
    """Song et al. eq. 32 and 33."""
    return Form(
        lambda t: np.exp(_log_mean(t, low, high)),
        lambda t: np.sqrt(-np.expm1(2 * _log_mean(t, low, high))),
        lambda t: -_beta(t, low, high) / 2,
        lambda t: np.sqrt(_beta(t, low, high)),
    )


def subvp(low: float = 0.1, high: float = 20.0) -> Form:
    """Song et al. eq. 27 to 29: sigma = 1 - alpha^2, g^2 = beta (1 - alpha^4)."""
    return Form(
        lambda t: np.exp(_log_mean(t, low, high)),
        lambda t: -np.expm1(2 * _log_mean(t, low, high)),
        lambda t: -_beta(t, low, high) / 2,
        lambda t: np.sqrt(-_beta(t, low, high) * np.expm1(4 * _log_mean(t, low, high))),
    )


# --- tables ---------------------------------------------------------------------------------------


def linear_betas(n: int = 1000, low: float = 1e-4, high: float = 0.02) -> np.ndarray:
    return low + (high - low) * np.arange(n) / (n - 1)


def scaled_linear_betas(n: int = 1000, low: float = 0.00085, high: float = 0.012) -> np.ndarray:
    return (low**0.5 + (high**0.5 - low**0.5) * np.arange(n) / (n - 1)) ** 2


def cosine_betas(n: int = 1000) -> np.ndarray:
    def f(u: float) -> float:
        return np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2

    return np.array([min(1 - f((i + 1) / n) / f(i / n), 0.999) for i in range(n)])


def ddpm_levels(betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(alpha, sigma) of each level: sqrt(abar), sqrt(1 - abar), abar = prod (1 - beta)."""
    log_abar = np.cumsum(np.log1p(-np.asarray(betas, np.float64)))
    return np.exp(log_abar / 2), np.sqrt(-np.expm1(log_abar))


# --- rules ----------------------------------------------------------------------------------------


def ddpm_step(form: Form, memory: Any, x: Any, eps: Any, t: float, s: float) -> tuple:
    """Ho et al. eq. 7 and 11 with beta of the step: 1 - (alpha_t / alpha_s)^2. VP only."""
    (at, _), (as_, _) = form.at(t), form.at(s)
    abar_t, abar_s = at**2, as_**2
    beta = 1 - abar_t / abar_s
    mean = (x - beta / np.sqrt(1 - abar_t) * eps) / np.sqrt(1 - beta)
    return mean, np.sqrt(beta * (1 - abar_s) / (1 - abar_t)), memory


def ancestral_ve(form: Form, memory: Any, x: Any, eps: Any, t: float, s: float) -> tuple:
    """Song et al. eq. 47 with score = -eps / sigma_t. VE only."""
    st, ss = form.at(t)[1], form.at(s)[1]
    mean = x - (st**2 - ss**2) / st * eps
    return mean, np.sqrt(ss**2 * (st**2 - ss**2) / st**2), memory


def ddim(eta: float) -> Callable:
    """Song et al. (2010.02502) eq. 12 and 16, for any alpha and sigma."""

    def step(form: Form, memory: Any, x: Any, eps: Any, t: float, s: float) -> tuple:
        (at, st), (as_, ss) = form.at(t), form.at(s)
        forward = st**2 - (at / as_) ** 2 * ss**2
        std = eta * np.sqrt(ss**2 / st**2 * forward)
        x0 = (x - st * eps) / at
        return as_ * x0 + np.sqrt(max(ss**2 - std**2, 0.0)) * eps, std, memory

    return step


def reverse_diffusion(weight: float = 1.0) -> Callable:
    """Song et al. eq. 46: x_s = x - f + G^2 score + G z; f = a x - x, G^2 = forward variance."""

    def step(form: Form, memory: Any, x: Any, eps: Any, t: float, s: float) -> tuple:
        (at, st), (as_, ss) = form.at(t), form.at(s)
        a = at / as_
        big_g2 = st**2 - a**2 * ss**2
        mean = x - (a * x - x) + weight * big_g2 * (-eps / st)
        return mean, np.sqrt(big_g2) if weight == 1 else 0.0, memory

    return step


def euler(weight: float = 1.0) -> Callable:
    """Euler-Maruyama on dx = (f - g^2 score) dt + g dw, or on the probability flow (weight 1/2)."""

    def step(form: Form, memory: Any, x: Any, eps: Any, t: float, s: float) -> tuple:
        dt = t - (0.0 if s == CLEAN else s)
        score = -eps / form.at(t)[1]
        slope = form.rate(t) * x - weight * form.g(t) ** 2 * score
        return x - slope * dt, form.g(t) * np.sqrt(dt) if weight == 1 else 0.0, memory

    return step


def dpmpp_2m_sde(form: Form, memory: Any, x: Any, eps: Any, t: float, s: float) -> tuple:
    """Lu et al. (2211.01095) SDE-DPM-Solver++ 2M: lambda = log(alpha / sigma), h = lambda_s - t."""
    (at, st), (as_, ss) = form.at(t), form.at(s)
    x0 = (x - st * eps) / at
    if ss == 0:
        return as_ * x0, 0.0, (x0, None)
    h = np.log(as_ / ss) - np.log(at / st)
    mean = ss / st * np.exp(-h) * x + as_ * (1 - np.exp(-2 * h)) * x0
    if memory is not None:
        last, h_last = memory
        mean = mean + as_ * (1 - np.exp(-2 * h)) / 2 * (x0 - last) / (h_last / h)
    return mean, ss * np.sqrt(1 - np.exp(-2 * h)), (x0, h)


def _moments(y: float) -> tuple[float, float, float]:
    """-phi_1, phi_2 and -phi_3 of the released code of DPM-Solver++ for e^{-y}."""
    one = np.expm1(-y)
    return -one, one / y + 1, 0.5 - (one / y + 1) / y


def released(values: list, lams: list, h: float, k: float) -> float:
    """The x0 part of a step, by the formulas of the released DPM-Solver++ (2M midpoint, 3M)."""
    phi = _moments(k * h)
    if len(values) == 1:
        return phi[0] * values[0]
    r0 = (lams[0] - lams[1]) / h
    first = (values[0] - values[1]) / r0
    if len(values) == 2:
        return phi[0] * (values[0] + first / 2)
    r1 = (lams[1] - lams[2]) / h
    second = (values[1] - values[2]) / r1
    slope = first + r0 / (r0 + r1) * (first - second)
    return phi[0] * values[0] + phi[1] * slope + phi[2] * (first - second) / (r0 + r1)


def exact(values: list, lams: list, h: float, k: float, start: float = 0.0) -> float:
    """The integral of k e^{-k (h - u)} times the Lagrange polynomial, by Gauss's rule.

    u = 0 is lams[0] less `start`.
    """
    points, weights = np.polynomial.legendre.leggauss(40)
    u, dens = h * (points + 1) / 2, h * weights / 2
    total, nodes = 0.0, np.array(lams) - lams[0] + start
    for i, value in enumerate(values):
        others = np.delete(nodes, i)
        shape = np.prod([(u - o) / (nodes[i] - o) for o in others], axis=0) * np.ones_like(u)
        total = total + value * np.sum(dens * k * np.exp(-k * (h - u)) * shape)
    return total


def midpoint(values: list, lams: list, h: float, k: float, start: float = 0.0) -> float:
    """As `exact`, with the slope of two values at half of -phi_1 (B_2 of UniPC, a_1 = 1/2)."""
    if len(values) != 2:
        return exact(values, lams, h, k, start)
    base, slope = values[1 if start else 0], (values[0] - values[1]) / (lams[0] - lams[1]) * h
    return -np.expm1(-k * h) * (base + slope / 2)


def multistep(order: int, tau: float, part: Callable = exact, corrector: int = 0) -> Callable:
    """SA-Solver's predictor and corrector (2309.05019, algorithm 1); tau 0 of the flow.

    The corrector does the last step again from its beginning, with the same noise.
    """
    k = 1 + tau**2

    def step(form: Form, memory: Any, x: Any, eps: Any, t: float, s: float) -> tuple:
        (at, st), (as_, ss) = form.at(t), form.at(s)
        values, lams, last = memory or ([], [], None)
        values, lams = [(x - st * eps) / at, *values], [np.log(at / st), *lams]
        if last is not None and corrector:
            decayed, h, predicted = last
            n = min(corrector + 1, len(values))
            again = decayed + at * part(values[:n], lams[:n], h, k, h)
            x = again + (x - predicted)
        if ss == 0:
            return as_ * values[0], 0.0, None
        h = np.log(as_ / ss) - lams[0]
        decayed = ss / st * np.exp(-(tau**2) * h) * x
        n = min(order, len(values))
        mean = decayed + as_ * part(values[:n], lams[:n], h, k)
        std = ss * np.sqrt(-np.expm1(-2 * tau**2 * h))
        return mean, std, (values, lams, (decayed, h, mean))

    return step


def heun(form: Form, eps_of: Callable, x: Any, t: float, s: float) -> Any:
    """Karras et al. Algorithm 1 in u = x / alpha, n = sigma / alpha: du/dn = eps; x at s."""
    (at, st), (as_, ss) = form.at(t), form.at(s)
    u, n, n_next = x / at, st / at, ss / as_
    d = eps_of(x, t)
    ahead = u + (n_next - n) * d
    if n_next == 0:
        return as_ * ahead
    return as_ * (u + (n_next - n) * (d + eps_of(as_ * ahead, s)) / 2)


def edm(sigmas: list, churn: float, noise: float, eps_of: Callable, u: Any, z: Any) -> Any:
    """Karras et al. Algorithm 2 in u = x / alpha from sigmas[0], already raised; ends at the last.

    sigmas: t_0 .. t_N; each but the first is raised by 1 + churn after the step that reaches it,
    with the z of this step.
    """
    t = sigmas[0]
    for i, below in enumerate(sigmas[1:]):
        d = eps_of(u, t)
        ahead = u + (below - t) * d
        if below == 0:
            return ahead
        u = u + (below - t) * (d + eps_of(ahead, below)) / 2
        t = below * (1 + churn)
        u = u + np.sqrt(t**2 - below**2) * noise * z[i]
    return u


# --- Gaussian data --------------------------------------------------------------------------------


def gaussian_eps(form: Form, m: Any, std: Any) -> Callable:
    """E[z | x_t] for data N(m, std^2): the regression of z on x_t."""

    def eps(x: Any, t: float) -> Any:
        a, s = form.at(t)
        return s / (a**2 * std**2 + s**2) * (x - a * m)

    return eps


def run(
    step: Callable, form: Form, eps_of: Callable, grid: list, x: Any, z: Any, final: str = "mean"
) -> Any:
    """The whole reverse loop in float64; z [N, ...] are the standard normals of the steps."""
    memory = None
    for i, (t, s) in enumerate(grid):
        if step is heun:
            x = heun(form, eps_of, x, t, s)
            continue
        mean, std, memory = step(form, memory, x, eps_of(x, t), t, s)
        x = mean if final == "mean" and i == len(grid) - 1 else mean + std * z[i]
    return x


class Affine(NamedTuple):
    """x_out = gain x_in + offset + std z: what a loop does to Gaussian data."""

    gain: Any
    offset: Any
    std: Any

    def law(self, mean: Any, std: Any) -> tuple[Any, Any]:
        """Mean and std of x_out when x_in has these."""
        return self.gain * mean + self.offset, np.sqrt((self.gain * std) ** 2 + self.std**2)


def probes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """x [n + 2] and z [n, n + 2], one scalar problem per column, that read off an affine map.

    Column 0 starts from 0 without noise, column 1 from 1, column 2 + i has step i's noise at 1.
    """
    x = np.zeros(n + 2)
    x[1] = 1.0
    return x, np.eye(n, n + 2, 2)


def affine(out: np.ndarray) -> Affine:
    """The affine map of a loop from its results on `probes`."""
    out = np.asarray(out, np.float64)
    return Affine(out[1] - out[0], out[0], np.sqrt(np.sum((out[2:] - out[0]) ** 2)))


def sdedit_law(form: Form, t0: float, guide: Any, m: Any, std: Any) -> tuple[Any, Any]:
    """Mean and std of SDEdit's output on data N(m, std^2) in the limit of many steps.

    x0 is drawn from the posterior of the data given x_t0 = alpha guide + sigma z (Bayes).
    """
    a, s = form.at(t0)
    precision = 1 / std**2 + a**2 / s**2
    pull = a / s**2 / precision
    return (m / std**2) / precision + pull * a * guide, np.sqrt((pull * s) ** 2 + 1 / precision)

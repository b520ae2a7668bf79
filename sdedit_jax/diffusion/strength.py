"""Strength: one noise level, in one of four units.

t0 is the time in [0, 1] of the process at hand; sigma the noise-to-signal ratio sigma(t0) /
alpha(t0) in [-1, 1] units (for VE: the sigma itself); SNR the signal-to-noise ratio alpha^2 /
sigma^2 in dB; step the index of the level with this ratio in the process's own table, or of DDPM's
linear one where it has none, a fraction between levels. The official SDEdit option `--t 500` is
step 499. The same t0 means different noise in different processes, and so does the same step in
different tables; the other two do not.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.sde import PROCESS, SDE, Tabulated, level, linear_table, log_snr
from sdedit_jax.files.values import Real
from sdedit_jax.files.wording import brief

DB = 10 / np.log(10)
UNITS = {"sigma": Real(0), "snr_db": Real(), "step": Real(-1)}
"""The values of a unit; an SNR of infinity is no noise."""


class Strength(NamedTuple):
    """One noise level in four units.

    Attributes:
        t0: the time in [0, 1] of the process.
        sigma: the noise-to-signal ratio sigma(t0) / alpha(t0), for pictures in [-1, 1].
        snr_db: 10 log10(alpha^2 / sigma^2), in dB.
        step: the level of the process's own table, or of DDPM's linear one; -1 is no noise.
    """

    t0: float
    sigma: float
    snr_db: float
    step: float

    def __str__(self) -> str:
        return (
            f"t0 {self.t0:.4g} | sigma {self.sigma:.4g} | SNR {self.snr_db:.4g} dB"
            f" | DDPM step {self.step:.1f}"
        )


@functools.partial(jax.jit, static_argnames="process")
def t_from_log_snr(process: SDE, lam: Array) -> Array:
    """The time in [0, 1] at which the process has log-SNR `lam` (any shape), by bisection.

    Values outside the range of the process give 0 or 1. Differentiation is not supported.
    """
    lam = jnp.asarray(lam, jnp.float32)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        too_noisy = log_snr(process, middle) < lam
        return jnp.where(too_noisy, low, middle), jnp.where(too_noisy, middle, high)

    low, high = jax.lax.fori_loop(0, 48, halve, (jnp.zeros_like(lam), jnp.ones_like(lam)))
    return jnp.where(lam >= log_snr(process, 0.0), 0.0, high)


def t_from_sigma(process: SDE, sigma: Array) -> Array:
    """The time at which sigma(t) / alpha(t) equals `sigma` (any shape, > 0)."""
    return t_from_log_snr(process, -2 * jnp.log(sigma))


def describe(process: SDE, t0: float) -> Strength:
    """The strength t0 of a process in all four units; t0 = 0 is no noise.

    Raises:
        ValueError: t0 is not in [0, 1].
    """
    PROCESS.check(process, "process")
    check_t0(t0)
    if t0 == 0:
        return Strength(0.0, 0.0, float("inf"), -1.0)
    lam = log_snr(process, t0)
    table = _table(process)
    step = len(table.log_snrs) * float(t_from_log_snr(table, lam)) - 1
    sigma = float(jnp.exp(-lam / 2))
    return Strength(float(t0), sigma, float(lam) * DB, step)


def to_t0(
    process: SDE,
    *,
    t0: float | None = None,
    sigma: float | None = None,
    snr_db: float | None = None,
    step: float | None = None,
) -> float:
    """t0 in [0, 1] of the strength that is given in exactly one of the four units.

    Args:
        t0, sigma, snr_db, step: the strength, in the units of `Strength`.

    Raises:
        ValueError: none or several given, or a value outside the range of the process.
    """
    given = {"t0": t0, "sigma": sigma, "snr_db": snr_db, "step": step}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1:
        found = brief(given) if given else "none"
        raise ValueError(f"strength takes exactly one of t0, sigma, snr_db, step, got {found}")
    ((unit, value),) = given.items()
    PROCESS.check(process, "process")
    if unit == "t0":
        return check_t0(value)
    if not (isinstance(value, float) and value == math.inf and unit == "snr_db"):
        UNITS[unit].check(value, unit)
    lam = {"sigma": _log_snr_of_sigma, "snr_db": _log_snr_of_db, "step": _log_snr_of_step}[unit](
        process, value
    )
    return _inside(process, unit, value, lam)


def check_t0(t0: float) -> float:
    """t0 itself.

    Raises:
        ValueError: t0 is not in [0, 1].
    """
    Real(0, 1).check(t0, "t0")
    return float(t0)


def _log_snr_of_sigma(process: SDE, sigma: float) -> float:
    return -2 * np.log(float(sigma)) if sigma > 0 else np.inf


def _log_snr_of_db(process: SDE, snr_db: float) -> float:
    return snr_db / DB


def _log_snr_of_step(process: SDE, step: float) -> float:
    table = _table(process)
    n = len(table.log_snrs)
    if not -1 <= step <= n - 1:
        raise ValueError(f"step must be in [-1, {n - 1}], got {step}")
    return float(log_snr(table, (step + 1) / n))


def _inside(process: SDE, unit: str, value: float, lam: float) -> float:
    if np.isposinf(lam):
        return 0.0
    low, high = (float(log_snr(process, t)) for t in (1.0, 0.0))
    slack = 1e-4
    if not low - slack <= lam <= high + slack:
        ends = [describe(process, t) for t in (1e-6, 1.0)]
        bounds = sorted(getattr(e, unit) for e in ends)
        raise ValueError(f"{unit} must be in [{bounds[0]:.4g}, {bounds[1]:.4g}], got {value}")
    return float(t_from_log_snr(process, jnp.float32(lam)))


def _table(process: SDE) -> Tabulated:
    own = isinstance(process, Tabulated) and not process.exploding
    return process if own else linear_table()


def noise_to_signal(process: SDE, t: Array | float) -> Array:
    """sigma(t) / alpha(t)."""
    alpha, sigma = level(process, t)
    return sigma / alpha

"""Time grids: which steps a run takes.

A maker (process, t0, n) -> Grid is what a plan holds; t0 may be traced, n is static.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.sde import CLEAN, SDE
from sdedit_jax.strength import noise_to_signal, t_from_sigma


class Grid(NamedTuple):
    """N steps from t [N] to s [N]; s may be CLEAN. s[i] need not be t[i + 1]."""

    t: Array
    s: Array


MakeGrid = Callable[[SDE, Array, int], Grid]
"""(process, t0, n) -> Grid of n steps down from t0; t0 may be traced, n is static."""


def uniform(end: str = "clean") -> MakeGrid:
    """t_i = t0 (n - i) / n; the last step ends clean, or with end="zero" at t = 0."""
    _check_end(end)

    def grid(process: SDE, t0: Array, n: int) -> Grid:
        times = t0 * (jnp.arange(n, -1, -1, dtype=jnp.float32) / n)  # the first is t0 itself
        return _pairs(times[:-1], CLEAN if end == "clean" else 0.0)

    return grid


def paper() -> MakeGrid:
    """The grid of SDEdit's algorithms: t = t0 n / N .. t0 / N, the last step to t = 0."""
    return uniform(end="zero")


def uniform_log_snr(sigma_end: float = 0.01) -> MakeGrid:
    """Even in log-SNR, from t0 to noise-to-signal `sigma_end` (or half of t0's, if less)."""
    _check_sigma_end(sigma_end)

    def grid(process: SDE, t0: Array, n: int) -> Grid:
        high, low = _sigma_ends(process, t0, sigma_end)
        return _from_sigmas(process, t0, high ** (1 - _unit(n)) * low ** _unit(n))

    return grid


def karras(rho: float = 7.0, sigma_end: float = 0.01) -> MakeGrid:
    """EDM's spacing (2206.00364 eq. 5) of the noise-to-signal ratio from t0 to `sigma_end`."""
    _check_sigma_end(sigma_end)
    if not rho > 0:
        raise ValueError(f"rho must be above 0, got {rho}")

    def grid(process: SDE, t0: Array, n: int) -> Grid:
        high, low = (end ** (1 / rho) for end in _sigma_ends(process, t0, sigma_end))
        return _from_sigmas(process, t0, (high + (low - high) * _unit(n)) ** rho)

    return grid


def score_sde(t_end: float = 1e-5, euler: bool = False) -> MakeGrid:
    """score_sde's grid: t from t0 to `t_end` in n even points, the last step to the clean end.

    With `euler` each step has the length t0 / n instead of reaching the next point, as the
    original's Euler-Maruyama predictor does. Its own values of t_end: 1e-5 for VE, 1e-3 for VP,
    subVP.
    """
    if not 0 < t_end < 1:
        raise ValueError(f"t_end must be in (0, 1), got {t_end}")

    def grid(process: SDE, t0: Array, n: int) -> Grid:
        t = t0 + (jnp.minimum(t_end, t0) - t0) * _unit(n)
        return Grid(t, t - t0 / n) if euler else _pairs(t, CLEAN)

    return grid


def above(grid: MakeGrid, t_end: float = 1e-3) -> MakeGrid:
    """Another grid, whose last step ends at the level of t_end instead (at most at half its t).

    Inversion wants it so: a step to the clean end has no noise that could be solved for.
    """
    if not 0 < t_end < 1:
        raise ValueError(f"t_end must be in (0, 1), got {t_end}")

    def made(process: SDE, t0: Array, n: int) -> Grid:
        t, s = grid(process, t0, n)
        return Grid(t, s.at[-1].set(jnp.minimum(t_end, t[-1] / 2)))

    return made


def listed(steps: Sequence[int], end: int | None = 0, table: int = 1000) -> MakeGrid:
    """The steps of a table by their numbers: step i of `table` steps stands at t = (i + 1) / table.

    Such a grid is what it is: t0 moves none of its steps.

    Args:
        steps: numbers from the noisiest on. end: the step that the last one ends at; None: clean.
    """
    down = list(steps) + ([] if end is None else [end])
    if not steps or not table > down[0] or down[-1] < 0 or any(np.diff(down) >= 0):
        raise ValueError(f"steps must fall from below {table} to {end}, got {list(steps)}")
    t = (np.asarray(steps, np.float32) + 1) / np.float32(table)
    last = CLEAN if end is None else (end + 1) / table

    def grid(process: SDE, t0: Array, n: int) -> Grid:
        if n != len(t):
            raise ValueError(f"n must be the {len(t)} steps of the list, got {n}")
        return _pairs(jnp.asarray(t), last)

    return grid


def _pairs(t: Array, end: float) -> Grid:
    return Grid(t, jnp.append(t[1:], end))


def _unit(n: int) -> Array:
    return jnp.arange(n, dtype=jnp.float32) / max(n - 1, 1)


def _sigma_ends(process: SDE, t0: Array, sigma_end: float) -> tuple[Array, Array]:
    high = noise_to_signal(process, t0)
    floor = noise_to_signal(process, jnp.float32(0.0))
    low = jnp.minimum(jnp.maximum(sigma_end, floor), jnp.maximum(high / 2, floor))
    return high, jnp.minimum(low, high)


def _from_sigmas(process: SDE, t0: Array, sigmas: Array) -> Grid:
    """Times of these noise-to-signal ratios; the first is t0 itself, to the last digit."""
    return _pairs(t_from_sigma(process, sigmas).at[0].set(t0), CLEAN)


def _check_end(end: str) -> None:
    if end not in ("clean", "zero"):
        raise ValueError(f"end must be one of ['clean', 'zero'], got {end!r}")


def _check_sigma_end(sigma_end: float) -> None:
    if not sigma_end > 0:
        raise ValueError(f"sigma_end must be above 0, got {sigma_end}")

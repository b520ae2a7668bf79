"""Time grids: the steps of a run.

A grid maker is a value, called as (process, t0, n) -> Grid of n steps down from t0. t0 may be
traced, n is static.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.sde import CLEAN, SDE, ends_in_noise
from sdedit_jax.diffusion.strength import noise_to_signal, t_from_sigma

NOISY = 100.0
"""Noise-to-signal ratio from which times are spaced where the process ends in pure noise."""


class Grid(NamedTuple):
    """N steps, down in time. s[i] need not be t[i + 1].

    Attributes:
        t: [N], where each step begins, in (0, 1].
        s: [N], where it ends, below t; `sde.CLEAN` (alpha 1, sigma 0) is possible.
    """

    t: Array
    s: Array


class MakeGrid(Protocol):
    """A grid maker. Implementations are frozen dataclasses, registered static.

    Attributes:
        fixed: whether the steps are listed, so that t0 moves none of them.
    """

    fixed: ClassVar[bool]

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        """n steps down from t0."""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Uniform:
    """t_i = t0 (n - i) / n; the last step ends clean, or with end="zero" at t = 0.

    With end="zero" it is the grid of SDEdit's algorithms: t = t0 n / N .. t0 / N.
    """

    end: str = "clean"
    fixed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.end not in ("clean", "zero"):
            raise ValueError(f"end must be one of ['clean', 'zero'], got {self.end!r}")

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        times = t0 * (jnp.arange(n, -1, -1, dtype=jnp.float32) / n)  # the first is t0 itself
        return _pairs(times[:-1], CLEAN if self.end == "clean" else 0.0)


@jax.tree_util.register_static
@dataclass(frozen=True)
class UniformLogSNR:
    """Even in log-SNR, from t0 to noise-to-signal `sigma_end` (or half of t0's, if less)."""

    sigma_end: float = 0.02
    fixed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("sigma_end", self.sigma_end)

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        high, low = _sigma_ends(process, t0, self.sigma_end)
        return _from_sigmas(process, t0, high ** (1 - _unit(n)) * low ** _unit(n))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Karras:
    """EDM's spacing (2206.00364 eq. 5) of the noise-to-signal ratio from t0 to `sigma_end`."""

    rho: float = 7.0
    sigma_end: float = 0.02
    fixed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_positive("sigma_end", self.sigma_end)
        _check_positive("rho", self.rho)

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        high, low = (end ** (1 / self.rho) for end in _sigma_ends(process, t0, self.sigma_end))
        return _from_sigmas(process, t0, (high + (low - high) * _unit(n)) ** self.rho)


@jax.tree_util.register_static
@dataclass(frozen=True)
class ScoreSDE:
    """score_sde's grid: t from t0 to `t_end` in n even points, the last step to the clean end.

    Attributes:
        t_end: the original has 1e-5 for VE, 1e-3 for VP and subVP.
        euler: each step has the length t0 / n instead of reaching the next point, as in the
            original's Euler-Maruyama predictor.
    """

    t_end: float = 1e-5
    euler: bool = False
    fixed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_time("t_end", self.t_end)

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        t = t0 + (jnp.minimum(self.t_end, t0) - t0) * _unit(n)
        return Grid(t, t - t0 / n) if self.euler else _pairs(t, CLEAN)


@jax.tree_util.register_static
@dataclass(frozen=True)
class Above:
    """Another grid, whose last step ends at the level of t_end (at most at half its t).

    Inversion needs it: a step to the clean end has no noise to solve for.
    """

    grid: MakeGrid
    t_end: float = 1e-3

    def __post_init__(self) -> None:
        _check_time("t_end", self.t_end)

    @property
    def fixed(self) -> bool:
        return self.grid.fixed

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        t, s = self.grid(process, t0, n)
        return Grid(t, s.at[-1].set(jnp.minimum(self.t_end, t[-1] / 2)))


@jax.tree_util.register_static
@dataclass(frozen=True)
class Listed:
    """Steps of a table by their numbers: step i of `table` steps stands at t = (i + 1) / table.

    Attributes:
        steps: numbers from the noisiest step on.
        end: the step where the last one ends; None: clean.
    """

    steps: tuple[int, ...]
    end: int | None = 0
    table: int = 1000
    fixed: ClassVar[bool] = True

    def __post_init__(self) -> None:
        steps = [int(i) for i in self.steps]
        down = steps + ([] if self.end is None else [self.end])
        if not steps or not self.table > down[0] or down[-1] < 0 or any(np.diff(down) >= 0):
            raise ValueError(f"steps must fall from below {self.table} to {self.end}, got {steps}")
        object.__setattr__(self, "steps", tuple(steps))

    def __call__(self, process: SDE, t0: Array, n: int) -> Grid:
        if n != len(self.steps):
            raise ValueError(f"n must be the {len(self.steps)} steps of the list, got {n}")
        t = (np.asarray(self.steps, np.float32) + 1) / np.float32(self.table)
        return _pairs(jnp.asarray(t), CLEAN if self.end is None else (self.end + 1) / self.table)


def _pairs(t: Array, end: float) -> Grid:
    return Grid(t, jnp.append(t[1:], end))


def _unit(n: int) -> Array:
    return jnp.arange(n, dtype=jnp.float32) / max(n - 1, 1)


def _sigma_ends(process: SDE, t0: Array, sigma_end: float) -> tuple[Array, Array]:
    high = noise_to_signal(process, t0)
    if ends_in_noise(process):
        high = jnp.minimum(high, NOISY)
    floor = noise_to_signal(process, jnp.float32(0.0))
    low = jnp.minimum(jnp.maximum(sigma_end, floor), jnp.maximum(high / 2, floor))
    return high, jnp.minimum(low, high)


def _from_sigmas(process: SDE, t0: Array, sigmas: Array) -> Grid:
    """Times of these noise-to-signal ratios; the first is t0 itself, to the last digit."""
    return _pairs(t_from_sigma(process, sigmas).at[0].set(t0), CLEAN)


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, got {value}")


def _check_time(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1), got {value}")

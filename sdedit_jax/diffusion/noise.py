"""Sources of noise for the loop: drawn from a key, replayed from a record, or inferred.

A draw is named by its step, its purpose and its call number within the two. Nothing counts calls
at trace time, so a draw inside `lax.fori_loop` with a traced call number is right. Sources are
pytrees: their arrays may be arguments of a compiled program.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.solvers.base import Step
from sdedit_jax.files.values import Whole


class Purpose(IntEnum):
    """What a draw of a step is for. Its number is where the calls of this purpose begin."""

    STEP = 0
    AFTER = 1
    BEFORE = 1 << 20


SLOT = 1 << 10
"""Draws that each hook has to itself before or after a step."""


class At(NamedTuple):
    """The step that draws.

    Attributes:
        index: its number in the run.
        t, s: its times, for sources that go by them.
    """

    index: Array | int
    t: Any = None
    s: Any = None


class Noise(Protocol):
    """A source of standard normal noise."""

    def step(self, at: At, kernel: Step) -> Array:
        """The solver's z [H, W, C] of a step with this kernel."""

    def draw(self, at: At, purpose: Purpose, call: Array | int, shape: tuple[int, ...]) -> Array:
        """A hook's z of this shape; call, from 0, may be traced."""


@functools.partial(jax.tree_util.register_dataclass, data_fields=["key"], meta_fields=[])
@dataclass(frozen=True)
class SampleNoise:
    """Noise drawn from a key: fold_in(fold_in(key, step), purpose + call) decides each draw."""

    key: Array

    def step(self, at: At, kernel: Step) -> Array:
        return self.draw(at, Purpose.STEP, 0, kernel.mean.shape)

    def draw(self, at: At, purpose: Purpose, call: Array | int, shape: tuple[int, ...]) -> Array:
        step_key = jax.random.fold_in(self.key, at.index)
        return jax.random.normal(jax.random.fold_in(step_key, int(purpose) + call), shape)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["key"], meta_fields=[])
@dataclass(frozen=True)
class PathNoise:
    """Noise of one Brownian path W(t) of a key: z = (W(t) - W(s)) / sqrt(t - s) in a step.

    Runs with other numbers of steps follow the same path, so their results converge picture by
    picture. The clean end is t = 0. Steps of no length draw as with `SampleNoise`. So do hooks, by
    the time of the state that they change in the place of the index: t before a step, s after it.
    Runs that share a time share its draws.

    Attributes:
        key: decides the path on [0, 1], and the draws of hooks.
    """

    key: Array

    def step(self, at: At, kernel: Step) -> Array:
        shape, path = kernel.mean.shape, jax.random.fold_in(self.key, PATH)
        t, s = _ticks(at.t), _ticks(at.s)
        between = brownian(path, t, shape) - brownian(path, s, shape)
        length = (t - s) / TICKS
        fresh = SampleNoise(self.key).step(at, kernel)
        return jnp.where(t > s, between / jnp.sqrt(jnp.where(t > s, length, 1.0)), fresh)

    def draw(self, at: At, purpose: Purpose, call: Array | int, shape: tuple[int, ...]) -> Array:
        tick = _ticks(at.t if purpose is Purpose.BEFORE else at.s)
        return SampleNoise(self.key).draw(At(tick), purpose, call, shape)


LEVELS = 20
TICKS = 1 << LEVELS
"""The path is known at the multiples of 1 / TICKS."""
PATH = (1 << 31) - 1
"""What a key is folded with for its path; no step has this index."""


def brownian(key: Array, tick: Array, shape: tuple[int, ...]) -> Array:
    """W(tick / TICKS) of standard Brownian paths [shape] on [0, 1], by halving (Levy).

    Each midpoint has a draw of its own, fold_in(key, its number): nothing is stored.
    """

    def halve(level: Array, found: tuple) -> tuple:
        low, left, right, node = found
        half = TICKS >> (level + 1)
        z = jax.random.normal(jax.random.fold_in(key, node), shape)
        middle = (left + right) / 2 + jnp.sqrt(half / TICKS / 2) * z
        up = tick >= low + half
        return (
            low + half * up,
            jnp.where(up, middle, left),
            jnp.where(up, right, middle),
            2 * node + up,
        )

    end = jax.random.normal(jax.random.fold_in(key, 0), shape)
    start = (jnp.zeros((), jnp.int32), jnp.zeros(shape), end, jnp.ones((), jnp.int32))
    left = jax.lax.fori_loop(0, LEVELS, halve, start)[1]
    return jnp.where(tick == TICKS, end, left)


def _ticks(t: Array) -> Array:
    return jnp.round(jnp.maximum(t, 0.0) * TICKS).astype(jnp.int32)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["z"], meta_fields=["before"])
@dataclass(frozen=True)
class ReplayNoise:
    """Recorded noise, in the order in which a step draws: before it, for it, after it.

    Attributes:
        z: [N, calls, H, W, C]; a step that draws more often than was recorded raises ValueError, or
            gets NaN where the number of the call is traced.
        before: draws before each step, those of a corrector.
    """

    z: Array
    before: int = 0

    def step(self, at: At, kernel: Step) -> Array:
        return self.draw(at, Purpose.STEP, 0, kernel.mean.shape)

    def draw(self, at: At, purpose: Purpose, call: Array | int, shape: tuple[int, ...]) -> Array:
        first = {Purpose.BEFORE: 0, Purpose.STEP: self.before, Purpose.AFTER: self.before + 1}
        number, calls = first[purpose] + call, self.z.shape[1]
        end = self.before if purpose == Purpose.BEFORE else calls
        if first[purpose] >= end or (not isinstance(number, jax.core.Tracer) and number >= end):
            raise ValueError(
                f"z holds {calls} draws for each step, {self.before} of them before it; a step"
                " needs more"
            )
        z = jnp.broadcast_to(jnp.asarray(self.z)[at.index, number], shape)
        return jnp.where(number < end, z, jnp.nan)


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["target"])
@dataclass(frozen=True)
class InferNoise:
    """The noise with which the steps reach target states: z = (target - mean) / std, 0 for std 0.

    Attributes:
        target: index of the step -> the state after it [H, W, C].
    """

    target: Callable[[Array], Array]

    def step(self, at: At, kernel: Step) -> Array:
        noisy = kernel.std > 0
        away = self.target(at.index) - kernel.mean
        return jnp.where(noisy, away / jnp.where(noisy, kernel.std, 1.0), 0.0)

    def draw(self, at: At, purpose: Purpose, call: Array | int, shape: tuple[int, ...]) -> Array:
        raise ValueError("noise is inferred from target states: a hook cannot draw any")


@jax.tree_util.register_static
@dataclass(frozen=True)
class ZeroNoise:
    """No noise: every step takes its mean."""

    def step(self, at: At, kernel: Step) -> Array:
        return jnp.zeros_like(kernel.mean)

    def draw(self, at: At, purpose: Purpose, call: Array | int, shape: tuple[int, ...]) -> Array:
        return jnp.zeros(shape)


def image_key(seed: int, id: str, sample: int = 0) -> Array:
    """The key of one picture: seed, id and sample number alone decide it.

    Raises:
        TypeError, ValueError: see `seed_key`.
    """
    name = int.from_bytes(hashlib.sha256(id.encode()).digest()[:4], "big")
    return jax.random.fold_in(jax.random.fold_in(seed_key(seed), name), sample)


WORD = 2**32


def seed_key(seed: int) -> Array:
    """The key of a seed: that of its lower 32 bits, into which the upper ones are folded.

    Raises:
        TypeError: the seed is not a whole number. ValueError: it is not in [0, 2**64).
    """
    high, low = divmod(check_seed(seed), WORD)
    key = jax.random.key(low)
    return jax.random.fold_in(key, high) if high else key


def seed_word(seed: int) -> int:
    """A seed for generators that take 32 bits: the seed itself where it is below 2**32."""
    seed = check_seed(seed)
    return seed if seed < WORD else int(np.random.SeedSequence(seed).generate_state(1)[0])


def check_seed(seed: int, least: int = 0) -> int:
    """A seed as an int.

    Raises:
        TypeError: it is not a whole number. ValueError: it is not in [least, 2**64).
    """
    allowed = "a whole number in [0, 2**64 - 1]" + (", or -1 to draw one" if least else "")
    Whole(least, WORD**2 - 1, allowed).check(seed, "seed")
    return int(seed)


def drawn_seed(seed: int) -> int:
    """A user's seed: itself, or for -1 one that is drawn, below 2**32.

    Raises:
        TypeError, ValueError: see `check_seed`.
    """
    seed = check_seed(seed, -1)
    return int(np.random.default_rng().integers(WORD)) if seed == -1 else seed

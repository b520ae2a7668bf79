"""One training step: gradient, optax update, moving average of the weights.

A step is a pure function (state, batch, key) -> (state, metrics). Its randomness is
fold_in(key, state.step), so that the state and the seed determine the rest of a run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from sdedit_jax.train.loss import Loss

SCHEDULES = ("constant", "cosine")


class State(NamedTuple):
    """All that training changes. `step` counts finished steps (int32 scalar)."""

    step: Array
    params: Any
    ema: Any
    opt_state: Any


class Optimizer(NamedTuple):
    """Adam with linear warm-up, clipping of the global gradient norm and a moving average.

    Attributes:
        rate: the learning rate after warm-up.
        warmup: steps of linear warm-up.
        schedule: "constant", or "cosine" down to 0 at the last step.
        clip: the largest global norm of the gradient; 0: no clipping.
        beta1: Adam's.
        beta2: Adam's.
        ema: the decay of the moving average, reached through min(ema, (1 + n) / (10 + n)).
    """

    rate: float = 2e-4
    warmup: int = 5000
    schedule: str = "constant"
    clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    ema: float = 0.999


def learning_rate(optimizer: Optimizer, steps: int, first: int = 0) -> optax.Schedule:
    """Update n (from 0) -> its learning rate, for a run of `steps` steps that begins at `first`.

    A run that begins later warms up anew, and is cooled down as far as the whole one is.

    Raises:
        ValueError: an unknown schedule, or a rate that is not positive.
    """
    o = optimizer
    if o.schedule not in SCHEDULES:
        raise ValueError(f"optimizer.schedule must be one of {SCHEDULES}, got {o.schedule!r}")
    if o.rate <= 0:
        raise ValueError(f"optimizer.rate must be positive, got {o.rate}")

    def rate(n: Array) -> Array:
        warm = jnp.minimum((n + 1) / max(o.warmup, 1), 1.0)
        left = 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum((first + n) / steps, 1.0)))
        return o.rate * warm * (left if o.schedule == "cosine" else 1.0)

    return rate


def transformation(
    optimizer: Optimizer, steps: int, first: int = 0
) -> optax.GradientTransformation:
    """The optax chain of an Optimizer; the rate follows the chain's own count of updates."""
    clip = optax.clip_by_global_norm(optimizer.clip) if optimizer.clip > 0 else optax.identity()
    adam = optax.scale_by_adam(optimizer.beta1, optimizer.beta2)
    rate = learning_rate(optimizer, steps, first)
    return optax.chain(clip, adam, optax.scale_by_learning_rate(rate))


def init(params: Any, tx: optax.GradientTransformation, step: int = 0) -> State:
    """The state before the first step; parameters are copied, since steps donate their state."""
    copy = jax.tree.map(jnp.array, params)
    return State(jnp.int32(step), copy, jax.tree.map(jnp.array, params), tx.init(copy))


def average(ema: Any, params: Any, n: Array, decay: float) -> Any:
    """The moving average after update n = 1, 2, ...: decay_n = min(decay, (1 + n) / (10 + n))."""
    keep = jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda e, p: (p + keep * (e - p)).astype(e.dtype), ema, params)


Step = Callable[[State, dict[str, Array], Array], tuple[State, dict[str, Array]]]


def make_step(loss: Loss, tx: optax.GradientTransformation, ema: float) -> Step:
    """step(state, batch, key) -> (state, {"loss", "gradient"}), jitted; donates the state.

    `gradient` is the global norm before clipping. `key` is the run's key, the same for all steps.
    """

    def step(state: State, batch: dict[str, Array], key: Array) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(key, state.step)
        value, grads = jax.value_and_grad(loss)(state.params, batch, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        n = state.step + 1
        state = State(n, params, average(state.ema, params, n, ema), opt_state)
        return state, {"loss": value, "gradient": optax.tree.norm(grads)}

    return jax.jit(step, donate_argnums=0)


def placement(batch: int) -> tuple[NamedSharding, NamedSharding]:
    """(sharding of a batch, sharding of the state) for training that is data parallel.

    All local devices when they can share the batch evenly, else the first one; the batch is split
    over them, the state stands on each.
    """
    devices = jax.local_devices()
    if batch % len(devices):
        devices = devices[:1]
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())

"""One training step: gradient, optax update, moving average of the weights.

A step is a pure function (state, batch, key) -> (state, metrics). Its random key is
fold_in(key, state.step), so the state and the seed determine the rest of a run.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax import Array

from sdedit_jax.text.spelling import one_of
from sdedit_jax.training.loss import Loss

SCHEDULES = ("constant", "cosine", "inverse_sqrt")
METHODS = ("adam", "muon")


class State(NamedTuple):
    """The state of a training run. `step` counts finished steps (int32 scalar).

    `longer` holds further averages of the weights, in the order of Optimizer.longer.
    """

    step: Array
    params: Any
    ema: Any
    opt_state: Any
    longer: tuple[Any, ...] = ()


class Optimizer(NamedTuple):
    """Adam or Muon with linear warm-up, clipping of the global gradient norm and moving averages.

    Attributes:
        rate: the learning rate after warm-up.
        warmup: steps of linear warm-up.
        schedule: "constant", "cosine" down to 0 at the last step, or "inverse_sqrt": constant for
            `hold` steps, then falling as sqrt(hold / n), for runs that may be stopped at any step.
        clip: the largest global norm of the gradient; 0: no clipping.
        beta1: Adam's.
        beta2: Adam's.
        ema: the decay of the moving average, reached through min(ema, (1 + n) / (10 + n)).
        method: "adam", or "muon": Muon for kernels (the update is an orthogonal matrix, scaled to
            the size of Adam's), Adam with Nesterov momentum for all other parameters.
        longer: decays of further averages, whose held-out errors are reported too.
        hold: steps at the full rate of "inverse_sqrt".
    """

    rate: float = 2e-4
    warmup: int = 5000
    schedule: str = "constant"
    clip: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.999
    ema: float = 0.999
    method: str = "adam"
    longer: tuple[float, ...] = ()
    hold: int = 2000


def learning_rate(optimizer: Optimizer, steps: int, first: int = 0) -> optax.Schedule:
    """Update n (from 0) -> its learning rate, for a run of `steps` steps that begins at `first`.

    A run that begins later has its own warm-up, and follows the schedule of the whole run.

    Raises:
        ValueError: an unknown schedule, or a rate or hold that is not positive.
    """
    o = optimizer
    one_of("optimizer.schedule", o.schedule, SCHEDULES)
    for name in ("rate", "hold"):
        if getattr(o, name) <= 0:
            raise ValueError(f"optimizer.{name} must be positive, got {getattr(o, name)}")

    fractions = {
        "constant": lambda n: 1.0,
        "cosine": lambda n: 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(n / steps, 1.0))),
        "inverse_sqrt": lambda n: jnp.sqrt(o.hold / jnp.maximum(n, o.hold)),
    }

    def rate(n: Array) -> Array:
        warm = jnp.minimum((n + 1) / max(o.warmup, 1), 1.0)
        return o.rate * warm * fractions[o.schedule](first + n)

    return rate


def transformation(
    optimizer: Optimizer, steps: int, first: int = 0
) -> optax.GradientTransformation:
    """The optax chain of an Optimizer; the rate follows the chain's own count of updates."""
    clip = optax.clip_by_global_norm(optimizer.clip) if optimizer.clip > 0 else optax.identity()
    return optax.chain(clip, *descent(optimizer, learning_rate(optimizer, steps, first)))


def descent(optimizer: Optimizer, rate: optax.Schedule) -> tuple[optax.GradientTransformation, ...]:
    """The transformations of the optimizer's method, with a learning rate.

    Raises:
        ValueError: an unknown method.
    """
    o = optimizer
    one_of("optimizer.method", o.method, METHODS)
    if o.method == "adam":
        adam = optax.scale_by_adam(o.beta1, o.beta2)
        return adam, optax.scale_by_learning_rate(rate)
    muon = optax.contrib.muon(
        rate,
        adam_b1=o.beta1,
        adam_b2=o.beta2,
        consistent_rms=1.0,  # as Adam's first updates, so that one rate serves both
        muon_weight_dimension_numbers=_matrices,
    )
    return (muon,)


def _matrices(params: Any) -> Any:
    """The matrix axes of kernels [..., I, O] for Muon: all but the last axis, and the last.

    None, for Adam: vectors, and kernels with fewer than 8 inputs or outputs.
    """

    def matrix(p: Array) -> Any:
        if p.ndim < 2 or min(p.shape[-2:]) < 8:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(p.ndim - 1)), p.ndim - 1)

    return jax.tree.map(matrix, params)


def init(
    params: Any, tx: optax.GradientTransformation, step: int = 0, longer: tuple[float, ...] = ()
) -> State:
    """The state before the first step; parameters are copied, since steps donate their state."""
    copy = jax.tree.map(jnp.array, params)
    averages = [jax.tree.map(jnp.array, params) for _ in range(1 + len(longer))]
    return State(jnp.int32(step), copy, averages[0], tx.init(copy), tuple(averages[1:]))


def average(ema: Any, params: Any, n: Array, decay: float) -> Any:
    """The moving average after update n = 1, 2, ...: decay_n = min(decay, (1 + n) / (10 + n))."""
    keep = jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda e, p: (p + keep * (e - p)).astype(e.dtype), ema, params)


Step = Callable[[State, dict[str, Array], Array], tuple[State, dict[str, Array]]]


def make_step(
    loss: Loss,
    tx: optax.GradientTransformation,
    ema: float,
    longer: tuple[float, ...] = (),
) -> Step:
    """step(state, batch, key) -> (state, {"loss", "gradient"}), jitted; donates the state.

    `gradient` is the global norm before clipping. `key` is the run's key, the same for all steps.
    """

    def step(state: State, batch: dict[str, Array], key: Array) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(key, state.step)
        value, grads = jax.value_and_grad(loss)(state.params, batch, key)
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        n = state.step + 1
        averages = [
            average(old, params, n, decay)
            for old, decay in zip((state.ema, *state.longer), (ema, *longer), strict=True)
        ]
        state = State(n, params, averages[0], opt_state, tuple(averages[1:]))
        return state, {"loss": value, "gradient": optax.tree.norm(grads)}

    return jax.jit(step, donate_argnums=0)

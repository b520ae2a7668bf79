"""What a solver is: from the state x_t and a prediction to the transition kernel of x_s, s < t.

The kernel is a Gaussian, `Step(mean, std)`. The loop draws mean + std z; an inversion solves
z = (x_s - mean) / std. A solver is a value: a frozen dataclass that holds its parameters, so that
equal solvers are equal programs. Its memory between steps travels in the loop's carry.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import (
    CLEAN,
    SDE,
    ends_in_noise,
    eps_from_x0,
    level,
    transition,
    x0_from_eps,
)


class Prediction(NamedTuple):
    """The output of a predictor for x_t.

    Attributes:
        eps: predicted noise [H, W, C]; -x0 where the level has no signal, see sde.ends_in_noise.
        variance: learned variance as a fraction in [0, 1] between the small and the large log
            variance [H, W, C] (Nichol and Dhariwal eq. 15), where the model has it.
        attention: attention maps [h, w, L], where the model gives them.
        masks: masks [K, h, w, 1] of K concepts, where guidance makes them.
        unit: the factor of the network's own output in eps, where that output is v or x0.
    """

    eps: Array
    variance: Array | None = None
    attention: Any = None
    masks: Any = None
    unit: Array | None = None


Predict = Callable[[Array, Array], Prediction]
"""(x [H, W, C], t) -> Prediction; parameters and condition are bound."""


class StatefulPredictor(NamedTuple):
    """A predictor with state, such as guidance with momentum. The loop carries the state.

    Attributes:
        init: x [H, W, C] -> state before the first step.
        predict: (state, x [H, W, C], t, index of the step) -> (Prediction, state).
    """

    init: Callable[[Array], Any]
    predict: Callable[..., tuple[Prediction, Any]]


class Step(NamedTuple):
    """The kernel N(mean, std^2) of x_s given x_t; std broadcasts against mean [H, W, C]."""

    mean: Array
    std: Array


class Solver(Protocol):
    """A solver. Implementations are frozen dataclasses, registered static.

    Attributes:
        evaluations: network evaluations in a step, the loop's own included.
    """

    evaluations: ClassVar[int]

    def init(self, x: Array) -> Any:
        """The memory before the first step from x [H, W, C]."""

    def step(
        self,
        process: SDE,
        memory: Any,
        x: Array,
        prediction: Prediction,
        t: Array,
        s: Array,
        predict: Predict | None = None,
    ) -> tuple[Step, Any]:
        """The kernel of the step from t to s, and the memory after it.

        The loop makes `prediction`, the one at (x, t): so guidance state and observers see one
        evaluation in each step, whatever the solver does. `predict` gives any number more.
        """


class Attempt(NamedTuple):
    """What a step tries.

    Attributes:
        t, s: where it begins and ends.
        last: whether the run ends with it.
        idle: whether the run has ended before, so that nothing changes.
        short: whether it ends the run only because no further step is allowed.
    """

    t: Array
    s: Array
    last: Array
    idle: Array | bool = False
    short: Array | bool = False


class Settled(NamedTuple):
    """The end of an attempt: the state [H, W, C], the memory, and whether the step is taken."""

    x: Array
    memory: Any
    taken: Array


@runtime_checkable
class AdaptiveSolver(Solver, Protocol):
    """A solver with times of its own, that may take back a step."""

    def idle(self, memory: Any) -> Array:
        """Whether the run has ended, so that further steps change nothing."""

    def attempt(self, memory: Any, t: Array, end: Array, last: Array) -> Attempt:
        """What the next step tries.

        Args:
            t, end: where the grid begins, and where its last step begins.
            last: whether no further step is allowed.
        """

    def settle(
        self,
        process: SDE,
        memory: Any,
        x: Array,
        after: Array,
        z: Array,
        t: Array,
        s: Array,
        predict: Predict,
    ) -> Settled:
        """The end of an attempt from x that led to `after` with the noise z."""


def clipped(process: SDE, x: Array, t: Array, eps: Array) -> tuple[Array, Array]:
    """x0 clipped to [-1, 1], and the eps that belongs to it."""
    x0 = jnp.clip(x0_from_eps(process, x, t, eps), -1, 1)
    return x0, eps_from_x0(process, x, t, x0)


def denoised(process: SDE, x: Array, t: Array, eps: Array, clip: bool) -> Array:
    """The predicted x0, clipped to [-1, 1] or not."""
    return clipped(process, x, t, eps)[0] if clip else x0_from_eps(process, x, t, eps)


def dt(t: Array, s: Array) -> Array:
    """t - s, with s = 0 for the clean end."""
    return t - jnp.where(s == CLEAN, 0.0, s)


def from_noise(process: SDE, x: Array, eps: Array, t: Array, s: Array, step: Step) -> Step:
    """The step; from a level without signal that of DDIM, x_s = alpha_s x0 + sigma_s x.

    Args:
        eps: the prediction's at (x, t).
    """
    if not ends_in_noise(process):
        return step
    none, (alpha_s, sigma_s) = level(process, t)[0] == 0, level(process, s)
    mean = jnp.where(none, alpha_s * x0_from_eps(process, x, t, eps) + sigma_s * x, step.mean)
    return Step(mean, jnp.where(none, 0.0, step.std))


def along_eps(process: SDE, x: Array, eps: Array, t: Array, s: Array) -> Array:
    """x_s on the straight line in (sigma / alpha, x / alpha) with slope eps."""
    a, q, fresh = transition(process, t, s)
    return x / a - level(process, t)[1] / a * fresh / (1 + q) * eps

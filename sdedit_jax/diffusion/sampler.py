"""The reverse loop, and the hooks before and after its steps.

The loop owns the network call, the noise and the carry; a solver is the algebra of one step. It
handles one image [H, W, C]; batches come from vmap, devices from devices.py.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.noise import SLOT, At, Noise, Purpose
from sdedit_jax.diffusion.sde import CLEAN, PROCESS, SDE
from sdedit_jax.diffusion.solvers.base import (
    AdaptiveSolver,
    Attempt,
    Predict,
    Prediction,
    Solver,
    StatefulPredictor,
    Step,
)
from sdedit_jax.files.arrays import array
from sdedit_jax.files.schema import check_list
from sdedit_jax.files.values import FUNCTION, Choice, Having, Maybe, mistyped

FINALS = ("mean", "sample")
SOLVER = Having("step", "a solver such as Ancestral()")
STATE = "an array [H, W, C] of float32"
NOISE = Having("step", "a source of noise such as SampleNoise(key)")


class Context(NamedTuple):
    """The step, as hooks see it.

    Attributes:
        process, t, s, index: the process, the step's times, its index in the grid.
        z: the solver's noise in this step [H, W, C]; None before the step.
        noisy: 0 where the step takes its mean (the last one with final="mean"), else 1.
        draw: (call, shape) -> standard normal noise; call, from 0, may be traced.
        predict: the bound predictor.
        next_t: the time where the next step begins; CLEAN after the last one.
    """

    process: SDE
    t: Array
    s: Array
    index: Array
    z: Array | None
    noisy: Array
    draw: Callable[[Array | int, tuple[int, ...]], Array]
    predict: Predict
    next_t: Array | None = None


class Hook(Protocol):
    """A change of the state before or after each step: a corrector or a constraint.

    Implementations are pytrees: arrays of theirs may be arguments of a compiled program.

    Attributes:
        before, after: (x, Context) -> x, or None.
        evaluations: network evaluations by both in a step.
    """

    before: Callable[[Array, Context], Array] | None
    after: Callable[[Array, Context], Array] | None
    evaluations: int


class Observation(NamedTuple):
    """One step, as `observe` sees it.

    Attributes:
        process, t, s, index: the process, the step's times, its index in the grid.
        x: the state [H, W, C] that the prediction was made for; prediction: the one at (x, t).
        kernel: the kernel of the step. z: its noise [H, W, C].
        x_next: the state after the step, hooks included.
        idle, short: of the attempt of an adaptive solver, see solvers.base.Attempt.
    """

    process: SDE
    t: Array
    s: Array
    index: Array
    x: Array
    prediction: Prediction
    kernel: Step
    z: Array
    x_next: Array
    idle: Array | bool = False
    short: Array | bool = False


class State(NamedTuple):
    """The carry: the state x [H, W, C], the solver's memory, the predictor's state."""

    x: Array
    memory: Any
    guidance: Any = ()


def stateful(predict: Predict | StatefulPredictor | None) -> StatefulPredictor:
    """The predictor as one with state; the state of a plain one is ()."""
    if isinstance(predict, StatefulPredictor):
        return predict
    return StatefulPredictor(lambda x: (), lambda state, x, t, index: (predict(x, t), state))


def begin(solver: Solver, x: Array, predict: Predict | StatefulPredictor | None = None) -> State:
    """The carry before the first step from x [H, W, C]; a predictor with state must be named."""
    return State(x, solver.init(x), stateful(predict).init(x))


def advance(
    predict: Predict | StatefulPredictor,
    process: SDE,
    solver: Solver,
    grid: Grid,
    noise: Noise,
    state: State,
    *,
    first: Array | int = 0,
    count: int | None = None,
    hooks: Sequence[Hook] = (),
    final: str = "mean",
    observe: Callable[[Observation], Any] | None = None,
) -> tuple[State, Any]:
    """`count` steps of the grid from step `first` on, as one lax.scan.

    A predictor's state advances by one evaluation a step; hooks and further evaluations of the
    solver see it as it was before the step. An adaptive solver has its times from its memory; a
    step that it does not take leaves the state and the predictor's state as they were.

    Args:
        noise: the source of each step's z.
        first: index of the first step; may be traced, so that equal chunks share one program.
        hooks: changes of the state before and after each step, in their order.
        final: whether the grid's last step takes its mean or a sample.
        observe: what to keep of each step, a pytree; None: nothing.

    Returns:
        the carry after the steps, and what `observe` gave, with a leading axis [count].
    """
    Choice(FINALS).check(final, "final")
    last, guided = len(grid.t) - 1, stateful(predict)
    adaptive = isinstance(solver, AdaptiveSolver)

    def one(state: State, i: Array) -> tuple[State, Any]:
        attempt = _attempt(solver, grid, state, i)
        t, s = attempt.t, attempt.s

        def look(x: Array, t: Array) -> Prediction:
            return guided.predict(state.guidance, x, t, i)[0]

        noisy = jnp.where(attempt.last & (final == "mean"), 0.0, 1.0)
        following = s if adaptive else grid.t[jnp.minimum(i + 1, last)]
        next_t = jnp.where(attempt.last, CLEAN, following)
        context = Context(process, t, s, i, None, noisy, None, look, next_t)
        x = _through(hooks, Purpose.BEFORE, noise, state.x, context)
        prediction, guidance = guided.predict(state.guidance, x, t, i)
        kernel, memory = solver.step(process, state.memory, x, prediction, t, s, look)
        z = noise.step(At(i, t, s), kernel)
        after, taken = kernel.mean + noisy * kernel.std * z, None
        if adaptive:
            after, memory, taken = solver.settle(process, memory, x, after, z, t, s, look)
        after = _through(hooks, Purpose.AFTER, noise, after, context._replace(z=z))
        found = State(after, memory, guidance)
        if adaptive:
            found = _if(taken & ~attempt.idle, found, state._replace(memory=memory))
        seen = None
        if observe is not None:
            step = (process, t, s, i, x, prediction, kernel, z, found.x)
            seen = observe(Observation(*step, attempt.idle, attempt.short))
        return found, seen

    count = len(grid.t) if count is None else count
    return jax.lax.scan(one, state, first + jnp.arange(count))


def reverse(
    predict: Predict | StatefulPredictor,
    process: SDE,
    solver: Solver,
    grid: Grid,
    noise: Noise,
    x: Array,
    *,
    hooks: Sequence[Hook] = (),
    final: str = "mean",
    observe: Callable[[Observation], Any] | None = None,
) -> tuple[State, Any]:
    """The whole grid from x [H, W, C]; see `advance`.

    Outside of jit it compiles once for equal predictors, processes, solvers, observers and shapes.
    `Prior.predictor` gives a predictor with its parameters as arguments of the program. Those of
    another closure become its constants.

    Raises:
        TypeError: an argument of another type. ValueError: an x that is not [H, W, C], or another
            word.
    """
    _check(predict, process, solver, grid, noise, x, hooks)
    Choice(FINALS).check(final, "final")
    Maybe(FUNCTION).check(observe, "observe")
    if isinstance(x, jax.core.Tracer):
        run = _reverse
    else:
        run = _with_arguments if isinstance(predict, jax.tree_util.Partial) else _compiled
    return run(predict, process, solver, grid, noise, x, tuple(hooks), final, observe)


def _check(
    predict: Any, process: Any, solver: Any, grid: Any, noise: Any, x: Any, hooks: Any
) -> None:
    """Check the types of the parts of a loop, and the shape of its state."""
    if not isinstance(predict, StatefulPredictor):
        FUNCTION.check(predict, "predict")
    PROCESS.check(process, "process")
    SOLVER.check(solver, "solver")
    NOISE.check(noise, "noise")
    if not isinstance(grid, Grid):
        raise mistyped("grid", "a Grid", grid)
    check_list(hooks, "hooks", 0, 100)
    for i, hook in enumerate(hooks):
        if not hasattr(hook, "before") or not hasattr(hook, "after"):
            raise mistyped(f"hooks[{i}]", "a hook with before and after", hook)
    if not isinstance(x, jax.core.Tracer):
        x = array(x, "x", STATE)
    if x.ndim != 3 or x.dtype not in (jnp.float32, jnp.float64):
        raise ValueError(f"x must be {STATE}, got {x.dtype} of shape {x.shape}")


def _reverse(
    predict: Predict | StatefulPredictor,
    process: SDE,
    solver: Solver,
    grid: Grid,
    noise: Noise,
    x: Array,
    hooks: tuple[Hook, ...],
    final: str,
    observe: Callable[[Observation], Any] | None,
) -> tuple[State, Any]:
    state = begin(solver, x, predict)
    return advance(
        predict, process, solver, grid, noise, state, hooks=hooks, final=final, observe=observe
    )


_STATIC = ("process", "solver", "final", "observe")
_compiled = jax.jit(_reverse, static_argnames=("predict", *_STATIC))
_with_arguments = jax.jit(_reverse, static_argnames=_STATIC)


def _attempt(solver: Solver, grid: Grid, state: State, i: Array) -> Attempt:
    """The times of step i: those of the grid, or those of an adaptive solver."""
    last = i == len(grid.t) - 1
    if isinstance(solver, AdaptiveSolver):
        return solver.attempt(state.memory, grid.t[0], grid.t[-1], last)
    return Attempt(grid.t[i], grid.s[i], last)


def _if(taken: Array, new: State, old: State) -> State:
    return jax.tree.map(lambda a, b: jnp.where(taken, a, b), new, old)


def _through(
    hooks: Sequence[Hook], purpose: Purpose, noise: Noise, x: Array, context: Context
) -> Array:
    """x after the hooks of one side of the step, each with draws of its own."""
    slot = 0
    for hook in hooks:
        change = hook.before if purpose is Purpose.BEFORE else hook.after
        if change is None:
            continue

        def draw(call: Array | int, shape: tuple[int, ...], slot: int = slot) -> Array:
            at = At(context.index, context.t, context.s)
            return noise.draw(at, purpose, slot * SLOT + call, shape)

        x = change(x, context._replace(draw=draw))
        slot += 1
    return x

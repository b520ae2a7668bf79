"""Inversion of photos: edit-friendly DDPM inversion and DDIM inversion.

DDPM inversion (Huberman-Spiegelglas et al., 2304.06140) finds the noise maps with which a model
reconstructs a photo. Edits replay the maps under other guidance.

The photo x0 is noised to every level of the grid with independent noises, x_i = alpha_i x0 +
sigma_i e_i. The state after the last step is x0 itself. A step of any solver with noise has the
kernel N(mean, std^2), hence the map z_i = (x_{i+1} - mean(x_i)) / std. Replayed under the same
guidance the maps reconstruct the photo exactly. Under other guidance they keep its structure. They
are not standard normal.

DDIM inversion (Song et al., 2010.02502) runs the deterministic steps of eta 0 backwards, from the
photo to the noisiest level, with the estimate at the state where each step begins. It has no maps,
and the reconstruction is inexact.

`Inversion` is the static plan; everything that may change without compiling is in a `Request`.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.grids import Grid, MakeGrid
from sdedit_jax.diffusion.noise import At, InferNoise, ReplayNoise, ZeroNoise
from sdedit_jax.diffusion.sampler import Observation, State, advance, begin
from sdedit_jax.diffusion.sde import level, perturb
from sdedit_jax.diffusion.solvers import (
    AdaptiveSolver,
    Predict,
    Prediction,
    Solver,
    StatefulPredictor,
)
from sdedit_jax.priors.prior import Prior

Path = Callable[[Array], Array]
"""Step of the whole grid -> the noise [H, W, C] of the state before it."""

KEEPS = ("device", "host", "keys")
METHODS = ("ddpm", "ddim")


@jax.tree_util.register_static
@dataclass(frozen=True)
class Inversion:
    """The static plan.

    Attributes:
        prior: its static part counts; parameters come as an argument.
        source, target: guided predictors of the inversion and of the replay: values of guidance/,
            or the prior's own predictor.
        solver, grid, n: the solver, the grid and its number of steps.
        skip: steps at the noisy end that are left out; more of them keep more of the photo.
        zero_last: set the last map to 0, as the released code does: the result is the mean of the
            last step and not x0. A grid may then end clean.
        keep: where the maps stay between inversion and replay. "device": beside the network.
            "host": in the computer's memory, a chunk of them at a time on the device. "keys":
            nowhere; inversion and replay advance together, and each map is used at once. That takes
            as many evaluations for one edit, but nothing is left to replay again.
        method: "ddpm" or "ddim"; DDIM needs a solver without noise, Ancestral(eta=0).
    """

    prior: Prior
    source: Any
    target: Any
    solver: Solver
    grid: MakeGrid
    n: int
    skip: int = 0
    zero_last: bool = False
    keep: str = "device"
    method: str = "ddpm"

    @property
    def steps(self) -> int:
        """Steps that are run, each way."""
        return self.n - self.skip


class Request(NamedTuple):
    """All that may change without compiling.

    Attributes:
        t0: strength in [0, 1] where the grid begins, traced; fixed grids have their own beginning.
            0 returns the photo.
        image: the photo [H, W, C] in [-1, 1].
        source, target: conds of the plan's two predictors.
        noises: recorded noises [n, h, w, c] of the states, in the order of the steps of the whole
            grid, in the place of the key's; or None.
        maps: an inversion to replay, where none is to be made; or None.
    """

    t0: Any
    image: Any
    source: Any
    target: Any
    noises: Any = None
    maps: Any = None


class Inverted(NamedTuple):
    """An inversion: the state x [h, w, c] at the start, and the maps zs [N, h, w, c] in the order
    of the steps."""

    x: Any
    zs: Any


def bind(predict: Any, params: Any, cond: Any) -> Predict | StatefulPredictor:
    """The predictor of the loop: of guidance with state its `bind`, else the predictor itself."""
    if hasattr(predict, "bind"):
        return predict.bind(params, cond)
    return lambda x, t: predict(params, x, t, cond)


class Bytes(NamedTuple):
    """Memory of the maps in bytes, on the device and on the host."""

    device: int
    host: int


def map_bytes(plan: Inversion, shape: tuple[int, ...], batch: int = 1, chunk: int = 10) -> Bytes:
    """The memory of a batch's maps, known before anything is run.

    Args:
        shape: (h, w, c) of the state: the latent's where the prior has a codec.
        chunk: steps at a time.
    """
    one = 4 * batch * math.prod(shape)
    return {
        "device": Bytes(plan.steps * one, 0),
        "host": Bytes(min(chunk, plan.steps) * one, plan.steps * one),
        "keys": Bytes(one, 0),
    }[plan.keep]


# --- the parts ------------------------------------------------------------------------------------


def prepare(plan: Inversion, params: Any, request: Request) -> Request:
    """The request in the space of the prior: the image is the mode of a codec.

    Guidance may have masks drawn on pictures, which are fitted to the state.
    """
    image = plan.prior.codec.encode(params, jnp.asarray(request.image, jnp.float32))
    fit = getattr(plan.target, "prepare", None)
    target = request.target if fit is None else fit(request.target, image.shape)
    return request._replace(image=image, target=target)


def source_begin(plan: Inversion, params: Any, request: Request, key: Array) -> State:
    """The carry of the inversion at the first step."""
    predict = bind(plan.source, params, request.source)
    if plan.method == "ddim":
        return begin(plan.solver, request.image, predict)
    noise = _path(request, key)(plan.skip)
    start = perturb(plan.prior.process, request.image, _grid(plan, request).t[0], noise)
    return begin(plan.solver, start, predict)


def source_steps(
    plan: Inversion,
    params: Any,
    request: Request,
    key: Array,
    state: State,
    first: Array | int = 0,
    count: int | None = None,
) -> tuple[State, Array]:
    """Steps of the inversion: (carry, maps [count, h, w, c]; of DDIM zeros [count, 1, 1, 1]).

    Each starts where the last one's map led, so that rounding does not build up.
    """
    if plan.method == "ddim":
        return _ddim_steps(plan, params, request, state, first, count)
    process, grid, path = plan.prior.process, _grid(plan, request), _path(request, key)
    last = plan.steps - 1

    def target(i: Array) -> Array:
        ahead = jnp.minimum(i + 1, last)
        noised = perturb(process, request.image, grid.t[ahead], path(plan.skip + ahead))
        return jnp.where(i == last, request.image, noised)

    state, zs = advance(
        bind(plan.source, params, request.source), process, plan.solver, grid,
        InferNoise(target), state,
        first=first, count=count, final="sample", observe=lambda seen: seen.z,
    )  # fmt: skip
    if plan.zero_last:
        ends = first + jnp.arange(len(zs)) == last
        zs = jnp.where(ends[:, None, None, None], 0.0, zs)
    return state, zs


def _ddim_steps(
    plan: Inversion, params: Any, request: Request, state: State, first: Any, count: int | None
) -> tuple[State, Array]:
    """Steps up the grid, from the photo; it stands for the state at the grid's last level."""
    grid, count = _grid(plan, request), plan.steps if count is None else count
    up = Grid(grid.s[::-1], grid.t[::-1])
    predict = bind(plan.source, params, request.source)
    state, _ = advance(
        predict, plan.prior.process, plan.solver, up, ZeroNoise(), state,
        first=first, count=count, final="sample",
    )  # fmt: skip
    return state, jnp.zeros((count, 1, 1, 1))


def target_begin(plan: Inversion, params: Any, request: Request, x: Array) -> State:
    """The carry of the replay at the first step, from the state x."""
    return begin(plan.solver, x, bind(plan.target, params, request.target))


def target_steps(
    plan: Inversion,
    params: Any,
    request: Request,
    zs: Array,
    state: State,
    first: Array | int = 0,
    observe: Callable[[Observation], Any] | None = None,
) -> tuple[State, Any]:
    """Steps of the replay with their maps zs [count, h, w, c]: (carry, observations)."""
    noise = ReplayNoise(jnp.asarray(zs)[:, None])
    return advance(
        bind(plan.target, params, request.target), plan.prior.process, plan.solver,
        _grid(plan, request), _Shifted(noise, first), state,
        first=first, count=len(zs), final="sample", observe=observe,
    )  # fmt: skip


def together(
    plan: Inversion,
    params: Any,
    request: Request,
    key: Array,
    state: tuple[State, State],
    first: Array | int = 0,
    count: int | None = None,
    observe: Callable[[Observation], Any] | None = None,
) -> tuple[tuple[State, State], Any]:
    """Steps of inversion and replay side by side: each map is used at once and forgotten."""

    def one(carry: tuple[State, State], i: Array) -> tuple[tuple[State, State], Any]:
        source, zs = source_steps(plan, params, request, key, carry[0], i, 1)
        target, seen = target_steps(plan, params, request, zs, carry[1], i, observe)
        return (source, target), jax.tree.map(lambda a: a[0], seen)

    count = plan.steps if count is None else count
    return jax.lax.scan(one, state, first + jnp.arange(count))


def finish(plan: Inversion, params: Any, request: Request, x: Array) -> Array:
    """The picture of the state x; at strength 0 the photo of the unprepared `request`."""
    made = plan.prior.codec.decode(params, x)
    return jnp.where(jnp.asarray(request.t0) > 0, made, jnp.asarray(request.image, jnp.float32))


def check(plan: Inversion) -> None:
    """Check that every step of the plan has noise to solve for; once for equal plans.

    Raises:
        ValueError: naming the field of the plan.
    """
    _check(replace(plan, prior=plan.prior.static))


@functools.lru_cache(maxsize=64)
def _check(plan: Inversion) -> None:
    if plan.keep not in KEEPS:
        raise ValueError(f"keep must be one of {list(KEEPS)}, got {plan.keep!r}")
    if not 0 <= plan.skip < plan.n:
        raise ValueError(f"skip must be in [0, {plan.n - 1}] of {plan.n} steps, got {plan.skip}")
    if plan.method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {plan.method!r}")
    if isinstance(plan.solver, AdaptiveSolver):
        raise ValueError(
            f"solver: inversion needs one that takes the steps of the grid, got {plan.solver!r}"
        )
    std = step_stds(plan)
    if plan.method == "ddim":
        return _check_ddim(plan, std)
    if std[-1] <= 0 and not plan.zero_last and np.all(std[:-1] > 0):
        raise ValueError(
            "grid: its last step ends clean and has no noise, so the photo would not be"
            " reconstructed exactly; end it at a level above 0 (grids.Above), or set zero_last"
        )
    if np.any(std[: -1 if plan.zero_last else None] <= 0):
        raise ValueError(
            f"solver: step {int(np.argmin(std))} of {plan.steps} has no noise to solve for;"
            " inversion needs a solver with noise, such as Ancestral(eta=1)"
        )


def _check_ddim(plan: Inversion, std: np.ndarray) -> None:
    if plan.keep == "keys":
        raise ValueError('keep must be "device" or "host" for DDIM inversion, got "keys"')
    if np.any(std > 0):
        raise ValueError(f"solver: DDIM inversion needs one without noise, got {plan.solver!r}")
    with jax.ensure_compile_time_eval():
        lowest = float(level(plan.prior.process, _cut(plan, jnp.float32(1.0)).s[-1])[1])
    if not lowest > 0:
        raise ValueError(
            "grid: its last step ends clean, and DDIM inversion cannot begin without noise; end it"
            " at a level above 0 (grids.Above)"
        )


def step_stds(plan: Inversion, t0: float = 1.0) -> np.ndarray:
    """The std of each step [steps] from t0, for a solver whose std depends on the times alone.

    A learned variance is taken half-way; "auto" is taken for "small".
    """
    with jax.ensure_compile_time_eval():
        x, process = jnp.zeros((1, 1, 1)), plan.prior.process
        learned = getattr(plan.solver, "variance", "") == "learned"
        fixed = Prediction(x, x + 0.5 if learned else None)

        def std(t: Array, s: Array) -> Array:
            memory = plan.solver.init(x)
            kernel = plan.solver.step(process, memory, x, fixed, t, s, lambda x, t: fixed)[0]
            return jnp.max(jnp.broadcast_to(kernel.std, x.shape))

        return np.asarray(jax.vmap(std)(*_cut(plan, jnp.float32(t0))))


class _Shifted(NamedTuple):
    """A source of noise whose first step is step `first` of the grid."""

    noise: ReplayNoise
    first: Any

    def step(self, at: At, kernel: Any) -> Array:
        return self.noise.step(at._replace(index=at.index - self.first), kernel)

    def draw(self, at: At, *rest: Any) -> Array:
        return self.noise.draw(at._replace(index=at.index - self.first), *rest)


def _grid(plan: Inversion, request: Request) -> Grid:
    return _cut(plan, jnp.asarray(request.t0, jnp.float32))


def _cut(plan: Inversion, t0: Array) -> Grid:
    """The grid without the steps that are skipped."""
    grid = plan.grid(plan.prior.process, t0, plan.n)
    return Grid(grid.t[plan.skip :], grid.s[plan.skip :])


def _path(request: Request, key: Array) -> Path:
    """The noise of the state before each step of the whole grid, recorded or from the key."""
    if request.noises is not None:
        return lambda step: jnp.asarray(request.noises)[step]
    shape = request.image.shape
    return lambda step: jax.random.normal(jax.random.fold_in(key, step), shape)

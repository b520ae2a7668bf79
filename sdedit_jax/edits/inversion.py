"""Edit-friendly inversion (Huberman-Spiegelglas et al., 2304.06140): the noise that a photo would
have been made with, and edits that replay it under another guidance.

The photo x0 is noised to every level of the grid with independent noises, x_i = alpha_i x0 +
sigma_i e_i, and behind the last step stands x0 itself. A step of any rule with noise has the law
N(mean, std^2), hence the map z_i = (x_{i+1} - mean(x_i)) / std. Replayed with the same guidance
the maps lead back to the photo, the last step included; with another one they hold its structure.
They are not standard normal, and nothing may make them so.

An `Inversion` is the static plan; everything that may change without compiling is in a `Request`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.grids import Grid, MakeGrid
from sdedit_jax.prior import Prior
from sdedit_jax.rules import Prediction, Remembering, Rule
from sdedit_jax.samplers import Aim, Predict, State, advance, begin
from sdedit_jax.sde import perturb

Bind = Callable[[Any, Any], Predict | Remembering]
"""(params, cond) -> a predictor of the loop: what guidance makes of the prior's."""

Path = Callable[[Array], Array]
"""Step of the whole grid -> the noise [H, W, C] of the state before it."""

KEEPS = ("device", "host", "keys")


class Inversion(NamedTuple):
    """The static plan.

    Attributes:
        prior: its params are not used; they come as an argument.
        source, target: the guided predictors of the inversion and of the replay.
        rule, grid, n: the transition rule, the grid and its number of steps.
        skip: steps at the noisy end that are left out; more of them keep more of the photo.
        zero_last: set the last map to 0, as the released code does: the result is the mean of the
            last step and not x0. A grid may then end clean.
        keep: where the maps stay between inversion and replay. "device": [N, H, W, C] beside the
            network. "host": in the computer's memory, a chunk of them at a time on the device (see
            on_host.py). "keys": nowhere; inversion and replay go side by side, and each map is
            solved for from the key's noises, used, and forgotten: as many evaluations as the others
            take for one edit, but nothing is left to replay again.
    """

    prior: Prior
    source: Bind
    target: Bind
    rule: Rule
    grid: MakeGrid
    n: int
    skip: int = 0
    zero_last: bool = False
    keep: str = "device"

    @property
    def steps(self) -> int:
        """Steps that are run, each way."""
        return self.n - self.skip


class Request(NamedTuple):
    """All that may change without compiling.

    Attributes:
        t0: strength in [0, 1] where the grid begins, traced; grids of listed steps have their own
            beginning. 0 returns the photo.
        image: the photo [H, W, C] in [-1, 1].
        source, target: conds of the plan's two predictors.
    """

    t0: Any
    image: Any
    source: Any
    target: Any


class Inverted(NamedTuple):
    """An inversion: the state x [H, W, C] at the start, and the maps zs [N, H, W, C] in the order
    of the steps."""

    x: Array
    zs: Array


def bind(predict: Callable[..., Prediction]) -> Bind:
    """(params, cond) -> the predictor of the loop, of a predictor without memory."""
    return lambda params, cond: lambda x, t: predict(params, x, t, cond)


# --- inversion, replay, and both at once ----------------------------------------------------------


def invert(plan: Inversion) -> Callable[..., Inverted]:
    """The inversion as a pure function (params, request, key, noises=None) -> Inverted.

    Recorded `noises` [n, H, W, C], in the order of the steps of the whole grid, replace those of
    the key.
    """
    check(plan)

    def run(params: Any, request: Request, key: Array, noises: Array | None = None) -> Inverted:
        request = encoded(plan, params, request)
        path = path_of(request, key, noises)
        state = source_begin(plan, params, request, path)
        return Inverted(state.x, source_steps(plan, params, request, path, state)[1])

    return run


def replay(plan: Inversion) -> Callable[..., Array]:
    """The replay as a pure function (params, request, Inverted) -> image [H, W, C]."""
    check(plan)

    def run(params: Any, request: Request, inverted: Inverted) -> Array:
        state = target_begin(plan, params, request, inverted.x)
        state = target_steps(plan, params, request, inverted.zs, state)[0]
        return finish(plan, params, request, state.x)

    return run


def edit(plan: Inversion) -> Callable[..., Array]:
    """Both as one pure function (params, request, key, noises=None) -> image [H, W, C].

    Raises:
        ValueError: `keep` is "host", which on_host.edit serves.
    """
    check(plan)
    if plan.keep == "host":
        raise ValueError('keep "host" is not one program: use on_host.edit')

    def run(params: Any, request: Request, key: Array, noises: Array | None = None) -> Array:
        photo, request = request, encoded(plan, params, request)
        path = path_of(request, key, noises)
        source = source_begin(plan, params, request, path)
        target = target_begin(plan, params, request, source.x)
        if plan.keep == "keys":
            target = _together(plan, params, request, path, source, target)
        else:
            zs = source_steps(plan, params, request, path, source)[1]
            target = target_steps(plan, params, request, zs, target)[0]
        return finish(plan, params, photo, target.x)

    return run


class Bytes(NamedTuple):
    """Memory of the maps in bytes, on the device and on the host."""

    device: int
    host: int


def map_bytes(plan: Inversion, shape: tuple[int, ...], batch: int = 1, chunk: int = 10) -> Bytes:
    """What the maps of a batch will take, known before anything is run.

    Args:
        shape: (H, W, C) of the state: the latent's where the prior has a codec.
        chunk: of on_host.edit.
    """
    one = 4 * batch * math.prod(shape)
    return {
        "device": Bytes(plan.steps * one, 0),
        "host": Bytes(min(chunk, plan.steps) * one, plan.steps * one),
        "keys": Bytes(one, 0),
    }[plan.keep]


# --- the parts ------------------------------------------------------------------------------------


def encoded(plan: Inversion, params: Any, request: Request) -> Request:
    """The request with its image in the space of the prior (the mode of a codec)."""
    image = jnp.asarray(request.image, jnp.float32)
    return request._replace(image=plan.prior.codec.encode(params, image))


def source_begin(plan: Inversion, params: Any, request: Request, path: Path) -> State:
    """The carry of the inversion at the first step."""
    start = perturb(plan.prior.process, request.image, _grid(plan, request).t[0], path(plan.skip))
    return begin(plan.rule, start, plan.source(params, request.source))


def source_steps(
    plan: Inversion,
    params: Any,
    request: Request,
    path: Path,
    state: State,
    first: Array | int = 0,
    count: int | None = None,
) -> tuple[State, Array]:
    """Steps of the inversion: (carry, maps [count, H, W, C]).

    Each starts where the last one's map led, so that rounding does not build up.
    """
    process, grid = plan.prior.process, _grid(plan, request)
    last = plan.steps - 1

    def target(i: Array) -> Array:
        ahead = jnp.minimum(i + 1, last)
        noised = perturb(process, request.image, grid.t[ahead], path(plan.skip + ahead))
        return jnp.where(i == last, request.image, noised)

    predict = plan.source(params, request.source)
    state, zs = advance(
        predict, process, plan.rule, grid, Aim(target), state,
        first=first, count=count, final="sample",
    )  # fmt: skip
    if plan.zero_last:
        ends = first + jnp.arange(len(zs)) == last
        zs = jnp.where(ends[:, None, None, None], 0.0, zs)
    return state, zs


def target_begin(plan: Inversion, params: Any, request: Request, x: Array) -> State:
    """The carry of the replay at the first step, from the state x."""
    return begin(plan.rule, x, plan.target(params, request.target))


def target_steps(
    plan: Inversion,
    params: Any,
    request: Request,
    zs: Array,
    state: State,
    first: Array | int = 0,
) -> tuple[State, Array]:
    """Steps of the replay with the maps zs [count, H, W, C] of these steps: (carry, states)."""
    maps, predict = jnp.asarray(zs), plan.target(params, request.target)
    return advance(
        predict, plan.prior.process, plan.rule, _grid(plan, request),
        lambda i: lambda: maps[i - first], state,
        first=first, count=len(zs), final="sample",
    )  # fmt: skip


def finish(plan: Inversion, params: Any, request: Request, x: Array) -> Array:
    """The picture of the state x; at strength 0 the photo as it came, which `request` holds."""
    made = plan.prior.codec.decode(params, x)
    return jnp.where(jnp.asarray(request.t0) > 0, made, jnp.asarray(request.image, jnp.float32))


def check(plan: Inversion) -> None:
    """See that every step of the plan has noise to solve for.

    Raises:
        ValueError: naming the field of the plan.
    """
    if plan.keep not in KEEPS:
        raise ValueError(f"keep must be one of {list(KEEPS)}, got {plan.keep!r}")
    if not 0 <= plan.skip < plan.n:
        raise ValueError(f"skip must be in [0, {plan.n - 1}] of {plan.n} steps, got {plan.skip}")
    std = step_stds(plan)
    if std[-1] <= 0 and not plan.zero_last and np.all(std[:-1] > 0):
        raise ValueError(
            "grid: its last step ends clean and has no noise, so that the photo would not come back"
            " exactly; end it at a level above 0 (grids.above), or set zero_last"
        )
    if np.any(std[: -1 if plan.zero_last else None] <= 0):
        raise ValueError(
            f"rule: step {int(np.argmin(std))} of {plan.steps} has no noise to solve for; inversion"
            " needs a rule with noise, such as ancestral(eta=1)"
        )


def step_stds(plan: Inversion, t0: float = 1.0) -> np.ndarray:
    """The std of each step [steps] from t0, for a rule whose std depends on the times alone."""
    with jax.ensure_compile_time_eval():
        x, process = jnp.zeros((1, 1, 1)), plan.prior.process
        said = Prediction(x, x + 0.5)

        def std(t: Array, s: Array) -> Array:
            told = (said, said) if plan.rule.probe else said
            law = plan.rule.step(process, plan.rule.init(x), x, told, t, s)[0]
            return jnp.max(jnp.broadcast_to(law.std, x.shape))

        return np.asarray(jax.vmap(std)(*_cut(plan, jnp.float32(t0))))


def _together(
    plan: Inversion, params: Any, request: Request, path: Path, source: State, target: State
) -> State:
    """Inversion and replay side by side: each map is used at once and forgotten."""

    def one(carry: tuple[State, State], i: Array) -> tuple[tuple[State, State], None]:
        source, zs = source_steps(plan, params, request, path, carry[0], i, 1)
        return (source, target_steps(plan, params, request, zs, carry[1], i)[0]), None

    return jax.lax.scan(one, (source, target), jnp.arange(plan.steps))[0][1]


def _grid(plan: Inversion, request: Request) -> Grid:
    return _cut(plan, jnp.asarray(request.t0, jnp.float32))


def _cut(plan: Inversion, t0: Array) -> Grid:
    """The grid without the steps that are skipped."""
    grid = plan.grid(plan.prior.process, t0, plan.n)
    return Grid(grid.t[plan.skip :], grid.s[plan.skip :])


def path_of(request: Request, key: Array, noises: Array | None = None) -> Path:
    """The noise of the state before each step of the whole grid, from a key or recorded."""
    if noises is not None:
        return lambda step: jnp.asarray(noises)[step]
    shape = request.image.shape
    return lambda step: jax.random.normal(jax.random.fold_in(key, step), shape)

"""Replaying recorded trajectories of the original programs through our own loop.

Pictures are [..., H, W, C] here. The VE networks of score_sde live in [0, 1], all else in [-1, 1].
"""

import functools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hooks import Hook, draws_of
from jax import jit
from nets_goldens import load_case

from sdedit_jax.diffusion import sampler, sde
from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.noise import ReplayNoise
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.priors.adapters import ScoreSDEVE

TOLERANCE = 1e-4  # of the largest absolute value


def piece(function):
    """The function, one program even where a loop runs step by step (`eagerly`)."""
    program = jit(function)

    def run(*args):
        if not jax.config.jax_disable_jit:
            return function(*args)
        with jax.disable_jit(False):
            return program(*args)

    return run


@functools.cache
def network(name):
    """(net, params); compiled once for all cases that run step by step."""
    apply, params, _, _ = load_case(name)
    apply = piece(apply)
    return lambda params, x, label, y=None, key=None: apply(params, x, label), params


class InPieces:
    """A process of which alpha and sigma are one program each."""

    def __init__(self, process):
        self.alpha, self.sigma = piece(process.alpha), piece(process.sigma)


def eagerly(function, *args):
    """The function without compiling its scan, where its network takes longer to compile."""
    with jax.disable_jit():
        return function(*args)


def compiled(function, *args):
    """The function as one program."""
    return jit(function)(*args)


# --- goldens --------------------------------------------------------------------------------------


class Case(NamedTuple):
    """A golden: its settings, and its arrays with pictures as [..., H, W, C]."""

    config: dict[str, Any]
    arrays: dict[str, np.ndarray]


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    with np.load(folder / "io.npz") as file:
        arrays = {name: channels_last(file[name]) for name in file}
    return Case(config, arrays)


def channels_last(a):
    return np.moveaxis(a, -3, -1).astype(np.float32) if a.ndim > 2 else a


def close(got, want, tolerance=TOLERANCE):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def close_states(got, case, name):
    """States after the steps but the last [N - 1, ...] against the recorded ones, all or `kept`."""
    want = ours(case.arrays[name]) if case.config["sde"] == "vesde" else case.arrays[name]
    if "kept" in case.arrays:
        close(got[case.arrays["kept"]], want)
    else:
        close(got, want[:-1])


def ours(x):
    """The VE models of the originals live in [0, 1]."""
    return 2 * x - 1


# --- score_sde's loops on its own grids -----------------------------------------------------------


class Loop(NamedTuple):
    """A batch of the original's loop: the path [N, B, H, W, C] and the last state."""

    path: Any
    out: Any


def after(seen):
    """The state after a step, hooks included."""
    return seen.x_next


def replay(process, predict, solver, grid, x, noise, hook=None, final="mean", run=eagerly):
    """x [B, H, W, C], noise [calls, B, H, W, C] of all steps in order, batch mates in view.

    Args:
        hook: the hook, or what makes it from the row's number.
    """
    n, pair = len(grid.t), jnp.asarray([0, -1])  # always two rows, so that the net compiles once
    rows = jnp.moveaxis(noise.reshape(n, -1, *x.shape), 2, 0)[pair]

    def one(x, z, row):
        made = hook(row) if callable(hook) else hook or Hook()
        return sampler.reverse(
            predict, process, solver, grid, ReplayNoise(z, draws_of(made)), x,
            hooks=[made], final=final, observe=after,
        )[1]  # fmt: skip

    path = run(jax.vmap(one, axis_name="batch"), jnp.asarray(x)[pair], rows, pair)
    path = np.moveaxis(path[: len(x)], 1, 0)
    return Loop(path, path[-1])


def on_levels(process, times, levels):
    """A grid down the table of N levels: (table, grid, the table's time -> the original's).

    `times` [n] are the original's, the last one at level 0.
    """
    n = len(times)
    below = jnp.arange(n - 1, -1, -1)
    grid = Grid((below + 1) / levels, jnp.where(below > 0, below / levels, sde.CLEAN))

    def own_time(t):
        return jnp.asarray(times)[n - jnp.round(t * levels).astype(int)]

    return InPieces(sde.discretize(process, levels)), grid, own_time


def ve_on_levels(config, times, sigma_max=348, adapter=ScoreSDEVE):
    """score_sde's VE on N levels: (table, grid, predictor, sigma at the original time).

    Its network and its marginals use sigma(times), its steps the levels.
    """
    process = sde.VE(0.02, 2.0 * sigma_max)
    table, grid, own_time = on_levels(process, times, config["N"])
    net, params = network(config["model_case"])
    own = adapter(net, process)

    def predict(x, t):
        eps = own(params, x, own_time(t)).eps
        score = sde.score_from_eps(process, own_time(t), eps)
        return Prediction(sde.eps_from_score(table, t, score))

    return table, grid, predict, lambda t: process.sigma(own_time(t))


# --- hooks of the originals -----------------------------------------------------------------------


def held_at(marginal, guide, keep, last):
    """The goldens' kept region: mean + std z of the level t, with a draw of its own.

    Before the step always with noise; after the last step its mean. There the edited region keeps
    its noise: the original takes both from the replaced state.
    """

    def replace(x, context, noisy=1.0):
        alpha, sigma = marginal(context.t)
        return x * (1 - keep) + (alpha * guide + noisy * sigma * context.draw(0, x.shape)) * keep

    def after_step(x, context):
        return replace(x, context, jnp.where(context.index == last, 0.0, 1.0))

    return Hook(replace, after_step, draws=1)

"""Whole trajectories of the original programs, replayed with their recorded noise.

The originals' weights and their draws go in; every state that they recorded, and the result, come
out within 1e-4 of the largest absolute value. The VE networks of score_sde live in [0, 1]: here all
is compared in [-1, 1]. Where the original's table has other levels than its network's labels (a
grid of N points, labels at the points, step sizes from N levels), the process is `discretize(
process, N)` and the test hands the label to the network. The samplers of score_sde without SDEdit
are in test_score_sde_trajectories.py.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
from hooks import Hook, chain
from trajectories import (
    after,
    close,
    close_states,
    eagerly,
    held_at,
    jit,
    load,
    network,
    ours,
    replay,
    ve_on_levels,
)

from sdedit_jax.diffusion import grids, sampler, sde, solvers
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.noise import ReplayNoise
from sdedit_jax.edits.sdedit import Recorded, Request, SDEdit
from sdedit_jax.images.guide import Guide
from sdedit_jax.priors.adapters import DDPM, ScoreSDEVE, ScoreSDEVP
from sdedit_jax.priors.prior import Prior


def spy():
    """A hook that keeps the state before each step, and the list it keeps them in."""
    seen = []

    def before(x, context):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), x, ordered=True)
        return x

    return Hook(before), seen


# --- SDEdit, released code (VP) -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mask_k1", "mask_k3", "mask_fixedlarge", "nomask_k1", "nomask_k3", "t500_k1"]
)
def test_official_sdedit(golden, name):
    config, arrays = load(golden(f"traj_sdedit_vp_{name}"))
    net, params = network(config["model_case"])
    process, n, repeats = sde.linear_table(), config["t"], config["K"]
    hook, seen = spy()
    plan = SDEdit(
        Prior(process, DDPM(net, process), params, arrays["img"].shape),
        solvers.Ancestral(variance="large" if config["var_type"] == "fixedlarge" else "small"),
        grids.Uniform(),
        n,
        hold="official",
        repeats=repeats,
        corrector=hook,
    )
    image, change = 2 * arrays["img"] - 1, (arrays["mask"] != 1).astype(np.float32)

    @jit
    def edit(start, steps):
        noise = Recorded(start, steps[:, :, None])
        request = Request(n / 1000, Guide(image, change), noise=noise)
        return pure.edit(plan)(params, request, jax.random.key(0)).image

    for i in range(config["batch"]):
        seen.clear()
        out = edit(arrays["noise_e"][:, i], arrays["noise_steps"][:, :, i])
        jax.effects_barrier()
        states = np.stack(seen).reshape(repeats, n, *image.shape)
        close(states[:, arrays["record_step_index"]], arrays["x_in"][:, :, i])
        close(out * change, arrays["samples"][-1, i] * change)
        close(out * change, arrays["x_denoised_last"][-1, i] * change)
        np.testing.assert_array_equal(out * (1 - change), image * (1 - change))


# --- SDEdit, the paper's algorithms (VE) ----------------------------------------------------------


@pytest.mark.parametrize("name", ["paper_nomask", "paper_mask"])
def test_ve_sdedit_of_the_paper(golden, name):
    """Algorithm 1, and its masked form with K = 2."""
    config, arrays = load(golden(f"traj_ve_sdedit_{name}"))
    net, params = network(config["model_case"])
    process, n, repeats = sde.VE(0.02, 2 * config["sigma_max"]), config["N"], config["K"]
    hook, seen = spy()
    plan = SDEdit(
        Prior(process, ScoreSDEVE(net, process), params, (16, 16, 3)),
        solvers.ReverseDiffusion(),
        grids.Uniform("zero"),
        n,
        hold="paper" if config["mask"] else None,
        repeats=repeats,
        corrector=hook,
        final="sample",
    )
    mask = arrays["omega"][0] if config["mask"] else jnp.ones((16, 16, 1))
    guide = Guide(2 * arrays["guide"][0] - 1, mask)

    def edit(z):
        request = Request(config["t0"], guide, noise=Recorded(z[:, 0], z[:, 1:, None]))
        return pure.edit(plan)(params, request, jax.random.key(0)).image

    z = arrays["noise"][:, 0].reshape(repeats, n + 1, 16, 16, 3)
    out = eagerly(edit, jnp.asarray(z))
    jax.effects_barrier()
    # what was seen before step j + 1 is the state after step j, but where a repeat begins
    kept = arrays.get("kept", np.arange(len(arrays["x_steps"])))
    inside = (kept + 1) % n != 0
    close(np.stack(seen)[kept[inside] + 1], ours(arrays["x_steps"][inside, 0]))
    wanted = ours(arrays["out"][0])
    close(out, guide.mask * wanted + (1 - guide.mask) * guide.image)


# --- score_sde's loops on its own grids -----------------------------------------------------------


def test_score_sde_grid_without_a_mask(golden):
    case = config, arrays = load(golden("traj_ve_sdedit_grid_nomask"))
    times = arrays["timesteps"][int(arrays["start_index"]) :]
    table, grid, predict, sigma = ve_on_levels(config, times)
    x = ours(arrays["guide"]) + sigma(grid.t[0]) * arrays["noise"][0]
    solver = solvers.ReverseDiffusion()
    loop = replay(table, predict, solver, grid, x, arrays["noise"][1:])
    close_states(loop.path[:-1], case, "x_steps")
    close(loop.out, ours(arrays["out"]))


def test_score_sde_grid_with_corrector_and_mask(golden):
    """The corrector's step size is the batch's, as in the original."""
    case = config, arrays = load(golden("traj_ve_sdedit_grid_pc_mask"))
    times = arrays["timesteps"][int(arrays["start_index"]) :]
    table, grid, predict, sigma = ve_on_levels(config, times)
    guide, keep = ours(arrays["guide"]), arrays["keep_mask"][0]
    x = guide + sigma(grid.t[0]) * arrays["noise"][0]
    corrector = Langevin(config["snr"], config["n_steps"], norm="batch")

    solver = solvers.ReverseDiffusion()

    def run(guide, x, z):
        hook = chain(corrector, held_at(lambda t: (1.0, sigma(t)), guide, keep, len(times) - 1))
        noise = ReplayNoise(z, hook.draws)
        return sampler.reverse(
            predict, table, solver, grid, noise, x, hooks=[hook], final="sample", observe=after
        )[1]

    z = jnp.moveaxis(arrays["noise"][1:].reshape(len(times), -1, *x.shape), 2, 0)
    path = eagerly(jax.vmap(run, axis_name="batch"), guide, x, z)
    path = np.moveaxis(path, 1, 0)
    close_states(path[:-1], case, "x_steps")
    close(path[-1], ours(arrays["out"]))


def test_vp_euler_maruyama_with_a_mask(golden):
    case = config, arrays = load(golden("traj_vp_sdedit_grid_em_mask"))
    process = sde.VP()
    net, params = network(config["model_case"])
    predict = functools.partial(ScoreSDEVP(net, process), params)
    t = jnp.asarray(arrays["timesteps"][int(arrays["start_index"]) :])
    grid = Grid(t, t - 1 / config["N"])
    guide, keep = arrays["guide"][0], arrays["keep_mask"][0]
    x = sde.perturb(process, guide, t[0], arrays["noise"][0, 0])
    held = held_at(functools.partial(sde.level, process), guide, keep, len(t) - 1)
    # without a corrector only the predictor's state is held
    hook = dataclasses.replace(held, before=None, draws=0)
    solver = solvers.EulerMaruyama()
    loop = replay(process, predict, solver, grid, x[None], arrays["noise"][1:], hook, "sample")
    close_states(loop.path[:-1], case, "x_steps")
    close(loop.out, arrays["out"])


@pytest.mark.parametrize("name", ["pc_langevin", "pf_reverse_diffusion"])
def test_score_sde_sampling(golden, name):
    """Predictor-corrector and probability-flow sampling from noise."""
    case = config, arrays = load(golden(f"traj_ve_{name}"))
    table, grid, predict, sigma = ve_on_levels(config, arrays["timesteps"])
    solver = solvers.ReverseDiffusion(probability_flow=config["probability_flow"])
    hook = None
    if config["corrector"] == "langevin":
        hook = Langevin(config["snr"], config["n_steps"], norm="batch")
    x = ours(sigma(grid.t[0]) / 2 * arrays["noise"][0])  # mean 0 in [0, 1]
    loop = replay(table, predict, solver, grid, x, arrays["noise"][1:], hook)
    close_states(loop.path[:-1], case, "x_after_predictor")
    close(loop.out, ours(arrays["x_mean_last"]))
    close(loop.out, ours(arrays["out"]))

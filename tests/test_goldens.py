"""Whole trajectories of the original programs, replayed with their recorded noise.

The originals' weights and their draws go in; every state that they recorded, and the result, come
out within 1e-4 of the largest absolute value. The VE networks of score_sde live in [0, 1]: here all
is compared in [-1, 1]. Where the original's table has other levels than its network's labels (a
grid of N points, labels at the points, step sizes from N levels), the process is `discretize(
process, N)` and the test hands the label to the network.
"""

import functools
import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from nets_goldens import load_case

from sdedit_jax import rules, samplers, sde
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Randomness, Request, SDEdit
from sdedit_jax.guide import Guide
from sdedit_jax.prior import Prior, ddpm, score_sde_ve, score_sde_vp
from sdedit_jax.rules import Prediction
from sdedit_jax.samplers import Grid, Refine

TOLERANCE = 1e-4  # of the largest absolute value


# less optimisation of the machine code: half the compile time
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def network(name):
    """(net, params). Where a loop runs step by step (`eagerly`), the net is compiled all the same,
    once for all cases."""
    apply, params, _, _ = load_case(name)
    compiled = jit(apply)

    def net(params, x, label, y=None, key=None):
        if not jax.config.jax_disable_jit:
            return apply(params, x, label)
        with jax.disable_jit(False):
            return compiled(params, x, label)

    return net, params


def eagerly(function, *args):
    """The function without compiling its scan, where its network takes longer to compile."""
    with jax.disable_jit():
        return function(*args)


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


def close(got, want):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()


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


def spy():
    """A refinement that keeps the state before each step, and the list it keeps them in."""
    seen = []

    def before(x, context):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), x, ordered=True)
        return x

    return Refine(before=before), seen


# --- SDEdit, released code (VP) -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mask_k1", "mask_k3", "mask_fixedlarge", "nomask_k1", "nomask_k3", "t500_k1"]
)
def test_official_sdedit(golden, name):
    config, arrays = load(golden(f"traj_sdedit_vp_{name}"))
    net, params = network(config["model_case"])
    process, n, repeats = sde.linear_table(), config["t"], config["K"]
    refine, seen = spy()
    plan = SDEdit(
        Prior(process, ddpm(net, process), params, arrays["img"].shape),
        rules.ancestral(variance="large" if config["var_type"] == "fixedlarge" else "small"),
        samplers.uniform(),
        n,
        hold="official",
        repeats=repeats,
        refine=refine,
    )
    image, change = 2 * arrays["img"] - 1, (arrays["mask"] != 1).astype(np.float32)

    @jit
    def edit(start, steps):
        noise = Randomness(lambda k: start[k], lambda k: samplers.recorded(steps[k][:, None]))
        request = Request(n / 1000, Guide(image, change))
        return sdedit.edit(plan)(params, request, jax.random.key(0), noise).image

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
    refine, seen = spy()
    plan = SDEdit(
        Prior(process, score_sde_ve(net, process), params, (16, 16, 3)),
        rules.reverse_diffusion(),
        samplers.paper(),
        n,
        hold="paper" if config["mask"] else None,
        repeats=repeats,
        refine=refine,
        final="sample",
    )
    mask = arrays["omega"][0] if config["mask"] else jnp.ones((16, 16, 1))
    guide = Guide(2 * arrays["guide"][0] - 1, mask)

    def edit(z):
        noise = Randomness(lambda k: z[k, 0], lambda k: samplers.recorded(z[k, 1:, None]))
        request = Request(config["t0"], guide)
        return sdedit.edit(plan)(params, request, jax.random.key(0), noise).image

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


class Loop(NamedTuple):
    """A batch of the original's loop: the path [N, B, H, W, C] and the last state."""

    path: Any
    out: Any


def replay(process, predict, rule, grid, x, noise, refine=None, final="mean"):
    """x [B, H, W, C], noise [calls, B, H, W, C] of all steps in order, batch mates in view."""
    n, pair = len(grid.t), [0, -1]  # always two rows, so that the network compiles once
    rows = jnp.moveaxis(noise.reshape(n, -1, *x.shape), 2, 0)[jnp.asarray(pair)]

    def one(x, z):
        return samplers.reverse(
            predict, process, rule, grid, samplers.recorded(z), x, refine=refine, final=final
        )[1]

    path = eagerly(jax.vmap(one, axis_name="batch"), jnp.asarray(x)[jnp.asarray(pair)], rows)
    path = np.moveaxis(path[: len(x)], 1, 0)
    return Loop(path, path[-1])


def ve_on_levels(config, times):
    """score_sde's VE on N levels: (table, grid, predictor, sigma at the original time).

    `times` [n] are the original's, the last one at level 0; its network and its marginals use
    sigma(times), its steps the levels.
    """
    process, levels = sde.VE(0.02, 696.0), config["N"]
    net, params = network(config["model_case"])
    table, n = sde.discretize(process, levels), len(times)
    below = jnp.arange(n - 1, -1, -1)
    grid = Grid((below + 1) / levels, jnp.where(below > 0, below / levels, sde.CLEAN))

    def own_time(t):
        return jnp.asarray(times)[n - jnp.round(t * levels).astype(int)]

    def predict(x, t):
        eps = score_sde_ve(net, process)(params, x, own_time(t)).eps
        score = sde.score_from_eps(process, own_time(t), eps)
        return Prediction(sde.eps_from_score(table, t, score))

    return table, grid, predict, lambda t: process.sigma(own_time(t))


def held_at(marginal, guide, keep, last):
    """The goldens' kept region: mean + std z of the level t, with a draw of its own.

    Before the step always with noise; after the last step its mean. There the edited region keeps
    its noise: the original takes both from the replaced state.
    """

    def replace(x, context, noisy=1.0):
        alpha, sigma = marginal(context.t)
        return x * (1 - keep) + (alpha * guide + noisy * sigma * context.draw()) * keep

    def after(x, context):
        return replace(x, context, jnp.where(context.index == last, 0.0, 1.0))

    return Refine(replace, after)


def test_score_sde_grid_without_a_mask(golden):
    case = config, arrays = load(golden("traj_ve_sdedit_grid_nomask"))
    times = arrays["timesteps"][int(arrays["start_index"]) :]
    table, grid, predict, sigma = ve_on_levels(config, times)
    x = ours(arrays["guide"]) + sigma(grid.t[0]) * arrays["noise"][0]
    rule = rules.reverse_diffusion()
    loop = replay(table, predict, rule, grid, x, arrays["noise"][1:])
    close_states(loop.path[:-1], case, "x_steps")
    close(loop.out, ours(arrays["out"]))


def test_score_sde_grid_with_corrector_and_mask(golden):
    """The corrector's step size is the batch's, as in the original."""
    case = config, arrays = load(golden("traj_ve_sdedit_grid_pc_mask"))
    times = arrays["timesteps"][int(arrays["start_index"]) :]
    table, grid, predict, sigma = ve_on_levels(config, times)
    guide, keep = ours(arrays["guide"]), arrays["keep_mask"][0]
    x = guide + sigma(grid.t[0]) * arrays["noise"][0]
    corrector = samplers.langevin(config["snr"], config["n_steps"], norm="batch")

    rule = rules.reverse_diffusion()

    def run(guide, x, z):
        held = held_at(lambda t: (1.0, sigma(t)), guide, keep, len(times) - 1)
        refine, noise = samplers.chain(corrector, held), samplers.recorded(z)
        return samplers.reverse(
            predict, table, rule, grid, noise, x, refine=refine, final="sample"
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
    predict = functools.partial(score_sde_vp(net, process), params)
    t = jnp.asarray(arrays["timesteps"][int(arrays["start_index"]) :])
    grid = Grid(t, t - 1 / config["N"])
    guide, keep = arrays["guide"][0], arrays["keep_mask"][0]
    x = sde.perturb(process, guide, t[0], arrays["noise"][0, 0])
    held = held_at(functools.partial(sde.level, process), guide, keep, len(t) - 1)
    refine = held._replace(before=None)  # without a corrector only the predictor's state is held
    rule = rules.euler_maruyama()
    loop = replay(process, predict, rule, grid, x[None], arrays["noise"][1:], refine, "sample")
    close_states(loop.path[:-1], case, "x_steps")
    close(loop.out, arrays["out"])


@pytest.mark.parametrize("name", ["pc_langevin", "pf_reverse_diffusion"])
def test_score_sde_sampling(golden, name):
    """Predictor-corrector and probability-flow sampling from noise."""
    case = config, arrays = load(golden(f"traj_ve_{name}"))
    table, grid, predict, sigma = ve_on_levels(config, arrays["timesteps"])
    rule = rules.reverse_diffusion(probability_flow=config["probability_flow"])
    refine = Refine()
    if config["corrector"] == "langevin":
        refine = samplers.langevin(config["snr"], config["n_steps"], norm="batch")
    x = ours(sigma(grid.t[0]) / 2 * arrays["noise"][0])  # mean 0 in [0, 1]
    loop = replay(table, predict, rule, grid, x, arrays["noise"][1:], refine)
    close_states(loop.path[:-1], case, "x_after_predictor")
    close(loop.out, ours(arrays["x_mean_last"]))
    close(loop.out, ours(arrays["out"]))

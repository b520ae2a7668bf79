"""Learned variance, and whole edits of the originals that clip x0, replayed with their noise.

Oracle: the original guided-diffusion (p_mean_variance and p_sample of a class-conditional network
with learned variance, on its full and on a respaced table) and pytorch_diffusion's loop.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
from hooks import Hook
from trajectories import TOLERANCE, after, close, jit, load, network

from sdedit_jax import registry
from sdedit_jax.diffusion import sampler, sde, solvers
from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.noise import ReplayNoise
from sdedit_jax.edits.sdedit import Recorded, Request
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import settings
from sdedit_jax.priors.adapters import DDPM
from sdedit_jax.weights import conversion, readers
from sdedit_jax.weights.families import guided_diffusion


@functools.cache
def prior_of(folder, respacing=""):
    """The prior of the original's file, its table respaced."""
    pytest.importorskip("torch")
    given = json.loads((folder / "config.json").read_text())
    given["diffusion_kwargs"]["timestep_respacing"] = respacing
    source = readers.read(folder / "checkpoint.pt")
    prior = registry.prior_of(guided_diffusion.describe(source, given))
    return prior.replace(params=jax.tree.map(jnp.asarray, conversion.fill(prior.params, source)))


def plan_of(prior, clip=True, steps=20):
    """The plan of an edit by ancestral steps, with what the prior's metadata says of variances."""
    values = {"rule": f"ancestral(clip_x0={clip})", "grid": "uniform", "steps": steps}
    return settings.resolve(prior, settings.sampling(values), 0.5).plan


@pytest.mark.parametrize("clip", [True, False])
def test_mean_and_learned_variance(golden, clip):
    folder = golden("guided_unet_classcond")
    prior, case = prior_of(folder), load(folder)
    solver = plan_of(prior, clip).solver
    assert solver.variance == "learned" and solver.clip_x0 == clip
    step = solver.step

    @jit
    @functools.partial(jax.vmap, in_axes=(0, 0, None, None))
    def law(x, y, t, s):
        prediction = prior.predict(prior.params, x, t, y)
        x0 = sde.x0_from_eps(prior.process, x, t, prediction.eps)
        x0 = jnp.clip(x0, -1, 1) if clip else x0
        return step(prior.process, (), x, prediction, t, s)[0], x0

    for index in (999, 431, 0) if clip else (431,):
        t, s = (index + 1) / 1000, index / 1000 if index else sde.CLEAN
        labels = case.arrays["y"].astype(np.int32)
        (mean, std), x0 = law(case.arrays["x"], labels, jnp.float32(t), jnp.float32(s))
        mean_, variance, log_variance, x0_ = (
            case.arrays[f"pmv_clip{int(clip)}_t{index}_{name}"]
            for name in ("mean", "variance", "log_variance", "pred_xstart")
        )
        close(mean, mean_)
        alpha, sigma = sde.level(prior.process, t)
        # x0 is a difference of numbers sigma / alpha times as large (158 at the noisiest level),
        # each of which float32 knows to a few 1e-7
        close(x0, x0_, max(TOLERANCE, 2e-6 * float(sigma / alpha)))
        if index:  # the step to the clean end draws no noise, whatever the original's variance says
            close(std**2, variance)
            assert np.abs(2 * np.log(std) - log_variance).max() < TOLERANCE


@pytest.mark.parametrize(("name", "respacing"), [("full", ""), ("respaced50", "50")])
def test_guided_diffusion_edits(golden, name, respacing):
    """q_sample of the guide and p_sample down to the clean picture, with class labels."""
    config, arrays = load(golden(f"traj_guided_edit_{name}"))
    prior = prior_of(golden(config["model_case"]), respacing)
    levels, n = len(prior.process.log_snrs), config["start_index"] + 1
    assert levels == len(arrays["timestep_map"])
    path = []

    def kept(x, context):
        jax.debug.callback(lambda x: path.append(np.asarray(x)), x, ordered=True)
        return x

    plan = dataclasses.replace(plan_of(prior, steps=n), hold=None, corrector=Hook(kept))

    @jit
    def edit(guide, y, z):
        noise = Recorded(z[None, 0], z[None, 1:, None])
        request = Request(n / levels, Guide(guide, jnp.ones((16, 16, 1))), y, noise)
        return pure.edit(plan)(prior.params, request, jax.random.key(0)).image

    for i in range(config["batch"]):
        path.clear()
        y = arrays["y"].astype(np.int32)[i]
        out = edit(arrays["guide"][i], y, arrays["noise"][:, i])
        jax.effects_barrier()
        close(np.stack([*path, out]), arrays["x"][:, i])
        first_last = (arrays["x"][[0, -2], i], [n / levels, 1 / levels])
        for x, t, x0 in zip(*first_last, arrays["pred_xstart_first_last"][:, i], strict=True):
            close(denoised(prior, x, jnp.float32(t), y), x0)


@functools.partial(jit, static_argnums=0)
def denoised_by(model, params, x, t, y):
    process, predict = model
    return jnp.clip(sde.x0_from_eps(process, x, t, predict(params, x, t, y).eps), -1, 1)


def denoised(prior, x, t, y):
    return denoised_by((prior.process, prior.predict), prior.params, x, t, y)


def test_pytorch_diffusion_steps(golden):
    """20 steps from the noisiest level on, x0 clamped at each, the last one drawn too."""
    config, arrays = load(golden("traj_pytorch_diffusion_clamped"))
    net, params = network(config["model_case"])
    process, top, n = sde.linear_table(), config["curr_step"], config["n_steps"]
    predict = functools.partial(DDPM(net, process), params)
    step = solvers.Ancestral(variance="large", clip_x0=True)
    t = jnp.arange(top, top - n, -1) / 1000
    grid = Grid(t, t - 1 / 1000)

    @jit
    @jax.vmap
    def reverse(x, z):
        return sampler.reverse(
            predict, process, step, grid, ReplayNoise(z[:, None]), x, final="sample", observe=after
        )[1]

    path = reverse(arrays["x_init"], jnp.moveaxis(arrays["noise"], 1, 0))
    close(np.moveaxis(path, 1, 0), arrays["x"])
    close(path[:, -1], arrays["out"])

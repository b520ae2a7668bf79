"""Tables that end in pure noise (alpha 0): closed forms of Gaussian data, and a diffusers run."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import text_prior
from conftest import golden_folder

import sdedit_jax as sj
from sdedit_jax import devices, registry
from sdedit_jax.diffusion import grids, sampler, sde, solvers, strength
from sdedit_jax.diffusion.noise import SampleNoise
from sdedit_jax.edits import ledits
from sdedit_jax.guidance.sega import concepts
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.priors import adapters, analytic
from sdedit_jax.weights.families import diffusers

SCHEDULER = {"beta_schedule": "linear", "num_train_timesteps": 1000}
RESCALED = SCHEDULER | {"rescale_betas_zero_snr": True}
MEAN, STD = 0.3, 0.4
PROCESS = registry.process(diffusers.table(RESCALED), "process")
SOLVERS = {
    "ddim": solvers.Ancestral(eta=0.0),
    "half": solvers.Ancestral(eta=0.5),
    "ddpm": solvers.Ancestral(),
    "clipped": solvers.Ancestral(clip_x0=True),
    "dpmpp": solvers.DPMpp(),
    "dpmpp 3m": solvers.DPMpp(3, sde=False),
    "unipc": solvers.UniPC(3),
    "sa": solvers.SASolver(0.5),
    "sa flow": solvers.SASolver(0.0, 3, 3),
    "heun": solvers.Heun(),
    "churn": solvers.Heun(0.1),
    "plms": solvers.PLMS(),
    "euler": solvers.EulerMaruyama(),
    "flow": solvers.ProbabilityFlow(),
    "reverse": solvers.ReverseDiffusion(),
}


def velocity(params, x, label, y=None, key=None):
    """v of the exact predictor of data N(MEAN, STD^2), in the convention of DDPM networks."""
    alpha, sigma = sde.level(PROCESS, (label[0] + 1) / 1000)
    x0 = MEAN + alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * (x - alpha * MEAN)
    return alpha * (x - alpha * x0) / sigma - sigma * x0


PREDICT = adapters.DDPM(velocity, PROCESS, predicts="v")


def test_the_table_is_that_of_lin_et_al():
    """2305.08891, algorithm 1; only the last level has no signal."""
    root = np.sqrt(np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    t = jnp.asarray((np.arange(1000) + 1) / 1000, jnp.float32)
    np.testing.assert_allclose(PROCESS.alpha(t), root, rtol=2e-4, atol=1e-7)
    assert PROCESS.alpha(1.0) == 0 and PROCESS.sigma(1.0) == 1 and PROCESS.alpha(0.999) > 0
    half = PROCESS.alpha(jnp.float32(0.9995))
    np.testing.assert_allclose(half, root[-2] / 2, rtol=1e-3)
    assert registry.process({"name": "betas", "betas": [0.5, 1.0]}, "process").alpha(1.0) == 0
    line = {"name": "linear", "n": 10, "beta_start": 0.1, "beta_end": 1.0}
    assert registry.process(line, "process").alpha(1.0) == 0


@pytest.mark.parametrize("betas", [[1.0, 0.5], [0.0, 1.0], [0.1, 1.1], [0.5], []])
def test_other_betas_are_refused(betas):
    with pytest.raises(ValueError, match="betas must be .* the last may be 1, got"):
        sde.from_betas(betas)


def test_what_is_exchanged_as_eps_holds_x0(rng):
    x, x0 = (jnp.asarray(rng.normal(size=(4, 4, 3)), jnp.float32) for _ in range(2))
    one = jnp.float32(1.0)
    for eps in (sde.eps_from_x0(PROCESS, x, one, x0), sde.eps_from_v(PROCESS, x, one, -x0)):
        np.testing.assert_array_equal(sde.x0_from_eps(PROCESS, x, one, eps), x0)
        np.testing.assert_array_equal(sde.noise_from_eps(PROCESS, x, one, eps), x)
        np.testing.assert_array_equal(sde.v_from_eps(PROCESS, x, one, eps), -x0)
    z = jnp.ones(3)
    np.testing.assert_array_equal(sde.perturb(PROCESS, 5 * z, one, z), z)


@pytest.mark.parametrize("name", SOLVERS)
def test_the_first_step_from_pure_noise(name, rng):
    """x_s has the law N(alpha_s MEAN, sigma_s^2), DDIM's along x itself."""
    x = jnp.asarray(rng.normal(size=(8, 8, 3)), jnp.float32)
    t, s = jnp.float32(1.0), jnp.float32(0.8)

    def predict(x, t):
        return PREDICT(None, x, t)

    solver = SOLVERS[name]
    step, _ = solver.step(PROCESS, solver.init(x), x, predict(x, t), t, s, predict)
    alpha, sigma = sde.level(PROCESS, s)
    eta = {"half": 0.5, "ddpm": 1.0, "clipped": 1.0, "dpmpp": 1.0, "sa": 1.0}.get(name, 0.0)
    along = np.sqrt(1 - eta**2) * sigma * x
    np.testing.assert_allclose(step.mean, alpha * MEAN + along, atol=1e-6)
    np.testing.assert_allclose(step.std, eta * sigma, atol=1e-6)


@pytest.mark.parametrize("grid", [grids.Karras(), grids.UniformLogSNR(), grids.Uniform()])
@pytest.mark.parametrize("name", ["ddim", "dpmpp", "dpmpp 3m", "unipc", "sa", "ddpm", "heun"])
def test_whole_runs_give_the_data(name, grid):
    """From pure noise to N(MEAN, STD^2), up to 5 standard errors and what 200 steps cost."""
    plan = grid(PROCESS, jnp.float32(1.0), 200)
    assert np.isfinite(plan.t).all() and plan.t[0] == 1 and (np.diff(plan.t) < 0).all()
    x = jax.random.normal(jax.random.key(0), (64, 64, 3))
    predict = jax.tree_util.Partial(PREDICT, None)
    noise = SampleNoise(jax.random.key(1))
    x = np.asarray(sampler.reverse(predict, PROCESS, SOLVERS[name], plan, noise, x)[0].x)
    assert np.isfinite(x).all()
    assert abs(x.mean() - MEAN) < 0.02 and abs(x.std() - STD) < 0.03


def test_ddim_leads_up_to_pure_noise(rng):
    """The last step of an inversion ends at the noise that the prediction names."""
    x = jnp.asarray(rng.normal(size=(4, 4, 3)), jnp.float32)
    t, s = jnp.float32(0.9), jnp.float32(1.0)
    prediction = PREDICT(None, x, t)
    step, _ = SOLVERS["ddim"].step(PROCESS, (), x, prediction, t, s)
    np.testing.assert_allclose(step.mean, prediction.eps, atol=1e-6)


def test_networks_that_predict_eps_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="predicts: the process ends in pure noise .alpha 0"):
        adapters.DDPM(velocity, PROCESS)
    adapters.DDPM(velocity, PROCESS, predicts="x0")
    folder = tmp_path / "folder"
    shutil.copytree(golden_folder("unet2d_trained"), folder)
    file = folder / "scheduler_config.json"
    rescaled = json.loads(file.read_text()) | {"rescale_betas_zero_snr": True}
    file.write_text(json.dumps(rescaled))
    with pytest.raises(ValueError, match="predicts: the process ends in pure noise .*rescale_b"):
        sj.convert(folder, tmp_path / "new", check=False)
    file.write_text(json.dumps(rescaled | {"prediction_type": "v_prediction"}))
    sj.convert(folder, tmp_path / "new", check=False)


def test_strengths_of_pure_noise():
    found = strength.describe(PROCESS, 1.0)
    assert (found.sigma, found.snr_db) == (np.inf, -np.inf)
    assert strength.to_t0(PROCESS, step=999) == 1
    assert abs(strength.to_t0(PROCESS, sigma=1.0) - strength.to_t0(PROCESS, snr_db=0.0)) < 1e-6


def test_diffusers_run_from_pure_noise():
    """DDIM with rescaled betas and trailing steps: every state of the original's run."""
    case = "ddim_rescale_zero_snr_trailing_v"
    config = json.loads(golden_folder("io_schedulers.json").read_text())[case]["config"]
    process = registry.process(diffusers.table(config), "process")
    with np.load(golden_folder("io_schedulers.npz")) as file:
        own = {n.partition("__")[2]: a for n, a in file.items() if n.startswith(case)}
    x, steps = jnp.asarray(own["sample"][0]), own["timesteps_run"]
    assert steps[0] == 999
    predict = adapters.DDPM(lambda out, *_, **__: out[None], process, predicts="v")
    for out, step, wanted in zip(own["model_output"], steps, own["prev_sample"], strict=True):
        after = max(step - 100, 0)  # set_alpha_to_one is off: the last step leads to level 0
        t, s = (jnp.float32((n + 1) / 1000) for n in (step, after))
        said = predict(jnp.asarray(out[0]), x, t)
        x = SOLVERS["ddim"].step(process, (), x, said, t, s)[0].mean
        np.testing.assert_allclose(x, wanted[0], atol=1e-4 * np.abs(wanted).max())


def test_an_edit_from_pure_noise_ignores_the_picture(tmp_path, rng):
    """With guidance and the preset's grid."""
    folder = tmp_path / "model"
    text_prior.write(folder)
    file = folder / "scheduler" / "scheduler_config.json"
    fields = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    file.write_text(json.dumps(text_prior.SCHEDULER | fields))
    prior = sj.load_prior(sj.convert(folder, tmp_path / "new", check=False).folder)
    assert sde.ends_in_noise(prior.process)
    photos = rng.integers(0, 256, (2, text_prior.SIDE, text_prior.SIDE, 3), np.uint8)
    made = [
        sj.text_edit(prior, photo, "abc", "b", scale=3.0, t0=1.0, steps=4, seed=5, id="one")
        for photo in photos
    ]
    np.testing.assert_array_equal(*made)
    assert made[0].std() > 0


def test_ledits_from_pure_noise_reconstructs_the_photo(rng):
    """With the guidance and the grid of its preset and a concept, by the exact predictor."""

    def shifted(params, x, t, cond=None, key=None):
        return PREDICT(params, x - 0.2 * cond, t)

    shape, one, none = (4, 6, 2), np.float32(1), np.float32(0)
    prior = analytic.gaussian(PROCESS, jnp.full(shape, MEAN), STD).replace(predict=shifted)
    made, photo = ledits.recipe("ledits", n=8, t0=1.0), rng.uniform(-1, 1, shape)
    many = concepts(np.full(1, -1, np.float32), scale=5.0, warmup=1)
    texts = {"source": one, "empty": none, "target": -one, "many": many}
    request = ledits.request(made, np.float32(photo), **texts)
    rows, key = devices.stack([request]), jax.random.key(0)
    pipeline = LEDITSPipeline(ledits.plan(prior, made))
    found = executor.finish(executor.run(pipeline, prior.params, rows, key[None])).result
    np.testing.assert_allclose(found.reconstruction[0], photo, atol=1e-5)
    assert np.abs(found.image[0] - photo).max() > 0.1

"""Text-guided SDEdit on Stable Diffusion against diffusers' img2img and inpainting pipelines."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import golden_folder
from recorded import TABLE, close, player

import sdedit_jax as sj
from sdedit_jax import guidance
from sdedit_jax.diffusion import masking, sampler, solvers, timesteps
from sdedit_jax.diffusion.grids import Grid, Karras
from sdedit_jax.diffusion.noise import ReplayNoise, ZeroNoise
from sdedit_jax.diffusion.sampler import advance, begin, reverse
from sdedit_jax.diffusion.sde import CLEAN, eps_from_v, perturb
from sdedit_jax.diffusion.strength import noise_to_signal
from sdedit_jax.pipeline import settings
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.conditioning import Prompt

LATENTS, PICTURE = 1e-4, 2e-4  # of the largest absolute value
SCHEDULERS = {"DDIMScheduler": "", "DDPMScheduler": "-ddpm"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    new = tmp_path_factory.mktemp("prior") / "sd_tiny"
    sj.convert(golden_folder("sd_tiny"), new, check=False)
    return new


@pytest.fixture(scope="module")
def inpainting(tmp_path_factory):
    """The same with the U-Net of nine channels."""
    model = tmp_path_factory.mktemp("model") / "inpainting"
    shutil.copytree(golden_folder("sd_tiny"), model)
    shutil.rmtree(model / "unet")
    shutil.copytree(golden_folder("variants") / "unet_inpaint9", model / "unet")
    sj.convert(model, model.parent / "prior", check=False)
    return model.parent / "prior"


class Programs:
    """The prior with its parts compiled once for all cases."""

    def __init__(self, folder):
        self.prior = prior = sj.load_prior(folder)
        self.encode, self.decode = jax.jit(prior.codec.encode), jax.jit(prior.codec.decode)
        predict = guidance.CFG(prior.predict)

        def step(params, cond, x, t, s, eta, z):
            """One step of the loop, DDIM with this eta."""
            solver = solvers.Ancestral(lambda t: eta)
            state, _ = advance(
                lambda x, t: predict(params, x, t, cond), prior.process, solver,
                Grid(t[None], s[None]), ReplayNoise(z[None, None]), begin(solver, x),
                final="sample",
            )  # fmt: skip
            return state.x

        self.step = jax.jit(step)
        self.embed = functools.cache(lambda text: conditioning.embedding(prior, text))


@functools.cache
def programs(folder):
    return Programs(folder)


@pytest.fixture(scope="module")
def io():
    told = json.loads(golden_folder("io_img2img.json").read_text())
    with np.load(golden_folder("io_img2img.npz")) as file:
        return told, dict(file)


def after(seen):
    """The state after a step."""
    return seen.x_next


def unit(pixels):
    """uint8 [1, C, H, W] -> [H, W, C] in [-1, 1]."""
    return np.moveaxis(pixels[0], 0, -1).astype(np.float32) / 127.5 - 1


def channels_last(a):
    return jnp.asarray(np.moveaxis(a, -3, -1))


@pytest.mark.parametrize(
    "case",
    ["ddim_s075_neg", "ddim_eta1_s05", "ddpm_s05", "ddim_nocfg_s1", "ddim_batch2"]
    + ["inpaint4_ddim_s075"],
)
def test_each_latent_is_the_pipelines(case, folder, io):
    """From the recorded draws: encoding, the timesteps of the preset, every step, the picture."""
    run, (told, files) = programs(folder), io
    told = told[case]
    arrays = {n.partition("__")[2]: a for n, a in files.items() if n.startswith(f"{case}__")}
    grid, solver = preset_grid(run.prior, told)
    np.testing.assert_array_equal(np.round(1000 * grid.t - 1), arrays["timesteps"])
    texts = told["prompt"] if isinstance(told["prompt"], list) else [told["prompt"]]
    for row, text in enumerate(texts):
        image = unit(files["image2" if row else "image"])
        words = Prompt(text, told["negative_prompt"] or "", told["guidance_scale"])
        cond = conditioning.CFGCond(
            run.embed(words.prompt), run.embed(words.negative_prompt), words.scale
        )
        own = {n: channels_last(a[..., row, :, :, :]) for n, a in arrays.items() if a.ndim > 3}
        x0 = run.encode(run.prior.params, image, own["vae_noise"])
        close(x0, own["init_image_latents"], 2e-5)
        x = perturb(run.prior.process, x0, grid.t[0], own["noise"])
        close(x, own["init_latents"], 2e-5)
        for i, (t, end) in enumerate(zip(grid.t, grid.s, strict=True)):
            z = own["step_noise"][i] if "step_noise" in own else jnp.zeros_like(x)
            x = run.step(run.prior.params, cond, x, t, end, jnp.float32(solver.eta), z)
            if "latent_mask" in own:
                held = masking.KnownRegion(x0, own["latent_mask"], "diffusers", own["noise"])
                next_t = jnp.append(grid.t, CLEAN)[i + 1]
                x = held.after(x, context(run.prior.process, t, end, i, next_t))
            close(x, own["latents"][i], LATENTS)
        picture = np.clip(run.decode(run.prior.params, x) / 2 + 0.5, 0, 1)
        close(picture, own["final_image"], PICTURE)


def context(process, t, s, i, next_t):
    """A step as hooks see it that draw no noise."""
    return sampler.Context(process, t, s, i, None, jnp.float32(1), None, None, next_t)


@pytest.mark.parametrize("case", ["inpaint4_ddim_s075", "inpaint4_ddim_s1"])
def test_the_known_region_of_the_inpainting_pipeline(io, case):
    """The loop with the recorded predictions: every state is the pipeline's."""
    told, (steps, own) = io[0][case], recorded_case(io[1], case)
    prior = player(steps, own["model_output"][:, None])
    prior = prior.replace(metadata={"scheduler": {"steps_offset": 1, "set_alpha_to_one": False}})
    grid, solver = preset_grid(prior, told)
    z = own["noise"]
    held = masking.KnownRegion(own["init_image_latents"], own["latent_mask"], "diffusers", z)
    states = reverse(
        lambda x, t: prior.predict(prior.params, x, t, 0), prior.process, solver, grid,
        ZeroNoise(), own["init_latents"], hooks=[held], final="sample", observe=after,
    )[1]  # fmt: skip
    close(states, own["latents"], LATENTS)


def recorded_case(files, case):
    """The arrays of a case: (timesteps, states [.., H, W, C] of its first picture)."""
    own = {n.partition("__")[2]: a for n, a in files.items() if n.startswith(f"{case}__")}
    states = {n: channels_last(a[..., 0, :, :, :]) for n, a in own.items() if a.ndim > 3}
    return own["timesteps"], states


def test_nine_channels(inpainting, folder, io):
    """The inpainting U-Net with the recorded mask and masked picture; no blending (hold "none")."""
    run, texts, case = programs(inpainting), programs(folder), "inpaint9_ddim_s06"
    told, (_, own) = io[0][case], recorded_case(io[1], case)
    grid, _ = preset_grid(run.prior, told)
    assert resolved(run.prior, told, "diffusers", hold="none").plan.hold is None
    shown = [
        conditioning.InpaintCond(texts.embed(text), own["latent_mask"], own["masked_image_latents"])
        for text in (told["prompt"], "")
    ]
    cond, x = conditioning.CFGCond(*shown, told["guidance_scale"]), own["init_latents"]
    for i, (t, end) in enumerate(zip(grid.t, grid.s, strict=True)):
        x = run.step(run.prior.params, cond, x, t, end, jnp.float32(0), jnp.zeros_like(x))
        close(x, own["latents"][i], LATENTS)


def test_sde_dpm_solver_takes_the_recorded_predictions(io):
    """The preset's linspace timesteps and its rule, from recorded predictions and noise."""
    case = "sdedpmpp2m_s06"
    told, (steps, own) = io[0][case], recorded_case(io[1], case)
    prior = player(steps, own["model_output"][:, None])
    prior = prior.replace(metadata={"scheduler": {"steps_offset": 1, "set_alpha_to_one": False}})
    grid, solver = preset_grid(prior, told, "diffusers-dpmpp")
    np.testing.assert_array_equal(np.round(1000 * grid.t - 1), steps)
    assert solver == solvers.DPMpp()
    noise = ReplayNoise(own["step_noise"][:, None])

    def predict(x, t):
        return prior.predict(prior.params, x, t, 0)

    start = own["init_latents"]
    states = reverse(
        predict, prior.process, solver, grid, noise, start, final="sample", observe=after
    )[1]
    close(states, own["latents"], LATENTS)


def test_pndm_is_the_pipelines(folder, io):
    """Preset `diffusers-pndm` with our networks: the list of steps, and the latent after each."""
    run, case = programs(folder), "pndm_s06"
    told, (steps, own) = io[0][case], recorded_case(io[1], case)
    preset = "diffusers-pndm"
    sampling = settings.sampling({"steps": 10}, preset, strength=0.6)
    plan = settings.resolve(settings.preset_process(run.prior, preset), sampling, 0.5).plan
    grid = plan.grid(run.prior.process, jnp.float32(0), plan.n)
    np.testing.assert_array_equal(np.round(1000 * grid.t - 1), steps)
    cond = conditioning.CFGCond(run.embed(told["prompt"]), run.embed(""), told["guidance_scale"])
    predict = guidance.CFG(run.prior.predict)

    @jax.jit
    def states(params, x):
        return reverse(
            lambda x, t: predict(params, x, t, cond), run.prior.process, plan.solver, grid,
            ZeroNoise(), x, final="sample", observe=after,
        )[1]  # fmt: skip

    close(states(run.prior.params, own["init_latents"]), own["latents"], LATENTS)


@pytest.mark.parametrize(("name", "skip"), [("pndm_sd", 0), ("pndm_sd_begin3", 3)])
def test_pndm_takes_the_recorded_predictions(name, skip):
    """From the beginning and from the middle of the list, the oddity of the latter included."""
    with np.load(golden_folder("io_schedulers.npz")) as file:
        own = {n.partition("__")[2]: a for n, a in file.items() if n.startswith(f"{name}__")}
    way = timesteps.Timesteps("pndm", "leading", 1, clean=False)
    np.testing.assert_array_equal(timesteps.steps(way, 10), own["timesteps_all"])
    t, s = (jnp.asarray(a) for a in timesteps.times(way, 10, skip))
    said = channels_last(own["model_output"][:, 0])
    solver, x = solvers.PLMS(), channels_last(own["sample"][0])
    memory = solver.init(x)
    for i in range(len(t)):  # twice at one step: what is said goes by place here, not by time
        law, memory = solver.step(TABLE, memory, x, solvers.Prediction(said[i]), t[i], s[i])
        x = law.mean
        close(x, channels_last(own["prev_sample"][i, 0]), 1e-5)


FLOWS = [
    "dpmpp2m_leading", "dpmpp2m_linspace_n20", "dpmpp2m_begin4", "dpmpp2m_sigma_min",
    "dpmpp2m_karras", "dpmpp2m_heun", "dpmpp3m_n20", "dpmpp2m_v",
]  # fmt: skip


@pytest.mark.parametrize("name", FLOWS)
def test_dpm_solver_of_the_flow_takes_the_recorded_predictions(name):
    """DPM-Solver++ 2M and 3M of diffusers on all its timesteps, from recorded outputs."""
    case = json.loads(golden_folder("io_schedulers.json").read_text())[name]
    with np.load(golden_folder("io_schedulers.npz")) as file:
        own = {n.partition("__")[2]: a for n, a in file.items() if n.startswith(f"{name}__")}
    config, n, said = case["config"], len(own["timesteps_all"]), own["model_output"][:, 0]
    clean = config["final_sigmas_type"] == "zero"
    way = timesteps.Timesteps("dpmpp", config["timestep_spacing"], config["steps_offset"], clean)
    if config["use_karras_sigmas"]:
        low = float(noise_to_signal(TABLE, 0.001))
        t, s = Karras(sigma_end=low)(TABLE, jnp.float32(1), n)
        np.testing.assert_allclose(noise_to_signal(TABLE, t), own["sigmas"][:-1], rtol=1e-4)
    else:
        np.testing.assert_array_equal(timesteps.steps(way, n), own["timesteps_all"])
        t, s = (jnp.asarray(a) for a in timesteps.times(way, n, case["begin_index"]))
    solver = solvers.DPMpp(
        config["solver_order"], sde=False, first_order_to=CLEAN if clean else float(s[-1]),
        form="exact" if config["solver_type"] == "heun" else "released",
    )  # fmt: skip
    x, said = channels_last(own["sample"][0]), channels_last(said)
    memory = solver.init(x)
    for i in range(len(t)):
        velocity = config["prediction_type"] == "v_prediction"
        eps = eps_from_v(TABLE, x, t[i], said[i]) if velocity else said[i]
        law, memory = solver.step(TABLE, memory, x, solvers.Prediction(eps), t[i], s[i])
        x = law.mean
        assert not np.any(law.std)
        close(x, channels_last(own["prev_sample"][i, 0]), LATENTS)


def test_dpm_solver_of_the_flow_is_the_pipelines(io):
    """img2img with 2M: each latent of the pipeline, from its recorded predictions."""
    case = "dpmpp2m_s08"
    told, (steps, own) = io[0][case], recorded_case(io[1], case)
    prior = player(steps, own["model_output"][:, None])
    prior = prior.replace(metadata={"scheduler": {"steps_offset": 1, "set_alpha_to_one": False}})
    grid, _ = preset_grid(prior, told, "diffusers-dpmpp")
    np.testing.assert_array_equal(np.round(1000 * grid.t - 1), steps)
    states = reverse(
        lambda x, t: prior.predict(prior.params, x, t, 0), prior.process,
        solvers.DPMpp(sde=False), grid, ZeroNoise(), own["init_latents"],
        final="sample", observe=after,
    )[1]  # fmt: skip
    close(states, own["latents"], LATENTS)


@pytest.mark.parametrize(
    "name",
    ["ddim_rescale_zero_snr_trailing_v", "ddpm_sd_v", "sde_dpmpp2m_leading_n20", "sde_dpmpp2m_n8"],
)
def test_timesteps_are_the_schedulers(name):
    config = json.loads(golden_folder("io_schedulers.json").read_text())[name]["config"]
    with np.load(golden_folder("io_schedulers.npz")) as file:
        wanted = file[f"{name}__timesteps_all"]
    kind = name.split("_")[0].replace("sde", "dpmpp")
    spacing = config.get("timestep_spacing", "linspace" if kind == "dpmpp" else "leading")
    way = timesteps.Timesteps(kind, spacing, config.get("steps_offset", 0))
    np.testing.assert_array_equal(timesteps.steps(way, len(wanted)), wanted)


@pytest.mark.parametrize(
    ("way", "n", "starts", "stops"),
    [
        # prev = t - T // N, below 0 it is step 0 or clean
        (("ddim", "leading", 1, False), 4, [751, 501, 251, 1], [501, 251, 1, 0]),
        (("ddim", "leading", 0, True), 4, [750, 500, 250, 0], [500, 250, 0, -1]),
        (("ddim", "linspace", 1, False), 3, [999, 500, 0], [666, 167, 0]),
        (("ddim", "trailing", 0, True), 3, [999, 666, 332], [666, 333, -1]),
        (("pndm", "leading", 1, False), 3, [667, 334, 334, 1], [334, 1, 1, 0]),
        (("ddpm", "leading", 1, False), 2, [501, 1], [1, -1]),
        (("dpmpp", "linspace", 1, True), 3, [999, 666, 333], [666, 333, -1]),
        (("dpmpp", "leading", 1, False), 3, [751, 501, 251], [501, 251, 0]),
    ],
)
def test_steps_begin_and_end_where_the_formulas_say(way, n, starts, stops):
    way = timesteps.Timesteps(*way)
    np.testing.assert_array_equal(timesteps.steps(way, n), starts)
    np.testing.assert_array_equal(timesteps.ends(way, n), stops)
    t, s = timesteps.times(way, n, 1)
    np.testing.assert_allclose(t, (np.array(starts[1:]) + 1) / 1000, rtol=1e-6)
    assert len(s) == len(starts) - 1 and np.isneginf(s[-1]) == (stops[-1] < 0)


def test_strength_is_cut_off_as_python_does():
    told = [timesteps.count(*case) for case in ((50, 0.29), (100, 0.57), (10, 1.0), (50, 0.8))]
    assert told == [14, 56, 10, 40]


def preset_grid(prior, told, preset=""):
    """The grid and the solver of the case's preset."""
    preset = preset or "diffusers" + SCHEDULERS[told["scheduler"]]
    eta = {"DDPMScheduler": 1.0}.get(told["scheduler"], told["eta"])
    preset += "-eta" if eta and preset == "diffusers" else ""
    plan = resolved(prior, told, preset).plan
    assert getattr(plan.solver, "eta", eta) == eta
    return plan.grid(prior.process, jnp.float32(0), plan.n), plan.solver


def resolved(prior, told, preset, **values):
    """The settings of a case by a preset."""
    values, share = {"steps": told["num_inference_steps"], **values}, told["strength"]
    sampling = settings.sampling(values, preset, strength=share)
    return settings.resolve(settings.preset_process(prior, preset), sampling, 0.5)


@pytest.mark.parametrize(
    ("n", "config", "end"),
    [
        (14, {"final_sigmas_type": "sigma_min"}, 0.001),
        (15, {"final_sigmas_type": "sigma_min"}, CLEAN),
        (14, {"final_sigmas_type": "sigma_min", "lower_order_final": False}, CLEAN),
        (14, {}, CLEAN),
        (20, {"final_sigmas_type": "sigma_min", "euler_at_final": True}, 0.001),
    ],
)
def test_short_runs_of_dpm_solver_end_with_a_step_of_first_order(n, config, end):
    """diffusers' lower_order_final: in runs of fewer than 15 steps, of which strength runs some."""
    prior = player([0], np.zeros((1, 1, 1, 1, 1))).replace(metadata={"scheduler": config})
    told = {"num_inference_steps": n, "strength": 0.8}
    solver = resolved(prior, told, "diffusers-dpmpp").plan.solver
    assert solver.first_order_to == pytest.approx(end)


def test_trailing_steps_of_every_number():
    """n of them, from the noisiest on; the rounding of the stride adds none."""
    way = timesteps.Timesteps("ddim", "trailing", offset=0, clean=True)
    for n in range(1, 1000):
        found = timesteps.steps(way, n)
        assert len(found) == n and found[0] == 999 and found[-1] >= 0

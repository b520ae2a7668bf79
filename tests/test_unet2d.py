"""Folders of diffusers' UNet2DModel: networks, folders, tables and sampler runs of the original."""

import functools
import json
import shutil
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SHARED
from jax import jit
from recorded import arrays as recorded_arrays
from recorded import player
from seeded_weights import seeded

from sdedit_jax import registry
from sdedit_jax.diffusion import sampler, sde, solvers
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.noise import ReplayNoise
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.unet2d import UNet2D, UNet2DConfig
from sdedit_jax.pipeline import settings
from sdedit_jax.priors import adapters
from sdedit_jax.weights import catalogue, conversion, families, readers
from sdedit_jax.weights.families import diffusers
from sdedit_jax.weights.readers import folder as folders
from sdedit_jax.weights.readers.averages import decay_of
from sdedit_jax.weights.source import Source

NETWORK, RUN = 2e-5, 1e-4  # of the largest absolute value

DDPM = {"_class_name": "DDPMScheduler"}
PLAIN = {
    "_class_name": "UNet2DModel",
    "sample_size": 16,
    "block_out_channels": [8, 8],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}


def imported(path):
    """The prior of a folder, through file, source, card, rule and adapter."""
    source = readers.read(path)
    family = families.family_of(source)
    card = family.describe(source, {})
    made = registry.prior_of(card)
    names, unused = family.names(source, card, made.params), family.unused(source, card)
    params = conversion.fill(made.params, source, names, unused)
    return made.replace(params=jax.tree.map(jnp.asarray, params), metadata=card)


@functools.cache
def golden_case(path):
    """(prior, arrays with pictures as [..., H, W, C], predict over a batch, compiled once)."""
    made = imported(path)
    with np.load(path / "io.npz") as file:
        arrays = {
            name: np.moveaxis(file[name], -3, -1)
            if file[name].ndim > 3 and not name.endswith("nhwc")
            else file[name]
            for name in file
        }
    compiled = jit(jax.vmap(made.eps, (None, 0, 0)))

    def eps(x, t):
        return compiled(made.params, jnp.asarray(x), jnp.asarray(t, jnp.float32))

    return made, arrays, eps


def close(got, want, tolerance):
    """Within the tolerance of the largest absolute value of each sample."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    axes = tuple(range(1, want.ndim))
    assert (np.abs(got - want).max(axes) <= tolerance * np.abs(want).max(axes)).all()


def write(path, tensors):
    """A safetensors file: length of the header, header, tensors."""
    at, header = 0, {}
    for name, a in tensors.items():
        kind = {"float32": "F32", "float16": "F16"}[str(a.dtype)]
        offsets = [at, at + a.nbytes]
        header[name] = {"dtype": kind, "shape": list(a.shape), "data_offsets": offsets}
        at += a.nbytes
    text = json.dumps(header).encode()
    data = b"".join(a.tobytes() for a in tensors.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def put(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


# --- the goldens: networks ------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["t0", "t10", "t500", "t999", "tvec"])
def test_ddpm_network(golden, label):
    _, arrays, eps = golden_case(golden("uncond_ddpm_tiny"))
    steps = arrays["t_vec"] if label == "tvec" else np.full(2, int(label[1:]))
    close(eps(arrays["sample"], (steps + 1) / 1000), arrays[f"out_{label}"], NETWORK)


@pytest.mark.parametrize("label", ["0.01", "0.5", "30", "348", "vec"])
def test_ncsnpp_network(golden, label):
    made, arrays, eps = golden_case(golden("uncond_ncsnpp_tiny"))
    assert made.process == sde.VE(0.02, 696.0)
    sigma = arrays["sigma_vec"] if label == "vec" else np.full(2, float(label), np.float32)
    t = np.log(sigma / 0.01) / np.log(34800)
    wide = sigma[:, None, None, None]
    x = arrays["x"] + wide * arrays["n"]
    close(eps(2 * x - 1, t) / -wide, arrays[f"out_sigma_{label}"], NETWORK)


VARIANTS = ("scale_shift", "resnet_resampling", "resnet_blocks", "learned_time", "skip_heads")


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_of_the_network(golden, name):
    """Weights as the golden's config.json says, outputs of diffusers."""
    path = golden("unet2d_variants")
    values = json.loads((path / "config.json").read_text())["variants"][name]
    net = Network(UNet2D, UNet2DConfig.from_mapping(values))
    names = {"time_proj/W": "time_proj.weight"} if "fourier" in str(values) else {}
    params = conversion.fill(net.shapes, Source(path, seeded(net.shapes, names)[0]), names)
    with np.load(path / "io.npz") as file:
        x, t, want = (file[f"{name}__{part}"] for part in ("x", "t", "out"))
        y = file[f"{name}__y"] if f"{name}__y" in file else None
    y = y if y is None else jnp.asarray(y, jnp.float32 if y.ndim > 1 else jnp.int32)
    got = jit(net.apply)(params, np.moveaxis(x, 1, -1), jnp.asarray(t, jnp.float32), y=y)
    close(np.moveaxis(got, -1, 1), want, NETWORK)


# --- the goldens: sampler runs --------------------------------------------------------------------


def after(seen):
    """The state after a step."""
    return seen.x_next


def run(path, grid, solver, x, noise):
    """States after each step [N, H, W, C] from x, through the one loop."""
    made = golden_case(path)[0]

    @jit
    def states(params, x, noise):
        predict = functools.partial(made.predict, params)
        noises = ReplayNoise(noise)
        return sampler.reverse(predict, made.process, solver, grid, noises, x, observe=after)[1]

    return states(made.params, x, noise)


def steps_to_grid(steps, stride):
    t = (jnp.asarray(steps, jnp.float32) + 1) / 1000
    s = jnp.where(jnp.asarray(steps) >= stride, t - stride / 1000, sde.CLEAN)
    return Grid(t, s)


@pytest.mark.parametrize("name", ["ddpm", "sdedit"])
def test_ddpm_sampler_runs(golden, name):
    """DDPMScheduler with its clipped x0: from noise, and from a noised picture."""
    path = golden("uncond_ddpm_tiny")
    made, arrays, _ = golden_case(path)
    steps, noise = arrays[f"{name}_timesteps"], arrays[f"{name}_noise"]
    grid = steps_to_grid(steps, int(steps[0] - steps[1]))
    if name == "ddpm":
        x, want = arrays["ddpm_init"][0], arrays["ddpm_traj"]
        noise = np.concatenate([noise, np.zeros_like(noise[:1])])  # the last step draws none
    else:
        x = sde.perturb(made.process, arrays["sdedit_x0"][0], grid.t[0], arrays["sdedit_eps"][0])
        close(x[None], arrays["sdedit_traj"][0], RUN)
        want = arrays["sdedit_traj"][1:]
    got = run(path, grid, solvers.Ancestral(clip_x0=True), x, jnp.asarray(noise))
    close(got[:, None], want, RUN)
    if name == "ddpm":
        picture = np.clip(got[-1] / 2 + 0.5, 0, 1)[None]
        close(picture, arrays["ddpm_image_nhwc"], RUN)


def test_score_sde_ve_sampler_run(golden):
    """Its table has N levels, its labels are the sigmas of N times; norms are the batch's."""
    path = golden("uncond_ncsnpp_tiny")
    made, arrays, _ = golden_case(path)
    n = len(arrays["ve_timesteps"])
    table = sde.discretize(made.process, n)
    below = jnp.arange(n - 1, -1, -1)
    grid = Grid((below + 1) / n, jnp.where(below > 0, below / n, sde.CLEAN))

    def own_time(t):
        return jnp.asarray(arrays["ve_timesteps"])[n - jnp.round(t * n).astype(int)]

    def one(params, x, z):
        def predict(x, t):
            score = -made.eps(params, x, own_time(t)) / made.process.sigma(own_time(t))
            return Prediction(sde.eps_from_score(table, t, score))

        corrector = Langevin(0.15, 1, norm="batch")
        noise = ReplayNoise(z, corrector.evaluations)
        return sampler.reverse(
            predict, table, solvers.ReverseDiffusion(), grid, noise, x, hooks=[corrector],
            observe=after,
        )[1]  # fmt: skip

    z = jnp.moveaxis(arrays["ve_noise"].reshape(n, 2, *arrays["ve_init"].shape), 2, 0)
    start = 2 * jnp.asarray(arrays["ve_init"]) - 1
    path = jit(jax.vmap(one, (None, 0, 0), axis_name="batch"))(made.params, start, z)
    want = 2 * arrays["ve_pred"] - 1
    close(np.moveaxis(path, 1, 0)[:-1], want[:-1], RUN)
    close(path[:, -1], 2 * arrays["ve_pred_mean"][-1] - 1, RUN)
    picture = np.clip((path[:, -1] + 1) / 2, 0, 1)
    close(picture, arrays["ve_image_nhwc"], RUN)


# --- names ----------------------------------------------------------------------------------------

OLD = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


@pytest.mark.parametrize("name", ["uncond_ddpm_tiny", "uncond_ncsnpp_tiny"])
def test_names_of_the_first_releases(golden, name):
    source = readers.read(golden(name))
    card = diffusers.describe(source, {})
    shapes = registry.prior_of(card).params
    old = {}
    for theirs, a in source.tensors.items():
        for new, before in OLD.items():
            theirs = theirs.replace(new, before)
        old[theirs] = a
    assert old.keys() != source.tensors.keys()
    if "time_proj.weight" in old:
        old["time_proj.W"] = old["time_proj.weight"]
    aged = source._replace(tensors=old)

    def filled(source):
        parts = diffusers.names(source, card, shapes), diffusers.unused(source, card)
        return dict(conversion.store.leaves(conversion.fill(shapes, source, *parts)))

    want = filled(source)
    for theirs, got in filled(aged).items():
        np.testing.assert_array_equal(got, want[theirs])
    if name == "uncond_ncsnpp_tiny":
        del old["time_proj.weight"]
        np.testing.assert_array_equal(filled(aged)["time_proj/W"], want["time_proj/W"])
        old["time_proj.weight"] = old["time_proj.W"] + 1
        with pytest.raises(ValueError, match="time_proj.W"):
            filled(aged)


# --- folders --------------------------------------------------------------------------------------

STEM = "diffusion_pytorch_model"
ONE = {"a": np.arange(3, dtype=np.float32)}


@pytest.mark.parametrize("home", ["", "unet"])
def test_network_at_the_root_or_in_unet(tmp_path, home):
    write(tmp_path / home / f"{STEM}.safetensors", ONE)
    put(tmp_path / home / "config.json", PLAIN)
    put(tmp_path / ("scheduler" if home else "") / "scheduler_config.json", DDPM)
    source = readers.read(tmp_path)
    assert source.config == {"unet": PLAIN, "scheduler": DDPM}
    np.testing.assert_array_equal(source.tensors["a"], ONE["a"])
    assert source.ema is None
    if home:
        assert folders.read_folder(tmp_path / home).config == source.config


def test_weights_in_parts(tmp_path):
    whole = {"a": ONE["a"], "b": ONE["a"] + 1, "c": ONE["a"] + 2}
    first, second = f"{STEM}-00001-of-00002.safetensors", f"{STEM}-00002-of-00002.safetensors"
    write(tmp_path / first, {"a": whole["a"], "c": whole["c"]})
    write(tmp_path / second, {"b": whole["b"]})
    index = tmp_path / f"{STEM}.safetensors.index.json"
    put(index, {"weight_map": {"a": first, "b": second, "c": first}})
    tensors = readers.read(tmp_path).tensors
    assert {name: a.tolist() for name, a in tensors.items()} == {
        name: a.tolist() for name, a in whole.items()
    }
    put(index, {"weight_map": {"a": first, "b": second, "d": first}})
    with pytest.raises(ValueError, match="names the tensor 'd'"):
        readers.read(tmp_path)
    put(index, {"weight_map": {"a": "../" + first}})
    with pytest.raises(ValueError, match="weight_map"):
        readers.read(tmp_path)
    put(index, {"weight_map": {"a": first, "b": "gone.safetensors"}})
    with pytest.raises(ValueError, match="gone.safetensors"):
        readers.read(tmp_path)


def test_the_averaged_copy_in_full_precision_is_taken(tmp_path):
    for value, middle in enumerate(["non_ema.", "fp16.", "", "ema."]):
        write(tmp_path / f"{STEM}.{middle}safetensors", {"a": np.float32([value])})
        source = readers.read(tmp_path)
        assert source.tensors["a"] == value
        assert source.ema == {0: False, 3: True}.get(value)
        assert len(source.left_out) == value


EMA = {
    "decay": 0.9999,
    "min_decay": 0.0,
    "inv_gamma": 1.0,
    "power": 0.75,
    "use_ema_warmup": True,
    "update_after_step": 0,
    "optimization_step": 101,
}


def checkpoint(folder, shift=1):
    """unet/ and unet_ema/ as trainings with diffusers write them, each tensor apart by `shift`."""
    write(folder / "unet" / f"{STEM}.safetensors", ONE)
    write(folder / "unet_ema" / f"{STEM}.safetensors", {"a": ONE["a"] + np.float32(shift)})
    put(folder / "unet" / "config.json", PLAIN)
    put(folder / "unet_ema" / "config.json", PLAIN | EMA)


@pytest.mark.parametrize("home", ["", "checkpoint-100"])
def test_the_averages_of_a_training_folder_are_taken(tmp_path, home):
    folder = tmp_path / home
    checkpoint(folder)
    put(tmp_path / "scheduler" / "scheduler_config.json", DDPM)
    write(folder / "model.safetensors", ONE)  # of accelerate, without a config.json
    source = readers.read(folder)
    assert source.config == {"unet": PLAIN, "scheduler": DDPM}
    assert source.averaging == EMA and source.ema is True
    np.testing.assert_array_equal(source.tensors["a"], ONE["a"] + 1)
    assert source.left_out == {"unet/*": "raw weights; their averages (unet_ema/) were taken"}
    alone = readers.read(folder / "unet_ema")
    assert (alone.ema, alone.averaging, alone.config["unet"]) == (True, EMA, PLAIN)
    raw = readers.read(folder / "unet")
    np.testing.assert_array_equal(raw.tensors["a"], ONE["a"])
    assert raw.ema is False
    assert raw.left_out == {"unet_ema": "averages of unet; give this folder to take them"}


def test_averages_alone_or_without_their_config(tmp_path):
    checkpoint(tmp_path)
    (tmp_path / "unet_ema" / "config.json").unlink()
    source = readers.read(tmp_path)
    assert (source.ema, source.averaging, source.config["unet"]) == (True, {}, PLAIN)
    checkpoint(tmp_path)
    shutil.rmtree(tmp_path / "unet")
    source = readers.read(tmp_path)
    assert (source.ema, source.averaging, source.left_out) == (True, EMA, {})


def test_averages_beside_a_file_are_named(tmp_path):
    write(tmp_path / "model012000.pt", ONE)
    for name in ("ema_0.9999_012000.pt", "ema_0.9999_010000.pt"):
        write(tmp_path / name, ONE)
    source = readers.read(tmp_path / "model012000.pt")
    assert source.ema is False and list(source.left_out) == ["ema_0.9999_012000.pt"]
    assert readers.read(tmp_path / "ema_0.9999_012000.pt").left_out == {}


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, 1 - 101**-0.75),
        ({"inv_gamma": 50.0}, 1 - 3**-0.75),
        ({"use_ema_warmup": False}, 101 / 110),
        ({"use_ema_warmup": False, "decay": 0.5}, 0.5),
        ({"use_ema_warmup": False, "min_decay": 0.95}, 0.95),
        ({"update_after_step": 100}, 0.0),
        ({"update_after_step": 60, "use_ema_warmup": False}, 41 / 50),
    ],
)
def test_the_decay_at_the_step_of_the_averages(changed, wanted):
    assert decay_of(EMA | changed) == pytest.approx(wanted, rel=1e-12)


def test_a_half_precision_file_fills_float32_leaves(tmp_path):
    write(tmp_path / f"{STEM}.fp16.safetensors", {"a.weight": np.float16([[1.5, 2.25]])})
    leaf = jax.ShapeDtypeStruct((2, 1), jnp.float32)
    params = conversion.fill({"a": {"kernel": leaf}}, readers.read(tmp_path))
    assert params["a"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(params["a"]["kernel"], [[1.5], [2.25]])


def test_folders_that_are_none(tmp_path):
    with pytest.raises(ValueError, match=f"holds no weights.*{STEM}"):
        readers.read(tmp_path)
    write(tmp_path / f"{STEM}.safetensors", ONE)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="cannot read .*config.json"):
        readers.read(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="JSON object"):
        readers.read(tmp_path)


# --- what config.json and the scheduler say -------------------------------------------------------


def described(network=None, scheduler=None, given=None):
    config = {"unet": network, "scheduler": scheduler}
    source = Source("x", {}, config={k: v for k, v in config.items() if v is not None})
    return diffusers.describe(source, given or {})


def test_fields_without_effect_change_nothing():
    """Unknown ones that are null or false, and nulls in place of defaults."""
    network = {"encoder_of_2027": None, "switch_of_2027": False, "norm_eps": None, "_name": 1}
    scheduler = {"beta_start": None, "beta_schedule": None, "prediction_type": None}
    scheduler |= {"num_train_timesteps": None, "trained_betas": None, "flow_of_2027": False}
    assert UNet2DConfig.from_mapping(PLAIN | network) == UNet2DConfig.from_mapping(PLAIN)
    assert described(PLAIN, DDPM | scheduler) == described(PLAIN, DDPM)
    for value in (True, 1, "yes", [0]):
        with pytest.raises(ValueError, match="unknown network fields .*switch_of_2027"):
            UNet2DConfig.from_mapping(PLAIN | {"switch_of_2027": value})


def test_missing_pieces_are_asked_for_by_name():
    for network, scheduler, field in (
        (None, DDPM, "config.json"),
        (PLAIN, None, "scheduler_config.json"),
        ({**PLAIN, "sample_size": None}, DDPM, "sample_size"),
    ):
        with pytest.raises(ValueError, match=f"do not contain .*{field}"):
            described(network, scheduler)
    given = {"config": PLAIN, "scheduler": DDPM}
    assert described(given=given) == described(PLAIN, DDPM)


@pytest.mark.parametrize(
    ("network", "scheduler", "field"),
    [
        ({"_class_name": "UNet2DConditionModel"}, {}, "_class_name"),
        ({"sample_size": [16, 32, 1]}, {}, "sample_size"),
        ({"out_channels": 6}, {}, "out_channels"),
        ({}, {"_class_name": "FlowMatchEulerDiscreteScheduler"}, "scheduler _class_name"),
        ({}, {"beta_schedule": "laplace"}, "beta_schedule"),
        ({}, {"prediction_type": "flow"}, "prediction_type"),
    ],
)
def test_unknown_values_are_refused_by_name(network, scheduler, field):
    with pytest.raises(ValueError, match=f"architecture: {field}"):
        described({**PLAIN, **network}, {**DDPM, **scheduler})


@pytest.mark.parametrize(
    "changed",
    [
        {"act_fn": "tanh"},
        {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]},
        {"up_block_types": ["UpBlock2D"]},
        {"time_embedding_type": "sines"},
        {"downsample_type": "pool"},
        {"downsample_padding": 2},
        {"resnet_time_scale_shift": "spatial"},
        {"class_embed_type": "projection"},
        {"norm_num_groups": None},
        {"attention": 1},
    ],
)
def test_unknown_parts_of_the_network_are_refused_by_name(changed):
    with pytest.raises(ValueError, match=next(iter(changed))):
        UNet2DConfig.from_mapping({**PLAIN, **changed})


def test_blocks_named_as_in_the_first_releases():
    old = {**PLAIN, "down_block_types": ["UNetResDownBlock2D", "UNetResAttnDownBlock2D"]}
    assert UNet2DConfig.from_mapping(old) == UNet2DConfig.from_mapping(PLAIN)


def test_what_contradicts_config_json_is_refused():
    with pytest.raises(ValueError, match="layers_per_block is 2 .* but 1"):
        described(PLAIN, DDPM, {"config": {"layers_per_block": 2}})


def test_a_given_sigma_max_is_taken_and_noted():
    folder = {"_class_name": "VeSdeScheduler", "sigma_min": 0.01, "sigma_max": 380}
    given = {"scheduler": {"_class_name": "ScoreSdeVeScheduler", "sigma_max": 348}}
    assert described(PLAIN, folder)["process"] == {
        "name": "ve",
        "sigma_min": 0.02,
        "sigma_max": 760.0,
    }
    card = described(PLAIN, folder, given)
    assert card["process"]["sigma_max"] == 696.0
    assert any("348" in note and "380" in note for note in card["notes"])
    assert card["range"] == [0, 1] and card["prediction"] == {"name": "score_sde_ve"}


@pytest.mark.parametrize("name", ["sd", "google"])
def test_tables_of_betas(golden, name):
    """alphas_cumprod of diffusers, and the same table from its betas written out."""
    with np.load(golden("io_schedulers.npz")) as file:
        betas, wanted = file[f"table_{name}__betas"], file[f"table_{name}__alphas_cumprod"]
    config = json.loads(golden("io_schedulers.json").read_text())
    config = next(c["config"] for case, c in config.items() if f"_{name}_" in case)
    t = jnp.arange(1, 1001) / 1000
    for changed in ({}, {"trained_betas": betas.tolist()}):
        made = registry.process(described(PLAIN, {**config, **DDPM, **changed})["process"])
        np.testing.assert_allclose(made.alpha(t) ** 2, wanted, rtol=5e-6)


def test_other_tables_against_their_formulas():
    """As diffusers writes them: cosine in steps of 1/T, sigmoid between -6 and 6."""
    n = 50
    f = [np.cos((i / n + 0.008) / 1.008 * np.pi / 2) ** 2 for i in range(n + 1)]
    cosine = [min(1 - f[i + 1] / f[i], 0.999) for i in range(n)]
    sigmoid = 1 / (1 + np.exp(-np.linspace(-6, 6, n))) * (0.02 - 0.0001) + 0.0001
    t = jnp.arange(1, n + 1) / n
    for kind, betas in (("squaredcos_cap_v2", cosine), ("sigmoid", sigmoid)):
        scheduler = {**DDPM, "beta_schedule": kind, "num_train_timesteps": n}
        made = registry.process(described(PLAIN, scheduler)["process"])
        wanted = np.cumprod(1 - np.asarray(betas))
        np.testing.assert_allclose(made.alpha(t) ** 2, wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "case",
    [
        "ddim_sd_eta0_epsilon",
        "ddim_sd_eta0_v_prediction",
        "ddim_sd_eta0_sample",
        "ddpm_sd_v",
        "ddim_rescale_zero_snr_trailing_v",
    ],
)
def test_predictions_give_the_x0_of_the_schedulers(golden, case):
    """x0 from a network's recorded output, also at a level without signal."""
    config = json.loads(golden("io_schedulers.json").read_text())[case]
    card = described(PLAIN, {**config["config"], "_class_name": config["scheduler"]})
    process = registry.process(card["process"])
    with np.load(golden("io_schedulers.npz")) as file:
        states = [file[f"{case}__sample"], *file[f"{case}__prev_sample"]]
        outputs, steps = file[f"{case}__model_output"], file[f"{case}__timesteps_run"]
        wanted = file[f"{case}__pred_original_sample"]
    adapter = registry.PRIORS[card["prediction"]["name"]]
    rest = {name: value for name, value in card["prediction"].items() if name != "name"}
    seen = []

    def net(params, x, label, y=None, key=None):
        seen.append(label[0])
        return params

    predict = adapter(net, process, **rest)
    for x, out, step, x0 in zip(states, outputs, steps, wanted, strict=False):
        t = jnp.float32((step + 1) / 1000)
        eps = predict(out, x[0], t).eps
        got = sde.x0_from_eps(process, x[0], t, eps)
        clipped = np.clip(got, -1, 1) if config["config"].get("clip_sample") else got
        close(np.asarray(clipped)[None], x0, RUN)
    np.testing.assert_array_equal(seen, steps[: len(seen)])


@pytest.mark.parametrize(
    ("case", "preset"),
    [
        ("ddim_google_clip_alpha1", "diffusers-eta"),
        *((f"ddpm_google_{kind}{n}", "diffusers-ddpm")
          for kind in ("fixed_small", "fixed_large", "fixed_small_log")
          for n in ("", "_n1000_tail")),
    ],
)  # fmt: skip
def test_presets_clip_and_draw_as_the_scheduler_of_the_folder(golden, case, preset):
    """From the recorded predictions and draws, the state after each step. The scheduler of DDIM
    clips x0 and keeps eps; that of DDPM has its own variance, and no noise in step 0."""
    told = json.loads(golden("io_schedulers.json").read_text())[case]
    a = recorded_arrays(golden("io_schedulers.npz"), f"{case}__")
    card = described(PLAIN, {**told["config"], "_class_name": told["scheduler"]})
    steps, said = a["timesteps_run"], a["model_output"]
    prior = player(steps, said[:, None], process=registry.process(card["process"]))
    n, share = told["num_inference_steps"], len(steps) / told["num_inference_steps"]
    sampling = settings.sampling({"steps": n}, preset, strength=share)
    plan = settings.resolve(prior.replace(metadata=card), sampling, 0.5).plan
    grid = plan.grid(prior.process, jnp.float32(0), plan.n)
    np.testing.assert_array_equal(np.round(1000 * grid.t - 1), steps)
    path = sampler.reverse(
        lambda x, t: prior.predict(prior.params, x, t, 0), prior.process, plan.solver, grid,
        ReplayNoise(jnp.asarray(a["noise"])[:, None]), a["sample"], final=plan.final,
        observe=lambda seen: seen.x_next,
    )[1]  # fmt: skip
    # near the clean end the original subtracts float32 numbers near 1
    close(path, a["prev_sample"], 2 * RUN if "tail" in case else 1e-5)


def test_a_scheduler_that_presets_do_not_have():
    card = described(PLAIN, {**DDPM, "clip_sample_range": 2.0})
    assert card["scheduler"]["clip_sample"]  # left out: diffusers clips
    prior = player([0], np.zeros((1, 1, 2, 2, 3), np.float32)).replace(metadata=card)
    with pytest.raises(ValueError, match="clip_sample_range of the prior's scheduler must be 1"):
        settings.resolve(prior, settings.sampling({}, "diffusers"), 0.5)
    card["scheduler"] = {"variance_type": "learned"}
    with pytest.raises(ValueError, match="variance_type of the prior's scheduler must be one of"):
        settings.resolve(prior, settings.sampling({}, "diffusers-ddpm"), 0.5)


def test_learned_range_of_variances():
    """diffusers' learned_range: log variance (v + 1) / 2 of the way from small to large."""
    scheduler = {**DDPM, "variance_type": "learned_range"}
    card = described({**PLAIN, "out_channels": 6}, scheduler)
    adapter = registry.PRIORS[card["prediction"].pop("name")]
    predict = adapter(lambda p, x, *_, **__: p, sde.linear_table(), **card["prediction"])
    out = jnp.concatenate([jnp.zeros((1, 2, 2, 3)), jnp.full((1, 2, 2, 3), 0.5)], axis=-1)
    prediction = predict(out, jnp.zeros((2, 2, 3)), jnp.float32(0.5))
    np.testing.assert_array_equal(prediction.variance, np.full((2, 2, 3), 0.75))


def test_ddpm_refuses_an_unknown_prediction():
    with pytest.raises(ValueError, match="predicts must be one of"):
        adapters.DDPM(None, sde.linear_table(), predicts="flow")


def test_labels_are_wanted_where_the_network_has_them():
    config = UNet2DConfig.from_mapping({**PLAIN, "num_class_embeds": 3})
    net = Network(UNet2D, config)
    x, label = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32), jnp.zeros(1)
    with pytest.raises(ValueError, match="y must be given"):
        jax.eval_shape(lambda p, x: net.apply(p, x, label), net.shapes, x)
    plain = Network(UNet2D, UNet2DConfig.from_mapping(PLAIN))
    with pytest.raises(ValueError, match="y must be None"):
        jax.eval_shape(lambda p, x: plain.apply(p, x, label, y=jnp.zeros(1)), plain.shapes, x)


@pytest.mark.parametrize("name", ["google_ddpm_256", "google_ncsnpp_256", "google_ncsnpp_1024"])
def test_tensors_of_the_published_folders(name):
    """Every tensor of the published files has its place, of the right shape."""
    file = SHARED / "reference" / "tensor_layouts" / f"{name}_unet2d.json"
    if not file.exists():
        pytest.skip("the list of tensors is not here")
    tensors = {
        n: np.broadcast_to(np.float32(0), a[1:]) for n, a in json.loads(file.read_text()).items()
    }
    kind = {
        "google_ddpm_256": "google/ddpm-celebahq-256",
        "google_ncsnpp_256": "google/ncsnpp-ffhq-256",
    }
    given = catalogue.card(kind.get(name, "google/ncsnpp-ffhq-1024")).given
    source = Source(file, tensors)
    assert families.family_of(source).name == "diffusers"
    card = diffusers.describe(source, given)
    shapes = registry.prior_of(card).params
    conversion.fill(
        shapes, source, diffusers.names(source, card, shapes), diffusers.unused(source, card)
    )
    if kind.get(name) == "google/ncsnpp-ffhq-256":
        assert card["process"]["sigma_max"] == 696.0

"""guided-diffusion's U-Net and its checkpoints: names, shapes, outputs, tables.

Oracle: the original program. goldens/guided_switches holds its outputs for every switch that its
released networks use; their weights are drawn from each tensor's name, so that only the numbers
that come out need be kept.
"""

import functools
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import golden_folder
from jax import jit

from sdedit_jax import registry
from sdedit_jax.diffusion import sde
from sdedit_jax.nets.adm import ADM, ADMConfig
from sdedit_jax.nets.functional import Network
from sdedit_jax.priors.adapters import DDPM
from sdedit_jax.weights import catalogue, conversion, load, readers, store
from sdedit_jax.weights.families import guided_diffusion, respacing
from sdedit_jax.weights.source import Source

CASES = ["new_order", "plain_resampling", "imagenet64", "imagenet512", "improved", "one_level"]
TOLERANCE = 1e-5  # of the largest absolute output of a picture


@functools.cache
def goldens():
    """(config, arrays) of goldens/guided_switches."""
    folder = golden_folder("guided_switches")
    with np.load(folder / "io.npz") as file:
        return json.loads((folder / "config.json").read_text()), dict(file)


def drawn(name, shape):
    """The weights of a tensor, from its name alone."""
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        return (z / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return (0.1 * z + name.endswith("weight")).astype(np.float32)


def source_of(case):
    """A case of the goldens as a file's tensors."""
    shapes = goldens()[0]["cases"][case]["shapes"]
    return Source("x.pt", {name: drawn(name, shape) for name, shape in shapes.items()})


def given_of(case, **changes):
    """What the original was called with."""
    unet = {"use_new_attention_order": False, **goldens()[0]["cases"][case]["unet_kwargs"]}
    schedule = {"steps": 1000, "noise_schedule": "linear", **changes}
    return {"family": "guided_diffusion", "unet_kwargs": unet, "diffusion_kwargs": schedule}


def close(got, want):
    """Of the largest absolute output of each picture."""
    worst = np.abs(np.asarray(got) - want).max((1, 2, 3)) / np.abs(want).max((1, 2, 3))
    assert worst.max() <= TOLERANCE


def last(a):
    return np.moveaxis(a, 1, -1)


# --- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_the_network_is_the_originals(case):
    """Tensors -> description -> parameters -> output: every tensor is used once, and tells what
    the original was called with."""
    source, arrays = source_of(case), goldens()[1]
    card = guided_diffusion.describe(source, given_of(case))
    config = ADMConfig.from_mapping(card["config"])
    net = Network(ADM, config)
    params = conversion.fill(net.shapes, source)
    y = arrays.get(f"{case}_y")
    y = None if y is None else jnp.asarray(y, jnp.int32)
    out = jit(net.apply)(params, last(arrays[f"{case}_x"]), arrays[f"{case}_t"], y=y)
    close(out, last(arrays[f"{case}_out"]))


@pytest.mark.parametrize("case", CASES)
def test_tensors_tell_what_the_original_was_called_with(case):
    said = given_of(case)["unet_kwargs"]
    hidden = ("image_size", "num_heads", "num_head_channels", "num_heads_upsample")
    hidden += ("use_new_attention_order",)
    few = {name: value for name, value in said.items() if name in hidden}
    card = guided_diffusion.describe(source_of(case), {**given_of(case), "unet_kwargs": few})
    assert ADMConfig.from_mapping(card["config"]) == ADMConfig.from_mapping(
        {**said, "attention_resolutions": reached(said)}
    )
    side, channels = said["image_size"], said["in_channels"]
    assert card["size"] == [side, side, channels] and card["range"] == [-1, 1]
    learned = said["out_channels"] == 2 * channels
    assert card["prediction"].get("learned_variance", False) == learned


def reached(said):
    """The original names levels that its network does not reach, too."""
    return [2**i for i in range(len(said["channel_mult"])) if 2**i in said["attention_resolutions"]]


def test_the_whole_way_of_a_file(golden, tmp_path):
    """The original's file -> reader -> card -> orbax -> load_prior -> predict."""
    pytest.importorskip("torch")
    folder = golden("guided_unet_classcond")
    source = readers.read(folder / "checkpoint.pt")
    assert guided_diffusion.recognise(source)
    card = guided_diffusion.describe(source, json.loads((folder / "config.json").read_text()))
    shapes = registry.prior_of(card).params
    store.save(tmp_path / "prior", conversion.fill(shapes, source), card)
    prior = load.load_prior(tmp_path / "prior")
    with np.load(folder / "io.npz") as file:
        arrays = {name: file[name] for name in ("x", "t", "y", "model_output", "diff_betas")}
    t, y = (arrays["t"] + 1) / 1000, arrays["y"].astype(np.int32)

    @jit
    def predict(x, t, y):
        got = jax.vmap(prior.predict, (None, 0, 0, 0))(prior.params, x, t, y)
        return jnp.concatenate([got.eps, 2 * got.variance - 1], axis=-1)

    close(predict(last(arrays["x"]), t.astype(np.float32), y), last(arrays["model_output"]))
    log_abar = -np.log1p(np.exp(-np.asarray(prior.process.log_snrs)))
    np.testing.assert_allclose(log_abar, np.cumsum(np.log1p(-arrays["diff_betas"])), rtol=1e-9)


def test_fresh_parameters_have_the_shapes_and_start_at_no_noise():
    """The original zeroes the last convolution and the ends of the residual branches."""
    config = ADMConfig.from_mapping({**given_of("new_order")["unet_kwargs"], "num_res_blocks": 1})
    net = Network(ADM, config)
    params = net.init(jax.random.key(0))
    same = jax.tree.map(lambda a, b: a.shape == b.shape, params, net.shapes)
    assert jax.tree.all(same)
    for path, leaf in store.leaves(params):
        if path.endswith(("out_layers/3/kernel", "proj_out/kernel", "out/2/kernel")):
            assert np.abs(leaf).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "millions"), [("64x64_diffusion", 296), ("512x512_diffusion", 559)]
)
def test_released_networks_have_the_papers_size(name, millions):
    """2105.05233, tables 4 and 12: parameters without the weights of a classifier."""
    assert round(size_of(name) / 1e6) == millions


def test_the_unconditional_network_fills_its_published_file():
    """The file has 2,211,383,297 bytes: four for each parameter, and some for the names."""
    assert 0 < 2_211_383_297 - 4 * size_of("256x256_diffusion_uncond") < 200_000


def size_of(name):
    """Number of parameters of a released network."""
    config = ADMConfig.from_mapping(catalogue.card(f"guided_diffusion/{name}").given["unet_kwargs"])
    shapes = Network(ADM, config).shapes
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"out_channels": 4}, "out_channels must be in_channels = 3 or twice that, got 4"),
        ({"num_heads": 3}, "32 channels do not make 3 heads"),
        ({"num_head_channels": 24}, "32 channels do not make 1 heads"),
        ({"model_channels": 40}, "channels must be a multiple of 32 groups, got 40"),
        ({"foo": 1}, r"unknown network fields \['foo'\]"),
    ],
)
def test_wrong_architectures_are_named(changes, told):
    values = {**given_of("new_order")["unet_kwargs"], **changes}
    with pytest.raises(ValueError, match=told):
        _ = Network(ADM, ADMConfig.from_mapping(values)).shapes


def test_labels_are_wanted_where_there_are_classes_and_only_there():
    for case, y, told in [
        ("imagenet64", None, "y must be given: it has class labels"),
        ("new_order", jnp.zeros(1, jnp.int32), "y must be None: this network has no class labels"),
    ]:
        config = ADMConfig.from_mapping(given_of(case)["unet_kwargs"])
        net = Network(ADM, config)
        x = jnp.zeros((1, 8, 8, 3))
        with pytest.raises(ValueError, match=told):
            jax.eval_shape(net.apply, net.shapes, x, jnp.zeros(1), y=y)


# --- tables, labels, variance ---------------------------------------------------------------------


def test_respacing_keeps_the_originals_steps():
    for n, text, kept in goldens()[0]["respacing"]:
        assert respacing.kept_steps(n, text) == kept, (n, text)
    assert respacing.kept_steps(5, "") == [0, 1, 2, 3, 4]
    for n, text in [(1000, "ddim333"), (100, "60,30"), (10, "11"), (10, "0"), (10, "x")]:
        with pytest.raises(ValueError, match=f"timestep_respacing '{text}' does not fit {n}"):
            respacing.kept_steps(n, text)


def test_tables_are_the_originals():
    """alpha_bar of linear and cosine tables, stretched to other numbers of steps, respaced."""
    for name, abar in goldens()[1].items():
        if not name.startswith("table_"):
            continue
        kind, n, text = name.split("_")[1:]
        given = {"steps": int(n), "noise_schedule": kind, "timestep_respacing": text}
        process = registry.process(guided_diffusion.process(given))
        assert len(process.log_snrs) == len(abar)
        np.testing.assert_allclose(1 / (1 + np.exp(-np.asarray(process.log_snrs))), abar, rtol=1e-9)
        if "_1000_" in name and len(abar) < 1000:  # each of the others costs a compilation
            t = (np.arange(len(abar)) + 1) / len(abar)
            found = np.asarray(sde.level(process, t.astype(np.float32))[0]) ** 2
            np.testing.assert_allclose(found, abar, rtol=3e-5)


def test_a_respaced_table_is_asked_at_the_original_steps():
    seen = []

    def net(params, x, label, y=None, key=None):
        seen.append(float(label[0]))
        return jnp.concatenate([x, jnp.full_like(x, 0.5)], axis=-1)

    kept = (0, 20, 41, 999)
    process = sde.respaced(sde.linear_table(), kept)
    predict = DDPM(net, process, learned_variance=True)
    for i in range(4):
        got = predict({}, jnp.ones((2, 2, 3)), jnp.float32((i + 1) / 4))
        np.testing.assert_array_equal(got.eps, jnp.ones((2, 2, 3)))
        np.testing.assert_array_equal(got.variance, jnp.full((2, 2, 3), 0.75))
    assert seen == list(kept)
    predict({}, jnp.ones((2, 2, 3)), jnp.float32(0.625))  # between the levels at 20 and 41
    assert seen[-1] in (30, 31)
    DDPM(net, sde.linear_table(n=4000), steps=4000, label_scale=0.25)({}, jnp.ones((2, 2, 3)), 0.5)
    assert seen[-1] == 1999 / 4
    for kept in ([3], [0, 0, 1], [0, 1000], [-1, 4]):
        with pytest.raises(ValueError, match="at least 2 increasing levels of 0 .. 999, got"):
            sde.respaced(sde.linear_table(), kept)


# --- the family -----------------------------------------------------------------------------------


def test_the_scripts_flags_say_the_same_as_the_arguments():
    """Those of the original's README for its ImageNet 64 x 64, at 8 x 8 and other widths."""
    flags = {"attention_resolutions": "4,2,1", "class_cond": True, "diffusion_steps": 1000}
    flags |= {"dropout": 0.1, "image_size": 8, "learn_sigma": True, "noise_schedule": "cosine"}
    flags |= {"num_channels": 32, "num_head_channels": 16, "num_res_blocks": 2}
    flags |= {"resblock_updown": True, "use_new_attention_order": True, "use_fp16": True}
    flags |= {"use_scale_shift_norm": "True", "channel_mult": "1,2,3"}
    flags |= {"timestep_respacing": "ddim25"}
    source = source_of("imagenet64")
    table = source.tensors["label_emb.weight"]
    source.tensors["label_emb.weight"] = np.resize(table, (1000, table.shape[1]))
    card = guided_diffusion.describe(source, flags)
    said = given_of("imagenet64", noise_schedule="cosine", timestep_respacing="ddim25")
    unet = {**said["unet_kwargs"], "num_classes": 1000, "dropout": 0.1}
    assert card == guided_diffusion.describe(source, {**said, "unet_kwargs": unet})
    assert card["process"]["table"] == {"name": "cosine", "n": 1000}
    assert card["process"]["kept"] == list(range(0, 1000, 40))
    with pytest.raises(ValueError, match=r"unknown fields \['foo'\] of guided_diffusion"):
        guided_diffusion.describe(source, {**flags, "foo": 1})


def test_what_nothing_tells_is_asked_for():
    wanted = "'image_size', 'num_heads or num_head_channels', 'use_new_attention_order', "
    wanted += "'noise_schedule', 'steps'"
    with pytest.raises(ValueError, match=rf"do not contain \[{wanted}\]"):
        guided_diffusion.describe(source_of("new_order"), {})
    given = given_of("new_order")
    unet = {k: v for k, v in given["unet_kwargs"].items() if k != "use_new_attention_order"}
    with pytest.raises(ValueError, match=r"do not contain \['use_new_attention_order'\]"):
        guided_diffusion.describe(source_of("new_order"), {**given, "unet_kwargs": unet})


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("num_classes", 1000, "num_classes is 1000 by the configuration, 5 by the tensors"),
        ("channel_mult", [1, 2, 4], "channel_mult is"),
        ("attention_resolutions", [2], "attention_resolutions is"),
        ("num_res_blocks", 3, "num_res_blocks is 3"),
        ("resblock_updown", False, "resblock_updown is False"),
        ("use_scale_shift_norm", False, "use_scale_shift_norm is False"),
    ],
)
def test_contradictions_are_named(field, value, told):
    given = given_of("imagenet64")
    given["unet_kwargs"] = {**given["unet_kwargs"], field: value}
    with pytest.raises(ValueError, match=told):
        guided_diffusion.describe(source_of("imagenet64"), given)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"learn_sigma": False}, "out_channels is 3 by the configuration, 6 by the tensors"),
        ({"noise_schedule": "sqrt"}, "noise_schedule must be 'linear' or 'cosine', got 'sqrt'"),
        ({"predict_xstart": True}, "predict_xstart must be False"),
        ({"timestep_respacing": "2000"}, "timestep_respacing '2000' does not fit 1000 steps"),
    ],
)
def test_other_diffusions_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        guided_diffusion.describe(source_of("imagenet64"), given_of("imagenet64", **changes))


def test_upsamplers_classifiers_and_strangers():
    whole = source_of("imagenet64").tensors

    def without(part):
        return {name: a for name, a in whole.items() if part not in name}

    upsampler = Source("u.pt", {**whole, "input_blocks.0.0.weight": np.zeros((32, 6, 3, 3))})
    classifier = Source("c.pt", without("output_blocks"))
    for other, told in [(upsampler, "u.pt is an upsampler"), (classifier, "c.pt is a classifier")]:
        assert guided_diffusion.recognise(other)
        with pytest.raises(ValueError, match=told):
            guided_diffusion.describe(other, given_of("imagenet64"))
    with pytest.raises(ValueError, match="x.pt lacks the tensor input_blocks.1.0.emb_layers.1.w"):
        guided_diffusion.describe(Source("x.pt", without("emb_layers")), given_of("imagenet64"))
    latent = {**whole, "input_blocks.1.1.transformer_blocks.0.norm1.weight": np.zeros(3)}
    assert not guided_diffusion.recognise(Source("sd.ckpt", latent))
    assert not guided_diffusion.recognise(Source("sd.ckpt", {"conv_in.weight": np.zeros(3)}))

"""The networks of a Stable Diffusion folder against diffusers and transformers."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SHARED
from jax import jit
from seeded_weights import seeded

from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.nets.sd_vae import SDVae, SDVaeConfig
from sdedit_jax.weights import conversion
from sdedit_jax.weights.families import diffusers_names
from sdedit_jax.weights.readers.folder import read_part
from sdedit_jax.weights.source import Source

KINDS = {SDUNet: SDUNetConfig, SDVae: SDVaeConfig, ClipText: ClipTextConfig}
TOLERANCE = 2e-5  # of the largest absolute value


def network(kind, values):
    return Network(kind, KINDS[kind].from_mapping(values))


def filled(net, source, kind):
    names = diffusers_names.attention(source, net.shapes)
    if kind is ClipText:
        names |= diffusers_names.clip_text(source, net.shapes)
    return conversion.fill(net.shapes, source, names, diffusers_names.clip_positions(source))


@functools.cache
def loaded(kind, folder):
    """(apply, params) of a network in a folder; the U-Net's is compiled."""
    net = network(kind, json.loads((folder / "config.json").read_text()))
    params = jax.tree.map(jnp.asarray, filled(net, read_part(folder), kind))
    return (jit(net.apply) if kind is SDUNet else net.apply), params


def arrays(file):
    """The arrays of a golden; pictures as [..., H, W, C]."""
    with np.load(file) as found:
        return {n: np.moveaxis(a, -3, -1) if a.ndim > 3 else a for n, a in found.items()}


def close(got, want, tolerance=TOLERANCE):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


# --- U-Net ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["t1", "t501", "t981", "tvec"])
def test_unet(golden, label):
    io = arrays(golden("io_unet.npz"))
    apply, params = loaded(SDUNet, golden("sd_tiny") / "unet")
    t = io["t_vec"] if label == "tvec" else np.full(2, int(label[1:]))
    got = apply(params, io["sample"], jnp.asarray(t, jnp.float32), y=io["encoder_hidden_states"])
    close(got, io[f"out_{label}"])


def test_unet_on_large_latents(golden):
    io = arrays(golden("io_unet.npz"))
    apply, params = loaded(SDUNet, golden("sd_tiny") / "unet")
    twice = jnp.repeat(io["sample_big"], 2, axis=0)  # the batch that is compiled already
    text = jnp.repeat(io["encoder_hidden_states"][1:], 2, axis=0)
    got = apply(params, twice, jnp.full(2, 991, jnp.float32), y=text)
    close(got[:1], io["out_big_t991"])


def test_unet_on_odd_sides(golden):
    """10 x 13: what does not halve evenly comes back at the sides kept on the way down."""
    io = arrays(golden("io_unet.npz"))
    apply, params = loaded(SDUNet, golden("sd_tiny") / "unet")
    text = io["encoder_hidden_states"][1:]
    got = apply(params, io["sample_odd"], jnp.full(1, 301, jnp.float32), y=text)
    close(got, io["out_odd_t301"])


@pytest.mark.parametrize("name", ["sd2", "no_middle"])
def test_variants_of_the_unet(golden, name):
    """Stable Diffusion 2's linear ends and heads, and its attention weights; no middle block."""
    folder = golden("sd_variants")
    values = json.loads((folder / "config.json").read_text())["unets"][name]
    net = network(SDUNet, values)
    params = conversion.fill(net.shapes, Source(folder, seeded(net.shapes)[0]))
    with np.load(folder / "io.npz") as file:
        io = {part: file[f"{name}__{part}"] for part in ("x", "t", "y", "out", "maps4")}
    run = jit(functools.partial(net.apply, maps=(4, 4)))
    out, maps = run(params, np.moveaxis(io["x"], 1, -1), jnp.float32(io["t"]), y=io["y"])
    close(np.moveaxis(out, -1, 1), io["out"])
    close(maps, io["maps4"])
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)


def test_attention_maps_of_ledits_pp(golden):
    """The mean over layers at a quarter of the latent's side, as its pipeline aggregates them."""
    folder = golden("sd_tiny")
    tokenizer = pytest.importorskip("sdedit_jax.text.tokenizer")
    case = json.loads(golden("io_leditspp.json").read_text())["dpm_edit_default"]
    with np.load(golden("io_leditspp.npz")) as file:
        start, steps = file["dpm_inv__init_latents"], file["dpm_inv__timesteps"]
        states = [start, *file["dpm_edit_default__latents"]]
        wanted = file["dpm_edit_default__attn_agg"]
    ids = tokenizer.read(folder / "tokenizer").encode(case["editing_prompt"][0]).ids
    encode, params = loaded(ClipText, folder / "text_encoder")
    text = encode(params, jnp.asarray(ids)[None]).tokens
    net = network(SDUNet, json.loads((folder / "unet" / "config.json").read_text()))
    params = loaded(SDUNet, folder / "unet")[1]
    run = jit(functools.partial(net.apply, maps=(4, 4)))
    for i in (0, 4, 9):
        x = jnp.asarray(np.moveaxis(states[i], 1, -1))
        maps = run(params, x, jnp.float32(steps[i : i + 1]), y=text)[1]
        close(maps.mean(1)[..., :16], wanted[i])


def test_inpainting_unet_through_text_and_guidance(golden):
    """Nine channels: the recorded prediction from latents, mask and masked picture's latents."""
    folder = golden("sd_tiny")
    tokenizer = pytest.importorskip("sdedit_jax.text.tokenizer")
    name = "inpaint9_ddim_s06"
    case = json.loads(golden("io_img2img.json").read_text())[name]
    with np.load(golden("io_img2img.npz")) as file:
        parts = ("init_latents", "latent_mask", "masked_image_latents", "timesteps", "model_output")
        x, mask, masked, steps, wanted = (file[f"{name}__{part}"] for part in parts)
    read = tokenizer.read(folder / "tokenizer")
    texts = (case["negative_prompt"] or "", case["prompt"])
    ids = jnp.asarray(np.stack([read.encode(text).ids for text in texts]))
    encode, params = loaded(ClipText, folder / "text_encoder")
    text = encode(params, ids).tokens
    apply, params = loaded(SDUNet, golden("variants") / "unet_inpaint9")
    joined = np.moveaxis(np.concatenate([x, mask, masked], axis=1), 1, -1)
    t = jnp.full(2, steps[0], jnp.float32)
    plain, told = apply(params, jnp.repeat(jnp.asarray(joined), 2, axis=0), t, y=text)
    guided = plain + case["guidance_scale"] * (told - plain)
    close(np.moveaxis(guided, -1, 0)[None], wanted[0])


@pytest.mark.parametrize(
    "changed",
    [
        {"addition_embed_type": "text_time"},
        {"down_block_types": ["CrossAttnDownBlock2D"]},
        {"up_block_types": ["AttnUpBlock2D"] * 4},
        {"transformer_layers_per_block": [1, 2, 10]},
        {"attention_head_dim": [5, 10]},
        {"class_embed_type": "timestep"},
        {"time_cond_proj_dim": 256},
        {"unknown": 1},
    ],
)
def test_what_is_not_built_is_refused_by_name(changed):
    with pytest.raises(ValueError, match=next(iter(changed))):
        SDUNetConfig.from_mapping(changed).heads(0)


NO_EFFECT = {"added_in_2027": None, "switch_of_2027": False, "cross_attention_norm": False}
NO_EFFECT |= {"only_cross_attention": None, "act_fn": "swish", "dropout": None}
WITH_EFFECT = {"added_in_2027": 0, "switch_of_2027": True, "norm_of_2027": "layer"}
WITH_EFFECT |= {"cross_attention_norm": "layer_norm", "conv_in_kernel": None, "act_fn": "relu"}


def test_fields_without_effect_are_left_out():
    assert SDUNetConfig.from_mapping(NO_EFFECT) == SDUNetConfig()
    kept = {"num_attention_heads": None, "sample_size": 8, "_name_or_path": "x"}
    assert SDUNetConfig.from_mapping(kept) == SDUNetConfig(sample_size=8)
    assert SDVaeConfig.from_mapping({"tiling": False, "latents_mean": None}) == SDVaeConfig()


@pytest.mark.parametrize("name", WITH_EFFECT)
def test_fields_that_may_have_an_effect_are_refused(name):
    value = WITH_EFFECT[name]
    with pytest.raises(
        ValueError, match=rf"{name} must be one of .*, got {value!r}|unknown .*{name}"
    ):
        SDUNetConfig.from_mapping({name: value})


def test_arguments_of_the_unet_are_checked():
    tiny = {"block_out_channels": [8, 8], "norm_num_groups": 4, "cross_attention_dim": 4}
    tiny |= {"attention_head_dim": 2, "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
    net = network(SDUNet, tiny | {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]})
    x, text = jnp.zeros((1, 8, 8, 4)), jnp.zeros((1, 3, 4))

    def run(x, **kwargs):
        return jax.eval_shape(lambda p: net.apply(p, x, jnp.zeros(1), **kwargs), net.shapes)

    with pytest.raises(ValueError, match=r"x must be \[B,H,W,4\]"):
        run(x[..., :3], y=text)
    for wrong in (None, text[..., :3]):
        with pytest.raises(ValueError, match=r"y must be a text \[B,M,4\]"):
            run(x, y=wrong)
    with pytest.raises(ValueError, match=r"maps must be the size .*\(8, 8\).*got \(2, 2\)"):
        run(x, y=text, maps=(2, 2))


# --- autoencoder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["sd_tiny/vae", "variants/vae_old_attention_names"])
def test_vae(golden, folder):
    root, part = folder.split("/")
    io = arrays(golden("io_vae.npz"))
    apply, params = loaded(SDVae, golden(root) / part)
    mean, std = jit(functools.partial(apply, method="encode"))(params, io["image"])
    close(mean, io["mean"])
    close(std, io["std"])
    close(mean + std * io["sample_noise"], io["sample"])
    if root == "sd_tiny":
        decode = jit(functools.partial(apply, method="decode"))
        close(decode(params, io["mean"]), io["decoded_mean"])
        close(decode(params, io["latent2"]), io["decoded2"])


def test_vae_without_the_optional_parts(golden):
    folder = golden("sd_variants")
    values = json.loads((folder / "config.json").read_text())["vaes"]["vae_plain"]
    net = network(SDVae, values)
    params = conversion.fill(net.shapes, Source(folder, seeded(net.shapes)[0]))
    io = {n.removeprefix("vae_plain__"): a for n, a in arrays(folder / "io.npz").items()}
    mean, std = net.apply(params, io["x"], method="encode")
    close(mean, io["mean"])
    close(std, io["std"])
    close(net.apply(params, io["z"], method="decode"), io["out"])


def test_attention_weights_shaped_like_convolutions(golden):
    """Some conversions keep [C, C, 1, 1]."""
    source = read_part(golden("sd_tiny") / "vae")
    net = network(SDVae, json.loads((golden("sd_tiny") / "vae" / "config.json").read_text()))
    wide = {
        name: a[..., None, None] if ".to_" in name and a.ndim == 2 else a
        for name, a in source.tensors.items()
    }
    want = conversion.store.leaves(filled(net, source, SDVae))
    got = conversion.store.leaves(filled(net, source._replace(tensors=wide), SDVae))
    for (path, a), (_, b) in zip(want, got, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=path)


# --- text encoder ---------------------------------------------------------------------------------


def test_text_encoder(golden):
    io = arrays(golden("io_text_encoder.npz"))
    apply, params = loaded(ClipText, golden("sd_tiny") / "text_encoder")
    found = apply(params, io["input_ids"])
    close(found.tokens, io["last_hidden_state"])
    close(found.pooled, io["pooler_output"])
    close(apply(params, io["input_ids"][:3], skip=1).tokens, io["clip_skip_1"])


@pytest.mark.parametrize("name", ["text_encoder_noprefix", "text_encoder_with_projection"])
def test_variants_of_the_text_encoder(golden, name):
    """Exact GELU, an end token of its own, names without prefix, a projection."""
    folder = golden("variants") / name
    io = arrays(folder / "io.npz")
    apply, params = loaded(ClipText, folder)
    found = apply(params, jnp.asarray(io["input_ids"], jnp.int32))
    close(found.tokens, io["last_hidden_state"])
    close(found.pooled, io["text_embeds" if "with" in name else "pooler_output"])


def test_later_tokens_do_not_change_earlier_ones():
    config = {"vocab_size": 10, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2}
    net = network(ClipText, config | {"num_attention_heads": 2, "max_position_embeddings": 6})
    params = net.init(jax.random.key(0))
    ids = jnp.asarray([[1, 2, 3, 4, 5, 6], [1, 2, 3, 9, 9, 9]])
    tokens = net.apply(params, ids).tokens
    np.testing.assert_allclose(tokens[0, :3], tokens[1, :3], atol=1e-6)
    assert np.abs(tokens[0, 3:] - tokens[1, 3:]).min(1).max() > 1e-3
    with pytest.raises(ValueError, match=r"ids must be \[B,N\] with N up to 6"):
        net.apply(params, jnp.zeros((1, 7), jnp.int32))
    with pytest.raises(ValueError, match=r"skip must be in \[0, 2\]"):
        net.apply(params, ids, skip=3)


# --- published files ------------------------------------------------------------------------------

PUBLISHED = {
    "sd15_unet": (SDUNet, {"cross_attention_dim": 768}),
    "sd21_unet": (
        SDUNet,
        {
            "cross_attention_dim": 1024,
            "attention_head_dim": [5, 10, 20, 20],
            "use_linear_projection": True,
            "upcast_attention": True,
        },
    ),
    "sd1x_sd2x_vae_hub_names": (SDVae, {}),
    "sd_vae_new_names": (SDVae, {}),
    "sd15_text_encoder": (
        ClipText,
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
    ),
    "sd21_text_encoder": (
        ClipText,
        {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "num_hidden_layers": 23,
            "hidden_act": "gelu",
        },
    ),
}
VAE = {
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_tensors_of_the_published_files(name):
    """Every tensor of Stable Diffusion 1.5 and 2.1 has its place, of the right shape."""
    file = SHARED / "reference" / "tensor_layouts" / f"{name}.json"
    if not file.exists():
        pytest.skip("the list of tensors is not here")
    tensors = {
        tensor: np.broadcast_to(np.float32(0), shape)
        for tensor, (_, *shape) in json.loads(file.read_text()).items()
    }
    kind, values = PUBLISHED[name]
    net = network(kind, VAE if kind is SDVae else values)
    filled(net, Source(file, tensors), kind)

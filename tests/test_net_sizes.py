"""Networks at other sizes than the one they were trained at: height and width are independent."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import jit

from sdedit_jax.guidance.leditspp import attention_mask
from sdedit_jax.nets.adm import ADM, ADMConfig
from sdedit_jax.nets.ddpm import DDPM, DDPMConfig
from sdedit_jax.nets.edm_dhariwal import DhariwalConfig, DhariwalUNet
from sdedit_jax.nets.edm_song import SongConfig, SongUNet
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.ncsnpp import NCSNpp, NCSNppConfig
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.nets.sd_vae import SDVae, SDVaeConfig
from sdedit_jax.nets.unet2d import UNet2D, UNet2DConfig

SCORE_SDE = {"image_size": 8, "nf": 16, "ch_mult": (1, 2), "num_res_blocks": 1}
SCORE_SDE |= {"attn_resolutions": (4,)}
OUTPUT_SKIP = {"progressive": "output_skip", "progressive_input": "input_skip"}
EDM = {"img_resolution": 8, "model_channels": 32, "channel_mult": (1, 2), "num_blocks": 1}
EDM |= {"attn_resolutions": (4,)}
SKIPS = {"encoder_type": "skip", "decoder_type": "skip", "resample_filter": (1, 3, 3, 1)}
BLOCKS = {"block_out_channels": (32, 64), "layers_per_block": 1}
PLAIN = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D")}
PLAIN |= {"up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
SKIP = {"down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D")}
SKIP |= {"up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D")}
TEXT = {"cross_attention_dim": 8, "attention_head_dim": 2, "norm_num_groups": 8}
TEXT |= {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}
TEXT |= {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}

NETS = {
    "ncsnpp": (NCSNpp, NCSNppConfig(**SCORE_SDE)),
    "ncsnpp-output-skip": (NCSNpp, NCSNppConfig(**SCORE_SDE, **OUTPUT_SKIP)),
    "score_sde_ddpm": (NCSNpp, NCSNppConfig.ddpm({**SCORE_SDE, "nf": 32})),
    "ddpm_unet": (DDPM, DDPMConfig(image_size=8, ch=32, ch_mult=(1, 2), attn_resolutions=(4,))),
    "unet2d": (UNet2D, UNet2DConfig(**BLOCKS, **PLAIN)),
    "unet2d-skip": (UNet2D, UNet2DConfig(**BLOCKS, **SKIP)),
    "adm": (
        ADM,
        ADMConfig(
            image_size=8,
            model_channels=32,
            out_channels=6,
            num_res_blocks=1,
            attention_resolutions=(2,),
            channel_mult=(1, 2),
        ),
    ),
    "edm_song": (SongUNet, SongConfig(**EDM, **SKIPS)),
    "edm_song-residual": (SongUNet, SongConfig(**EDM, encoder_type="residual")),
    "edm_dhariwal": (DhariwalUNet, DhariwalConfig(**EDM)),
    "stable_diffusion": (SDUNet, SDUNetConfig(**BLOCKS, **TEXT)),
}
PIXELS = [name for name in NETS if name != "stable_diffusion"]
HEIGHT, WIDTH = 6, 10


def network(kind, config):
    return Network(kind, config)


def filled(shapes):
    """Random parameters, none of them near zero."""
    rng = np.random.default_rng(0)

    def leaf(path, like):
        z = rng.standard_normal(like.shape).astype(np.float32)
        if len(like.shape) > 1:
            return z / np.float32(np.sqrt(np.prod(like.shape[:-1])))
        return 0.2 * z + (jax.tree_util.keystr(path).endswith("['scale']"))

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def transposed(params):
    """The parameters with the two spatial axes of every convolution exchanged."""
    return jax.tree.map(lambda a: a.swapaxes(0, 1) if a.ndim == 4 else a, params)


def inputs(config, height=HEIGHT, width=WIDTH):
    """x, labels and, for Stable Diffusion, a text."""
    rng = np.random.default_rng(1)
    channels = getattr(config, "in_channels", 3)
    x = rng.standard_normal((2, height, width, channels)).astype(np.float32)
    text = {}
    if isinstance(config, SDUNetConfig):
        text["y"] = rng.standard_normal((2, 5, config.cross_attention_dim)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray([0.4, 3.0]), text


def close(got, want):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= 2e-5 * np.abs(want).max()


@pytest.mark.parametrize("name", NETS)
def test_transposing_input_and_kernels_transposes_the_output(name):
    kind, config = NETS[name]
    net = network(kind, config)
    params = filled(net.shapes)
    x, label, text = inputs(config)
    run = jit(net.apply)
    out = run(params, x, label, **text)
    other = run(transposed(params), x.swapaxes(1, 2), label, **text)
    assert out.shape[:3] == (2, HEIGHT, WIDTH) and np.abs(out).max() > 1e-2
    close(other.swapaxes(1, 2), out)


@pytest.mark.parametrize("name", NETS)
def test_the_same_layers_run_at_every_size(name):
    """Operation by operation: attention stands at the levels where it was built."""
    kind, config = NETS[name]
    net = network(kind, config)

    def operations(height, width):
        x, label, text = inputs(config, height, width)
        traced = jax.make_jaxpr(net.apply)(net.shapes, x, label, **text)
        return [eqn.primitive.name for eqn in traced.jaxpr.eqns]

    assert operations(8, 8) == operations(8, 12) == operations(16, 4)


@pytest.mark.parametrize("name", [name for name in PIXELS if not name.startswith("unet2d")])
def test_attention_is_placed_by_level(name):
    """At twice the picture side and twice the attended sides, the network is the same."""
    kind, config = NETS[name]
    fields = {"attn_resolutions": (8,), "image_size": 16, "img_resolution": 16}
    fields = {f: v for f, v in fields.items() if hasattr(config, f)}
    both = config, dataclasses.replace(config, **fields)
    assert [each.attention_levels for each in both] == [{1}, {1}]
    nets = [network(kind, each) for each in both]
    params = filled(nets[0].shapes)
    x, label, _ = inputs(config)
    out = jit(nets[0].apply)(params, x, label)
    assert np.array_equal(jit(nets[1].apply)(renamed(params), x, label), out)


def renamed(params):
    """EDM's parameters, which are named by side, under the names of twice the side."""
    if not isinstance(params, dict):
        return params
    if not any(name.startswith("8x8_") for name in params):
        return {name: renamed(child) for name, child in params.items()}
    return {n.replace("8x8", "16x16").replace("4x4", "8x8"): c for n, c in params.items()}


@pytest.mark.parametrize("name", PIXELS)
def test_sizes_that_the_stride_does_not_divide_are_refused(name):
    kind, config = NETS[name]
    assert config.stride == 2
    net = network(kind, config)
    x, label, _ = inputs(config, 6, 9)
    with pytest.raises(ValueError, match=r"H and W multiples of 2, got shape \(2, 6, 9, 3\)"):
        jax.eval_shape(net.apply, net.shapes, x, label)


def test_strides_follow_the_levels():
    assert SongConfig(img_resolution=32).stride == 8
    assert DDPMConfig(image_size=256).stride == 32
    assert VAE.factor == 2


# --- Stable Diffusion -----------------------------------------------------------------------------

UP = {"up_block_types": ("UpDecoderBlock2D",) * 2}
VAE = SDVaeConfig(**BLOCKS, **UP, down_block_types=("DownEncoderBlock2D",) * 2, norm_num_groups=8)


def test_the_autoencoder_transposes_with_its_kernels():
    net = network(SDVae, VAE)
    params = filled(net.shapes)
    x = inputs(VAE)[0]
    run = jit(net.apply, static_argnames="method")
    for method, given in (("encode", x), ("decode", jnp.tile(x, (1, 1, 1, 2))[..., :4])):
        out = run(params, given, method=method)
        other = run(transposed(params), given.swapaxes(1, 2), method=method)
        jax.tree.map(lambda a, b: close(a.swapaxes(1, 2), b), other, out)
    assert run(params, x, method="encode")[0].shape == (2, HEIGHT // 2, WIDTH // 2, 4)


@pytest.mark.parametrize("kinds", [("CrossAttn", ""), ("", "CrossAttn")])
def test_cross_attention_maps_have_height_and_width(kinds):
    """At either level; each map is a distribution over the text, and transposes with the input."""
    blocks = {
        "down_block_types": tuple(f"{kind}DownBlock2D" for kind in kinds),
        "up_block_types": tuple(f"{kind}UpBlock2D" for kind in kinds[::-1]),
    }
    config = SDUNetConfig(**BLOCKS, **TEXT | blocks)
    net = network(SDUNet, config)
    params = filled(net.shapes)
    factor = 1 if kinds[0] else 2
    size = (HEIGHT // factor, WIDTH // factor)
    x, label, text = inputs(config)
    run = jit(net.apply, static_argnames="maps")
    maps = run(params, x, label, **text, maps=size)[1]
    assert maps.shape == (2, 3, *size, 5)  # one layer on the way down, two on the way up
    np.testing.assert_allclose(maps.sum(-1), 1, rtol=1e-5)
    other = run(transposed(params), x.swapaxes(1, 2), label, **text, maps=size[::-1])[1]
    close(other.swapaxes(2, 3), maps)
    with pytest.raises(ValueError, match=r"maps must be the size of a cross-attention layer"):
        jax.eval_shape(lambda p: net.apply(p, x, label, **text, maps=size[::-1]), params)


def test_masks_from_attention_have_height_and_width():
    rng = np.random.default_rng(0)
    attention, tokens = rng.random((3, 5, 4), np.float32), np.float32([0, 1, 1, 0])
    mask = attention_mask(jnp.asarray(attention), tokens, jnp.float32(0.6), 2)
    other = attention_mask(jnp.asarray(attention.swapaxes(0, 1)), tokens, jnp.float32(0.6), 2)
    assert mask.shape == (6, 10, 1) and 0 < mask.mean() < 1
    assert np.array_equal(other.swapaxes(0, 1), mask)

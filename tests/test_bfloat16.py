"""The compute mode bfloat16 from end to end, by the traced program of an edit.

The stated rule: products are of bfloat16 operands, but for embeddings and both ends of a network;
norms and softmax are float32; so are state, noise and result. Parameters are not converted again
in each step.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxprs import equations, products
from test_net_sizes import BLOCKS, NETS, TEXT, VAE, filled

import sdedit_jax as sj
from sdedit_jax.diffusion.sde import VE
from sdedit_jax.edits.sdedit import Request
from sdedit_jax.images.guide import Guide
from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.ncsnpp import NCSNpp
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.nets.sd_vae import SDVae
from sdedit_jax.pipeline import settings
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors import adapters, latent
from sdedit_jax.priors.prior import Prior, Text
from sdedit_jax.weights import dtypes

PROCESS = VE(0.01, 80.0)
SIDE, STEPS = 8, 3
FAMILIES = [name for name in NETS if name != "stable_diffusion"] + ["stable_diffusion"]
ENDS = 8
"""Most channels of pictures, latents and their moments; networks have 16 and more inside."""
CLIP = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
CLIP |= {"num_attention_heads": 2, "max_position_embeddings": 6, "eos_token_id": 19}


class Ids(tuple):
    """What a tokenizer gives, as far as it is read here."""

    ids = np.arange(6)


@functools.cache
def prior(name, compute="bfloat16"):
    """A tiny prior of a family; its params are shapes."""
    if name != "stable_diffusion":
        kind, config = NETS[name]
        net = Network(kind, config, compute)
        learned = {"learned_variance": True} if name == "adm" else {}
        given = learned or {"label": "sigma" if kind is NCSNpp else "log"}
        predict = (adapters.DDPM if learned else adapters.EDM)(net, PROCESS, **given)
        return Prior(PROCESS, predict, net.shapes, (SIDE, SIDE, 3))
    blocks = TEXT | {"cross_attention_dim": CLIP["hidden_size"]}
    unet = Network(SDUNet, SDUNetConfig(**BLOCKS, **blocks), compute)
    vae = Network(SDVae, VAE, compute)
    text = Network(ClipText, ClipTextConfig(**CLIP), compute)
    params = {"unet": unet.shapes, "vae": vae.shapes, "text_encoder": text.shapes}
    predict = latent.StableDiffusion(unet, PROCESS)
    reads = Text(lambda _: Ids(), latent.TextEncoder(text))
    shape = (SIDE * VAE.factor, SIDE * VAE.factor, 3)
    return Prior(PROCESS, predict, params, shape, latent.VaeCodec(vae), text=reads)


@functools.cache
def traced(name, compute="bfloat16", converted=False):
    """The program of an edit: text, encoder, steps, decoder."""
    own = prior(name, compute)
    pipeline = SDEditPipeline(settings.resolve(own, settings.sampling({"steps": STEPS}), 0.5).plan)
    guide = Guide(jnp.zeros(own.shape), jnp.ones((*own.shape[:2], 1)))

    def edit(params, key):
        cond = own.text and own.text.encode(params, jnp.asarray(Ids.ids))
        given = Request(jnp.float32(0.5), guide, cond)
        request, at = pipeline.prepare(params, given), {"stage": "edit"}
        state = pipeline.init(params, request, key, None, jnp.int32(0), **at)
        state, _, _ = pipeline.advance(
            params, request, key, state, None, jnp.int32(0), jnp.int32(0),
            **at, count=STEPS, preview=False,
        )  # fmt: skip
        return pipeline.finish(params, given, request, state).image

    return jax.make_jaxpr(edit)(held(own, compute) if converted else own.params, jax.random.key(0))


def held(own, compute):
    """The params of a prior as they are loaded."""
    kinds = dtypes.held(own, compute)
    return jax.tree.map(lambda a, d: jax.ShapeDtypeStruct(a.shape, d), own.params, kinds)


def operands(eqn):
    return {value.aval.dtype for value in eqn.invars}


def is_embedding(eqn):
    """A vector for the picture times a matrix."""
    left, right = (value.aval.shape for value in eqn.invars)
    return eqn.primitive.name == "dot_general" and len(left) == len(right) == 2 and left[0] == 1


def is_end(eqn):
    """To or from pictures or latents: a kernel of few channels on one side."""
    shape = eqn.invars[1].aval.shape
    is_kernel = len(shape) == 4 and eqn.primitive.name == "conv_general_dilated" or len(shape) == 2
    return is_kernel and min(shape[-2:]) <= ENDS


@pytest.mark.parametrize("name", FAMILIES)
def test_products_are_of_bfloat16(name):
    found = products(traced(name).jaxpr)
    wide = [eqn for eqn in found if operands(eqn) != {jnp.dtype(jnp.bfloat16)}]
    assert all(operands(eqn) == {jnp.dtype(jnp.float32)} for eqn in wide)
    assert all(is_embedding(eqn) or is_end(eqn) for eqn in wide)
    inside = [eqn for eqn in found if not (is_embedding(eqn) or is_end(eqn))]
    assert len(inside) > 10 and len(products(traced(name, "float32").jaxpr)) == len(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_norms_and_softmax_are_float32(name):
    """Roots are of norms, exponentials of softmax, sums of both."""
    seen = {"rsqrt": 0, "exp": 0, "reduce_sum": 0, "reduce_max": 0}
    for eqn in equations(traced(name).jaxpr):
        if eqn.primitive.name in seen:
            seen[eqn.primitive.name] += 1
            assert operands(eqn) == {jnp.dtype(jnp.float32)}, eqn
    assert min(seen.values()) >= 1 and seen["rsqrt"] > 5


@pytest.mark.parametrize("name", FAMILIES)
def test_state_noise_and_result_are_float32(name):
    program = traced(name)
    (loop,) = [eqn for eqn in program.jaxpr.eqns if eqn.primitive.name == "scan"]
    shape = prior(name).shape if name != "stable_diffusion" else (SIDE, SIDE, 4)
    carried = [v.aval for v in loop.outvars if jnp.issubdtype(v.aval.dtype, jnp.floating)]
    assert shape in {a.shape for a in carried} and all(a.dtype == jnp.float32 for a in carried)
    drawn = [eqn for eqn in equations(program.jaxpr) if eqn.primitive.name == "erf_inv"]
    assert len(drawn) > 1 and all(operands(eqn) == {jnp.dtype(jnp.float32)} for eqn in drawn)
    assert [a.dtype for a in program.out_avals] == [jnp.float32]


# --- parameters -----------------------------------------------------------------------------------


def narrowed(program, shapes):
    """The conversions from float32 to bfloat16 of arrays that have the shape of a kernel."""
    return [
        eqn
        for eqn in equations(program.jaxpr)
        if eqn.primitive.name == "convert_element_type"
        and eqn.params["new_dtype"] == jnp.bfloat16
        and eqn.invars[0].aval.shape in shapes
    ]


@pytest.mark.parametrize("name", FAMILIES)
def test_no_step_converts_a_parameter(name):
    """Of a prior as it is loaded; with float32 parameters each step converts all kernels."""
    shapes = {a.shape for a in jax.tree.leaves(prior(name).params) if a.ndim in (2, 4)}
    # a kernel of 1 x 1 is converted as a matrix; the weights of attention have its four axes
    shapes = {shape[2:] if shape[:2] == (1, 1) else shape for shape in shapes}
    assert len(narrowed(traced(name), shapes)) > 10
    assert not narrowed(traced(name, converted=True), shapes)


@pytest.mark.parametrize("name", ["ncsnpp", "edm_song"])
def test_held_parameters_give_the_same_result(name):
    """Operation by operation: a parameter is rounded once, now or then."""
    own = prior(name)
    params = filled(own.params)
    kept = jax.tree.map(jnp.asarray, params, dtypes.held(own, "bfloat16"))
    x = jax.random.normal(jax.random.key(1), own.shape)
    with jax.disable_jit():
        wanted, found = (own.eps(p, x, 0.5) for p in (params, kept))
    assert np.isfinite(wanted).all() and np.array_equal(wanted, found)


def test_float32_holds_no_narrow_parameter():
    assert set(jax.tree.leaves(dtypes.held(prior("ncsnpp", "float32"), "float32"))) == {
        jnp.dtype(jnp.float32)
    }


def test_a_loaded_prior_holds_its_kernels_in_bfloat16():
    """Norms, biases of embeddings and both ends of the network stay float32."""
    wide, narrow = (sj.load_prior("fruits64", mode).params for mode in ("float32", "bfloat16"))
    size = sum(a.nbytes for a in jax.tree.leaves(narrow))
    assert size < 0.6 * sum(a.nbytes for a in jax.tree.leaves(wide))

    def rounded_once(a, b):
        return np.array_equal(np.asarray(a).astype(b.dtype), np.asarray(b))

    assert all(jax.tree.leaves(jax.tree.map(rounded_once, wide, narrow)))

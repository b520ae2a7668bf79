"""The networks against the originals' outputs, closed forms, scipy and plain autodiff."""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import golden_folder
from flax import nnx
from jax import jit
from jaxprs import products
from nets_goldens import load_case

from sdedit_jax.nets import kernels, layers, resample
from sdedit_jax.nets.ddpm import DDPM, DDPMConfig
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.ncsnpp import DDPM_VALUES, NCSNpp, NCSNppConfig

HERE = [  # stand in tests/goldens
    "ncsnpp_ve_celebahq256",
    "ddpmpp_vp_cifar10_continuous",
    "jax_ddpmpp_vp_discrete_resblockddpm",
    "jax_ncsnpp_ddpmres_firconv_outskip",
    "jax_ncsnpp_residual_fir",
    "jax_ncsnpp_residual_nofir_elu",
]
ELSEWHERE = [
    "ddpm_vp_cifar10_discrete",
    "ddpmpp_vp_cifar10_discrete",
    "ncsnpp_subvp_cifar10_continuous",
    "ncsnpp_switch_cat",
    "ncsnpp_switch_ddpmres_fir_noconv",
    "ncsnpp_ve_church",
    "ncsnpp_ve_cifar10_continuous",
    "ncsnpp_ve_cifar10_discrete",
    "ncsnpp_ve_ffhq1024",
    "sdedit_ddpm_unet",
    "sdedit_ddpm_unet_legacyfile",
]
TINY = NCSNppConfig(
    image_size=8,
    nf=8,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(4,),
    progressive="output_skip",
    progressive_input="input_skip",
    sigma_max=40.0,
    init_scale=1.0,
)


class Net(NamedTuple):
    apply: Callable  # as the library gives it
    run: Callable  # the same, compiled
    params: dict


@functools.cache
def tiny(compute="float32", **changes):
    """A small network with nothing near zero."""
    if "ch" in changes:
        net = Network(DDPM, DDPMConfig(**changes), compute)
    else:
        net = Network(NCSNpp, dataclasses.replace(TINY, **changes), compute)
    return Net(net.apply, jit(net.apply), net.init(jax.random.key(0)))


def pictures(n=2, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((n, 8, 8, 3), np.float32)
    return jnp.asarray(x), jnp.asarray(np.geomspace(0.05, 30, n), jnp.float32)


def relative(a, b):
    """The largest difference over the largest absolute value of b."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.abs(np.asarray(b)).max())


# ---- against the originals


@pytest.mark.parametrize("name", HERE + ELSEWHERE)
def test_output_is_that_of_the_original(name):
    apply, params, _, arrays = load_case(name)
    out = jit(apply)(params, arrays["x"], arrays["labels"].astype(np.float32))
    for ours, theirs in zip(out, arrays["model_output"], strict=True):
        assert relative(ours, theirs) < 1e-5


CIFAR = {"image_size": 32, "ch_mult": (1, 2, 2, 2)}
LSUN = {
    "image_size": 256,
    "ch_mult": (1, 1, 2, 2, 2, 2, 2),
    "num_res_blocks": 2,
    "progressive": "output_skip",
    "progressive_input": "input_skip",
}
PLUS = {"fir": False, "progressive_input": "none", "embedding_type": "positional"}


@pytest.mark.parametrize(
    "kind, config, published",
    [
        (NCSNpp, NCSNppConfig(**CIFAR), 62758915),
        (NCSNpp, NCSNppConfig(**CIFAR, embedding_type="positional"), 62693251),
        (NCSNpp, NCSNppConfig(**CIFAR, **PLUS), 61804419),
        (NCSNpp, NCSNppConfig(**CIFAR, **DDPM_VALUES, num_res_blocks=2), 35218947),
        (NCSNpp, NCSNppConfig(**LSUN), 65574549),
        (
            NCSNpp,
            NCSNppConfig(
                **LSUN
                | {
                    "image_size": 1024,
                    "nf": 16,
                    "ch_mult": (1, 2, 4, 8, 16, 32, 32, 32),
                    "num_res_blocks": 1,
                }
            ),
            105785896,
        ),
        (DDPM, DDPMConfig(image_size=256), 113673219),
    ],
)
def test_full_size_networks_have_the_published_number_of_parameters(kind, config, published):
    shapes = Network(kind, config).shapes
    assert sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(shapes)) == published


# ---- resampling


def upfirdn_calls():
    calls = json.loads((golden_folder("tables_upfirdn") / "config.json").read_text())["calls"]
    return [call for call in calls if call["fn"] != "upfirdn2d"]  # ours is separable


@pytest.mark.parametrize("call", upfirdn_calls(), ids=lambda call: call["key"])
def test_resampling_matches_the_original(call):
    with np.load(golden_folder("tables_upfirdn") / "io.npz") as file:
        x, wanted = (file[k].transpose(0, 2, 3, 1) for k in (call["input"], call["key"]))
        w = file["conv_w_oihw"].transpose(2, 3, 1, 0)
    name = call["fn"].split()[0]
    args = [x, w] if "weight" in call else [x]
    extra = {k: call[k] for k in ("k", "factor", "gain") if k in call}
    with jax.default_matmul_precision("highest"):
        out = getattr(resample, name)(*args, **extra)
    assert out.shape == wanted.shape and relative(out, wanted) < 1e-6


@pytest.mark.parametrize("k", [(1, 3, 3, 1), (1, 2, 1), (1, 2, 4, 8, 3, 1)])
@pytest.mark.parametrize("factor", [2, 3])
def test_resampling_matches_scipy(k, factor, rng):
    upfirdn = pytest.importorskip("scipy.signal").upfirdn
    x, n = rng.standard_normal((12, 12)), 12
    taps, p = np.array(k) / sum(k), len(k) - factor

    def both(a, up, down, skip, size):  # scipy pads K - 1 before: `skip` is K - 1 - pad0
        for axis in (0, 1):
            a = upfirdn(taps * up, a, up, 1, axis)
            a = np.pad(a, [(9, 9) if i == axis else (0, 0) for i in (0, 1)])
            a = np.take(a, range(9 + skip, 9 + skip + size * down, down), axis)
        return a

    up = both(x, factor, 1, len(k) - 1 - ((p + 1) // 2 + factor - 1), n * factor)
    down = both(x, 1, factor, len(k) - 1 - (p + 1) // 2, n // factor)
    image = jnp.asarray(x, jnp.float32)[None, :, :, None]
    assert relative(resample.upsample_2d(image, k, factor)[0, :, :, 0], up) < 1e-5
    assert relative(resample.downsample_2d(image, k, factor)[0, :, :, 0], down) < 1e-5


def test_up_and_down_are_transposes_of_each_other(rng):
    """<up x, y> = factor^2 <x, down y> for a symmetric kernel: also a check of both gradients."""
    x, y = (jnp.asarray(rng.standard_normal((1, n, n, 2)), jnp.float32) for n in (6, 12))
    k = (1, 3, 3, 1)
    (pulled,) = jax.vjp(lambda x: resample.upsample_2d(x, k), x)[1](y)
    assert relative(pulled, 4 * resample.downsample_2d(y, k)) < 1e-6


# ---- embeddings


def test_embeddings_match_the_original():
    with np.load(golden_folder("tables_embeddings") / "io.npz") as file:
        table = dict(file)
    for dim in (8, 31, 128):
        ours = layers.positional_embedding(jnp.asarray(table["positional_t"]), dim)
        assert np.abs(ours - table[f"positional_dim{dim}"]).max() < 1e-4  # sines of 1000 rad
    projection = functools.partial(layers.GaussianFourierProjection, 64, 16.0)
    graph, _ = nnx.split(nnx.eval_shape(lambda: projection(rngs=layers.Draws())))
    w = jnp.asarray(table["fourier_W"], jnp.float32)
    ours = jit(lambda v: nnx.merge(graph, {"W": w})(v))(jnp.asarray(table["fourier_logsigma"]))
    assert np.abs(ours - table["fourier_out"]).max() < 1e-4  # phases of 1000 rad


# ---- the two operations with their own gradients


@pytest.mark.parametrize("n_in, n_out", [(16, 24), (3, 8)])
def test_conv_gradients_are_those_of_autodiff(n_in, n_out, rng):
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    x, kernel, g = draw(2, 7, 5, n_in), draw(3, 3, n_in, n_out), draw(2, 7, 5, n_out)

    def nine_products(x, kernel):
        wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        places = [(i, j) for i in range(3) for j in range(3)]
        return sum(jnp.dot(wide[:, i : i + 7, j : j + 5], kernel[i, j]) for i, j in places)

    with jax.default_matmul_precision("highest"):
        ours, pull = jax.vjp(kernels.conv3x3, x, kernel)
        theirs, pull_theirs = jax.vjp(nine_products, x, kernel)
        assert relative(ours, theirs) < 1e-6
        for a, b in zip(pull(g), pull_theirs(g), strict=True):
            assert relative(a, b) < 1e-5


def test_group_norm_and_its_gradients(rng):
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    x, scale, bias, g = 3 + 2 * draw(2, 4, 6, 8), draw(8), draw(8), draw(2, 4, 6, 8)

    def textbook(x, scale, bias):
        y = x.reshape(2, 4, 6, 4, 2)
        mean, var = (f(y, axis=(1, 2, 4), keepdims=True) for f in (jnp.mean, jnp.var))
        y = ((y - mean) / jnp.sqrt(var + 1e-6)).reshape(x.shape)
        return y * scale.reshape(1, 1, 1, 8) + bias.reshape(1, 1, 1, 8)

    ours, pull = jax.vjp(lambda *a: kernels.group_norm(*a, groups=4), x, scale, bias)
    theirs, pull_theirs = jax.vjp(textbook, x, scale, bias)
    assert relative(ours, theirs) < 1e-5
    for a, b in zip(pull(g), pull_theirs(g), strict=True):
        assert relative(a, b) < 1e-5


def test_network_gradient_is_the_slope():
    """Along the gradient, for parameters and input, against central differences."""
    net = tiny()
    x, label = pictures()

    def loss(p, x):
        out = label.reshape(-1, 1, 1, 1) * net.apply(p, x, label)
        return jnp.sum(out * jnp.cos(jnp.arange(out.size)).reshape(out.shape))

    grads = jit(jax.grad(loss, argnums=(0, 1)))(net.params, x)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    norm = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in jax.tree.leaves(grads)))
    norm = float(norm)
    move = jit(lambda h, g: loss(*jax.tree.map(lambda a, d: a + h * d / norm, (net.params, x), g)))
    slope = (move(2e-3, grads) - move(-2e-3, grads)) / 4e-3
    assert slope == pytest.approx(norm, rel=0.01)
    frequencies = grads[0]["all_modules"].pop("0")["W"]  # fixed, never trained
    assert not np.any(frequencies) and all(np.any(g) for g in jax.tree.leaves(grads))


# ---- the bridge


def test_params_are_plain_dicts_with_string_keys():
    net = tiny()
    shapes = Network(NCSNpp, TINY).shapes

    def walk(tree):
        if type(tree) is dict:
            assert all(type(name) is str for name in tree)
            return [leaf for child in tree.values() for leaf in walk(child)]
        return [tree]

    assert all(isinstance(leaf, jax.Array) for leaf in walk(net.params))
    same = jax.tree.map(lambda a, s: a.shape == s.shape and a.dtype == s.dtype, net.params, shapes)
    assert all(jax.tree.leaves(same))
    x, label = pictures()
    modules = {int(k): v for k, v in net.params["all_modules"].items()}  # as flax has them
    by_number = net.run({"all_modules": modules}, x, label)
    assert np.array_equal(by_number, net.run(net.params, x, label))


def test_wrong_params_are_named():
    net = tiny()
    x, label = pictures()
    short = dict(net.params["all_modules"])
    del short["3"]
    with pytest.raises(ValueError, match=r"\['all_modules'\] lacks \['3'\]"):
        net.apply({"all_modules": short}, x, label)
    with pytest.raises(ValueError, match=r"unknown \['new'\]"):
        net.apply({**net.params, "new": short}, x, label)
    with pytest.raises(ValueError, match="must have shape"):
        net.apply(jax.tree.map(lambda a: a[None], net.params), x, label)
    with pytest.raises(ValueError, match="compute must be one of"):
        Network(NCSNpp, TINY, "float16")


def test_a_row_does_not_depend_on_its_batch():
    net = tiny()
    x, label = pictures(4)
    together = net.run(net.params, x, label)

    def one(params, x, label):
        return net.apply(params, x[None], label[None])[0]

    single = jit(one)
    alone = jnp.stack([single(net.params, *row) for row in zip(x, label, strict=True)])
    assert relative(alone, together) < 1e-5
    rows = (None, 0, 0)
    assert relative(jit(jax.vmap(one, rows))(net.params, x, label), together) < 1e-5
    assert relative(jax.pmap(one, in_axes=rows)(net.params, x, label), together) < 1e-5


def test_steps_in_a_scan_are_the_steps_of_a_loop():
    net = tiny()
    x, label = pictures()

    def step(x, label):
        return x - 0.01 * net.apply(net.params, x, label), None

    scanned, _ = jit(lambda x: jax.lax.scan(step, x, jnp.stack([label, label / 2])))(x)
    for now in (label, label / 2):
        x = x - 0.01 * net.run(net.params, x, now)
    assert relative(scanned, x) < 1e-5


# ---- compute modes, dropout, classes


def kinds(program, *args):
    """(precision, dtype) of every product of a program, the inner ones too."""
    found = products(jax.make_jaxpr(program)(*args).jaxpr)
    return [(eqn.params["precision"], eqn.invars[0].aval.dtype) for eqn in found]


SDEDIT = {"ch": 32, "image_size": 8, "ch_mult": (1, 2)}


@pytest.mark.parametrize("model", [{}, SDEDIT])
def test_float32_means_full_precision_forward_and_backward(model):
    net = tiny(**model)
    x, label = pictures()
    loss = jax.grad(lambda p: jnp.sum(net.apply(p, x, label) ** 2))
    found = kinds(loss, net.params)
    highest = (jax.lax.Precision.HIGHEST,) * 2
    assert len(found) > 60
    assert all(p == highest and d == jnp.float32 for p, d in found)


def test_tf32_asks_for_tensorfloat():
    """Where the hardware has none, as here, the products are those of float32."""
    net, (x, label) = tiny("tf32"), pictures()
    found = kinds(net.apply, net.params, x, label)
    high = (jax.lax.Precision.HIGH,) * 2  # on GPUs of one pass, TensorFloat-32
    assert len(found) > 20 and all(p == high and d == jnp.float32 for p, d in found)


@pytest.mark.parametrize("compute, low, high", [("tf32", 0, 1e-5), ("bfloat16", 1e-4, 0.05)])
def test_other_compute_modes_are_near(compute, low, high):
    x, label = pictures()
    net, exact = tiny(compute), tiny()
    out = net.run(net.params, x, label)
    error = relative(out, exact.run(exact.params, x, label))
    assert out.dtype == jnp.float32 and low <= error < high
    dtypes = [d for _, d in kinds(net.apply, net.params, x, label)]
    narrow = dtypes.count(jnp.bfloat16)
    assert narrow > len(dtypes) / 2 if compute == "bfloat16" else narrow == 0


def test_dropout_is_off_without_a_key():
    x, label = pictures()
    net, plain = tiny(dropout=0.3), tiny()
    exact = plain.run(plain.params, x, label)
    assert np.array_equal(net.run(net.params, x, label), exact)
    a, b, again = (net.run(net.params, x, label, key=jax.random.key(i)) for i in (1, 2, 1))
    assert relative(a, exact) > 0.01 and relative(a, b) > 0.01 and np.array_equal(a, again)


def test_dropout_leaves_the_mean():
    ones = layers.dropout(jnp.ones(200_000), 0.3, jax.random.key(0))
    assert np.mean(ones == 0) == pytest.approx(0.3, abs=0.005)  # 5 standard errors
    assert np.mean(ones) == pytest.approx(1, abs=0.008)


def test_classes_shift_the_embedding():
    x, label = pictures()
    net, plain = tiny(num_classes=3), tiny()
    rest = {"all_modules": net.params["all_modules"]}
    assert jax.tree.structure(rest) == jax.tree.structure(plain.params)
    none, same, other = (
        net.run(net.params, x, label, y=y) for y in (None, jnp.array([3, 3]), jnp.array([0, 1]))
    )
    assert relative(same, none) < 1e-5 and relative(other, none) > 1e-3
    zero = jax.tree.map(jnp.zeros_like, {"class_embedding": net.params["class_embedding"]})
    assert relative(net.run(rest | zero, x, label), plain.run(rest, x, label)) < 1e-5
    with pytest.raises(ValueError, match="y must be None"):
        plain.apply(rest, x, label, y=jnp.array([0, 1]))


def test_fresh_weights_have_the_documented_spread():
    net = tiny(init_scale=0.0, nf=32)
    x, label = pictures()
    # the network's own end, before the division by sigma, is almost zero
    assert np.abs(net.run(net.params, x, label) * label.reshape(-1, 1, 1, 1)).max() < 1e-3
    modules = net.params["all_modules"]
    assert np.std(modules["0"]["W"]) == pytest.approx(16, rel=0.4)
    kernel = modules["4"]["Conv_0"]["kernel"]  # [3,3,32,32]: variance 1 / (9 * 32), uniform
    assert np.var(kernel) == pytest.approx(1 / (9 * 32), rel=0.05)
    assert np.abs(kernel).max() <= np.sqrt(3 / (9 * 32))


# ---- bad input


@pytest.mark.parametrize(
    "values, message",
    [
        ({"image_size": 8, "nff": 4}, r"unknown network fields \['nff'\]"),
        ({"nf": 4}, r"fields \['image_size'\] are missing"),
        ({"image_size": 8, "progressive": "skip"}, "progressive must be one of"),
        ({"image_size": 8, "num_classes": 2, "conditional": False}, "conditional"),
    ],
)
def test_bad_configurations_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        NCSNppConfig.from_mapping(values)


def test_lists_become_tuples():
    config = NCSNppConfig.from_mapping({"image_size": 8, "ch_mult": [1, 2]})
    assert config.ch_mult == (1, 2) and hash(config)


def test_pictures_that_do_not_halve_are_refused():
    net = tiny()
    with pytest.raises(ValueError, match="multiples of 2"):
        net.apply(net.params, jnp.zeros((1, 9, 8, 3)), jnp.ones(1))
    with pytest.raises(ValueError, match=r"\[B,H,W,3\]"):
        net.apply(net.params, jnp.zeros((1, 8, 8, 1)), jnp.ones(1))

"""Inception, LPIPS, CLIP and the ways to resize, against the original programs.

The goldens are their outputs for the weights and pictures of a fixed rule (recognition_goldens.py);
where the programs are installed, they run again.
"""

import functools

import jax
import numpy as np
import pytest
import recognition_goldens as goldens

from sdedit_jax import images
from sdedit_jax.evaluation import resizing, selftest_rule
from sdedit_jax.nets.clip import Clip, ClipConfig
from sdedit_jax.nets.clip_vision import ClipVisionConfig
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.inception import Inception, InceptionConfig
from sdedit_jax.nets.lpips import Lpips, LpipsConfig
from sdedit_jax.weights import conversion, store
from sdedit_jax.weights.source import Source

TOLERANCE = 1e-4  # of the largest absolute value


@pytest.fixture(scope="module")
def io():
    with np.load(goldens.FILE) as file:
        return dict(file)


def close(got, want, tolerance=TOLERANCE):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.abs(got - want).max() <= tolerance * np.abs(want).max()


def filled(shapes):
    """Our parameters with the weights of the rule, by the rule of conversion."""
    theirs = {}
    for path, leaf in store.leaves(shapes):
        turned = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(leaf.shape) * path.endswith("kernel"))
        shape = [leaf.shape[i] for i in turned] if turned else leaf.shape
        theirs[conversion.default_name(path)] = tuple(shape)
    return conversion.fill(shapes, Source("rule", goldens.weights(theirs)))


# --- the test pictures ----------------------------------------------------------------------------


def test_pictures_are_the_same_everywhere():
    """The numbers were made by numpy 2.4 and 2.5, of two Pythons; the rule has no floats."""
    found = selftest_rule.pictures(2, 96)
    assert found.dtype == np.uint8 and found.shape == (2, 96, 96, 3)
    # by hand: one byte of the hash, in Python's whole numbers
    x = (7 + 1) * 0x9E3779B97F4A7C15 % 2**64
    for _ in range(2):
        x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9 % 2**64
    assert selftest_rule._bytes(np.array([7], np.uint64))[0] == x >> 56
    assert np.array_equal(found, goldens.rule_of_pictures().pictures(2, 96))
    assert np.abs(found[0].astype(int) - found[1]).mean() > 20


# --- Inception ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inception():
    net = Network(Inception, InceptionConfig())
    return net, filled(net.shapes)


def test_inception(io, inception):
    net, params = inception
    x = images.to_unit(goldens.pictures(2, 299, 299))
    close(jax.jit(net.apply)(params, x), io["pool3"])


def test_inception_refuses_pictures_that_are_too_small(inception):
    net, params = inception
    with pytest.raises(ValueError, match="sides from 75"):
        net.apply(params, np.zeros((1, 74, 80, 3), np.float32))
    smallest = jax.eval_shape(net.apply, params, np.zeros((1, 75, 75, 3), np.float32))
    assert smallest.shape == (1, 2048)


def test_statistics_of_the_batch_norms(inception):
    """The first norm's, computed from its convolution by hand."""
    net, params = inception
    x = images.to_unit(goldens.pictures(1, 80, 80))
    moments = jax.jit(functools.partial(net.apply, method="statistics"))(params, x)
    first = params["Conv2d_1a_3x3"]
    kernel = np.asarray(first["conv"]["kernel"], np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(x[0].astype(float), (3, 3), axis=(0, 1))
    out = np.einsum("hwcij,ijco->hwo", windows[::2, ::2], kernel)
    var = first["bn"]["running_var"] + 1e-3
    close(moments[0][0], (out.mean((0, 1)) - first["bn"]["running_mean"]) / np.sqrt(var))
    close(moments[0][1], (out.var((0, 1)) + 1e-3) / var)
    assert len(moments) == 94


# --- LPIPS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg", "alex"])
def test_lpips(io, name):
    net = Network(Lpips, LpipsConfig(name))
    shapes = dict(net.shapes)
    params = {"net": filled(shapes.pop("net")), **filled(shapes)}
    x = images.to_unit(goldens.pictures(4, 64, 80))
    close(net.apply(params, x[:2], x[2:]), io[f"{name}_distance"])
    close(net.apply(params, x[:2], x[2:], method="spatial"), io[f"{name}_map"])
    assert np.array_equal(net.apply(params, x[:1], x[:1]), [0])


def test_lpips_refuses_wrong_pictures():
    with pytest.raises(ValueError, match=r"net must be one of \['vgg', 'alex'\], got 'squeeze'"):
        LpipsConfig("squeeze")
    net = Network(Lpips, LpipsConfig("alex"))
    small = np.zeros((1, 62, 80, 3), np.float32)
    with pytest.raises(ValueError, match="sides from 63"):
        jax.eval_shape(net.apply, net.shapes, small, small)
    with pytest.raises(ValueError, match="one shape"):
        jax.eval_shape(net.apply, net.shapes, np.zeros((1, 70, 80, 3)), np.zeros((1, 80, 80, 3)))


# --- CLIP -----------------------------------------------------------------------------------------


def unit(a):
    return a / np.linalg.norm(a, axis=-1, keepdims=True)


def test_clip(io):
    net = Network(Clip, ClipConfig.from_mapping(goldens.CLIP))
    params = {part: filled(shapes) for part, shapes in net.shapes.items()}
    x = (goldens.pictures(2, 32, 32) / 255 - 0.45) / 0.27
    found = net.apply(params, x.astype(np.float32), method="images")
    close(found, unit(io["clip_images"]))
    ids = goldens.IDS.astype(np.int32)
    close(net.apply(params, ids, method="texts"), unit(io["clip_texts"]))
    text = Network(net.module, net.config)
    assert text == net  # equal by value: one compilation
    with pytest.raises(ValueError, match=r"x must be \[B,32,32,3\]"):
        net.apply(params, x[:, :24], method="images")


def test_pooled_state_is_that_of_the_text_encoder_with_projection(io):
    from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig

    values = {**goldens.CLIP["text_config"], "projection_dim": 12, "projection": True}
    net = Network(ClipText, ClipTextConfig.from_mapping(values))
    found = net.apply(filled(net.shapes), goldens.IDS.astype(np.int32))
    close(found.pooled, io["clip_pooled"])
    close(found.pooled, io["clip_texts"])


def test_names_of_clip_are_those_of_transformers(io):
    net = Network(Clip, ClipConfig.from_mapping(goldens.CLIP))
    parts = [shapes for _, shapes in sorted(net.shapes.items())]
    ours = [conversion.default_name(path) for part in parts for path, _ in store.leaves(part)]
    assert sorted([*ours, "logit_scale"]) == str(io["clip_names"]).split("\n")


def test_published_configurations_of_clip():
    """Parameters of ViT-B/32 and ViT-L/14 of OpenAI, as the papers and transformers count them."""
    large = {
        "model_type": "clip",
        "projection_dim": 768,
        "text_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
        },
        "vision_config": {
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_attention_heads": 16,
            "num_hidden_layers": 24,
            "patch_size": 14,
        },
    }
    for values, count in (({"model_type": "clip"}, 151_277_313), (large, 427_616_513)):
        net = Network(Clip, ClipConfig.from_mapping(values))
        ours = sum(np.prod(leaf.shape, dtype=int) for _, leaf in store.leaves(net.shapes))
        assert ours + 1 == count  # and logit_scale


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch_size": 30}, "patch_size must be a whole number that divides 224, got 30"),
        ({"num_attention_heads": 7}, "num_attention_heads must be .* divides 768, got 7"),
        ({"hidden_act": "relu"}, "hidden_act must be one of"),
        ({"model_type": "siglip_vision_model"}, "model_type must be one of"),
    ],
)
def test_wrong_configurations_of_clip(values, message):
    with pytest.raises(ValueError, match=message):
        ClipVisionConfig.from_mapping(values)


# --- resizing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", goldens.SIZES)
@pytest.mark.parametrize("name", ["clean", "pytorch", "tensorflow"])
def test_resizing(io, name, size):
    picture = goldens.pictures(1, *goldens.SIZES[size])
    found = resizing.policy(name).resize(picture)
    assert found.shape == (1, 299, 299, 3) and found.dtype == np.float32
    every = slice(None, None, goldens.EVERY)
    want = io[f"{name}_{size}"]
    np.testing.assert_allclose(found[0, every, every], want, atol=2e-3)
    others = {"clean", "pytorch", "tensorflow"} - {name}
    assert all(np.abs(io[f"{other}_{size}"] - want).max() > 1 for other in others)


def test_scales_of_the_inputs():
    levels = np.array([0, 128, 255], np.uint8).reshape(1, 1, 3, 1).repeat(3, axis=3)
    ends = {n: p(levels)[0, 0, [0, -1], 0] for n, p in resizing.POLICIES.items()}
    for name in ("clean", "tensorflow", "none"):
        np.testing.assert_allclose(ends[name], [-1, 127 / 128], atol=1e-6)
    np.testing.assert_allclose(ends["pytorch"], [-1, 1], atol=1e-6)
    with pytest.raises(ValueError, match="resize must be one of .*'clean'.*, got 'best'"):
        resizing.policy("best")


@pytest.mark.parametrize("size", goldens.SIZES)
def test_input_of_clip(io, size):
    found = resizing.clip(goldens.pictures(1, *goldens.SIZES[size]), 32)
    np.testing.assert_allclose(found[0], io[f"processor_{size}"], atol=1e-5)


# --- the originals, where they are installed ------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("make", "needs"),
    [
        (goldens.inception, ["pytorch_fid"]),
        (lambda: goldens.lpips("vgg"), ["lpips"]),
        (lambda: goldens.lpips("alex"), ["lpips"]),
        (goldens.clip, ["transformers"]),
        (goldens.resizing, ["cleanfid", "torch_fidelity", "transformers"]),
    ],
    ids=["inception", "vgg", "alex", "clip", "resizing"],
)
def test_the_originals_give_the_goldens(io, make, needs):
    for name in ("torch", "torchvision", *needs):
        pytest.importorskip(name)
    for name, a in make().items():
        if a.dtype.kind == "f":
            close(a, io[name])
        else:
            assert np.array_equal(a, io[name])

"""Networks that work on squares of pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import jit

from sdedit_jax.nets import resample
from sdedit_jax.nets.functional import Network, together
from sdedit_jax.nets.ncsnpp import NCSNpp, NCSNppConfig

TINY = {
    "image_size": 16, "nf": 8, "ch_mult": (1, 2), "num_res_blocks": 1, "attn_resolutions": (4,),
    "fir": False, "resblock_type": "ddpm", "progressive_input": "none", "fourier_scale": 0.5,
    "init_scale": 1.0, "scale_by_sigma": False, "centered": True,
}  # fmt: skip


def net(**changes):
    config = NCSNppConfig.from_mapping({**TINY, **changes})
    made = Network(NCSNpp, config)
    return made, made.init(jax.random.key(0))


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_unshuffle_moves_each_pixel_to_its_place(patch, rng):
    x = rng.normal(size=(2, 8, 12, 3)).astype(np.float32)
    y = np.asarray(resample.unshuffle(jnp.asarray(x), patch))
    assert y.shape == (2, 8 // patch, 12 // patch, 3 * patch**2)
    for i in range(patch):
        for j in range(patch):
            first = 3 * (patch * i + j)
            np.testing.assert_array_equal(y[..., first : first + 3], x[:, i::patch, j::patch])
    np.testing.assert_array_equal(resample.shuffle(jnp.asarray(y), patch), x)


def test_unshuffle_keeps_products(rng):
    """It is a permutation: its transpose is its inverse."""
    x = jnp.asarray(rng.normal(size=(1, 8, 8, 3)), jnp.float32)
    g = jnp.asarray(rng.normal(size=(1, 4, 4, 12)), jnp.float32)
    (pulled,) = jax.vjp(lambda x: resample.unshuffle(x, 2), x)[1](g)
    np.testing.assert_array_equal(pulled, resample.shuffle(g, 2))


@pytest.mark.parametrize(
    "extra", [{}, {"progressive": "output_skip", "progressive_input": "residual"}]
)
def test_a_patched_network_is_the_plain_one_between_two_shuffles(extra, rng):
    """With the same parameters as the network of 12 channels at half the size."""
    whole, params = net(patch=2, num_classes=3, **extra)
    half, others = net(image_size=8, num_channels=12, num_classes=3, **extra)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, others)
    x = jnp.asarray(rng.normal(size=(2, 16, 16, 3)), jnp.float32)
    label, y = jnp.array([0.3, 2.0]), jnp.array([0, 2])
    out = jit(whole.apply)(params, x, label, y=y)
    inner = jit(half.apply)(params, resample.unshuffle(x, 2), label, y=y)
    np.testing.assert_allclose(out, resample.shuffle(inner, 2), rtol=1e-5, atol=1e-6)


def test_attention_stands_at_sizes_of_features():
    """Features are 8 x 8, then 4 x 4: attn_resolutions (4,) adds the blocks of the lower level."""

    def blocks(**extra):
        shapes = net(patch=2, **extra)[0].shapes["all_modules"]
        return sum("NIN_3" in module for module in shapes.values())

    assert blocks(attn_resolutions=()) == 1  # the middle of the network always attends
    assert blocks(attn_resolutions=(4,)) == 3 and blocks(attn_resolutions=(8,)) == 3
    assert blocks(attn_resolutions=(16,)) == 1


def test_bad_patches_and_pictures_are_refused():
    with pytest.raises(ValueError, match="patch must be at least 1, got 0"):
        NCSNppConfig.from_mapping({**TINY, "patch": 0})
    made, params = net(patch=2)
    with pytest.raises(ValueError, match="multiples of 4"):
        made.apply(params, jnp.zeros((1, 18, 16, 3)), jnp.ones(1))


# --- pictures of a batch together -----------------------------------------------------------------


@pytest.mark.parametrize("classes", [None, 3])
def test_pictures_together_are_pictures_one_by_one(classes, rng):
    """Outputs and gradients of the parameters under vmap, with and without classes; a class that is
    one for all; a key, which has no meaning without dropout."""
    made, params = net(num_classes=classes, ch_mult=(1,), attn_resolutions=())
    joined = together(made.apply)
    x = jnp.asarray(rng.normal(size=(3, 4, 4, 3)), jnp.float32)
    label, w = jnp.array([0.1, 0.5, 3.0]), jnp.asarray(rng.normal(size=x.shape), jnp.float32)
    y = None if classes is None else jnp.array([0, 3, 1])

    def loss(apply, y, axis):
        def one(params, x, label, y):
            return apply(params, x[None], label[None], y=None if y is None else y[None])[0]

        every = jax.vmap(one, in_axes=(None, 0, 0, axis))
        return jit(jax.value_and_grad(lambda p: jnp.sum(w * every(p, x, label, y))))

    cases = [(y, None if y is None else 0)] + [(jnp.int32(2), None)] * (classes is not None)
    for y, axis in cases:
        (a, grad_a), (b, grad_b) = (loss(f, y, axis)(params) for f in (joined, made.apply))
        np.testing.assert_allclose(a, b, rtol=1e-4)
        for one, other in zip(*map(jax.tree.leaves, (grad_a, grad_b)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    alone = joined(params, x, label, y=y if classes is None else jnp.array([2, 2, 2]), key=None)
    assert alone.shape == x.shape


def test_parameters_of_each_picture_are_refused(rng):
    made, params = net()
    joined = together(made.apply)
    several = jax.tree.map(lambda a: jnp.stack([a, a]), params)
    with pytest.raises(ValueError, match="one for all"):
        jax.vmap(lambda p: joined(p, jnp.zeros((1, 16, 16, 3)), jnp.ones(1)))(several)

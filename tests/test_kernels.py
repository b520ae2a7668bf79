"""Attention in pieces and convolutions by products, against plain formulas in float64."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sdedit_jax.nets import attention, kernels, resample, winograd


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def softmax_formula(q, k, v):
    """Attention [B,N,heads,d] in float64."""
    q, k, v = (np.asarray(a, np.float64) for a in (q, k, v))
    logits = np.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bhnm,bmhe->bnhe", weights / weights.sum(-1, keepdims=True), v)


SIZES = [(1100, 1100), (1500, 700), (600, 2300), (1024, 2048)]


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_pieces_are_the_formula(n, m):
    """Queries and keys that fill their last piece, and that do not."""
    q, k, v = drawn((2, n, 2, 8), (2, m, 2, 8), (2, m, 2, 4))
    got = jax.jit(attention._in_pieces)(3 * q, 3 * k, v)
    np.testing.assert_allclose(got, softmax_formula(3 * q, 3 * k, v), atol=2e-5)


def test_attention_chooses_the_pieces_on_cpu_alone():
    q, k, v = drawn(*[(1, 1200, 1, 8)] * 3)
    text = jax.jit(attention.attend).lower(q, k, v).compile().as_text()
    assert "while" in text
    got = jax.jit(attention.attend)(q, k, v)
    np.testing.assert_allclose(got, softmax_formula(q, k, v), atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(("d", "e"), [(8, 8), (5, 5), (8, 4)])
def test_every_dtype_and_size_is_the_formula_and_has_gradients(d, e, dtype):
    """JAX traces the code of all platforms: none of it may need a GPU."""
    q, k, v = (jnp.asarray(a, dtype) for a in drawn((1, 500, 2, d), (1, 400, 2, d), (1, 400, 2, e)))
    got = jax.jit(attention.attend)(q, k, v)
    assert got.dtype == dtype
    np.testing.assert_allclose(
        np.asarray(got, np.float64), softmax_formula(q, k, v), atol=4 * float(jnp.finfo(dtype).eps)
    )
    total = jax.jit(jax.grad(lambda *a: attention.attend(*a).astype(jnp.float32).sum(), (0, 1, 2)))
    assert all(np.isfinite(np.asarray(g, np.float32)).all() for g in total(q, k, v))


def test_large_logits_do_not_overflow():
    q, k, v = drawn(*[(1, 1100, 1, 8)] * 3)
    got = jax.jit(attention._in_pieces)(100 * q, 100 * k, v)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, softmax_formula(100 * q, 100 * k, v), atol=5e-3)


def test_gradients_of_the_pieces_are_those_of_the_whole():
    q, k, v = drawn(*[(1, 1100, 2, 8)] * 3)
    total = [lambda *a, f=f: (f(*a) ** 2).sum() for f in (attention._in_pieces, whole)]
    for got, wanted in zip(*(jax.grad(f, (0, 1, 2))(q, k, v) for f in total), strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-5)


def whole(q, k, v):
    return attention.attend_weighed(q, k, v)[0]


def test_the_temporary_memory_does_not_grow_with_the_square_of_the_tokens():
    """Twice the tokens: four times the weights; the pieces need less than 2.5 times the memory."""

    def memory(n):
        q = jnp.zeros((1, n, 1, 8))
        done = jax.jit(attention._in_pieces).lower(q, q, q).compile()
        return done.memory_analysis().temp_size_in_bytes

    assert memory(8192) < 2.5 * memory(4096)
    assert memory(16384) < 16384**2  # a quarter of the weights


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_convolution_by_columns_is_the_convolution(size):
    x, kernel = drawn((2, *size, 6), (3, 3, 6, 5))
    direct, columns = (f(x, kernel, None) for f in (kernels._direct, kernels._by_columns))
    np.testing.assert_allclose(columns, direct, atol=2e-6 * 9 * 6)


def in_float64(x, kernel):
    """The convolution of 3 x 3 as nine products."""
    x, kernel = (np.asarray(a, np.float64) for a in (x, kernel))
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    return sum(wide[:, i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))


FORMS = {
    "rows": (winograd.BY_FOUR, None),
    "columns": (None, winograd.BY_FOUR),
    "both": (winograd.BY_TWO, winograd.BY_TWO),
    "both, larger": (winograd.BY_FOUR, winograd.BY_TWO),
}


@pytest.mark.parametrize("strip", [winograd.STRIP, 250_000, 10_000])
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 20, 12), (3, 4, 20)])
@pytest.mark.parametrize("forms", FORMS.values(), ids=FORMS)
def test_convolution_by_fewer_products_is_the_convolution(forms, shape, strip, monkeypatch):
    """At once, and in strips of which the last one overlaps the one before or does not.

    The RMS error was 0.7 to 3.1 times that of XLA's convolution in trials with 64 to 512 channels.
    """
    monkeypatch.setattr(winograd, "STRIP", strip)
    x, kernel = drawn((*shape, 64), (3, 3, 64, 48))
    wanted = in_float64(x, kernel)
    program = jax.jit(partial(winograd.conv3x3, forms=forms))
    error, direct = (
        np.sqrt(np.square(y - wanted).mean())
        for y in (program(x, kernel), kernels._direct(x, kernel, None))
    )
    assert error <= 4 * direct
    strips = winograd.rows_of_strip(x.shape, kernel.shape, forms) < shape[1]
    assert ("stablehlo.while" in program.lower(x, kernel).as_text()) == strips


@pytest.mark.parametrize(
    ("strip", "rows"), [(winograd.STRIP, (20, 20)), (250_000, (12, 6)), (10_000, (4, 2))]
)
def test_strips_are_of_whole_groups_of_rows(strip, rows, monkeypatch):
    """By hand: 2 x 20 x 12 pixels of 64 + 48 channels, 1.5 or 4 numbers of 4 bytes for each."""
    monkeypatch.setattr(winograd, "STRIP", strip)
    forms = FORMS["rows"], FORMS["both"]
    found = [winograd.rows_of_strip((2, 20, 12, 64), (3, 3, 64, 48), form) for form in forms]
    assert tuple(found) == rows


@pytest.mark.parametrize("strip", [winograd.STRIP, 2**21])
def test_pictures_of_a_vmap_are_those_of_a_batch(strip, monkeypatch):
    """In strips too; the two sides sum in other orders."""
    monkeypatch.setattr(winograd, "STRIP", strip)
    x, kernel = drawn((2, 128, 128, 128), (3, 3, 128, 128))
    got = jax.jit(jax.vmap(lambda one: kernels.conv3x3(one[None], kernel)[0]))(x)
    np.testing.assert_allclose(got, jax.jit(kernels.conv3x3)(x, kernel), atol=4e-4)


@pytest.mark.parametrize("shape", [(1, 6, 8), (1, 8, 6)])
def test_sides_are_multiples_of_the_form(shape):
    x, kernel = drawn((*shape, 4), (3, 3, 4, 4))
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        winograd.conv3x3(x, kernel, (winograd.BY_FOUR,) * 2)


@pytest.mark.parametrize("form", [winograd.BY_TWO, winograd.BY_FOUR])
def test_a_form_is_exact_in_exact_arithmetic(form):
    """Outputs of random whole numbers, in float64."""
    m, rng = len(form.outputs), np.random.default_rng(0)
    d, g = rng.integers(-9, 10, m + 2), rng.integers(-9, 10, 3)
    wanted = [d[i : i + 3] @ g for i in range(m)]
    got = form.outputs @ ((form.kernel @ g) * (form.inputs @ d))
    np.testing.assert_allclose(got, wanted, atol=1e-12 * 9 * 9 * 3)


@pytest.mark.parametrize("size", [16, 128])
def test_convolutions_by_fewer_products_have_the_gradients_of_the_direct_ones(size):
    x, kernel, weight = drawn((2, size, size, 128), (3, 3, 128, 128), (2, size, size, 128))
    assert any(winograd.fastest(x, kernel))
    both = [
        jax.jit(jax.grad(lambda *a, f=f: (f(*a) * weight).sum(), (0, 1)))(x, kernel)
        for f in (kernels.conv3x3, lambda *a: kernels._direct(*a, None))
    ]
    for got, wanted in zip(*both, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("shape", "channels", "dtype", "taken"),
    [
        ((2, 16, 16), (128, 256), jnp.float32, "both"),
        ((1, 124, 128), (128, 128), jnp.float32, "both"),
        ((1, 128, 128), (128, 128), jnp.float32, "rows"),
        ((1, 128, 131), (128, 128), jnp.float32, "rows"),
        ((1, 130, 128), (128, 128), jnp.float32, "both"),
        ((1, 130, 129), (128, 128), jnp.float32, None),
        ((2, 16, 16), (127, 128), jnp.float32, None),
        ((2, 16, 16), (256, 64), jnp.float32, None),
        ((2, 15, 18), (256, 256), jnp.float32, None),
        ((4, 16, 17), (256, 256), jnp.float32, None),
        ((7, 8, 8), (128, 128), jnp.float32, None),
        ((2, 16, 16), (256, 256), jnp.bfloat16, None),
    ],
)
def test_forms_are_for_many_channels_whole_groups_and_float32(shape, channels, dtype, taken):
    x, kernel = jnp.zeros((*shape, channels[0]), dtype), jnp.zeros((3, 3, *channels), dtype)
    found = winograd.fastest(x, kernel)
    assert [id(form) for form in found] == [id(form) for form in FORMS.get(taken, (None, None))]
    program = jax.jit(kernels.conv3x3).lower(x, kernel).compile().as_text()
    sizes = set(re.findall(r"window={size=(\dx\d)", program))
    assert sizes == {"rows": {"1x3"}, "both": set(), None: {"3x3"}}[taken]


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_the_convolution_of_a_doubled_picture_is_that_of_its_four_phases(size):
    """Forward, and both gradients."""
    x, kernel, weight = drawn((2, *size, 6), (3, 3, 6, 5), (2, 2 * size[0], 2 * size[1], 5))

    def plain(x, kernel):
        return kernels._direct(resample.naive_upsample_2d(x), kernel, None)

    np.testing.assert_allclose(kernels.conv3x3_doubled(x, kernel), plain(x, kernel), atol=2e-5)
    total = [lambda *a, f=f: (f(*a) * weight).sum() for f in (kernels.conv3x3_doubled, plain)]
    for got, wanted in zip(*(jax.grad(f, (0, 1))(x, kernel) for f in total), strict=True):
        np.testing.assert_allclose(got, wanted, atol=5e-5)

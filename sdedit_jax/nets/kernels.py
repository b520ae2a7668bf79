"""The two operations that dominate a network's cost, with their own backward rules.

XLA's gradients of both are correct, but slow on CPU. The gradient of a convolution kernel becomes a
convolution whose window is as large as the picture, and group norm is recomputed in every consumer.
Both functions support reverse mode only (`jax.custom_vjp`); forward-mode derivatives of a network
raise an error.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from sdedit_jax.nets import winograd
from sdedit_jax.nets.resample import NHWC, naive_downsample_2d, naive_upsample_2d

FEW_PIXELS, LARGE_KERNEL = 512, 2**22
"""On CPU, so few pixels are convolved with a kernel of so many numbers by one product.

The convolution of XLA reads such a kernel, which no cache holds, more than once.
"""


def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [B,H,W,I] with kernel [3,3,I,O], stride 1, zero padding -> [B,H,W,O]."""
    # the backward pass is traced outside the forward pass's precision context: pass it on
    return _conv(x, kernel, jax.config.jax_default_matmul_precision)


def conv3x3_doubled(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """conv3x3 of x [B,H,W,I] at twice its size by nearest neighbour -> [B,2H,2W,O].

    Each of the four output pixels of an input pixel sees 2 x 2 input pixels. Their kernels are sums
    of the kernel's rows and columns, so that 4 of 9 products remain.
    """
    return _doubled(x, kernel, jax.config.jax_default_matmul_precision)


def group_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, eps: float = 1e-6
) -> jax.Array:
    """Normalises x [B,H,W,C] over the pixels and channels of each group, then scale and bias [C].

    Computed in float32, returned in the dtype of x.
    """
    return _norm(x, scale, bias, groups, eps)


def _plain_conv(x: jax.Array, kernel: jax.Array, precision: str | None) -> jax.Array:
    direct, columns = (partial(f, precision=precision) for f in (_direct, _by_columns))
    few = x.shape[0] * x.shape[1] * x.shape[2] <= FEW_PIXELS
    if few and kernel.size >= LARGE_KERNEL:
        return lax.platform_dependent(x, kernel, cpu=columns, default=direct)
    forms = winograd.fastest(x, kernel)
    if any(forms):
        fewer = partial(_by_fewer_products, forms=forms, precision=precision)
        return lax.platform_dependent(x, kernel, cpu=fewer, default=direct)
    return direct(x, kernel)


def _direct(x: jax.Array, kernel: jax.Array, precision: str | None) -> jax.Array:
    return _padded(x, kernel, "SAME", precision)


def _by_fewer_products(
    x: jax.Array, kernel: jax.Array, forms: winograd.Forms, precision: str | None
) -> jax.Array:
    with jax.default_matmul_precision(precision):
        return winograd.conv3x3(x, kernel, forms)


def _by_columns(x: jax.Array, kernel: jax.Array, precision: str | None) -> jax.Array:
    """One product: a row for each pixel, with the nine pixels around it."""
    b, h, w, n_in = x.shape
    wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = [wide[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
    rows = lax.optimization_barrier(jnp.concatenate(around, -1).reshape(b * h * w, 9 * n_in))
    with jax.default_matmul_precision(precision):
        return jnp.dot(rows, kernel.reshape(9 * n_in, -1)).reshape(b, h, w, -1)


_conv = jax.custom_vjp(_plain_conv, nondiff_argnums=(2,))


def _conv_forward(x: jax.Array, kernel: jax.Array, precision: str | None) -> tuple:
    return _plain_conv(x, kernel, precision), (x, kernel)


def _conv_backward(precision: str | None, saved: tuple, g: jax.Array) -> tuple:
    x, kernel = saved
    x, g = lax.optimization_barrier((x, g))
    slow, fast = (partial(f, precision=precision) for f in (_by_conv, _by_products))
    if min(kernel.shape[2:]) < 8:  # the ends of a network: products this thin are not faster
        by_kernel = slow(x, g)
    else:
        by_kernel = lax.platform_dependent(x, g, cpu=fast, default=slow)
    return _plain_conv(g, kernel[::-1, ::-1].swapaxes(2, 3), precision), by_kernel


_conv.defvjp(_conv_forward, _conv_backward)


def _in_phases(x: jax.Array, kernel: jax.Array, precision: str | None) -> jax.Array:
    """The output pixels of even and odd rows and columns, one convolution each."""
    b, h, w, _ = x.shape
    wide = kernel.astype(jnp.float32)
    # an even row sees the input row above (kernel row 0) and its own (rows 1 and 2); an odd row its
    # own (rows 0 and 1) and the one below (row 2)
    halves = [jnp.stack([wide[0], wide[1] + wide[2]]), jnp.stack([wide[0] + wide[1], wide[2]])]
    lines = []
    for i, rows in enumerate(halves):
        even = jnp.stack([rows[:, 0], rows[:, 1] + rows[:, 2]], 1)
        odd = jnp.stack([rows[:, 0] + rows[:, 1], rows[:, 2]], 1)
        paddings = (((1 - i, i), (1 - j, j)) for j in range(2))
        parts = zip((even, odd), paddings, strict=True)
        pixels = [_padded(x, part.astype(x.dtype), pads, precision) for part, pads in parts]
        lines.append(jnp.stack(pixels, 3).reshape(b, h, 2 * w, -1))
    return jnp.stack(lines, 2).reshape(b, 2 * h, 2 * w, -1)


def _padded(
    x: jax.Array, kernel: jax.Array, padding: str | tuple, precision: str | None
) -> jax.Array:
    with jax.default_matmul_precision(precision):
        return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=NHWC)


_doubled = jax.custom_vjp(_in_phases, nondiff_argnums=(2,))


def _doubled_forward(x: jax.Array, kernel: jax.Array, precision: str | None) -> tuple:
    return _in_phases(x, kernel, precision), (x, kernel)


def _doubled_backward(precision: str | None, saved: tuple, g: jax.Array) -> tuple:
    x, kernel = saved
    wide = naive_upsample_2d(x)
    by_wide, by_kernel = _conv_backward(precision, (wide, kernel), g)
    return naive_downsample_2d(by_wide) * 4, by_kernel


_doubled.defvjp(_doubled_forward, _doubled_backward)


def _by_conv(x: jax.Array, g: jax.Array, precision: str | None) -> jax.Array:
    """The kernel's gradient [3,3,I,O] as XLA derives it."""
    zeros = jnp.zeros((3, 3, x.shape[-1], g.shape[-1]), x.dtype)
    return jax.vjp(lambda kernel: _direct(x, kernel, precision), zeros)[1](g)[0]


def _by_products(x: jax.Array, g: jax.Array, precision: str | None) -> jax.Array:
    """The same, as one product per kernel row over all pixels."""
    b, h, w, n_in = x.shape
    n_out = g.shape[-1]
    rows = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))
    wide = lax.optimization_barrier(jnp.pad(g, ((0, 0), (0, 0), (1, 1), (0, 0))))
    columns = jnp.concatenate([wide[:, :, 2 - j : 2 - j + w] for j in range(3)], axis=-1)
    rows, columns = lax.optimization_barrier((rows, columns.reshape(b * h * w, 3 * n_out)))
    pixels = (((0,), (0,)), ((), ()))
    with jax.default_matmul_precision(precision):
        parts = [
            lax.dot_general(rows[:, i : i + h].reshape(b * h * w, n_in), columns, pixels)
            for i in range(3)
        ]
    return jnp.stack(parts).reshape(3, n_in, 3, n_out).swapaxes(1, 2)


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _norm(x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, eps: float) -> jax.Array:
    return _norm_forward(x, scale, bias, groups, eps)[0]


def _norm_forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, groups: int, eps: float
) -> tuple:
    """One affine map per image and channel, from the two moments of its group."""
    wide = x.astype(jnp.float32)
    mean = _over_group(wide.mean((1, 2)), groups)
    square = _over_group((wide * wide).mean((1, 2)), groups)
    rate = lax.rsqrt(jnp.maximum(square - mean * mean, 0) + eps)
    slope = rate * scale[None]
    y = wide * _per_pixel(slope) + _per_pixel(bias[None] - mean * slope)
    return y.astype(x.dtype), (x, mean, rate, scale)


def _norm_backward(groups: int, eps: float, saved: tuple, g: jax.Array) -> tuple:
    """dx = rate (scale g - <scale g> - n <scale g n>), n = (x - mean) rate, <> over a group."""
    x, mean, rate, scale = saved
    g = lax.optimization_barrier(g)
    wide, tall = x.astype(jnp.float32), g.astype(jnp.float32)
    pixels = x.shape[1] * x.shape[2]
    by_bias = tall.sum((1, 2))  # [B,C]
    by_scale = ((tall * wide).sum((1, 2)) - mean * by_bias) * rate
    offset = -rate * _over_group(scale[None] * by_bias / pixels, groups)
    slope = -rate * rate * _over_group(scale[None] * by_scale / pixels, groups)
    dx = tall * _per_pixel(rate * scale[None]) + wide * _per_pixel(slope)
    dx = dx + _per_pixel(offset - mean * slope)
    return dx.astype(x.dtype), by_scale.sum(0), by_bias.sum(0)


_norm.defvjp(_norm_forward, _norm_backward)


def _over_group(v: jax.Array, groups: int) -> jax.Array:
    """[B,C] -> [B,C]: every channel gets the mean over its group."""
    b, c = v.shape
    return jnp.repeat(v.reshape(b, groups, c // groups).mean(-1), c // groups, axis=-1)


def _per_pixel(v: jax.Array) -> jax.Array:
    """[B,C] -> [B,1,1,C]."""
    return v[:, None, None]

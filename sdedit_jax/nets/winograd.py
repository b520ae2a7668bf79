"""Convolutions of 3 x 3 with fewer products, for a CPU in float32.

Winograd's F(m, 3) gives m neighbouring outputs y of a kernel g of 3 from m + 2 inputs d with m + 2
products in place of 3 m: y = A^T [(G g) * (B^T d)] (Lavin and Gray, CVPR 2016). Along the rows of a
picture, the columns, or both, the products are convolutions along the other side, or products over
channels. Rounding errors are a few times those of the direct sum. A value that is not finite
spoils the outputs of its group of m, not only those around it.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from sdedit_jax.nets.resample import NHWC

LEAST_CHANNELS = 128
"""Of inputs and of outputs, for a convolution with a form."""
LEAST_PIXELS = 512
"""Of all pictures, for a convolution with a form; fewer do not repay transforming the kernel."""
LARGE_PICTURE = 128**2
"""Pixels of a picture from which memory limits the speed."""
STRIP = 2**26
"""Bytes of transformed inputs and products that are in memory at once, of a picture under vmap."""


class Form(NamedTuple):
    """The matrices of F(m, 3)."""

    inputs: np.ndarray
    """B^T [m+2,m+2]."""
    kernel: np.ndarray
    """G [m+2,3]."""
    outputs: np.ndarray
    """A^T [m,m+2]."""


Forms = tuple[Form | None, Form | None]
"""Those of the height and the width of a picture."""


def _form(*points: float) -> Form:
    """The form by values at points and at infinity (Toom and Cook); its rounding depends on them.

    A polynomial of m + 2 coefficients is known by as many values. The transposed product of
    polynomials is the convolution.
    """
    n, m = len(points) + 1, len(points) - 1
    inputs, kernel, outputs = np.zeros((n, n)), np.zeros((n, 3)), np.zeros((m, n))
    for i, p in enumerate(points):
        others = [q for q in points if q != p]
        inputs[i, :-1] = np.poly(others)[::-1]
        kernel[i] = p ** np.arange(3) / np.prod([p - q for q in others])
        outputs[:, i] = p ** np.arange(m)
    inputs[-1], kernel[-1, -1], outputs[-1, -1] = np.poly(points)[::-1], 1, 1
    return Form(inputs, kernel, outputs)


BY_TWO, BY_FOUR = _form(0, 1, -1), _form(0, 0.75, -0.75, 1.5, -1.5)


def fastest(x: jax.Array, kernel: jax.Array) -> Forms:
    """The forms for x [B,H,W,I] and kernel [3,3,I,O]; (None, None): XLA's own convolution.

    Measured on CPUs. Large pictures are limited by memory: F(4, 3) along the height alone, 18 of 36
    products. Small ones fit the cache: F(2, 3) along both, 16 of 36. Fewer channels gain little,
    and every form takes time to compile.
    """
    b, h, w, _ = x.shape
    many = min(kernel.shape[2:]) >= LEAST_CHANNELS and b * h * w >= LEAST_PIXELS
    if many and x.dtype == kernel.dtype == jnp.float32:
        if h * w >= LARGE_PICTURE and h % 4 == 0:
            return BY_FOUR, None
        if h % 2 == w % 2 == 0:
            return BY_TWO, BY_TWO
    return None, None


def conv3x3(x: jax.Array, kernel: jax.Array, forms: Forms) -> jax.Array:
    """x [B,H,W,I] with kernel [3,3,I,O], stride 1, zero padding -> [B,H,W,O], by these forms.

    Large pictures go in strips of rows, so that about STRIP bytes are needed, where the height has
    a form.

    Raises:
        ValueError: for a side that is no multiple of the m of its form.
    """
    b, h, w, _ = x.shape
    for side, form in zip((h, w), forms, strict=True):
        if form and side % len(form.outputs):
            raise ValueError(f"x: a side must be a multiple of {len(form.outputs)}, got {side}")
    rows = rows_of_strip(x.shape, kernel.shape, forms)
    pads = [(0, 0), *((int(form is not None),) * 2 for form in forms), (0, 0)]
    if rows >= h:
        return _along(_padded(x, pads), kernel, forms)
    pads[1] = (0, 0)

    def lines(first: jax.Array, n: int) -> jax.Array:
        return lax.dynamic_slice_in_dim(x, first, n, 1)

    def edge(row: jax.Array) -> jax.Array:
        return jnp.where((row >= 0) & (row < h), lines(row, 1), 0)

    def strip(i: jax.Array, y: jax.Array) -> jax.Array:
        first = jnp.minimum(i * rows, h - rows)  # the last strip may repeat rows of the one before
        part = [edge(first - 1), lines(first, rows), edge(first + rows)]
        part = _along(_padded(jnp.concatenate(part, 1), pads), kernel, forms)
        return lax.dynamic_update_slice_in_dim(y, part, first, 1)

    # every row is written. Zeros would be one constant, which XLA copies for every loop
    y = jnp.broadcast_to(x[0, 0, 0, 0], (b, h, w, kernel.shape[3]))
    return lax.fori_loop(0, math.ceil(h / rows), strip, y)


def rows_of_strip(x: tuple[int, ...], kernel: tuple[int, ...], forms: Forms) -> int:
    """Rows for which the memory is about STRIP; those of the picture or more: no strips.

    Args:
        x: [B,H,W,I]. kernel: [3,3,I,O].
        forms: of the height and the width.
    """
    b, h, w, _ = x
    if forms[0] is None:
        return h
    m = len(forms[0].outputs)
    growth = math.prod(len(form.inputs) / len(form.outputs) for form in forms if form)
    count = math.ceil(growth * 4 * b * h * w * sum(kernel[2:]) / STRIP)
    return m * math.ceil(h / count / m)


def _padded(x: jax.Array, pads: list[tuple[int, int]]) -> jax.Array:
    # without the barrier every transformed input would compute the padded picture
    return lax.optimization_barrier(jnp.pad(x, pads))


def _along(wide: jax.Array, kernel: jax.Array, forms: Forms, axis: int = 1) -> jax.Array:
    """The convolution of a picture that is padded where it has a form: this side, then the next."""
    if axis == 3:
        if kernel.shape[:2] == (1, 1):
            rows = wide.reshape(-1, wide.shape[3])
            return jnp.dot(rows, kernel[0, 0]).reshape(*wide.shape[:3], -1)
        return lax.conv_general_dilated(wide, kernel, (1, 1), "SAME", dimension_numbers=NHWC)
    form = forms[axis - 1]
    if form is None:
        return _along(wide, kernel, forms, axis + 1)
    m = len(form.outputs)
    last = wide.shape[axis] - m - 1  # the first input of the last m outputs, and one
    starts = [lax.slice_in_dim(wide, i, last + i, m, axis) for i in range(m + 2)]
    inputs = _combine(form.inputs, starts)
    kernels = _combine(form.kernel, jnp.split(kernel, 3, axis - 1))
    products = [_along(d, g, forms, axis + 1) for d, g in zip(inputs, kernels, strict=True)]
    y = jnp.stack(_combine(form.outputs, products), axis + 1)
    return y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])


def _combine(matrix: np.ndarray, arrays: list[jax.Array]) -> list[jax.Array]:
    """matrix @ arrays; terms of factor zero are left out."""
    return [
        functools.reduce(
            jnp.add,
            [a if f == 1 else a * np.float32(f) for f, a in zip(row, arrays, strict=True) if f],
        )
        for row in matrix
    ]

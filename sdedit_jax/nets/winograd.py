"""Convolutions of 3 x 3 with 16 products in place of 36, for a CPU in float32.

Lavin and Gray (CVPR 2016), F(2x2, 3x3): a tile d of 4 x 4 input pixels and a kernel g give 2 x 2
output pixels Y = A^T [(G g G^T) * (B^T d B)] A. The middle is a product over channels for each of
the 16 places of a tile. Rounding errors are as large as those of the direct sum.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LEAST_CHANNELS, LEAST_PIXELS = 256, 256
"""With fewer of either, XLA's own convolution is as fast."""
STRIP = 3 * 2**25
"""Bytes of the tiles that are in memory at once."""

Grid = list[list[jax.Array]]

INPUT = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])  # B^T
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])  # G
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])  # A^T


def takes(x: jax.Array, kernel: jax.Array) -> bool:
    """Whether this convolution gains by fewer products: x [B,H,W,I], kernel [3,3,I,O]."""
    b, h, w, _ = x.shape
    even = h % 2 == w % 2 == 0 and x.dtype == kernel.dtype == jnp.float32
    return even and min(kernel.shape[2:]) >= LEAST_CHANNELS and b * h * w >= LEAST_PIXELS


def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [B,H,W,I] with kernel [3,3,I,O], stride 1, zero padding -> [B,H,W,O]; H and W even.

    Large pictures go in strips of rows, so that the tiles need about STRIP bytes.
    """
    b, h, w, _ = x.shape
    wide = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # without it the 16 places would each compute the padded picture
    wide, kernel = lax.optimization_barrier((wide, kernel))
    kernels = _transform(KERNEL, [[kernel[i, j] for j in range(3)] for i in range(3)])
    count = math.ceil(16 * b * h * w * sum(kernel.shape[2:]) / STRIP)
    if count == 1:
        return _strip(wide, kernels)
    rows = 2 * math.ceil(h / count / 2)
    kernels = lax.optimization_barrier(kernels)

    def step(i: jax.Array, y: jax.Array) -> jax.Array:
        first = jnp.minimum(i * rows, h - rows)  # the last strip may repeat rows of the one before
        part = lax.dynamic_slice_in_dim(wide, first, rows + 2, 1)
        return lax.dynamic_update_slice_in_dim(y, _strip(part, kernels), first, 1)

    return lax.fori_loop(0, math.ceil(h / rows), step, jnp.zeros((b, h, w, kernel.shape[3])))


def _strip(wide: jax.Array, kernels: Grid) -> jax.Array:
    """Padded rows [B,H+2,W+2,I] with the 16 transformed kernels [I,O] -> [B,H,W,O]."""
    b, h, w, n_in = wide.shape[0], wide.shape[1] - 2, wide.shape[2] - 2, wide.shape[3]
    pixels = [[wide[:, i : i + h - 1 : 2, j : j + w - 1 : 2] for j in range(4)] for i in range(4)]
    tiles = _transform(INPUT, pixels)
    products = [
        [jnp.dot(tile.reshape(-1, n_in), k) for tile, k in zip(*line, strict=True)]
        for line in zip(tiles, kernels, strict=True)
    ]
    lines = [
        jnp.stack([y.reshape(b, h // 2, w // 2, -1) for y in line], 3)
        for line in _transform(OUTPUT, products)
    ]
    return jnp.stack(lines, 2).reshape(b, h, w, -1)


def _transform(matrix: np.ndarray, grid: Grid) -> Grid:
    """matrix grid matrix^T, for a square grid of arrays."""
    return [[_sum(np.outer(a, b), grid) for b in matrix] for a in matrix]


def _sum(factors: np.ndarray, grid: Grid) -> jax.Array:
    """The sum of the arrays of a grid times their factors; those of factor zero are left out."""
    terms = [
        array * np.float32(factor)
        for line, row in zip(grid, factors, strict=True)
        for array, factor in zip(line, row, strict=True)
        if factor
    ]
    return functools.reduce(jnp.add, terms)

"""Resampling of images [B,H,W,C] by FIR filters (the upfirdn of StyleGAN2), and the naive kinds.

A filter is a short 1-D kernel of sum 1, applied along both axes. It is computed as a sum of shifted
(and, for factors above 1, strided) slices. Only the kept samples are computed, without zero
stuffing and without grouped convolutions, which are slow in XLA on CPU.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NHWC = ("NHWC", "HWIO", "NHWC")
"""The layout of a convolution's input, kernel and output."""
Kernel = Sequence[float] | None


def upsample_2d(x: jax.Array, k: Kernel = None, factor: int = 2, gain: float = 1) -> jax.Array:
    """[B,H,W,C] -> [B,factor H,factor W,C], filtered by `k` (None: a box of `factor`)."""
    k = _normalised(k, factor)
    p = len(k) - factor
    pads = ((p + 1) // 2 + factor - 1, p // 2)
    x = _fir_up(x, factor * gain * k, factor, pads, axis=1)
    return _fir_up(x, factor * k, factor, pads, axis=2)


def downsample_2d(x: jax.Array, k: Kernel = None, factor: int = 2, gain: float = 1) -> jax.Array:
    """[B,H,W,C] -> [B,H/factor,W/factor,C], filtered by `k` (None: a box of `factor`)."""
    k = _normalised(k, factor)
    p = len(k) - factor
    pads = ((p + 1) // 2, p // 2)
    return _fir_down(_fir_down(x, gain * k, factor, pads, axis=1), k, factor, pads, axis=2)


def conv_downsample_2d(
    x: jax.Array, w: jax.Array, k: Kernel = None, factor: int = 2, gain: float = 1
) -> jax.Array:
    """FIR filter, then a strided VALID convolution with `w` [kh,kw,I,O]; halves for factor 2."""
    k = _normalised(k, factor)
    p = (len(k) - factor) + (w.shape[1] - 1)
    pads = ((p + 1) // 2, p // 2)
    x = _fir_down(_fir_down(x, gain * k, 1, pads, axis=1), k, 1, pads, axis=2)
    return _conv(x, w, window_strides=(factor, factor), padding="VALID")


def upsample_conv_2d(
    x: jax.Array, w: jax.Array, k: Kernel = None, factor: int = 2, gain: float = 1
) -> jax.Array:
    """Transposed convolution of stride `factor` with `w` [kh,kw,I,O], then the FIR filter.

    `w` is not flipped (the convention of score_sde's JAX code).
    """
    k = _normalised(k, factor)
    p = (len(k) - factor) - (w.shape[1] - 1)
    pads = ((p + 1) // 2 + factor - 1, p // 2 + 1)
    around = [(n - 1, n - 1) for n in w.shape[:2]]
    x = _conv(x, w, window_strides=(1, 1), padding=around, lhs_dilation=(factor, factor))
    x = _fir_down(x, factor * gain * k, 1, pads, axis=1)
    return _fir_down(x, factor * k, 1, pads, axis=2)


def naive_upsample_2d(x: jax.Array, factor: int = 2) -> jax.Array:
    """Nearest neighbour: each pixel becomes a block of factor x factor."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None], (b, h, factor, w, factor, c))
    return x.reshape(b, h * factor, w * factor, c)


def naive_downsample_2d(x: jax.Array, factor: int = 2) -> jax.Array:
    """The mean over blocks of factor x factor."""
    steps = range(factor)
    total = sum(x[:, i::factor, j::factor] for i in steps for j in steps)
    return total * (1 / factor**2)


def unshuffle(x: jax.Array, patch: int) -> jax.Array:
    """[B,H,W,C] -> [B,H/patch,W/patch,patch^2 C]: a square of pixels becomes the channels of one.

    The channels are ordered (row in the square, column in the square, C).
    """
    b, h, w, c = x.shape
    x = x.reshape(b, h // patch, patch, w // patch, patch, c)
    return x.swapaxes(2, 3).reshape(b, h // patch, w // patch, patch**2 * c)


def shuffle(x: jax.Array, patch: int) -> jax.Array:
    """The inverse of `unshuffle`: [B,H,W,patch^2 C] -> [B,patch H,patch W,C]."""
    b, h, w, n = x.shape
    c = n // patch**2
    x = x.reshape(b, h, w, patch, patch, c).swapaxes(2, 3)
    return x.reshape(b, patch * h, patch * w, c)


def _normalised(k: Kernel, factor: int) -> np.ndarray:
    """The kernel as float32 of sum 1; None is a box."""
    k = np.asarray([1.0] * factor if k is None else k, np.float32)
    if k.ndim != 1:
        raise ValueError(f"k must be a 1-D kernel, got shape {k.shape}")
    return k / k.sum()


def _fir_up(
    x: jax.Array, k: np.ndarray, factor: int, pads: tuple[int, int], axis: int
) -> jax.Array:
    """Zero-stuff by `factor`, pad, filter along `axis`: phase by phase, without the zeros.

    Output sample factor*i + r reads the kernel taps j = pad0 - r (mod factor) and, for each, the
    input at i + (r + j - pad0) / factor.
    """
    size, taps = x.shape[axis], k[::-1]
    reach = -(-pads[0] // factor), (factor - 1 + len(k) - 1 - pads[0]) // factor
    padded = _pad(x, (max(reach[0], 0), max(reach[1], 0)), axis)
    phases = []
    for r in range(factor):
        picked = range((pads[0] - r) % factor, len(k), factor)
        starts = [(r + j - pads[0]) // factor + max(reach[0], 0) for j in picked]
        terms = [
            _slice(padded, start, start + size, 1, axis) * taps[j].astype(x.dtype)
            for j, start in zip(picked, starts, strict=True)
        ]
        phases.append(sum(terms[1:], terms[0]) if terms else jnp.zeros_like(x))
    shape = (*x.shape[:axis], size * factor, *x.shape[axis + 1 :])
    return jnp.stack(phases, axis=axis + 1).reshape(shape)


def _fir_down(
    x: jax.Array, k: np.ndarray, factor: int, pads: tuple[int, int], axis: int
) -> jax.Array:
    """Pad, filter along `axis`, keep every `factor`-th sample."""
    taps, padded = k[::-1], _pad(x, pads, axis)
    last = padded.shape[axis] - len(k)  # start of the last window
    terms = [
        _slice(padded, j, j + last + 1, factor, axis) * taps[j].astype(x.dtype)
        for j in range(len(k))
    ]
    return sum(terms[1:], terms[0])


def _pad(x: jax.Array, pads: tuple[int, int], axis: int) -> jax.Array:
    """Zeros before and after along one axis; negative numbers crop."""
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (*pads, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _slice(x: jax.Array, start: int, stop: int, stride: int, axis: int) -> jax.Array:
    return lax.slice_in_dim(x, start, stop, stride, axis)


def _conv(x: jax.Array, w: jax.Array, **kwargs: object) -> jax.Array:
    return lax.conv_general_dilated(x, w.astype(x.dtype), dimension_numbers=NHWC, **kwargs)

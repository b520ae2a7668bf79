"""Small parts that the networks share: products, group norm, embeddings, attention, dropout.

Each layer computes in the dtype of its input, to which it converts its parameters; norms and
softmax always compute in float32. Images are [B,H,W,C].
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from sdedit_jax.nets import attention, fields, kernels
from sdedit_jax.nets.resample import NHWC

Activation = Callable[[jax.Array], jax.Array]
Config = TypeVar("Config")

ACTIVATIONS: dict[str, Activation] = {
    "swish": jax.nn.silu,
    "elu": jax.nn.elu,
    "relu": jax.nn.relu,
    "lrelu": lambda x: jax.nn.leaky_relu(x, 0.2),
}


MOST_ARRAYS, MOST_NUMBERS = 10_000, 2**35
"""Arrays and parameters of a network."""


def config_from(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """A configuration dataclass from plain values; lists become tuples.

    Raises:
        ValueError: an unknown or missing field, or a value that its field does not take; see
            `fields.check`.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}
    needed = {name for name, field in known.items() if field.default is dataclasses.MISSING}
    unknown, missing = sorted(values.keys() - known), sorted(needed - values.keys())
    if unknown:
        raise ValueError(f"unknown network fields {unknown[:8]}; known are {sorted(known)}")
    if missing:
        raise ValueError(f"network fields {missing} are missing")
    return kind(**{name: fields.check(known[name], value) for name, value in values.items()})


def attention_levels(side: int, resolutions: Sequence[int], levels: int) -> frozenset[int]:
    """The levels of a network that attend, counted from the full resolution.

    Args:
        side: of the pictures that the configuration describes.
        resolutions: sides of the feature maps that attend, at this picture side.
        levels: number of levels; each halves the side of the one before, rounded down.
    """
    return frozenset(level for level in range(levels) if side // 2**level in resolutions)


def check_input(x: jax.Array, channels: int, multiple: int) -> None:
    """Raises ValueError unless x is [B,H,W,channels] with H and W multiples of `multiple`."""
    if x.ndim != 4 or x.shape[1] % multiple or x.shape[2] % multiple or x.shape[3] != channels:
        wanted = f"[B,H,W,{channels}] with H and W multiples of {multiple}"
        raise ValueError(f"x must be {wanted}, got shape {x.shape}")


class Draws:
    """Random numbers for fresh parameters: successive slices of one long draw.

    Compiling a generator for every shape would take a minute for a whole network.

    Raises:
        ValueError: the shapes of a network need more than MOST_ARRAYS or MOST_NUMBERS.
    """

    def __init__(self, numbers: np.ndarray | jax.Array | None = None) -> None:
        """`numbers` are uniform in (-1, 1); None gives zeros, for shapes only."""
        self.numbers, self.used, self.arrays = numbers, 0, 0

    def uniform(self, shape: tuple[int, ...]) -> np.ndarray | jax.Array:
        """An array uniform in (-1, 1)."""
        start, self.used = self.used, self.used + math.prod(shape)
        self.arrays += 1
        if self.used > MOST_NUMBERS or self.arrays > MOST_ARRAYS:
            raise ValueError(
                f"the network has more than {MOST_ARRAYS} arrays or {MOST_NUMBERS} parameters"
            )
        if self.numbers is None:
            return np.broadcast_to(np.float32(0), shape)  # takes no memory
        return self.numbers[start : self.used].reshape(shape)

    def normal(self, shape: tuple[int, ...], std: float = 1) -> np.ndarray | jax.Array:
        """An array of normal numbers of this standard deviation."""
        u = self.uniform(shape)
        if self.numbers is None:
            return u
        return std * math.sqrt(2) * jax.scipy.special.erfinv(u)

    def fan_avg(self, shape: tuple[int, ...], scale: float) -> np.ndarray | jax.Array:
        """A kernel [..., I, O] of variance scale over the mean of fan-in and fan-out, uniform.

        Scale 0 is replaced by 1e-10, as in score_sde.
        """
        u = self.uniform(shape)
        if self.numbers is None:
            return u
        fan = math.prod(shape[:-2]) * (shape[-2] + shape[-1]) / 2
        return np.float32(math.sqrt(3 * (scale or 1e-10) / fan)) * u


class Dense(nnx.Module):
    """Linear map over the last axis."""

    def __init__(self, n_in: int, n_out: int, scale: float = 1, *, rngs: Draws) -> None:
        self.kernel = nnx.Param(rngs.fan_avg((n_in, n_out), scale))
        self.bias = nnx.Param(np.zeros(n_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return dense(x, self.kernel[...], self.bias[...])


class NIN(nnx.Module):
    """Linear map over channels, with the parameter names of score_sde (W [in,out], b)."""

    def __init__(self, n_in: int, n_out: int, scale: float = 0.1, *, rngs: Draws) -> None:
        self.W = nnx.Param(rngs.fan_avg((n_in, n_out), scale))
        self.b = nnx.Param(np.zeros(n_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        return dense(x, self.W[...], self.b[...])


class Conv(nnx.Module):
    """Convolution with bias; kernel [kh,kw,I,O]."""

    def __init__(
        self, n_in: int, n_out: int, size: int = 3, scale: float = 1, *, rngs: Draws
    ) -> None:
        self.kernel = nnx.Param(rngs.fan_avg((size, size, n_in, n_out), scale))
        self.bias = nnx.Param(np.zeros(n_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Stride 1, output of the input's size."""
        kernel, bias = self.kernel[...], self.bias[...]
        if kernel.shape[:2] == (1, 1):
            return dense(x, kernel[0, 0], bias)
        return add_bias(conv(x, kernel), bias)

    def double(self, x: jax.Array) -> jax.Array:
        """Stride 1 over the picture at twice its size by nearest neighbour; kernels of 3 x 3."""
        wide = kernels.conv3x3_doubled(x, self.kernel[...].astype(x.dtype))
        return add_bias(wide, self.bias[...])

    def halve(self, x: jax.Array) -> jax.Array:
        """Stride 2 over the picture padded by one pixel at its right and bottom."""
        last = ((0, 1), (0, 1))
        return add_bias(conv(x, self.kernel[...], stride=2, padding=last), self.bias[...])


class GroupNorm(nnx.Module):
    """Group normalisation over pixels and channels of a group, in float32."""

    def __init__(self, channels: int, groups: int, eps: float = 1e-6, *, rngs: Draws) -> None:
        if channels % groups:
            raise ValueError(f"channels must be a multiple of {groups} groups, got {channels}")
        self.groups, self.eps = groups, eps
        self.scale = nnx.Param(np.ones(channels, np.float32))
        self.bias = nnx.Param(np.zeros(channels, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,C] -> [B,H,W,C] in the dtype of x."""
        return kernels.group_norm(x, self.scale[...], self.bias[...], self.groups, self.eps)


class GaussianFourierProjection(nnx.Module):
    """Random Fourier features of log sigma; the frequencies W are never trained."""

    def __init__(self, features: int, scale: float, *, rngs: Draws) -> None:
        self.W = nnx.Param(rngs.normal((features,), scale))

    def __call__(self, log_sigma: jax.Array) -> jax.Array:
        """[B] -> [B, 2 features]. The order of the products is that of score_sde: the phases
        reach 1e3, where a float32 rounding in another place changes the network's output."""
        w = lax.stop_gradient(self.W[...])
        phase = log_sigma[:, None] * w[None, :] * 2 * np.float32(np.pi)
        return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)], axis=-1)


class Embedding(nnx.Module):
    """A table of vectors, one per label."""

    def __init__(self, size: int, features: int, *, rngs: Draws) -> None:
        self.embedding = nnx.Param(rngs.normal((size, features), 0.02))

    def __call__(self, y: jax.Array) -> jax.Array:
        """Integers [B] -> [B, features]."""
        return self.embedding[...][y]


def positional_embedding(t: jax.Array, dim: int) -> jax.Array:
    """[B] -> [B, dim]: sines, then cosines, of t over dim//2 frequencies from 1 to 1e-4.

    An odd dim gets a last column of zeros.
    """
    half = dim // 2
    rate = np.float32(-math.log(10000) / (half - 1))
    freqs = np.exp(np.arange(half, dtype=np.float32) * rate)
    angle = t.astype(jnp.float32)[:, None] * freqs[None, :]
    parts = [jnp.sin(angle), jnp.cos(angle)]
    return jnp.concatenate(parts + [jnp.zeros_like(angle[:, :1])] * (dim % 2), axis=-1)


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """x [..., I] times kernel [I, O] plus bias [O], in the dtype of x."""
    return add_bias(product(x, kernel.astype(x.dtype)), bias)


def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., I] times kernel [I, O].

    x is reshaped to rows: on CPU the kernel's gradient over several axes takes three times as long.
    """
    return jnp.dot(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def conv(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: str | tuple = "SAME"
) -> jax.Array:
    """x [B,H,W,I] convolved with kernel [kh,kw,I,O], in the dtype of x."""
    kernel = kernel.astype(x.dtype)
    if stride == 1 and padding == "SAME" and kernel.shape[:2] == (3, 3):
        return kernels.conv3x3(x, kernel)
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, padding, dimension_numbers=NHWC)


def add_bias(x: jax.Array, bias: jax.Array) -> jax.Array:
    """x [..., O] plus bias [O] (or [..., O] of the same rank)."""
    return x + bias.astype(x.dtype).reshape((1,) * (x.ndim - bias.ndim) + bias.shape)


def attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Single-head attention over all pixels; q, k, v and the result are [B,H,W,C]."""
    b, h, w, c = q.shape
    tokens = (a.reshape(b, h * w, 1, c) for a in (q, k, v))
    return attention.attend(*tokens).reshape(b, h, w, c)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes elements with probability `rate` and rescales the rest; key None leaves x alone."""
    if key is None or rate == 0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), jnp.zeros_like(x))

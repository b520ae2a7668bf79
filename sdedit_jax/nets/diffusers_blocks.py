"""Modules shared by the networks of diffusers; children have diffusers' names.

Pictures are [B,H,W,C], tokens [B,N,C]. Every module computes in the dtype of its input; norms and
softmax in float32.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from sdedit_jax.nets import attention, layers
from sdedit_jax.nets.layers import Conv, Draws, GroupNorm
from sdedit_jax.nets.ncsnpp_blocks import conv_resized, resize

Activation = Callable[[jax.Array], jax.Array]

ACTIVATIONS: dict[str, Activation] = {
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
    "mish": jax.nn.mish,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
}

FIR = (1.0, 3.0, 3.0, 1.0)


class Linear(nnx.Module):
    """Linear map over the last axis, with or without bias."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True, *, rngs: Draws) -> None:
        self.kernel = nnx.Param(rngs.fan_avg((n_in, n_out), 1))
        if bias:
            self.bias = nnx.Param(np.zeros(n_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        y = layers.product(x, self.kernel[...].astype(x.dtype))
        return layers.add_bias(y, self.bias[...]) if hasattr(self, "bias") else y


class LayerNorm(nnx.Module):
    """Normalisation over the last axis, then scale and bias, in float32."""

    def __init__(self, channels: int, eps: float = 1e-5, *, rngs: Draws) -> None:
        self.eps = eps
        self.scale = nnx.Param(np.ones(channels, np.float32))
        self.bias = nnx.Param(np.zeros(channels, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        wide = x.astype(jnp.float32)
        wide = wide - wide.mean(-1, keepdims=True)
        wide = wide * lax.rsqrt((wide * wide).mean(-1, keepdims=True) + self.eps)
        scale, bias = (p[...].reshape((1,) * (x.ndim - 1) + (-1,)) for p in (self.scale, self.bias))
        return (wide * scale + bias).astype(x.dtype)


class TimestepEmbedding(nnx.Module):
    """Two dense layers over the features of the time."""

    def __init__(self, n_in: int, n_out: int, *, rngs: Draws) -> None:
        self.linear_1 = Linear(n_in, n_out, rngs=rngs)
        self.linear_2 = Linear(n_out, n_out, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """[B,n_in] -> [B,n_out], not activated."""
        return self.linear_2(jax.nn.silu(self.linear_1(features)))


def timestep_features(t: jax.Array, dim: int, cosine_first: bool, shift: float) -> jax.Array:
    """[B] -> [B,dim]: sines and cosines of t exp(-ln(1e4) k / (dim // 2 - shift)).

    An odd dim gets a last column of zeros.
    """
    half = dim // 2
    exponent = np.float32(-np.log(10000)) * np.arange(half, dtype=np.float32)
    rate = np.exp(exponent / np.float32(half - shift))
    angle = t.astype(jnp.float32)[:, None] * rate[None]
    parts = [jnp.cos(angle), jnp.sin(angle)] if cosine_first else [jnp.sin(angle), jnp.cos(angle)]
    return jnp.concatenate(parts + [jnp.zeros_like(angle[:, :1])] * (dim % 2), axis=-1)


class ResnetBlock2D(nnx.Module):
    """Norm, activation, convolution, twice, with the time embedding between; residual."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        temb: int | None,
        *,
        groups: int,
        groups_out: int | None = None,
        eps: float = 1e-6,
        act: str = "silu",
        rescale: float = 1.0,
        scale_shift: bool = False,
        direction: str = "",
        fir: bool = False,
        shortcut: bool | None = None,
        dropout: float = 0.0,
        rngs: Draws,
    ) -> None:
        """
        Args:
            n_in, n_out, temb: channels of input, output and time embedding (None: no embedding).
            groups, groups_out: of the two norms; groups_out None is `groups`.
            rescale: the sum of both branches is divided by it.
            scale_shift: the embedding scales and shifts the second norm's output, else is added.
            direction: "shrink" or "enlarge" resamples both branches before the first convolution.
            fir: by the FIR filter (1, 3, 3, 1), else by the 2x2 mean or nearest neighbour.
            shortcut: a 1x1 convolution in the short branch; None: where the width changes.
        """
        self.act, self.rescale, self.rate, self.scale_shift = act, rescale, dropout, scale_shift
        self.direction, self.filter = direction, FIR if fir else None
        self.norm1 = GroupNorm(n_in, groups, eps, rngs=rngs)
        self.conv1 = Conv(n_in, n_out, rngs=rngs)
        if temb is not None:
            self.time_emb_proj = Linear(temb, (1 + scale_shift) * n_out, rngs=rngs)
        self.norm2 = GroupNorm(n_out, groups_out or groups, eps, rngs=rngs)
        self.conv2 = Conv(n_out, n_out, scale=0, rngs=rngs)
        if n_in != n_out if shortcut is None else shortcut:
            self.conv_shortcut = Conv(n_in, n_out, 1, rngs=rngs)

    def __call__(
        self, x: jax.Array, temb: jax.Array | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """x [B,H,W,n_in], temb [B,temb] (not activated) -> [B,H',W',n_out]."""
        act = ACTIVATIONS[self.act]
        h = conv_resized(self.conv1, act(self.norm1(x)), self.direction, self.filter)
        x = resize(x, self.direction, self.filter) if self.direction else x
        h = self._embedded(h, None if temb is None else act(temb))
        h = self.conv2(layers.dropout(act(h), self.rate, key))
        h = h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)
        return h if self.rescale == 1 else h / np.float32(self.rescale).astype(h.dtype)

    def _embedded(self, h: jax.Array, temb: jax.Array | None) -> jax.Array:
        if temb is None:
            return self.norm2(h)
        temb = self.time_emb_proj(temb).astype(h.dtype)[:, None, None]
        if not self.scale_shift:
            return self.norm2(h + temb)
        scale, shift = jnp.split(temb, 2, axis=-1)
        return self.norm2(h) * (1 + scale) + shift


class Attention(nnx.Module):
    """Multi-head attention; of tokens among themselves, on a context, or among pixels."""

    def __init__(
        self,
        channels: int,
        heads: int,
        head_dim: int,
        *,
        context: int | None = None,
        bias: bool = False,
        groups: int | None = None,
        eps: float = 1e-5,
        rescale: float = 1.0,
        upcast: bool = False,
        rngs: Draws,
    ) -> None:
        """
        Args:
            channels: of the input.
            heads, head_dim: number of heads, and channels of each.
            context: channels of the attended tokens; None: those of the input.
            bias: of q, k and v; the output always has a bias.
            groups: of the norm before it (`over_pixels`); None: no norm.
            rescale: `over_pixels` divides its sum by it.
            upcast: products of queries and keys are in float32, whatever the dtype of the input.
        """
        inner = heads * head_dim
        self.heads, self.rescale, self.upcast = heads, rescale, upcast
        if groups is not None:
            self.group_norm = GroupNorm(channels, groups, eps, rngs=rngs)
        self.to_q = Linear(channels, inner, bias, rngs=rngs)
        self.to_k = Linear(context or channels, inner, bias, rngs=rngs)
        self.to_v = Linear(context or channels, inner, bias, rngs=rngs)
        self.to_out = nnx.List([Linear(inner, channels, rngs=rngs)])

    def __call__(self, x: jax.Array, context: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [B,N,C], context [B,M,K] -> [B,N,C] and the weights [B,heads,N,M]."""
        h, weights = attention.attend_weighed(*self._by_head(x, context))
        return self.to_out[0](h.reshape(*h.shape[:2], -1)), weights

    def among(self, x: jax.Array) -> jax.Array:
        """Attention of the tokens x [B,N,C] among themselves."""
        h = attention.attend(*self._by_head(x, x))
        return self.to_out[0](h.reshape(*h.shape[:2], -1))

    def _by_head(self, x: jax.Array, context: jax.Array) -> tuple[jax.Array, ...]:
        """Queries [B,N,heads,d], keys and values [B,M,heads,d]."""
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        if self.upcast:
            q, k = q.astype(jnp.float32), k.astype(jnp.float32)
        return tuple(a.reshape(*a.shape[:2], self.heads, -1) for a in (q, k, v))

    def over_pixels(self, x: jax.Array) -> jax.Array:
        """Attention among the pixels of x [B,H,W,C], added to x."""
        h = self.group_norm(x) if hasattr(self, "group_norm") else x
        h = x + self.among(h.reshape(x.shape[0], -1, x.shape[-1])).reshape(x.shape)
        return h if self.rescale == 1 else h / np.float32(self.rescale).astype(h.dtype)


class Downsample2D(nnx.Module):
    """A convolution of stride 2."""

    def __init__(self, channels: int, padding: int = 1, *, rngs: Draws) -> None:
        self.padding = padding
        self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,C] -> half the sides; zeros around by `padding`, 0: at right and bottom only."""
        if self.padding == 0:
            return self.conv.halve(x)
        around = ((self.padding, self.padding),) * 2
        y = layers.conv(x, self.conv.kernel[...], stride=2, padding=around)
        return layers.add_bias(y, self.conv.bias[...])


class Upsample2D(nnx.Module):
    """Nearest neighbour, then a convolution."""

    def __init__(self, channels: int, *, rngs: Draws) -> None:
        self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array, size: tuple[int, int] | None = None) -> jax.Array:
        """[B,H,W,C] -> [B,2H,2W,C], or of the given (height, width)."""
        if size is None or size == (2 * x.shape[1], 2 * x.shape[2]):
            return self.conv.double(x)
        rows, columns = (np.arange(n) * old // n for n, old in zip(size, x.shape[1:3], strict=True))
        return self.conv(x[:, rows][:, :, columns])

"""The U-Net of guided-diffusion ("ADM", Dhariwal and Nichol 2021, 2105.05233, section 3).

Attribute names are those of its state dict (`input_blocks.3.0.in_layers.2`), which convert by one
rule. The U-Net of improved-diffusion (2102.09672) has the same names and is a case of this one.
Its upsamplers, which take a second picture, and its classifiers are left out.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import attention, layers, resample
from sdedit_jax.nets.layers import Conv, Dense, Draws, Embedding

GROUPS, EPS = 32, 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class ADMConfig:
    """The architecture; field names are those of the original's `UNetModel`.

    Attributes:
        image_size: side of the training pictures. The network takes other sizes too: see `stride`.
        out_channels: in_channels, or twice that of a network with learned variance (`eps, v`).
        attention_resolutions: downsampling factors (1, 2, 4, ..) whose levels attend, not sizes.
        channel_mult: widths of the levels over model_channels; fractions are allowed.
        conv_resample: convolutions at the resamplings (without `resblock_updown`).
        num_classes: number of class labels, all of which are classes; None: no labels.
        num_heads: of attention; where num_head_channels > 0 the width over it instead.
        num_heads_upsample: num_heads of the up path; -1: the same.
        use_scale_shift_norm: the embedding scales and shifts the second norm.
        resblock_updown: residual blocks resample.
        use_new_attention_order: channels of qkv are [all q, all k, all v], not one triple per head.
    """

    image_size: int
    model_channels: int
    out_channels: int
    num_res_blocks: int
    attention_resolutions: tuple[int, ...]
    in_channels: int = 3
    dropout: float = 0.0
    channel_mult: tuple[float, ...] = (1, 2, 4, 8)
    conv_resample: bool = True
    num_classes: int | None = None
    num_heads: int = 1
    num_head_channels: int = -1
    num_heads_upsample: int = -1
    use_scale_shift_norm: bool = False
    resblock_updown: bool = False
    use_new_attention_order: bool = False

    def __post_init__(self) -> None:
        if self.out_channels not in (self.in_channels, 2 * self.in_channels):
            raise ValueError(
                f"out_channels must be in_channels = {self.in_channels} or twice that,"
                f" got {self.out_channels}"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "ADMConfig":
        """The configuration from plain values; unknown fields raise ValueError."""
        return layers.config_from(cls, values)

    @property
    def stride(self) -> int:
        """Height and width of a picture must be multiples of it."""
        return 2 ** (len(self.channel_mult) - 1)

    @property
    def attention_levels(self) -> frozenset[int]:
        """The levels that attend, counted from the full resolution."""
        levels = range(len(self.channel_mult))
        return frozenset(i for i in levels if 2**i in self.attention_resolutions)

    @property
    def widths(self) -> list[int]:
        """Channels of each level."""
        return [int(m * self.model_channels + 1e-6) for m in self.channel_mult]

    def heads(self, channels: int, upwards: bool) -> int:
        """Number of heads of an attention over `channels`.

        Raises:
            ValueError: they do not divide the channels.
        """
        count = self.num_heads
        if upwards and self.num_heads_upsample > 0:
            count = self.num_heads_upsample
        if self.num_head_channels > 0:
            count = max(channels // self.num_head_channels, 1)
        per_head = self.num_head_channels if self.num_head_channels > 0 else channels // count
        if count * per_head != channels:
            raise ValueError(
                f"num_heads or num_head_channels: {channels} channels do not make {count} heads"
            )
        return count


class Slots(nnx.Module):
    """Children under their numbers in a torch Sequential; those without weights are left out."""

    def __init__(self, **children: nnx.Module) -> None:
        """`children` are named "_0", "_2", ..: an underscore and the number."""
        for name, child in children.items():
            setattr(self, name[1:], child)

    def __getitem__(self, index: int) -> nnx.Module:
        return getattr(self, str(index))


class ResBlock(nnx.Module):
    """Norm, silu, convolution, twice, with the embedding between; residual, may resample."""

    def __init__(
        self, c: ADMConfig, n_in: int, n_out: int, direction: str = "", *, rngs: Draws
    ) -> None:
        self.rate, self.direction = c.dropout, direction
        self.modulates = c.use_scale_shift_norm
        self.in_layers = Slots(_0=norm(n_in, rngs), _2=Conv(n_in, n_out, rngs=rngs))
        n_emb = 2 * n_out if self.modulates else n_out
        self.emb_layers = Slots(_1=Dense(4 * c.model_channels, n_emb, rngs=rngs))
        self.out_layers = Slots(_0=norm(n_out, rngs), _3=Conv(n_out, n_out, scale=0, rngs=rngs))
        if n_in != n_out:
            self.skip_connection = Conv(n_in, n_out, 1, rngs=rngs)

    def __call__(self, x: jax.Array, emb: jax.Array, key: jax.Array | None) -> jax.Array:
        """x [B,H,W,I], emb [B,4ch] (already activated) -> [B,H,W,O], H and W resampled."""
        h, conv = jax.nn.silu(self.in_layers[0](x)), self.in_layers[2]
        h = conv.double(h) if self.direction == "up" else conv(resampled(h, self.direction))
        x = resampled(x, self.direction)
        emb = self.emb_layers[1](emb).astype(h.dtype)[:, None, None]
        if self.modulates:
            scale, shift = jnp.split(emb, 2, axis=-1)
            h = self.out_layers[0](h) * (1 + scale) + shift
        else:
            h = self.out_layers[0](h + emb)
        h = self.out_layers[3](layers.dropout(jax.nn.silu(h), self.rate, key))
        return h + (self.skip_connection(x) if hasattr(self, "skip_connection") else x)


class AttentionBlock(nnx.Module):
    """Multi-head self-attention over all pixels, residual."""

    def __init__(self, c: ADMConfig, channels: int, upwards: bool = False, *, rngs: Draws) -> None:
        self.heads, self.by_kind = c.heads(channels, upwards), c.use_new_attention_order
        self.norm = norm(channels, rngs)
        self.qkv = Dense(channels, 3 * channels, rngs=rngs)
        self.proj_out = Dense(channels, channels, scale=0, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,C] -> [B,H,W,C]."""
        b, h, w, c = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, h * w, 3 * c)
        q, k, v = split_heads(qkv, self.heads, self.by_kind)
        return x + self.proj_out(attention.attend(q, k, v).reshape(b, h, w, c))


class Downsample(nnx.Module):
    """Half the resolution by a convolution of stride 2, padded by a pixel on every side."""

    def __init__(self, channels: int, *, rngs: Draws) -> None:
        self.op = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        around = ((1, 1), (1, 1))
        h = layers.conv(x, self.op.kernel[...], stride=2, padding=around)
        return layers.add_bias(h, self.op.bias[...])


class Upsample(nnx.Module):
    """Twice the resolution: nearest neighbour, then a convolution."""

    def __init__(self, channels: int, *, rngs: Draws) -> None:
        self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv.double(x)


class Plain(nnx.Module):
    """A resampling without weights."""

    def __init__(self, direction: str) -> None:
        self.direction = direction

    def __call__(self, x: jax.Array) -> jax.Array:
        return resampled(x, self.direction)


class ADM(nnx.Module):
    """The network: eps, or eps and v, of a noisy picture in [-1, 1] at a step number."""

    def __init__(self, config: ADMConfig, *, rngs: Draws) -> None:
        self.config = c = config
        widths, n_emb = c.widths, 4 * c.model_channels
        last, n = len(widths) - 1, widths[0]
        self.time_embed = Slots(
            _0=Dense(c.model_channels, n_emb, rngs=rngs), _2=Dense(n_emb, n_emb, rngs=rngs)
        )
        if c.num_classes is not None:
            self.label_emb = Embedding(c.num_classes, n_emb, rngs=rngs)
        self.input_blocks = nnx.List([nnx.List([Conv(c.in_channels, n, rngs=rngs)])])
        skips = [n]
        for i, width in enumerate(widths):
            for _ in range(c.num_res_blocks):
                block = [ResBlock(c, n, width, rngs=rngs)]
                if i in c.attention_levels:
                    block.append(AttentionBlock(c, width, rngs=rngs))
                self.input_blocks.append(nnx.List(block))
                skips.append(n := width)
            if i < last:
                self.input_blocks.append(nnx.List([resampler(c, n, "down", rngs)]))
                skips.append(n)
        middle = [ResBlock(c, n, n, rngs=rngs), AttentionBlock(c, n, rngs=rngs)]
        self.middle_block = nnx.List([*middle, ResBlock(c, n, n, rngs=rngs)])
        self.output_blocks = nnx.List([])
        for i, width in reversed(list(enumerate(widths))):
            for j in range(c.num_res_blocks + 1):
                block = [ResBlock(c, n + skips.pop(), width, rngs=rngs)]
                if i in c.attention_levels:
                    block.append(AttentionBlock(c, width, True, rngs=rngs))
                n = width
                if i and j == c.num_res_blocks:
                    block.append(resampler(c, n, "up", rngs))
                self.output_blocks.append(nnx.List(block))
        out = Conv(widths[0], c.out_channels, scale=0, rngs=rngs)
        self.out = Slots(_0=norm(n, rngs), _2=out)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array,
        *,
        y: jax.Array | None = None,
        key: jax.Array | None = None,
        dtype: jnp.dtype = jnp.float32,
    ) -> jax.Array:
        """x [B,H,W,C], step numbers [B] -> [B,H,W,out_channels] float32.

        `y` are class labels [B]; a network with classes needs them. `key` switches dropout on.
        `dtype` is that of the activations, except at both ends.

        Raises:
            ValueError: x has another shape, or y does not agree with `num_classes`.
        """
        c = self.config
        layers.check_input(x, c.in_channels, c.stride)
        if (y is None) != (c.num_classes is None):
            wanted = "None: this network has no" if c.num_classes is None else "given: it has"
            raise ValueError(f"y must be {wanted} class labels")
        keys = (key if key is None else jax.random.fold_in(key, i) for i in itertools.count())
        emb = self.embedded(label, y)
        h = self.input_blocks[0][0](x.astype(jnp.float32)).astype(dtype)
        skips = [h]
        for block in self.input_blocks[1:]:
            h = applied(block, h, emb, keys)
            skips.append(h)
        h = applied(self.middle_block, h, emb, keys)
        for block in self.output_blocks:
            h = applied(block, jnp.concatenate([h, skips.pop()], axis=-1), emb, keys)
        return self.out[2](jax.nn.silu(self.out[0](h.astype(jnp.float32))))

    def embedded(self, label: jax.Array, y: jax.Array | None) -> jax.Array:
        """Step number and class label [B] -> [B,4ch], already activated for the blocks."""
        features = timestep_embedding(label, self.config.model_channels)
        emb = self.time_embed[2](jax.nn.silu(self.time_embed[0](features)))
        return jax.nn.silu(emb if y is None else emb + self.label_emb(y))


def resampler(c: ADMConfig, channels: int, direction: str, rngs: Draws) -> nnx.Module:
    """The resampling between two levels; `direction` is "down" or "up"."""
    if c.resblock_updown:
        return ResBlock(c, channels, channels, direction, rngs=rngs)
    if not c.conv_resample:
        return Plain(direction)
    return (Downsample if direction == "down" else Upsample)(channels, rngs=rngs)


def applied(block: nnx.List, h: jax.Array, emb: jax.Array, keys: Any) -> jax.Array:
    """Apply the layers of a block in order."""
    for layer in block:
        h = layer(h, emb, next(keys)) if isinstance(layer, ResBlock) else layer(h)
    return h


def resampled(x: jax.Array, direction: str) -> jax.Array:
    """Half ("down": mean of 2x2), twice ("up": nearest) or the same ("") resolution."""
    if not direction:
        return x
    down, up = resample.naive_downsample_2d, resample.naive_upsample_2d
    return (down if direction == "down" else up)(x)


def norm(channels: int, rngs: Draws) -> layers.GroupNorm:
    """Group norm with the original's 32 groups and eps 1e-5."""
    return layers.GroupNorm(channels, GROUPS, EPS, rngs=rngs)


def timestep_embedding(t: jax.Array, dim: int) -> jax.Array:
    """[B] -> [B, dim]: cosines, then sines, of t over dim//2 frequencies from 1 down to 1e-4
    (not reached). An odd dim gets a last column of zeros."""
    half = dim // 2
    rate = np.float32(-np.log(10000))
    freqs = np.exp(rate * np.arange(half, dtype=np.float32) / np.float32(half))
    angle = t.astype(jnp.float32)[:, None] * freqs[None, :]
    parts = [jnp.cos(angle), jnp.sin(angle)]
    return jnp.concatenate(parts + [jnp.zeros_like(angle[:, :1])] * (dim % 2), axis=-1)


def split_heads(
    qkv: jax.Array, heads: int, by_kind: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """qkv [B,T,3C] -> q, k, v, each [B,T,heads,C/heads].

    Args:
        by_kind: the channels are [all q, all k, all v]; else [q, k, v] of one head after the other.
    """
    b, t, c3 = qkv.shape
    per_head = c3 // 3 // heads
    if by_kind:
        parts = jnp.moveaxis(qkv.reshape(b, t, 3, heads, per_head), 2, 0)
    else:
        parts = jnp.moveaxis(qkv.reshape(b, t, heads, 3, per_head), 3, 0)
    return parts[0], parts[1], parts[2]

"""The U-Net of DDPM (Ho et al. 2020) as SDEdit and pytorch_diffusion use it.

Attribute names are those of their state dicts (`down.0.block.1.conv1`), which convert by one rule.
It differs from score_sde's networks in its names, in attention after every block of an attending
level of the up path, and in biased 1x1 convolutions for q, k, v.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets import layers, resample
from sdedit_jax.nets.layers import Conv, Dense, Draws, GroupNorm

GROUPS = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class DDPMConfig:
    """The architecture; field names are those of SDEdit's ymls (`model:` and `image_size`).

    Attributes:
        image_size: side of the training pictures. The network takes other sizes too: see `stride`.
        attn_resolutions: sides of the feature maps that attend, for pictures of `image_size`. They
            define `attention_levels`; at other picture sizes the same levels attend.
    """

    image_size: int
    ch: int = 128
    in_channels: int = 3
    out_ch: int = 3
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    dropout: float = 0.0
    resamp_with_conv: bool = True

    @property
    def stride(self) -> int:
        """Height and width of a picture must be multiples of it."""
        return 2 ** (len(self.ch_mult) - 1)

    @property
    def attention_levels(self) -> frozenset[int]:
        """The levels that attend, counted from the full resolution."""
        return layers.attention_levels(self.image_size, self.attn_resolutions, len(self.ch_mult))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "DDPMConfig":
        """The configuration from plain values; unknown fields raise ValueError."""
        return layers.config_from(cls, values)


class ResnetBlock(nnx.Module):
    """Norm, swish, convolution, twice, with the time embedding between; residual."""

    def __init__(self, c: DDPMConfig, n_in: int, n_out: int, *, rngs: Draws) -> None:
        self.rate = c.dropout
        self.norm1 = GroupNorm(n_in, GROUPS, rngs=rngs)
        self.conv1 = Conv(n_in, n_out, rngs=rngs)
        self.temb_proj = Dense(4 * c.ch, n_out, rngs=rngs)
        self.norm2 = GroupNorm(n_out, GROUPS, rngs=rngs)
        self.conv2 = Conv(n_out, n_out, scale=0, rngs=rngs)
        if n_in != n_out:
            self.nin_shortcut = Conv(n_in, n_out, 1, rngs=rngs)

    def __call__(self, x: jax.Array, temb: jax.Array, key: jax.Array | None) -> jax.Array:
        """x [B,H,W,I], temb [B,4ch] (already activated) -> [B,H,W,O]."""
        h = self.conv1(jax.nn.silu(self.norm1(x)))
        h = h + self.temb_proj(temb).astype(h.dtype)[:, None, None]
        h = self.conv2(layers.dropout(jax.nn.silu(self.norm2(h)), self.rate, key))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nnx.Module):
    """Single-head self-attention over all pixels, residual."""

    def __init__(self, channels: int, *, rngs: Draws) -> None:
        self.norm = GroupNorm(channels, GROUPS, rngs=rngs)
        self.q = Conv(channels, channels, 1, rngs=rngs)
        self.k = Conv(channels, channels, 1, rngs=rngs)
        self.v = Conv(channels, channels, 1, rngs=rngs)
        self.proj_out = Conv(channels, channels, 1, scale=0, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,C] -> [B,H,W,C]."""
        h = self.norm(x)
        return x + self.proj_out(layers.attend(self.q(h), self.k(h), self.v(h)))


class Embedder(nnx.Module):
    """The time embedding's two dense layers."""

    def __init__(self, c: DDPMConfig, *, rngs: Draws) -> None:
        self.dense = nnx.List([Dense(n, 4 * c.ch, rngs=rngs) for n in (c.ch, 4 * c.ch)])

    def __call__(self, features: jax.Array) -> jax.Array:
        """[B,ch] -> [B,4ch], already activated for the blocks."""
        return jax.nn.silu(self.dense[1](jax.nn.silu(self.dense[0](features))))


class Halve(nnx.Module):
    """Half the resolution: a strided convolution, or the 2x2 mean."""

    def __init__(self, channels: int, learned: bool, *, rngs: Draws) -> None:
        if learned:
            self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv.halve(x) if hasattr(self, "conv") else resample.naive_downsample_2d(x)


class Double(nnx.Module):
    """Twice the resolution: nearest neighbour, then a convolution if learned."""

    def __init__(self, channels: int, learned: bool, *, rngs: Draws) -> None:
        if learned:
            self.conv = Conv(channels, channels, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.conv.double(x) if hasattr(self, "conv") else resample.naive_upsample_2d(x)


class Level(nnx.Module):
    """The blocks of one resolution, each followed by attention where the level has it."""

    def __init__(
        self, c: DDPMConfig, widths: list[int], n_out: int, attends: bool, *, rngs: Draws
    ) -> None:
        self.block = nnx.List([ResnetBlock(c, n, n_out, rngs=rngs) for n in widths])
        count = len(widths) if attends else 0
        self.attn = nnx.List([AttnBlock(n_out, rngs=rngs) for _ in range(count)])

    def run(self, index: int, h: jax.Array, temb: jax.Array, key: jax.Array | None) -> jax.Array:
        """Block `index` and its attention."""
        h = self.block[index](h, temb, key)
        return self.attn[index](h) if len(self.attn) else h


class Middle(nnx.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, c: DDPMConfig, channels: int, *, rngs: Draws) -> None:
        self.block_1 = ResnetBlock(c, channels, channels, rngs=rngs)
        self.attn_1 = AttnBlock(channels, rngs=rngs)
        self.block_2 = ResnetBlock(c, channels, channels, rngs=rngs)


class DDPM(nnx.Module):
    """The network: eps of a noisy picture in [-1, 1] at a step number."""

    def __init__(self, config: DDPMConfig, *, rngs: Draws) -> None:
        self.config = c = config
        wide = [c.ch * m for m in c.ch_mult]
        before = [c.ch, *wide[:-1]]  # input width of each level in the down path
        blocks, last = c.num_res_blocks, len(wide) - 1
        self.temb = Embedder(c, rngs=rngs)
        self.conv_in = Conv(c.in_channels, c.ch, rngs=rngs)
        self.down, self.up = nnx.List([]), nnx.List([])
        for i, n in enumerate(wide):
            widths = [before[i], *[n] * (blocks - 1)]
            self.down.append(Level(c, widths, n, i in c.attention_levels, rngs=rngs))
            if i < last:
                self.down[i].downsample = Halve(n, c.resamp_with_conv, rngs=rngs)
        self.mid = Middle(c, wide[-1], rngs=rngs)
        for i, n in enumerate(wide):
            below = wide[min(i + 1, last)]
            widths = [below + n, *[2 * n] * (blocks - 1), n + before[i]]
            self.up.append(Level(c, widths, n, i in c.attention_levels, rngs=rngs))
            if i:
                self.up[i].upsample = Double(n, c.resamp_with_conv, rngs=rngs)
        self.norm_out = GroupNorm(c.ch * c.ch_mult[0], GROUPS, rngs=rngs)
        self.conv_out = Conv(c.ch * c.ch_mult[0], c.out_ch, scale=0, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array,
        *,
        y: None = None,
        key: jax.Array | None = None,
        dtype: jnp.dtype = jnp.float32,
    ) -> jax.Array:
        """x [B,H,W,C], step numbers [B] -> [B,H,W,out_ch] float32.

        `key` switches dropout on; `y` must be None (the network has no classes); `dtype` is that
        of the activations, except at both ends.
        """
        c, last = self.config, len(self.config.ch_mult) - 1
        layers.check_input(x, c.in_channels, c.stride)
        if y is not None:
            raise ValueError("y must be None: this network has no class labels")
        keys = (key if key is None else jax.random.fold_in(key, i) for i in itertools.count())
        temb = self.temb(layers.positional_embedding(label, c.ch))
        h = self.conv_in(x.astype(jnp.float32)).astype(dtype)
        skips = [h]
        for i, level in enumerate(self.down):
            for j in range(c.num_res_blocks):
                h = level.run(j, h, temb, next(keys))
                skips.append(h)
            if i < last:
                h = level.downsample(h)
                skips.append(h)
        h = self.mid.attn_1(self.mid.block_1(h, temb, next(keys)))
        h = self.mid.block_2(h, temb, next(keys))
        for i in range(last, -1, -1):
            for j in range(c.num_res_blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = self.up[i].run(j, h, temb, next(keys))
            h = self.up[i].upsample(h) if i else h
        return self.conv_out(jax.nn.silu(self.norm_out(h.astype(jnp.float32))))

"""UNet2DConditionModel of diffusers, for Stable Diffusion 1 and 2 (9 channels: inpainting).

Attribute names are those of its state dicts, which convert by one rule. Levels with "CrossAttn" in
their name have a transformer after each residual block. It attends to the pixels and to a text.
"""

import itertools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets import layers
from sdedit_jax.nets.diffusers_blocks import (
    ACTIVATIONS,
    Attention,
    Downsample2D,
    LayerNorm,
    Linear,
    ResnetBlock2D,
    TimestepEmbedding,
    Upsample2D,
    timestep_features,
)
from sdedit_jax.nets.layers import Conv, Draws, GroupNorm
from sdedit_jax.nets.sd_config import SDUNetConfig

__all__ = ["SDUNet", "SDUNetConfig"]

Keys = Iterator[jax.Array | None]
Maps = list[jax.Array]
"""Weights of cross-attention [B,H,W,M], one array for each transformer block."""


class Gate(nnx.Module):
    """GEGLU: one half of a linear map, gated by the GELU of the other."""

    def __init__(self, n_in: int, n_out: int, *, rngs: Draws) -> None:
        self.proj = Linear(n_in, 2 * n_out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        value, gate = jnp.split(self.proj(x), 2, axis=-1)
        return value * ACTIVATIONS["gelu"](gate)


class Nothing(nnx.Module):
    """Placeholder for the original's dropout."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return x


class FeedForward(nnx.Module):
    """Gate of four times the width, placeholder of the dropout, linear map."""

    def __init__(self, n: int, *, rngs: Draws) -> None:
        self.net = nnx.List([Gate(n, 4 * n, rngs=rngs), Nothing(), Linear(4 * n, n, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        for part in self.net:
            x = part(x)
        return x


class BasicTransformerBlock(nnx.Module):
    """Attention among pixels, attention to the text, feed-forward; each residual."""

    def __init__(self, c: SDUNetConfig, n: int, heads: int, *, rngs: Draws) -> None:
        upcast = bool(c.upcast_attention)
        self.norm1 = LayerNorm(n, rngs=rngs)
        self.attn1 = Attention(n, heads, n // heads, upcast=upcast, rngs=rngs)
        self.norm2 = LayerNorm(n, rngs=rngs)
        context = c.cross_attention_dim
        self.attn2 = Attention(n, heads, n // heads, context=context, upcast=upcast, rngs=rngs)
        self.norm3 = LayerNorm(n, rngs=rngs)
        self.ff = FeedForward(n, rngs=rngs)

    def __call__(self, x: jax.Array, text: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [B,N,C], text [B,M,K] -> [B,N,C] and the weights [B,N,M], the mean over heads."""
        x = x + self.attn1.among(self.norm1(x))
        seen, weights = self.attn2(self.norm2(x), text)
        x = x + seen
        return x + self.ff(self.norm3(x)), weights.mean(1)


class Transformer2D(nnx.Module):
    """Transformer blocks over the pixels, residual."""

    def __init__(self, c: SDUNetConfig, n: int, heads: int, *, rngs: Draws) -> None:
        self.norm = GroupNorm(n, c.norm_num_groups, 1e-6, rngs=rngs)
        end = Linear if c.use_linear_projection else lambda i, o, *, rngs: Conv(i, o, 1, rngs=rngs)
        self.proj_in = end(n, n, rngs=rngs)
        count = c.transformer_layers_per_block
        self.transformer_blocks = nnx.List(
            [BasicTransformerBlock(c, n, heads, rngs=rngs) for _ in range(count)]
        )
        self.proj_out = end(n, n, rngs=rngs)

    def __call__(self, x: jax.Array, text: jax.Array) -> tuple[jax.Array, Maps]:
        """x [B,H,W,C], text [B,M,K] -> [B,H,W,C] and the maps."""
        b, h, w, n = x.shape
        tokens, maps = self.proj_in(self.norm(x)).reshape(b, h * w, n), []
        for block in self.transformer_blocks:
            tokens, weights = block(tokens, text)
            maps.append(weights.reshape(b, h, w, -1))
        return x + self.proj_out(tokens.reshape(b, h, w, n)), maps


def _resnet(c: SDUNetConfig, n_in: int, n_out: int, *, rngs: Draws) -> ResnetBlock2D:
    temb = 4 * c.block_out_channels[0]
    common = {"groups": c.norm_num_groups, "eps": c.norm_eps, "dropout": c.dropout}
    return ResnetBlock2D(n_in, n_out, temb, **common, rngs=rngs)


class Level(nnx.Module):
    """The residual blocks of one resolution and their transformers, in either path."""

    def __init__(
        self, c: SDUNetConfig, level: int, kind: str, widths: list[int], *, rngs: Draws
    ) -> None:
        n = c.block_out_channels[level]
        self.resnets = nnx.List([_resnet(c, n_in, n, rngs=rngs) for n_in in widths])
        if "CrossAttn" in kind:
            heads = c.heads(level)
            self.attentions = nnx.List([Transformer2D(c, n, heads, rngs=rngs) for _ in widths])

    def run(
        self, index: int, h: jax.Array, temb: jax.Array, text: jax.Array, key: jax.Array | None
    ) -> tuple[jax.Array, Maps]:
        """Block `index` and its transformer."""
        h = self.resnets[index](h, temb, key)
        return self.attentions[index](h, text) if hasattr(self, "attentions") else (h, [])


class MidBlock(nnx.Module):
    """Block, transformer, block at the lowest resolution."""

    def __init__(self, c: SDUNetConfig, *, rngs: Draws) -> None:
        n = c.block_out_channels[-1]
        self.resnets = nnx.List([_resnet(c, n, n, rngs=rngs) for _ in range(2)])
        self.attentions = nnx.List([Transformer2D(c, n, c.heads(-1), rngs=rngs)])

    def __call__(self, h: jax.Array, temb: jax.Array, text: jax.Array, keys: Keys) -> jax.Array:
        h = self.attentions[0](self.resnets[0](h, temb, next(keys)), text)[0]
        return self.resnets[1](h, temb, next(keys))


class SDUNet(nnx.Module):
    """The network; see `SDUNetConfig`."""

    def __init__(self, config: SDUNetConfig, *, rngs: Draws) -> None:
        self.config = c = config
        wide = c.block_out_channels
        last, count = len(wide) - 1, c.layers_per_block
        self.conv_in = Conv(c.in_channels, wide[0], rngs=rngs)
        self.time_embedding = TimestepEmbedding(wide[0], 4 * wide[0], rngs=rngs)
        self.down_blocks, self.up_blocks = nnx.List([]), nnx.List([])
        for i, (n, kind) in enumerate(zip(wide, c.down_block_types, strict=True)):
            widths = [wide[max(i - 1, 0)], *[n] * (count - 1)]
            self.down_blocks.append(Level(c, i, kind, widths, rngs=rngs))
            if i < last:
                self.down_blocks[i].downsamplers = nnx.List([Downsample2D(n, rngs=rngs)])
        if c.mid_block_type is not None:
            self.mid_block = MidBlock(c, rngs=rngs)
        for i, kind in zip(range(last, -1, -1), c.up_block_types, strict=True):
            n, below, above = wide[i], wide[min(i + 1, last)], wide[max(i - 1, 0)]
            widths = [below, *[n] * count]
            widths = [a + b for a, b in zip(widths, [*[n] * count, above], strict=True)]
            self.up_blocks.append(Level(c, i, kind, widths, rngs=rngs))
            if i:
                self.up_blocks[-1].upsamplers = nnx.List([Upsample2D(n, rngs=rngs)])
        self.conv_norm_out = GroupNorm(wide[0], c.norm_num_groups, c.norm_eps, rngs=rngs)
        self.conv_out = Conv(wide[0], c.out_channels, scale=0, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array,
        *,
        y: jax.Array | None = None,
        key: jax.Array | None = None,
        maps: tuple[int, int] | None = None,
        dtype: jnp.dtype = jnp.float32,
    ) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Runs the network.

        Args:
            x: latents [B,H,W,in_channels] of any height and width.
            label: step numbers [B].
            y: the text [B,M,cross_attention_dim], required.
            key: switches dropout on.
            maps: (height, width) of the cross-attention layers whose weights are returned: those of
                the down path, then those of the up path, without the middle one.
            dtype: of the activations; both ends of the network stay float32.

        Returns:
            [B,H,W,out_channels] float32; with `maps` also the weights [B,L,height,width,M] of the L
            layers of that size, the mean over their heads.

        Raises:
            ValueError: an argument has another shape, or no layer has the size `maps`.
        """
        c = self.config
        layers.check_input(x, c.in_channels, 1)
        if y is None or y.ndim != 3 or y.shape[-1] != c.cross_attention_dim:
            found = None if y is None else y.shape
            raise ValueError(f"y must be a text [B,M,{c.cross_attention_dim}], got {found}")
        width = c.block_out_channels[0]
        features = timestep_features(label, width, c.flip_sin_to_cos, c.freq_shift)
        keys = (key if key is None else jax.random.fold_in(key, i) for i in itertools.count())
        temb, x = self.time_embedding(features), x.astype(jnp.float32)
        h, seen = self._walk(x, temb, y.astype(dtype), keys, dtype)
        out = self.conv_out(jax.nn.silu(self.conv_norm_out(h.astype(jnp.float32))))
        return out if maps is None else (out, _of_size(seen, maps))

    def _walk(
        self, x: jax.Array, temb: jax.Array, text: jax.Array, keys: Keys, dtype: jnp.dtype
    ) -> tuple[jax.Array, Maps]:
        """Features before the last norm, and the maps of all levels."""
        h = self.conv_in(x).astype(dtype)
        kept, seen = [h], []
        for block in self.down_blocks:
            for j in range(len(block.resnets)):
                h, own = block.run(j, h, temb, text, next(keys))
                kept.append(h)
                seen += own
            if hasattr(block, "downsamplers"):
                h = block.downsamplers[0](h)
                kept.append(h)
        h = self.mid_block(h, temb, text, keys) if hasattr(self, "mid_block") else h
        for block in self.up_blocks:
            for j in range(len(block.resnets)):
                h = jnp.concatenate([h, kept.pop()], axis=-1)
                h, own = block.run(j, h, temb, text, next(keys))
                seen += own
            if hasattr(block, "upsamplers"):
                h = block.upsamplers[0](h, kept[-1].shape[1:3])
        return h, seen


def _of_size(seen: Maps, size: tuple[int, int]) -> jax.Array:
    found = [a for a in seen if a.shape[1:3] == tuple(size)]
    if not found:
        sizes = sorted({a.shape[1:3] for a in seen})
        raise ValueError(f"maps must be the size of a cross-attention layer, {sizes}, got {size}")
    return jnp.stack(found, axis=1)

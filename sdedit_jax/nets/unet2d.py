"""UNet2DModel of diffusers: the unconditional U-Nets of its folders, DDPM and NCSN++ kinds.

Attribute names are those of its state dicts, which convert by one rule. There are plain blocks
(DDPM) and Skip blocks (NCSN++). Skip blocks process a picture beside the features. The down path
shrinks it and adds it to the features; the up path enlarges it and adds to it.

The group counts of the Skip blocks follow the original where it differs from score_sde: see
`_groups_up` and `ATTENTION_GROUPS`.
"""

import itertools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets import layers
from sdedit_jax.nets.diffusers_blocks import (
    FIR,
    Attention,
    Downsample2D,
    ResnetBlock2D,
    TimestepEmbedding,
    Upsample2D,
    timestep_features,
)
from sdedit_jax.nets.layers import Conv, Draws, GroupNorm
from sdedit_jax.nets.ncsnpp_blocks import resize
from sdedit_jax.nets.unet2d_config import UNet2DConfig

__all__ = ["UNet2D", "UNet2DConfig"]

Keys = Iterator[jax.Array | None]

ATTENTION_GROUPS = 32
"""Groups of the attention's norm in the Skip blocks, at every width."""


def _quarter(channels: int) -> int:
    return min(channels // 4, 32)


def _groups_up(kind: str, n_in: int, n_skip: int) -> int:
    """Groups of the first norm of a Skip block in the up path."""
    if kind == "AttnSkipUpBlock2D":
        return min(n_in + n_skip // 4, 32)  # only the skip is quartered in the original
    return _quarter(n_in + n_skip)


def _resnet(
    c: UNet2DConfig, kind: str, n_in: int, n_out: int, groups: int | None = None, *, rngs: Draws
) -> ResnetBlock2D:
    """A block that keeps the resolution; `groups` of the first norm in Skip blocks."""
    skips = "Skip" in kind
    return ResnetBlock2D(
        n_in,
        n_out,
        c.temb,
        groups=groups or _quarter(n_in) if skips else c.norm_num_groups,
        groups_out=_quarter(n_out) if skips else None,
        rescale=math.sqrt(2) if skips else 1.0,
        eps=c.norm_eps,
        act=c.act_fn,
        scale_shift=c.resnet_time_scale_shift == "scale_shift",
        dropout=c.dropout,
        rngs=rngs,
    )


def _resampler(c: UNet2DConfig, kind: str, n: int, direction: str, *, rngs: Draws) -> ResnetBlock2D:
    """A block that halves or doubles the resolution; by FIR in the Skip blocks."""
    skips = "Skip" in kind
    return ResnetBlock2D(
        n,
        n,
        c.temb,
        groups=_quarter(n) if skips else c.norm_num_groups,
        rescale=math.sqrt(2) if skips else 1.0,
        eps=c.norm_eps,
        act=c.act_fn,
        scale_shift=c.resnet_time_scale_shift == "scale_shift",
        direction=direction,
        fir=skips,
        shortcut=skips,
        dropout=c.dropout,
        rngs=rngs,
    )


def _attention(c: UNet2DConfig, kind: str, n: int, *, rngs: Draws) -> Attention:
    skips = "Skip" in kind
    return Attention(
        n,
        n // c.head(n),
        c.head(n),
        bias=True,
        groups=ATTENTION_GROUPS if skips else c.norm_num_groups,
        eps=c.norm_eps,
        rescale=math.sqrt(2) if skips else 1.0,
        rngs=rngs,
    )


class DownBlock(nnx.Module):
    """The blocks of one resolution in the down path, then half the resolution unless `last`."""

    def __init__(
        self, c: UNet2DConfig, kind: str, n_in: int, n_out: int, last: bool, *, rngs: Draws
    ) -> None:
        widths = [n_in, *[n_out] * (c.layers_per_block - 1)]
        self.resnets = nnx.List([_resnet(c, kind, n, n_out, rngs=rngs) for n in widths])
        if "Attn" in kind:
            self.attentions = nnx.List([_attention(c, kind, n_out, rngs=rngs) for _ in widths])
        if last:
            return
        if "Skip" in kind:
            self.resnet_down = _resampler(c, kind, n_out, "shrink", rngs=rngs)
            self.skip_conv = Conv(3, n_out, 1, rngs=rngs)
        elif kind == "ResnetDownsampleBlock2D" or ("Attn" in kind and c.downsample_type != "conv"):
            self.downsamplers = nnx.List([_resampler(c, kind, n_out, "shrink", rngs=rngs)])
        else:
            self.downsamplers = nnx.List([Downsample2D(n_out, c.downsample_padding, rngs=rngs)])

    def __call__(
        self, h: jax.Array, picture: jax.Array, temb: jax.Array, keys: Keys
    ) -> tuple[jax.Array, jax.Array, list[jax.Array]]:
        """Features and picture at the next resolution, and the skip connections from here."""
        kept = []
        for i, resnet in enumerate(self.resnets):
            h = resnet(h, temb, next(keys))
            h = self.attentions[i].over_pixels(h) if hasattr(self, "attentions") else h
            kept.append(h)
        if hasattr(self, "resnet_down"):
            picture = resize(picture, "shrink", FIR)
            h = self.resnet_down(h, temb, next(keys)) + self.skip_conv(picture.astype(h.dtype))
            kept.append(h)
        elif hasattr(self, "downsamplers"):
            h = _resampled(self.downsamplers[0], h, temb, keys)
            kept.append(h)
        return h, picture, kept


class MidBlock(nnx.Module):
    """Block, attention, block at the lowest resolution."""

    def __init__(self, c: UNet2DConfig, n: int, *, rngs: Draws) -> None:
        groups = _quarter(n) if c.norm_num_groups is None else c.norm_num_groups
        plain = c.resnet_time_scale_shift == "default"
        common = {"eps": c.norm_eps, "rescale": c.mid_block_scale_factor, "rngs": rngs}
        self.resnets = nnx.List(
            [
                ResnetBlock2D(
                    n,
                    n,
                    c.temb,
                    groups=groups,
                    act=c.act_fn,
                    scale_shift=not plain,
                    dropout=c.dropout,
                    **common,
                )
                for _ in range(2)
            ]
        )
        if c.add_attention:
            # with scale_shift the original leaves this one norm out
            groups = c.attn_norm_num_groups or (groups if plain else None)
            head = c.head(n)
            self.attentions = nnx.List(
                [Attention(n, n // head, head, bias=True, groups=groups, **common)]
            )

    def __call__(self, h: jax.Array, temb: jax.Array, keys: Keys) -> jax.Array:
        h = self.resnets[0](h, temb, next(keys))
        h = self.attentions[0].over_pixels(h) if hasattr(self, "attentions") else h
        return self.resnets[1](h, temb, next(keys))


class UpBlock(nnx.Module):
    """The blocks of one resolution in the up path, then twice the resolution unless `last`."""

    def __init__(
        self,
        c: UNet2DConfig,
        kind: str,
        n_below: int,
        n_out: int,
        n_above: int,
        last: bool,
        *,
        rngs: Draws,
    ) -> None:
        """Features come with `n_below` channels, the last of the kept ones with `n_above`."""
        count = c.layers_per_block + 1
        ins = [n_below, *[n_out] * (count - 1)]
        skips = [*[n_out] * (count - 1), n_above]
        self.resnets = nnx.List(
            [
                _resnet(c, kind, n + skip, n_out, _groups_up(kind, n, skip), rngs=rngs)
                for n, skip in zip(ins, skips, strict=True)
            ]
        )
        if "Attn" in kind:
            count = 1 if "Skip" in kind else count
            self.attentions = nnx.List(
                [_attention(c, kind, n_out, rngs=rngs) for _ in range(count)]
            )
        if last:
            return
        if "Skip" in kind:
            self.resnet_up = _resampler(c, kind, n_out, "enlarge", rngs=rngs)
            self.skip_norm = GroupNorm(n_out, _quarter(n_out), c.norm_eps, rngs=rngs)
            self.skip_conv = Conv(n_out, 3, rngs=rngs)
        elif kind == "ResnetUpsampleBlock2D" or ("Attn" in kind and c.upsample_type != "conv"):
            self.upsamplers = nnx.List([_resampler(c, kind, n_out, "enlarge", rngs=rngs)])
        else:
            self.upsamplers = nnx.List([Upsample2D(n_out, rngs=rngs)])

    def __call__(
        self,
        h: jax.Array,
        kept: list[jax.Array],
        picture: jax.Array | None,
        temb: jax.Array,
        keys: Keys,
    ) -> tuple[jax.Array, jax.Array | None]:
        """Consumes the end of `kept`; returns features and picture at the next resolution."""
        attentions = list(self.attentions) if hasattr(self, "attentions") else []
        for i, resnet in enumerate(self.resnets):
            h = resnet(jnp.concatenate([h, kept.pop()], axis=-1), temb, next(keys))
            if len(attentions) > 1:
                h = attentions[i].over_pixels(h)
        if len(attentions) == 1:
            h = attentions[0].over_pixels(h)
        picture = None if picture is None else resize(picture, "enlarge", FIR)
        if hasattr(self, "resnet_up"):
            shown = self.skip_conv(jax.nn.silu(self.skip_norm(h.astype(jnp.float32))))
            picture = shown if picture is None else picture + shown
            h = self.resnet_up(h, temb, next(keys))
        elif hasattr(self, "upsamplers"):
            h = _resampled(self.upsamplers[0], h, temb, keys)
        return h, picture


def _resampled(module: nnx.Module, h: jax.Array, temb: jax.Array, keys: Keys) -> jax.Array:
    return module(h, temb, next(keys)) if isinstance(module, ResnetBlock2D) else module(h)


class UNet2D(nnx.Module):
    """The network; see `UNet2DConfig`."""

    def __init__(self, config: UNet2DConfig, *, rngs: Draws) -> None:
        self.config = c = config
        wide = c.block_out_channels
        levels = len(wide)
        self.conv_in = Conv(c.in_channels, wide[0], rngs=rngs)
        if c.time_embedding_type == "fourier":
            self.time_proj = layers.GaussianFourierProjection(wide[0], 16, rngs=rngs)
        elif c.time_embedding_type == "learned":
            self.time_proj = layers.Embedding(c.num_train_timesteps, wide[0], rngs=rngs)
        self.time_embedding = TimestepEmbedding(c.features, c.temb, rngs=rngs)
        if c.class_embed_type == "timestep":
            self.class_embedding = TimestepEmbedding(c.features, c.temb, rngs=rngs)
        elif c.class_embed_type is None and c.num_class_embeds is not None:
            self.class_embedding = layers.Embedding(c.num_class_embeds, c.temb, rngs=rngs)
        self.down_blocks, self.up_blocks = nnx.List([]), nnx.List([])
        for i, kind in enumerate(c.down_block_types):
            last, before = i == levels - 1, wide[max(i - 1, 0)]
            self.down_blocks.append(DownBlock(c, kind, before, wide[i], last, rngs=rngs))
        if c.mid_block_type is not None:
            self.mid_block = MidBlock(c, wide[-1], rngs=rngs)
        for i, kind in zip(range(levels - 1, -1, -1), c.up_block_types, strict=True):
            below, above = wide[min(i + 1, levels - 1)], wide[max(i - 1, 0)]
            self.up_blocks.append(UpBlock(c, kind, below, wide[i], above, i == 0, rngs=rngs))
        groups = _quarter(wide[0]) if c.norm_num_groups is None else c.norm_num_groups
        self.conv_norm_out = GroupNorm(wide[0], groups, c.norm_eps, rngs=rngs)
        self.conv_out = Conv(wide[0], c.out_channels, scale=0, rngs=rngs)

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array,
        *,
        y: jax.Array | None = None,
        key: jax.Array | None = None,
        dtype: jnp.dtype = jnp.float32,
    ) -> jax.Array:
        """Runs the network.

        Args:
            x: [B,H,W,C], in [-1,1] plus noise, or in [0,1] plus noise if `center_input_sample`.
            label: [B]: step numbers (positional, learned) or sigma (fourier).
            y: class labels [B], or [B,temb] for class_embed_type "identity".
            key: switches dropout on.
            dtype: of the activations; both ends of the network stay float32.

        Returns:
            [B,H,W,out_channels] float32.
        """
        c = self.config
        layers.check_input(x, c.in_channels, c.stride)
        x = x.astype(jnp.float32)
        x = 2 * x - 1 if c.center_input_sample else x
        out = self._walk(x, self._embed(label, y), _keys(key), dtype)
        if c.time_embedding_type != "fourier":
            return out
        return out / label.astype(jnp.float32)[:, None, None, None]

    def _features(self, label: jax.Array) -> jax.Array:
        c = self.config
        if c.time_embedding_type == "fourier":
            return self.time_proj(jnp.log(label.astype(jnp.float32)))
        if c.time_embedding_type == "learned":
            return self.time_proj(label.astype(jnp.int32))
        return timestep_features(label, c.block_out_channels[0], c.flip_sin_to_cos, c.freq_shift)

    def _embed(self, label: jax.Array, y: jax.Array | None) -> jax.Array:
        c = self.config
        temb = self.time_embedding(self._features(label))
        wanted = c.class_embed_type is not None or c.num_class_embeds is not None
        if wanted != (y is not None):
            raise ValueError(f"y must {'be given' if wanted else 'be None'}: see num_class_embeds")
        if not wanted:
            return temb
        if c.class_embed_type == "identity":
            return temb + y
        y = self._features(y) if c.class_embed_type == "timestep" else y
        return temb + self.class_embedding(y)

    def _walk(self, x: jax.Array, temb: jax.Array, keys: Keys, dtype: jnp.dtype) -> jax.Array:
        h, picture = self.conv_in(x).astype(dtype), x
        kept = [h]
        for block in self.down_blocks:
            h, picture, own = block(h, picture, temb, keys)
            kept += own
        h = self.mid_block(h, temb, keys) if hasattr(self, "mid_block") else h
        picture = None
        for block in self.up_blocks:
            h, picture = block(h, kept, picture, temb, keys)
        out = self.conv_out(jax.nn.silu(self.conv_norm_out(h.astype(jnp.float32))))
        return out if picture is None else out + picture


def _keys(key: jax.Array | None) -> Keys:
    """A key for each dropout, or endless Nones."""
    return (key if key is None else jax.random.fold_in(key, i) for i in itertools.count())

"""DDPM++ and NCSN++ as EDM writes them (Karras et al. 2022, 2206.00364, table 7: `SongUNet`).

The functions are those of score_sde's networks, the parameters have other names and places. The
output is the raw F of the preconditioning, whose four kinds are adapters of the priors.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets import edm_blocks as blocks
from sdedit_jax.nets import foreign, layers
from sdedit_jax.nets.edm_blocks import BlockKind, Conv2d, Linear, Part, named
from sdedit_jax.nets.layers import Draws

CHOICES = {
    "embedding_type": ("positional", "fourier"),
    "encoder_type": ("standard", "skip", "residual"),
    "decoder_type": ("standard", "skip"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SongConfig:
    """The architecture; fields and defaults are those of the original's constructor.

    Attributes:
        label_dim: number of classes; 0: none.
        augment_dim: width of the augmentation labels of training, which are zero here.
        model_channels, channel_mult: widths of the levels.
        channel_mult_emb, channel_mult_noise: widths of the embeddings over model_channels.
        img_resolution: side of the training pictures. The network takes other sizes too: see
            `stride`.
        attn_resolutions: sides of the feature maps that attend, for pictures of `img_resolution`.
            They define `attention_levels`; at other picture sizes the same levels attend.
        label_dropout: of training; unused here.
        resample_filter: 1-D, of even length.
    """

    img_resolution: int
    in_channels: int = 3
    out_channels: int = 3
    label_dim: int = 0
    augment_dim: int = 0
    model_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    channel_mult_emb: int = 4
    num_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    dropout: float = 0.10
    label_dropout: float = 0.0
    embedding_type: str = "positional"
    channel_mult_noise: int = 1
    encoder_type: str = "standard"
    decoder_type: str = "standard"
    resample_filter: tuple[float, ...] = (1, 1)

    def __post_init__(self) -> None:
        blocks.check_config(dataclasses.asdict(self), CHOICES)
        if len(self.resample_filter) % 2:
            raise ValueError(
                f"resample_filter must have an even length, got {self.resample_filter}"
            )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "SongConfig":
        """The configuration from plain values; an unknown field that is not off raises
        ValueError."""
        return layers.config_from(cls, foreign.known(values, cls))

    @property
    def stride(self) -> int:
        """Height and width of a picture must be multiples of it."""
        return 2 ** (len(self.channel_mult) - 1)

    @property
    def attention_levels(self) -> frozenset[int]:
        """The levels that attend, counted from the full resolution."""
        levels = len(self.channel_mult)
        return layers.attention_levels(self.img_resolution, self.attn_resolutions, levels)

    @property
    def block(self) -> BlockKind:
        """The values that all blocks share."""
        return BlockKind(
            emb=self.model_channels * self.channel_mult_emb,
            dropout=self.dropout,
            eps=1e-6,
            adaptive=False,
            skip_scale=math.sqrt(0.5),
            resample_filter=self.resample_filter,
            project=True,
            head=0,
        )


class SongUNet(nnx.Module):
    """The network; the forward pass walks `plan(config)`."""

    def __init__(self, config: SongConfig, *, rngs: Draws) -> None:
        self.config = c = config
        noise, emb = c.model_channels * c.channel_mult_noise, c.block.emb
        if c.embedding_type == "fourier":
            self.map_noise = blocks.FourierEmbedding(noise, rngs=rngs)
        if c.label_dim:
            self.map_label = Linear(c.label_dim, noise, rngs=rngs)
        if c.augment_dim:
            self.map_augment = Linear(c.augment_dim, noise, bias=False, rngs=rngs)
        self.map_layer0 = Linear(noise, emb, rngs=rngs)
        self.map_layer1 = Linear(emb, emb, rngs=rngs)
        self.enc, self.dec = (blocks.modules(parts, rngs) for parts in plan(c))

    def __call__(
        self,
        x: jax.Array,
        label: jax.Array,
        *,
        y: jax.Array | None = None,
        key: jax.Array | None = None,
        dtype: jnp.dtype = jnp.float32,
    ) -> jax.Array:
        """x [B,H,W,in_channels], noise labels [B] -> F [B,H,W,out_channels] float32.

        `y` are class labels [B] (None or label_dim: no class); `key` switches dropout on; `dtype`
        is that of the activations, except at both ends.
        """
        c = self.config
        layers.check_input(x, c.in_channels, c.stride)
        keys = (key if key is None else jax.random.fold_in(key, i) for i in itertools.count())
        emb = self._embed(label, y)
        h, skips = self._fall(x.astype(jnp.float32), emb, keys, dtype)
        return self._rise(h, skips, emb, keys)

    def _embed(self, label: jax.Array, y: jax.Array | None) -> jax.Array:
        """The activated embedding [B,emb] that every block reads, in float32."""
        c = self.config
        hot, noise = blocks.one_hot(y, label, c.label_dim), c.model_channels * c.channel_mult_noise
        fourier = c.embedding_type == "fourier"
        emb = self.map_noise(label) if fourier else blocks.positional(label, noise, endpoint=True)
        emb = jnp.roll(emb, noise // 2, axis=-1)  # sines first, as in score_sde
        if c.label_dim:
            emb = emb + self.map_label(hot * math.sqrt(c.label_dim))
        emb = jax.nn.silu(self.map_layer0(emb))
        return jax.nn.silu(self.map_layer1(emb))

    def _fall(
        self, x: jax.Array, emb: jax.Array, keys: Iterator[jax.Array | None], dtype: jnp.dtype
    ) -> tuple[jax.Array, list[jax.Array]]:
        """From the picture to the lowest resolution, with the skip connections of the up path."""
        h, aux, skips = x, x, []
        for part in plan(self.config)[0]:
            module = self.enc[part.name]
            match part.kind:
                case "conv":
                    h = module(x).astype(dtype)
                    skips.append(h)
                case "aux_down":
                    aux = module(aux)
                case "aux_skip":
                    h = skips[-1] = h + module(aux.astype(dtype))
                case "aux_residual":
                    h = (h + module.halve(aux.astype(dtype))) * math.sqrt(0.5)
                    aux = skips[-1] = h
                case _:
                    h = module(h, emb, next(keys))
                    skips.append(h)
        return h, skips

    def _rise(
        self,
        h: jax.Array,
        skips: list[jax.Array],
        emb: jax.Array,
        keys: Iterator[jax.Array | None],
    ) -> jax.Array:
        """From the lowest resolution to F, float32."""
        out = normed = None
        for part in plan(self.config)[1]:
            module = self.dec[part.name]
            match part.kind:
                case "aux_up":
                    out = module(out)
                case "aux_norm":
                    normed = jax.nn.silu(module(h.astype(jnp.float32)))
                case "aux_conv":
                    out = module(normed) if out is None else module(normed) + out
                case "block":
                    h = module(jnp.concatenate([h, skips.pop()], axis=-1), emb, next(keys))
                case _:
                    h = module(h, emb, next(keys))
        return out


def plan(c: SongConfig) -> tuple[list[Part], list[Part]]:
    """The parts of `enc` and of `dec`, in the order of the forward pass."""
    parts, widths = blocks.encoder(c, c.model_channels, partial(_pyramid, c))
    # in the up path only the last block of a level attends
    return parts, list(blocks.decoder(c, widths, [c.num_blocks], partial(_head, c)))


def _pyramid(c: SongConfig, level: int, n: int) -> Iterator[Part]:
    """The successively halved picture's input to a level of width n."""
    down = {"resize": "down", "resample_filter": c.resample_filter}
    if c.encoder_type == "skip":
        aux = c.in_channels
        yield Part(named(c, level, "aux_down"), partial(Conv2d, aux, aux, 0, **down))
        yield Part(named(c, level, "aux_skip"), partial(Conv2d, aux, n, 1))
    if c.encoder_type == "residual":
        aux = c.in_channels if level == 1 else c.model_channels * c.channel_mult[level - 2]
        yield Part(named(c, level, "aux_residual"), partial(Conv2d, aux, n, 3, **down))


def _head(c: SongConfig, level: int, n: int) -> Iterator[Part]:
    """The picture output of a level of width n, added to the upsampled one of the level below."""
    if level and c.decoder_type == "standard":
        return
    if level < len(c.channel_mult) - 1 and c.decoder_type == "skip":
        up = {"resize": "up", "resample_filter": c.resample_filter}
        yield Part(named(c, level, "aux_up"), partial(Conv2d, 0, 0, 0, **up))
    yield Part(named(c, level, "aux_norm"), partial(blocks.norm, n, 1e-6))
    yield Part(named(c, level, "aux_conv"), partial(Conv2d, n, c.out_channels, 3, 0))

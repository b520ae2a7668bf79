"""The ADM U-Net as EDM writes it (Karras et al. 2022, 2206.00364, table 7: `DhariwalUNet`).

The function is that of guided-diffusion's network, the parameters have other names and places. The
output is the raw F of the preconditioning, whose four kinds are adapters of the priors.
"""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets import edm_blocks as blocks
from sdedit_jax.nets import foreign, layers
from sdedit_jax.nets.edm_blocks import BlockKind, Conv2d, Linear, Part
from sdedit_jax.nets.layers import Draws

HEAD, EPS = 64, 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DhariwalConfig:
    """The architecture; fields and defaults are those of the original's constructor.

    Attributes:
        label_dim: number of classes; 0: none.
        augment_dim: width of the augmentation labels of training, which are zero here.
        model_channels, channel_mult: widths of the levels; attention heads have 64 channels.
        channel_mult_emb: width of the embedding over model_channels.
        img_resolution: side of the training pictures. The network takes other sizes too: see
            `stride`.
        attn_resolutions: sides of the feature maps that attend, for pictures of `img_resolution`.
            They define `attention_levels`; at other picture sizes the same levels attend.
        label_dropout: of training; unused here.
    """

    img_resolution: int
    in_channels: int = 3
    out_channels: int = 3
    label_dim: int = 0
    augment_dim: int = 0
    model_channels: int = 192
    channel_mult: tuple[int, ...] = (1, 2, 3, 4)
    channel_mult_emb: int = 4
    num_blocks: int = 3
    attn_resolutions: tuple[int, ...] = (32, 16, 8)
    dropout: float = 0.10
    label_dropout: float = 0.0

    def __post_init__(self) -> None:
        blocks.check_config(dataclasses.asdict(self), {})

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "DhariwalConfig":
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
            eps=EPS,
            adaptive=True,
            skip_scale=1.0,
            resample_filter=(1, 1),
            project=False,
            head=HEAD,
        )


class DhariwalUNet(nnx.Module):
    """The network; the forward pass walks `plan(config)`."""

    def __init__(self, config: DhariwalConfig, *, rngs: Draws) -> None:
        self.config = c = config
        n, emb = c.model_channels, c.block.emb
        if c.augment_dim:
            self.map_augment = Linear(c.augment_dim, n, bias=False, rngs=rngs)
        self.map_layer0 = Linear(n, emb, rngs=rngs)
        self.map_layer1 = Linear(emb, emb, rngs=rngs)
        if c.label_dim:
            self.map_label = Linear(c.label_dim, emb, bias=False, rngs=rngs)
        self.enc, self.dec = (blocks.modules(parts, rngs) for parts in plan(c))
        self.out_norm = blocks.norm(n * c.channel_mult[0], EPS, rngs=rngs)
        self.out_conv = Conv2d(n * c.channel_mult[0], c.out_channels, 3, 0, rngs=rngs)

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
        emb, skips = self._embed(label, y), []
        falling, rising = plan(c)
        h = x.astype(jnp.float32)
        for part in falling:
            module = self.enc[part.name]
            h = module(h).astype(dtype) if part.kind == "conv" else module(h, emb, next(keys))
            skips.append(h)
        for part in rising:
            h = jnp.concatenate([h, skips.pop()], axis=-1) if part.kind == "block" else h
            h = self.dec[part.name](h, emb, next(keys))
        return self.out_conv(jax.nn.silu(self.out_norm(h.astype(jnp.float32))))

    def _embed(self, label: jax.Array, y: jax.Array | None) -> jax.Array:
        """The activated embedding [B,emb] that every block reads, in float32."""
        hot = blocks.one_hot(y, label, self.config.label_dim)
        noise = blocks.positional(label, self.config.model_channels, endpoint=False)
        emb = self.map_layer1(jax.nn.silu(self.map_layer0(noise)))
        if self.config.label_dim:
            emb = emb + self.map_label(hot)
        return jax.nn.silu(emb)


def plan(c: DhariwalConfig) -> tuple[list[Part], list[Part]]:
    """The parts of `enc` and of `dec`, in the order of the forward pass."""
    parts, widths = blocks.encoder(c, c.model_channels * c.channel_mult[0])
    return parts, list(blocks.decoder(c, widths, range(c.num_blocks + 1)))

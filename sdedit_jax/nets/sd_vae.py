"""AutoencoderKL of diffusers: pictures to latents of Stable Diffusion and back.

Attribute names are those of its state dicts, which convert by one rule.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets import layers
from sdedit_jax.nets.diffusers_blocks import Attention, Downsample2D, ResnetBlock2D, Upsample2D
from sdedit_jax.nets.layers import Conv, Draws, GroupNorm
from sdedit_jax.nets.sd_config import SDVaeConfig

__all__ = ["SDVae", "SDVaeConfig"]

EPS = 1e-6


def _resnet(c: SDVaeConfig, n_in: int, n_out: int, *, rngs: Draws) -> ResnetBlock2D:
    return ResnetBlock2D(n_in, n_out, None, groups=c.norm_num_groups, eps=EPS, rngs=rngs)


class Level(nnx.Module):
    """The residual blocks of one resolution."""

    def __init__(self, c: SDVaeConfig, n_in: int, n_out: int, count: int, *, rngs: Draws) -> None:
        widths = [n_in, *[n_out] * (count - 1)]
        self.resnets = nnx.List([_resnet(c, n, n_out, rngs=rngs) for n in widths])

    def __call__(self, h: jax.Array) -> jax.Array:
        for resnet in self.resnets:
            h = resnet(h)
        for resample in (*getattr(self, "downsamplers", ()), *getattr(self, "upsamplers", ())):
            h = resample(h)
        return h


class MidBlock(nnx.Module):
    """Block, single-head attention over the pixels, block."""

    def __init__(self, c: SDVaeConfig, n: int, *, rngs: Draws) -> None:
        self.resnets = nnx.List([_resnet(c, n, n, rngs=rngs) for _ in range(2)])
        if c.mid_block_add_attention:
            groups = c.norm_num_groups
            own = Attention(n, 1, n, bias=True, groups=groups, eps=EPS, rngs=rngs)
            self.attentions = nnx.List([own])

    def __call__(self, h: jax.Array) -> jax.Array:
        h = self.resnets[0](h)
        h = self.attentions[0].over_pixels(h) if hasattr(self, "attentions") else h
        return self.resnets[1](h)


class Encoder(nnx.Module):
    """Pictures to the moments of latents."""

    def __init__(self, c: SDVaeConfig, *, rngs: Draws) -> None:
        wide = c.block_out_channels
        self.conv_in = Conv(c.in_channels, wide[0], rngs=rngs)
        self.down_blocks = nnx.List([])
        for i, n in enumerate(wide):
            level = Level(c, wide[max(i - 1, 0)], n, c.layers_per_block, rngs=rngs)
            if i < len(wide) - 1:
                level.downsamplers = nnx.List([Downsample2D(n, padding=0, rngs=rngs)])
            self.down_blocks.append(level)
        self.mid_block = MidBlock(c, wide[-1], rngs=rngs)
        self.conv_norm_out = GroupNorm(wide[-1], c.norm_num_groups, EPS, rngs=rngs)
        self.conv_out = Conv(wide[-1], 2 * c.latent_channels, rngs=rngs)

    def __call__(self, x: jax.Array, dtype: jnp.dtype) -> jax.Array:
        h = self.conv_in(x).astype(dtype)
        for block in self.down_blocks:
            h = block(h)
        return _end(self, self.mid_block(h))


class Decoder(nnx.Module):
    """Latents to pictures."""

    def __init__(self, c: SDVaeConfig, *, rngs: Draws) -> None:
        wide = c.block_out_channels
        self.conv_in = Conv(c.latent_channels, wide[-1], rngs=rngs)
        self.mid_block = MidBlock(c, wide[-1], rngs=rngs)
        self.up_blocks = nnx.List([])
        for i in range(len(wide) - 1, -1, -1):
            before = wide[min(i + 1, len(wide) - 1)]
            level = Level(c, before, wide[i], c.layers_per_block + 1, rngs=rngs)
            if i:
                level.upsamplers = nnx.List([Upsample2D(wide[i], rngs=rngs)])
            self.up_blocks.append(level)
        self.conv_norm_out = GroupNorm(wide[0], c.norm_num_groups, EPS, rngs=rngs)
        self.conv_out = Conv(wide[0], c.out_channels, rngs=rngs)

    def __call__(self, x: jax.Array, dtype: jnp.dtype) -> jax.Array:
        h = self.mid_block(self.conv_in(x).astype(dtype))
        for block in self.up_blocks:
            h = block(h)
        return _end(self, h)


def _end(module: Encoder | Decoder, h: jax.Array) -> jax.Array:
    return module.conv_out(jax.nn.silu(module.conv_norm_out(h.astype(jnp.float32))))


class SDVae(nnx.Module):
    """The autoencoder; its latents are not yet scaled for a prior (`scaling_factor`)."""

    def __init__(self, config: SDVaeConfig, *, rngs: Draws) -> None:
        self.config = c = config
        self.encoder = Encoder(c, rngs=rngs)
        self.decoder = Decoder(c, rngs=rngs)
        n = c.latent_channels
        if c.use_quant_conv:
            self.quant_conv = Conv(2 * n, 2 * n, 1, rngs=rngs)
        if c.use_post_quant_conv:
            self.post_quant_conv = Conv(n, n, 1, rngs=rngs)

    def encode(
        self, x: jax.Array, *, dtype: jnp.dtype = jnp.float32
    ) -> tuple[jax.Array, jax.Array]:
        """Pictures [B,H,W,C] in [-1,1] -> mean and std [B,H/factor,W/factor,latent_channels].

        Raises:
            ValueError: a side is not a multiple of the factor.
        """
        layers.check_input(x, self.config.in_channels, self.config.factor)
        moments = self.encoder(x.astype(jnp.float32), dtype)
        moments = self.quant_conv(moments) if hasattr(self, "quant_conv") else moments
        mean, log_variance = jnp.split(moments, 2, axis=-1)
        return mean, jnp.exp(jnp.clip(log_variance, -30, 20) / 2)

    def decode(self, z: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """Latents [B,h,w,latent_channels] -> pictures [B,factor h,factor w,C], about [-1,1]."""
        layers.check_input(z, self.config.latent_channels, 1)
        z = z.astype(jnp.float32)
        z = self.post_quant_conv(z) if hasattr(self, "post_quant_conv") else z
        return self.decoder(z, dtype)

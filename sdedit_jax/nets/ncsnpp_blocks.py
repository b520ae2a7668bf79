"""The modules of NCSN++; children have the names of score_sde_pytorch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import layers, resample
from sdedit_jax.nets.layers import NIN, Conv, Dense, Draws, GroupNorm
from sdedit_jax.nets.ncsnpp_config import NCSNppConfig


class ResnetBlock(nnx.Module):
    """The residual block; with `direction` "shrink" or "enlarge" it resamples too (BigGAN)."""

    def __init__(
        self, c: NCSNppConfig, n_in: int, n_out: int, direction: str = "", *, rngs: Draws
    ) -> None:
        self.act, self.rate, self.rescale = c.nonlinearity, c.dropout, c.skip_rescale
        self.direction, self.kernel = direction, c.fir_kernel if c.fir else None
        self.GroupNorm_0 = norm(c, n_in, rngs=rngs)
        self.Conv_0 = Conv(n_in, n_out, rngs=rngs)
        if c.conditional:
            self.Dense_0 = Dense(4 * c.nf, n_out, rngs=rngs)
        self.GroupNorm_1 = norm(c, n_out, rngs=rngs)
        self.Conv_1 = Conv(n_out, n_out, scale=c.init_scale, rngs=rngs)
        if c.resblock_type == "ddpm" and n_in != n_out:
            self.NIN_0 = NIN(n_in, n_out, rngs=rngs)
        elif c.resblock_type == "biggan" and (n_in != n_out or direction):
            self.Conv_2 = Conv(n_in, n_out, 1, rngs=rngs)

    def __call__(self, x: jax.Array, temb: jax.Array | None, key: jax.Array | None) -> jax.Array:
        """x [B,H,W,I], temb [B,4nf] (already activated) -> [B,H',W',O]."""
        act = layers.ACTIVATIONS[self.act]
        h = conv_resized(self.Conv_0, act(self.GroupNorm_0(x)), self.direction, self.kernel)
        x = resize(x, self.direction, self.kernel) if self.direction else x
        if temb is not None:
            h = h + self.Dense_0(temb).astype(h.dtype)[:, None, None]
        h = layers.dropout(act(self.GroupNorm_1(h)), self.rate, key)
        return residual(self._shortcut(x), self.Conv_1(h), self.rescale)

    def _shortcut(self, x: jax.Array) -> jax.Array:
        if hasattr(self, "Conv_2"):
            return self.Conv_2(x)
        return self.NIN_0(x) if hasattr(self, "NIN_0") else x


class AttnBlock(nnx.Module):
    """Single-head self-attention over all pixels, residual."""

    def __init__(self, c: NCSNppConfig, channels: int, *, rngs: Draws) -> None:
        self.rescale = c.skip_rescale
        self.GroupNorm_0 = norm(c, channels, rngs=rngs)
        self.NIN_0 = NIN(channels, channels, rngs=rngs)
        self.NIN_1 = NIN(channels, channels, rngs=rngs)
        self.NIN_2 = NIN(channels, channels, rngs=rngs)
        self.NIN_3 = NIN(channels, channels, c.init_scale, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,C] -> [B,H,W,C]."""
        h = self.GroupNorm_0(x)
        h = self.NIN_3(layers.attend(self.NIN_0(h), self.NIN_1(h), self.NIN_2(h)))
        return residual(x, h, self.rescale)


class Resize(nnx.Module):
    """Halves ("shrink") or doubles ("enlarge") the resolution.

    It has a convolution `Conv_0`, or a convolution `Conv2d_0` merged with the FIR filter, or no
    parameters.
    """

    def __init__(
        self,
        c: NCSNppConfig,
        direction: str,
        n_in: int,
        n_out: int,
        learned: bool = True,
        *,
        rngs: Draws,
    ) -> None:
        self.direction, self.kernel = direction, c.fir_kernel if c.fir else None
        if learned and c.fir:
            self.Conv2d_0 = Conv(n_in, n_out, rngs=rngs)
        elif learned:
            self.Conv_0 = Conv(n_in, n_out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,I] -> [B,H/2,W/2,O] or [B,2H,2W,O]."""
        shrink = self.direction == "shrink"
        if hasattr(self, "Conv_0"):
            return self.Conv_0.halve(x) if shrink else self.Conv_0.double(x)
        if not hasattr(self, "Conv2d_0"):
            return resize(x, self.direction, self.kernel)
        run = resample.conv_downsample_2d if shrink else resample.upsample_conv_2d
        conv = self.Conv2d_0
        return layers.add_bias(run(x, conv.kernel[...], self.kernel), conv.bias[...])


class Combine(nnx.Module):
    """Joins the input pyramid with the features: their sum or concatenation."""

    def __init__(self, c: NCSNppConfig, n_in: int, n_out: int, *, rngs: Draws) -> None:
        self.cat = c.progressive_combine == "cat"
        self.Conv_0 = Conv(n_in, n_out, 1, rngs=rngs)

    def __call__(self, pyramid: jax.Array, h: jax.Array) -> jax.Array:
        pyramid = self.Conv_0(pyramid)
        return jnp.concatenate([pyramid, h], axis=-1) if self.cat else pyramid + h


def norm(c: NCSNppConfig, channels: int, *, rngs: Draws) -> GroupNorm:
    return GroupNorm(channels, c.groups or min(channels // 4, 32), rngs=rngs)


def residual(x: jax.Array, h: jax.Array, rescale: bool) -> jax.Array:
    return (x + h) / np.float32(math.sqrt(2)).astype(x.dtype) if rescale else x + h


def conv_resized(
    conv: Conv, x: jax.Array, direction: str, kernel: tuple[float, ...] | None
) -> jax.Array:
    """The convolution of a picture that is halved, doubled or ("") unchanged; see `resize`."""
    if direction == "enlarge" and kernel is None:
        return conv.double(x)
    return conv(resize(x, direction, kernel) if direction else x)


def resize(x: jax.Array, direction: str, kernel: tuple[float, ...] | None) -> jax.Array:
    """Halve or double without parameters: by the FIR kernel, or naively if it is None."""
    if kernel is None:
        naive = {"shrink": resample.naive_downsample_2d, "enlarge": resample.naive_upsample_2d}
        return naive[direction](x)
    fir = {"shrink": resample.downsample_2d, "enlarge": resample.upsample_2d}
    return fir[direction](x, kernel)

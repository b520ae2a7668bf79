"""Shared code of EDM's two networks (Karras et al. 2022, 2206.00364, app. F.2): block and plan.

Attribute names are those of the original's state dicts (`enc.32x32_down.conv0`), which convert by
one rule. Its `resample_filter` buffers are constants here.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import attention, layers, resample
from sdedit_jax.nets.layers import Draws, GroupNorm


class Part(NamedTuple):
    """One step of a forward pass: its name in the state dict and the maker of its module."""

    name: str
    make: Callable[..., nnx.Module]

    @property
    def kind(self) -> str:
        """The operation: the name without side and count, "block" for "32x32_block0"."""
        return self.name.split("_", 1)[1].rstrip("0123456789")


@dataclasses.dataclass(frozen=True)
class BlockKind:
    """The values that all blocks of a network share.

    Attributes:
        emb: width of the embedding that every block reads.
        eps: of the norms.
        adaptive: the embedding scales and shifts the second norm's output; else it is added before.
        skip_scale: factor on every residual sum.
        resample_filter: of the blocks that halve or double.
        project: a 1x1 convolution on every resampled skip, else only where the width changes.
        head: channels per attention head; 0: one head.
    """

    emb: int
    dropout: float
    eps: float
    adaptive: bool
    skip_scale: float
    resample_filter: tuple[float, ...]
    project: bool
    head: int

    def heads(self, channels: int) -> int:
        """Number of attention heads; 0 where the width is below that of one head."""
        return channels // self.head if self.head else 1


class Linear(nnx.Module):
    """Linear map over the last axis, with or without a bias."""

    def __init__(self, n_in: int, n_out: int, bias: bool = True, *, rngs: Draws) -> None:
        self.kernel = nnx.Param(rngs.fan_avg((n_in, n_out), 1))
        if bias:
            self.bias = nnx.Param(np.zeros(n_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...]
        if hasattr(self, "bias"):
            return layers.dense(x, kernel, self.bias[...])
        return jnp.dot(x, kernel.astype(x.dtype))


class Conv2d(nnx.Module):
    """Halve or double by a fixed filter, then convolve; either may be missing."""

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: int,
        scale: float = 1,
        *,
        resize: str = "",
        resample_filter: tuple[float, ...] = (1, 1),
        rngs: Draws,
    ) -> None:
        """`size` 0: no convolution; `resize` is "", "up" or "down"."""
        self.resize, self.resample_filter = resize, resample_filter
        if size:
            self.kernel = nnx.Param(rngs.fan_avg((size, size, n_in, n_out), scale))
            self.bias = nnx.Param(np.zeros(n_out, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,I] -> [B,H',W',O]."""
        if self.resize == "up":
            x = resample.upsample_2d(x, self.resample_filter)
        if self.resize == "down":
            x = resample.downsample_2d(x, self.resample_filter)
        if not hasattr(self, "kernel"):
            return x
        kernel, bias = self.kernel[...], self.bias[...]
        if kernel.shape[:2] == (1, 1):
            return layers.dense(x, kernel[0, 0], bias)
        return layers.add_bias(layers.conv(x, kernel), bias)

    def halve(self, x: jax.Array) -> jax.Array:
        """Filter and strided convolution in one; its padding differs from halving first."""
        h = resample.conv_downsample_2d(x, self.kernel[...], self.resample_filter)
        return layers.add_bias(h, self.bias[...])


class UNetBlock(nnx.Module):
    """Norm, swish, convolution, twice, with the embedding between; residual; then attention."""

    def __init__(
        self,
        c: BlockKind,
        n_in: int,
        n_out: int,
        *,
        resize: str = "",
        attends: bool = False,
        rngs: Draws,
    ) -> None:
        how = {"resize": resize, "resample_filter": c.resample_filter, "rngs": rngs}
        self.config, self.heads = c, c.heads(n_out) if attends else 0
        self.norm0 = norm(n_in, c.eps, rngs=rngs)
        self.conv0 = Conv2d(n_in, n_out, 3, **how)
        self.affine = Linear(c.emb, n_out * (2 if c.adaptive else 1), rngs=rngs)
        self.norm1 = norm(n_out, c.eps, rngs=rngs)
        self.conv1 = Conv2d(n_out, n_out, 3, 0, rngs=rngs)
        if n_in != n_out or resize:
            self.skip = Conv2d(n_in, n_out, int(c.project or n_in != n_out), **how)
        if self.heads:
            self.norm2 = norm(n_out, c.eps, rngs=rngs)
            self.qkv = Conv2d(n_out, 3 * n_out, 1, rngs=rngs)
            self.proj = Conv2d(n_out, n_out, 1, 0, rngs=rngs)

    def __call__(self, x: jax.Array, emb: jax.Array, key: jax.Array | None) -> jax.Array:
        """x [B,H,W,I], emb [B,emb] (already activated) -> [B,H',W',O]."""
        c = self.config
        h = self.conv0(jax.nn.silu(self.norm0(x)))
        shift = self.affine(emb).astype(h.dtype)[:, None, None]
        if c.adaptive:
            scale, shift = jnp.split(shift, 2, axis=-1)
            h = jax.nn.silu(shift + self.norm1(h) * (scale + 1))
        else:
            h = jax.nn.silu(self.norm1(h + shift))
        h = self.conv1(layers.dropout(h, c.dropout, key))
        h = (h + (self.skip(x) if hasattr(self, "skip") else x)) * c.skip_scale
        if self.heads:
            h = (h + self.proj(attend(self.qkv(self.norm2(h)), self.heads))) * c.skip_scale
        return h


class FourierEmbedding(nnx.Module):
    """Cosines, then sines, of a label times random frequencies that are never trained."""

    def __init__(self, features: int, *, rngs: Draws) -> None:
        self.freqs = nnx.Param(rngs.normal((features // 2,), 16))

    def __call__(self, label: jax.Array) -> jax.Array:
        """[B] -> [B, features]. The order of the products is the original's: phases reach 1e2,
        where a float32 rounding in another place changes the network's output."""
        freqs = np.float32(2 * math.pi) * jax.lax.stop_gradient(self.freqs[...])
        angle = label.astype(jnp.float32)[:, None] * freqs[None, :]
        return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def norm(channels: int, eps: float, *, rngs: Draws) -> GroupNorm:
    """Group norm of at most 32 groups, each of four channels or more."""
    return GroupNorm(channels, min(32, channels // 4), eps, rngs=rngs)


def attend(qkv: jax.Array, heads: int) -> jax.Array:
    """Self-attention over all pixels; qkv [B,H,W,3C] -> [B,H,W,C].

    The channels of qkv are ordered (head, channel of the head, which of q, k, v).
    """
    b, h, w, n = qkv.shape
    q, k, v = jnp.moveaxis(qkv.reshape(b, h * w, heads, n // (3 * heads), 3), -1, 0)
    return attention.attend(q, k, v).reshape(b, h, w, n // 3)


def positional(label: jax.Array, features: int, endpoint: bool) -> jax.Array:
    """Labels [B] -> [B, features]: cosines, then sines, over frequencies from 1 to 1e-4.

    With `endpoint` the last frequency is 1e-4. Without it, the next one would be.
    """
    half = features // 2
    steps = np.arange(half, dtype=np.float32) / np.float32(half - endpoint)
    freqs = np.float64(np.float32(1e-4)) ** steps.astype(np.float64)  # rounded once, below
    angle = label.astype(jnp.float32)[:, None] * freqs.astype(np.float32)[None, :]
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def one_hot(y: jax.Array | None, label: jax.Array, classes: int) -> jax.Array:
    """Labels [B] -> [B, classes]; None, and the label `classes`, are zeros ("no class").

    Raises:
        ValueError: labels for a network without classes.
    """
    if y is None:
        return jnp.zeros((label.shape[0], classes), jnp.float32)
    if not classes:
        raise ValueError("y must be None: this network has no class labels")
    return jax.nn.one_hot(y, classes, dtype=jnp.float32)


# --- the plan: the modules of `enc` and `dec` and the order of execution ---------------


def encoder(
    c: Any, first: int, beside: Callable[[int, int], Iterable[Part]] = lambda level, n: ()
) -> tuple[list[Part], list[int]]:
    """The parts of `enc` in their order, and the width of every skip connection.

    Args:
        c: a network's configuration.
        first: width after the first convolution.
        beside: (level, width) -> further parts after the halving that leads to a level.
    """
    block, n = partial(UNetBlock, c.block), first
    parts = [Part(named(c, 0, "conv"), partial(Conv2d, c.in_channels, n, 3))]
    widths = [n]
    for level, mult in enumerate(c.channel_mult):
        if level:
            parts.append(Part(named(c, level, "down"), partial(block, n, n, resize="down")))
            parts += beside(level, n)
            widths.append(n)
        attends = level in c.attention_levels
        for i in range(c.num_blocks):
            make = partial(block, n, c.model_channels * mult, attends=attends)
            parts.append(Part(named(c, level, f"block{i}"), make))
            n = c.model_channels * mult
            widths.append(n)
    return parts, widths


def decoder(
    c: Any,
    widths: list[int],
    attending: Iterable[int],
    after: Callable[[int, int], Iterable[Part]] = lambda level, n: (),
) -> Iterator[Part]:
    """The parts of `dec` in their order, consuming skips of these widths from the last one.

    Args:
        attending: which blocks of a level attend, where the level does.
        after: (level, width) -> further parts after a level's blocks.
    """
    block, last = partial(UNetBlock, c.block), len(c.channel_mult) - 1
    skips, n = list(widths), widths[-1]
    for level in range(last, -1, -1):
        if level == last:
            yield Part(named(c, level, "in0"), partial(block, n, n, attends=True))
            yield Part(named(c, level, "in1"), partial(block, n, n))
        else:
            yield Part(named(c, level, "up"), partial(block, n, n, resize="up"))
        wide = c.model_channels * c.channel_mult[level]
        for i in range(c.num_blocks + 1):
            attends = i in attending and level in c.attention_levels
            make = partial(block, n + skips.pop(), wide, attends=attends)
            yield Part(named(c, level, f"block{i}"), make)
            n = wide
        yield from after(level, n)


def named(c: Any, level: int, part: str) -> str:
    """The name of a part of a level: "16x16_down"."""
    side = c.img_resolution >> level
    return f"{side}x{side}_{part}"


def modules(parts: Iterable[Part], rngs: Draws) -> nnx.Dict:
    """The modules of a plan by name. nnx does not keep their order: iterate over the plan."""
    return nnx.Dict({part.name: part.make(rngs=rngs) for part in parts})


def check_config(values: Mapping[str, Any], choices: Mapping[str, tuple[str, ...]]) -> None:
    """Raises ValueError unless the fields are among their choices and sizes are positive."""
    for field, allowed in choices.items():
        if values[field] not in allowed:
            raise ValueError(f"{field} must be one of {list(allowed)}, got {values[field]!r}")
    for field in ("img_resolution", "in_channels", "out_channels", "num_blocks"):
        if not isinstance(values[field], int) or values[field] < 1:
            raise ValueError(f"{field} must be a positive integer, got {values[field]!r}")
    if values["model_channels"] % 4:
        raise ValueError(f"model_channels must be a multiple of 4, got {values['model_channels']}")
    smallest = 2 ** (len(values["channel_mult"]) - 1)
    if values["img_resolution"] % smallest:
        raise ValueError(
            f"img_resolution must be a multiple of {smallest} for "
            f"{len(values['channel_mult'])} levels, got {values['img_resolution']}"
        )

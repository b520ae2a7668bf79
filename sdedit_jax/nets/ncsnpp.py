"""NCSN++ and DDPM++ (Song et al. 2021, appendix H), with every switch of score_sde's configuration.

The submodules stand in `all_modules` in the order and with the names of score_sde_pytorch, so that
its state dicts convert by one rule. `score_sde`'s plain 'ddpm' model is the same network with
other values: see `DDPM_VALUES`.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import layers, resample
from sdedit_jax.nets.layers import NIN, Conv, Dense, GroupNorm

CHOICES = {
    "resblock_type": ("biggan", "ddpm"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "embedding_type": ("fourier", "positional"),
    "nonlinearity": tuple(layers.ACTIVATIONS),
}

# what turns NCSN++ into score_sde's model 'ddpm'
DDPM_VALUES = {
    "resblock_type": "ddpm",
    "progressive": "none",
    "progressive_input": "none",
    "embedding_type": "positional",
    "skip_rescale": False,
    "fir": False,
    "groups": 32,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NCSNppConfig:
    """The architecture; field names and meanings are those of score_sde's configs.

    Attributes:
        image_size: height and width that decide, level by level, where attention stands.
        centered: the input is in [-1, 1]; if False it is in [0, 1] and the network maps 2x - 1.
        attn_resolutions: feature sizes (in pixels) that get attention.
        conditional: the blocks see the label (the noise level).
        scale_by_sigma: divide the output by sigma: by the label itself (fourier), or by entry
            `label` of the falling table of `num_scales` levels (positional).
        groups: groups of every norm; None means min(channels // 4, 32).
        num_classes: class labels 0..num_classes-1, and num_classes for "no class"; None: no labels.
    """

    image_size: int
    num_channels: int = 3
    centered: bool = False
    nf: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 4
    attn_resolutions: tuple[int, ...] = (16,)
    resamp_with_conv: bool = True
    conditional: bool = True
    fir: bool = True
    fir_kernel: tuple[float, ...] = (1, 3, 3, 1)
    skip_rescale: bool = True
    resblock_type: str = "biggan"
    progressive: str = "none"
    progressive_input: str = "residual"
    progressive_combine: str = "sum"
    embedding_type: str = "fourier"
    fourier_scale: float = 16.0
    init_scale: float = 0.0
    scale_by_sigma: bool = True
    sigma_min: float = 0.01
    sigma_max: float = 50.0
    num_scales: int = 1000
    dropout: float = 0.0
    nonlinearity: str = "swish"
    groups: int | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if self.num_classes is not None and not self.conditional:
            raise ValueError("num_classes needs conditional=True, got conditional=False")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "NCSNppConfig":
        """The configuration from plain values (lists become tuples).

        Raises:
            ValueError: an unknown field, or a value that its field does not allow.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(f"unknown network fields {unknown}; known are {known}")
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**plain)


class ResnetBlock(nnx.Module):
    """The residual block; `resize` "shrink" or "enlarge" makes it resample too (BigGAN)."""

    def __init__(
        self, c: NCSNppConfig, n_in: int, n_out: int, resize: str = "", *, rngs: nnx.Rngs
    ) -> None:
        self.act, self.rate, self.rescale = c.nonlinearity, c.dropout, c.skip_rescale
        self.resize, self.kernel = resize, c.fir_kernel if c.fir else None
        self.GroupNorm_0 = _norm(c, n_in, rngs=rngs)
        self.Conv_0 = Conv(n_in, n_out, rngs=rngs)
        if c.conditional:
            self.Dense_0 = Dense(4 * c.nf, n_out, rngs=rngs)
        self.GroupNorm_1 = _norm(c, n_out, rngs=rngs)
        self.Conv_1 = Conv(n_out, n_out, scale=c.init_scale, rngs=rngs)
        if c.resblock_type == "ddpm" and n_in != n_out:
            self.NIN_0 = NIN(n_in, n_out, rngs=rngs)
        elif c.resblock_type == "biggan" and (n_in != n_out or resize):
            self.Conv_2 = Conv(n_in, n_out, 1, rngs=rngs)

    def __call__(self, x: jax.Array, temb: jax.Array | None, key: jax.Array | None) -> jax.Array:
        """x [B,H,W,I], temb [B,4nf] (already activated) -> [B,H',W',O]."""
        act = layers.ACTIVATIONS[self.act]
        h = act(self.GroupNorm_0(x))
        if self.resize:
            h, x = (_resize(a, self.resize, self.kernel) for a in (h, x))
        h = self.Conv_0(h)
        if temb is not None:
            h = h + self.Dense_0(temb).astype(h.dtype)[:, None, None]
        h = layers.dropout(act(self.GroupNorm_1(h)), self.rate, key)
        return _residual(self._shortcut(x), self.Conv_1(h), self.rescale)

    def _shortcut(self, x: jax.Array) -> jax.Array:
        if hasattr(self, "Conv_2"):
            return self.Conv_2(x)
        return self.NIN_0(x) if hasattr(self, "NIN_0") else x


class AttnBlock(nnx.Module):
    """Single-head self-attention over all pixels, residual."""

    def __init__(self, c: NCSNppConfig, channels: int, *, rngs: nnx.Rngs) -> None:
        self.rescale = c.skip_rescale
        self.GroupNorm_0 = _norm(c, channels, rngs=rngs)
        self.NIN_0 = NIN(channels, channels, rngs=rngs)
        self.NIN_1 = NIN(channels, channels, rngs=rngs)
        self.NIN_2 = NIN(channels, channels, rngs=rngs)
        self.NIN_3 = NIN(channels, channels, c.init_scale, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,C] -> [B,H,W,C]."""
        h = self.GroupNorm_0(x)
        h = self.NIN_3(layers.attend(self.NIN_0(h), self.NIN_1(h), self.NIN_2(h)))
        return _residual(x, h, self.rescale)


class Resize(nnx.Module):
    """Halves ("shrink") or doubles ("enlarge"); with a convolution `Conv_0`, or `Conv2d_0` merged
    with the FIR filter, or without parameters."""

    def __init__(
        self,
        c: NCSNppConfig,
        way: str,
        n_in: int,
        n_out: int,
        learned: bool = True,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.way, self.kernel = way, c.fir_kernel if c.fir else None
        if learned and c.fir:
            self.Conv2d_0 = Conv(n_in, n_out, rngs=rngs)
        elif learned:
            self.Conv_0 = Conv(n_in, n_out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B,H,W,I] -> [B,H/2,W/2,O] or [B,2H,2W,O]."""
        shrink = self.way == "shrink"
        if hasattr(self, "Conv_0"):
            return self.Conv_0.halve(x) if shrink else self.Conv_0(resample.naive_upsample_2d(x))
        if not hasattr(self, "Conv2d_0"):
            return _resize(x, self.way, self.kernel)
        run = resample.conv_downsample_2d if shrink else resample.upsample_conv_2d
        conv = self.Conv2d_0
        return layers.add_bias(run(x, conv.kernel[...], self.kernel), conv.bias[...])


class Combine(nnx.Module):
    """Joins the input pyramid with the features: their sum or concatenation."""

    def __init__(self, c: NCSNppConfig, n_in: int, n_out: int, *, rngs: nnx.Rngs) -> None:
        self.cat = c.progressive_combine == "cat"
        self.Conv_0 = Conv(n_in, n_out, 1, rngs=rngs)

    def __call__(self, pyramid: jax.Array, h: jax.Array) -> jax.Array:
        pyramid = self.Conv_0(pyramid)
        return jnp.concatenate([pyramid, h], axis=-1) if self.cat else pyramid + h


class Part(NamedTuple):
    """One step of the forward pass: what to do, and the maker of its module (None: no module)."""

    kind: str
    make: Callable[..., nnx.Module] | None = None


class NCSNpp(nnx.Module):
    """The score network; see `NCSNppConfig`. The forward pass walks `layout(config)`."""

    def __init__(self, config: NCSNppConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        makers = [part.make for part in layout(config) if part.make]
        self.all_modules = nnx.List([make(rngs=rngs) for make in makers])
        if config.num_classes is not None:
            size, width = config.num_classes + 1, 4 * config.nf
            self.class_embedding = layers.Embedding(size, width, rngs=rngs)

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
            x: [B,H,W,C], in [-1,1] plus noise if `centered`, else in [0,1] plus noise.
            label: noise labels [B]: sigma (fourier) or a step number (positional).
            y: class labels [B]; None means "no class" everywhere.
            key: switches dropout on.
            dtype: of the activations; ends of the network stay float32.

        Returns:
            [B,H,W,C] float32, the network's prediction.
        """
        c, levels = self.config, len(self.config.ch_mult) - 1
        if x.shape[1] % 2**levels or x.shape[2] % 2**levels or x.shape[3] != c.num_channels:
            wanted = f"[B,H,W,{c.num_channels}] with H and W multiples of {2**levels}"
            raise ValueError(f"x must be {wanted}, got shape {x.shape}")
        modules = iter(self.all_modules)
        temb = self._embed(modules, label, y)
        x = x.astype(jnp.float32)
        h = self._walk(modules, x if c.centered else 2 * x - 1, temb, key, dtype)
        return h / _sigmas(c, label)[:, None, None, None] if c.scale_by_sigma else h

    def _embed(
        self, modules: Iterator[nnx.Module], label: jax.Array, y: jax.Array | None
    ) -> jax.Array | None:
        """The activated embedding [B,4nf] that every block reads, in float32."""
        c, act = self.config, layers.ACTIVATIONS[self.config.nonlinearity]
        if c.embedding_type == "fourier":
            temb = next(modules)(jnp.log(label.astype(jnp.float32)))
        else:
            temb = layers.positional_embedding(label, c.nf)
        if not c.conditional:
            return None
        temb = next(modules)(temb)
        temb = next(modules)(act(temb))
        if c.num_classes is not None:
            y = jnp.full(label.shape, c.num_classes) if y is None else y
            temb = temb + self.class_embedding(y)
        return act(temb)

    def _walk(
        self,
        modules: Iterator[nnx.Module],
        x: jax.Array,
        temb: jax.Array | None,
        key: jax.Array | None,
        dtype: jnp.dtype,
    ) -> jax.Array:
        """From the centred input to the output before `scale_by_sigma`, both float32."""
        c, act = self.config, layers.ACTIVATIONS[self.config.nonlinearity]
        kernel = c.fir_kernel if c.fir else None
        h, skips, down, up, normed = x, [], x, None, None
        for number, (kind, make) in enumerate(part for part in layout(c) if part.kind != "embed"):
            module = next(modules) if make else None
            match kind:
                case "conv_in":
                    h = module(h).astype(dtype)
                case "block":
                    h = module(h, temb, None if key is None else jax.random.fold_in(key, number))
                case "map":
                    h = module(h)
                case "push":
                    skips.append(h)
                case "pop":
                    h = jnp.concatenate([h, skips.pop()], axis=-1)
                case "input_skip":
                    down = _resize(down, "shrink", kernel)
                    h = module(down.astype(h.dtype), h)
                case "input_residual":
                    h = down = _residual(module(down.astype(h.dtype)), h, c.skip_rescale)
                case "norm":
                    normed = act(module(h.astype(jnp.float32)))
                case "head":
                    up = (
                        module(normed)
                        if up is None
                        else _resize(up, "enlarge", kernel) + module(normed)
                    )
                case "output_residual":
                    h = up = _residual(module(up.astype(h.dtype)), h, c.skip_rescale)
        return up if c.progressive == "output_skip" else module(normed)


def layout(c: NCSNppConfig) -> Iterator[Part]:
    """The forward pass as a list of parts, in the order of `all_modules`."""
    yield from _embedding(c)
    yield Part("conv_in", partial(Conv, c.num_channels, c.nf))
    yield Part("push")
    widths = [c.nf]
    yield from _falling(c, widths)
    n = widths[-1]
    yield _block(c, n, n)
    yield _attention(c, n)
    yield _block(c, n, n)
    yield from _rising(c, n, widths)
    if c.progressive != "output_skip":
        yield from _head(c, "out", c.nf * c.ch_mult[0], c.num_channels, c.init_scale)


def _embedding(c: NCSNppConfig) -> Iterator[Part]:
    n = c.nf
    if c.embedding_type == "fourier":
        kind = layers.GaussianFourierProjection
        yield Part("embed", partial(kind, c.nf, c.fourier_scale))
        n = 2 * c.nf
    if c.conditional:
        yield Part("embed", partial(Dense, n, 4 * c.nf))
        yield Part("embed", partial(Dense, 4 * c.nf, 4 * c.nf))


def _falling(c: NCSNppConfig, widths: list[int]) -> Iterator[Part]:
    """From full to lowest resolution; notes the width of every skip in `widths`."""
    n, n_pyramid = c.nf, c.num_channels
    for level, mult in enumerate(c.ch_mult):
        for _ in range(c.num_res_blocks):
            yield _block(c, n, c.nf * mult)
            n = c.nf * mult
            if _attends(c, level):
                yield _attention(c, n)
            yield Part("push")
            widths.append(n)
        if level == len(c.ch_mult) - 1:
            return
        yield _resized(c, "shrink", n)
        if c.progressive_input == "input_skip":
            yield Part("input_skip", partial(Combine, c, n_pyramid, n))
            n = 2 * n if c.progressive_combine == "cat" else n
        elif c.progressive_input == "residual":
            yield Part("input_residual", partial(Resize, c, "shrink", n_pyramid, n))
            n_pyramid = n
        yield Part("push")
        widths.append(n)


def _rising(c: NCSNppConfig, n: int, widths: list[int]) -> Iterator[Part]:
    """From lowest to full resolution; consumes `widths` from its end."""
    lowest = len(c.ch_mult) - 1
    for level in range(lowest, -1, -1):
        for _ in range(c.num_res_blocks + 1):
            yield Part("pop")
            yield _block(c, n + widths.pop(), c.nf * c.ch_mult[level])
            n = c.nf * c.ch_mult[level]
        if _attends(c, level):
            yield _attention(c, n)
        if c.progressive == "output_skip":
            yield from _head(c, "head", n, c.num_channels, c.init_scale)
        elif c.progressive == "residual" and level == lowest:
            yield from _head(c, "head", n, n, 1)
        elif c.progressive == "residual":
            n_pyramid = c.nf * c.ch_mult[level + 1]
            yield Part("output_residual", partial(Resize, c, "enlarge", n_pyramid, n))
        if level:
            yield _resized(c, "enlarge", n)


def _head(c: NCSNppConfig, kind: str, n_in: int, n_out: int, scale: float) -> Iterator[Part]:
    yield Part("norm", partial(_norm, c, n_in))
    yield Part(kind, partial(Conv, n_in, n_out, scale=scale))


def _block(c: NCSNppConfig, n_in: int, n_out: int, way: str = "") -> Part:
    return Part("block", partial(ResnetBlock, c, n_in, n_out, way))


def _attention(c: NCSNppConfig, n: int) -> Part:
    return Part("map", partial(AttnBlock, c, n))


def _resized(c: NCSNppConfig, way: str, n: int) -> Part:
    """Halves or doubles the features at unchanged width."""
    if c.resblock_type == "biggan":
        return _block(c, n, n, way)
    return Part("map", partial(Resize, c, way, n, n, c.resamp_with_conv))


def _attends(c: NCSNppConfig, level: int) -> bool:
    return c.image_size // 2**level in c.attn_resolutions


def _norm(c: NCSNppConfig, channels: int, *, rngs: nnx.Rngs) -> GroupNorm:
    return GroupNorm(channels, c.groups or min(channels // 4, 32), rngs=rngs)


def _residual(x: jax.Array, h: jax.Array, rescale: bool) -> jax.Array:
    return (x + h) / np.float32(math.sqrt(2)).astype(x.dtype) if rescale else x + h


def _resize(x: jax.Array, way: str, kernel: tuple[float, ...] | None) -> jax.Array:
    """Halves or doubles without parameters: by the FIR kernel, or naively where it is None."""
    if kernel is None:
        naive = {"shrink": resample.naive_downsample_2d, "enlarge": resample.naive_upsample_2d}
        return naive[way](x)
    fir = {"shrink": resample.downsample_2d, "enlarge": resample.upsample_2d}
    return fir[way](x, kernel)


def _sigmas(c: NCSNppConfig, label: jax.Array) -> jax.Array:
    """The noise level [B] that a label [B] stands for."""
    if c.embedding_type == "fourier":
        return label
    levels = np.linspace(math.log(c.sigma_max), math.log(c.sigma_min), c.num_scales)
    return jnp.asarray(np.exp(levels), jnp.float32)[label.astype(jnp.int32)]

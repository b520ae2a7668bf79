"""NCSN++ and DDPM++ (Song et al. 2021, appendix H), with every switch of score_sde's configuration.

`all_modules` has the order and the names of score_sde_pytorch, so its state dicts convert by one
rule. score_sde's model 'ddpm' is the same network with other values: see
`ncsnpp_config.DDPM_VALUES`.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import layers, resample
from sdedit_jax.nets import ncsnpp_blocks as blocks
from sdedit_jax.nets.layers import Conv, Dense, Draws
from sdedit_jax.nets.ncsnpp_config import DDPM_VALUES, NCSNppConfig

__all__ = ["DDPM_VALUES", "NCSNpp", "NCSNppConfig", "layout"]


class Part(NamedTuple):
    """One step of the forward pass: its operation, and the maker of its module, if it has one."""

    kind: str
    make: Callable[..., nnx.Module] | None = None


class NCSNpp(nnx.Module):
    """The score network; see `NCSNppConfig`. The forward pass walks `layout(config)`."""

    def __init__(self, config: NCSNppConfig, *, rngs: Draws) -> None:
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
        c = self.config
        if y is not None and c.num_classes is None:
            raise ValueError("y must be None: this network has no class labels")
        layers.check_input(x, c.num_channels, c.stride)
        modules = iter(self.all_modules)
        temb = self._embed(modules, label, y)
        x = resample.unshuffle(x.astype(jnp.float32), c.patch)
        h = self._walk(modules, x if c.centered else 2 * x - 1, temb, key, dtype)
        h = resample.shuffle(h, c.patch)
        return h / _sigmas(c, label)[:, None, None, None] if c.scale_by_sigma else h

    def statistics(
        self,
        x: jax.Array,
        label: jax.Array,
        *,
        y: jax.Array | None = None,
        dtype: jnp.dtype = jnp.float32,
    ) -> jax.Array:
        """Mean and standard deviation over the pixels of all features on the way down, [B,D]."""
        c = self.config
        modules = iter(self.all_modules)
        temb = self._embed(modules, label, y)
        x = resample.unshuffle(x.astype(jnp.float32), c.patch)
        x = x if c.centered else 2 * x - 1
        skips = self._walk(modules, x, temb, None, dtype, until="pop")
        moments = [f(h, (1, 2), dtype=jnp.float32) for h in skips for f in (jnp.mean, jnp.std)]
        return jnp.concatenate(moments, axis=-1)

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
        until: str = "",
    ) -> jax.Array | list[jax.Array]:
        """From the centred input to the output before `scale_by_sigma`, both float32.

        until: the kind of part before which the walk ends, with the skip features so far.
        """
        c, act = self.config, layers.ACTIVATIONS[self.config.nonlinearity]
        kernel = c.fir_kernel if c.fir else None
        h, skips, down, up, normed = x, [], x, None, None
        for number, (kind, make) in enumerate(part for part in layout(c) if part.kind != "embed"):
            if kind == until:
                return skips
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
                    down = blocks.resize(down, "shrink", kernel)
                    h = module(down.astype(h.dtype), h)
                case "input_residual":
                    h = down = blocks.residual(module(down.astype(h.dtype)), h, c.skip_rescale)
                case "norm":
                    normed = act(module(h.astype(jnp.float32)))
                case "head":
                    out = module(normed)
                    up = out if up is None else blocks.resize(up, "enlarge", kernel) + out
                case "output_residual":
                    h = up = blocks.residual(module(up.astype(h.dtype)), h, c.skip_rescale)
        return up if c.progressive == "output_skip" else module(normed)


def layout(c: NCSNppConfig) -> Iterator[Part]:
    """The forward pass as a list of parts, in the order of `all_modules`."""
    yield from _embedders(c)
    yield Part("conv_in", partial(Conv, c.channels, c.nf))
    yield Part("push")
    widths = [c.nf]
    yield from _falling(c, widths)
    n = widths[-1]
    yield _block(c, n, n)
    yield _attention(c, n)
    yield _block(c, n, n)
    yield from _rising(c, n, widths)
    if c.progressive != "output_skip":
        yield from _head(c, "out", c.nf * c.ch_mult[0], c.channels, c.init_scale)


def _embedders(c: NCSNppConfig) -> Iterator[Part]:
    n = c.nf
    if c.embedding_type == "fourier":
        kind = layers.GaussianFourierProjection
        yield Part("embed", partial(kind, c.nf, c.fourier_scale))
        n = 2 * c.nf
    if c.conditional:
        yield Part("embed", partial(Dense, n, 4 * c.nf))
        yield Part("embed", partial(Dense, 4 * c.nf, 4 * c.nf))


def _falling(c: NCSNppConfig, widths: list[int]) -> Iterator[Part]:
    """From full to lowest resolution; appends the width of every skip connection to `widths`."""
    n, n_pyramid = c.nf, c.channels
    for level, mult in enumerate(c.ch_mult):
        for _ in range(c.num_res_blocks):
            yield _block(c, n, c.nf * mult)
            n = c.nf * mult
            if level in c.attention_levels:
                yield _attention(c, n)
            yield Part("push")
            widths.append(n)
        if level == len(c.ch_mult) - 1:
            return
        yield _resized(c, "shrink", n)
        if c.progressive_input == "input_skip":
            yield Part("input_skip", partial(blocks.Combine, c, n_pyramid, n))
            n = 2 * n if c.progressive_combine == "cat" else n
        elif c.progressive_input == "residual":
            yield Part("input_residual", partial(blocks.Resize, c, "shrink", n_pyramid, n))
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
        if level in c.attention_levels:
            yield _attention(c, n)
        if c.progressive == "output_skip":
            yield from _head(c, "head", n, c.channels, c.init_scale)
        elif c.progressive == "residual" and level == lowest:
            yield from _head(c, "head", n, n, 1)
        elif c.progressive == "residual":
            n_pyramid = c.nf * c.ch_mult[level + 1]
            yield Part("output_residual", partial(blocks.Resize, c, "enlarge", n_pyramid, n))
        if level:
            yield _resized(c, "enlarge", n)


def _head(c: NCSNppConfig, kind: str, n_in: int, n_out: int, scale: float) -> Iterator[Part]:
    yield Part("norm", partial(blocks.norm, c, n_in))
    yield Part(kind, partial(Conv, n_in, n_out, scale=scale))


def _block(c: NCSNppConfig, n_in: int, n_out: int, direction: str = "") -> Part:
    return Part("block", partial(blocks.ResnetBlock, c, n_in, n_out, direction))


def _attention(c: NCSNppConfig, n: int) -> Part:
    return Part("map", partial(blocks.AttnBlock, c, n))


def _resized(c: NCSNppConfig, direction: str, n: int) -> Part:
    """Halves or doubles the features at unchanged width."""
    if c.resblock_type == "biggan":
        return _block(c, n, n, direction)
    return Part("map", partial(blocks.Resize, c, direction, n, n, c.resamp_with_conv))


def _sigmas(c: NCSNppConfig, label: jax.Array) -> jax.Array:
    """The noise level [B] that a label [B] stands for."""
    if c.embedding_type == "fourier":
        return label
    levels = np.linspace(math.log(c.sigma_max), math.log(c.sigma_min), c.num_scales)
    return jnp.asarray(np.exp(levels), jnp.float32)[label.astype(jnp.int32)]

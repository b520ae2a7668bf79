"""Priors in the latents of an autoencoder that read texts, such as Stable Diffusion.

The state x is a latent [h, w, c]; its cond is the embedding [M, K] of a text. An inpainting network
also takes the mask and the masked picture: its cond is an `InpaintCond`. The params of such a
prior are {"unet", "vae", "text_encoder"}; adapter, codec and text encoder each take all of them.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import SDE, step_of
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.sd_config import ClipTextConfig, SDUNetConfig, SDVaeConfig
from sdedit_jax.priors.adapters import check_predicts, prediction
from sdedit_jax.priors.conditioning import CFGCond, InpaintCond
from sdedit_jax.priors.prior import Codec, mask_of_state
from sdedit_jax.text.tokenizer import Tokenizer


@jax.tree_util.register_static
@dataclass(frozen=True)
class StableDiffusion:
    """Text-conditional U-Nets: eps = F(x, i, text) with the step i = round(steps t - 1) as label.

    `Prediction.attention` is the mean [h', w', M] of the cross-attention maps, if the U-Net has
    layers of that size. The compiler drops it where it is not used.

    Attributes:
        net: the U-Net.
        steps: number of steps of the table that it was trained on.
        predicts: what it gives, one of PREDICTS.
        attention: sides of the latent over sides of the maps, which are rounded up; a power of 2.
    """

    net: Network
    process: SDE
    steps: int = 1000
    predicts: str = "eps"
    attention: int = 4

    def __post_init__(self) -> None:
        check_predicts(self.predicts, self.process)

    @property
    def gives_maps(self) -> bool:
        """Whether the U-Net has cross-attention layers of the size of the maps."""
        kinds = self.net.config.down_block_types
        return self.attention in [2**i for i, kind in enumerate(kinds) if "CrossAttn" in kind]

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        label = step_of(t, self.steps)
        text, extra = _split(cond, self.net.config, x)
        inputs = jnp.concatenate([x, *extra], axis=-1)[None]
        sides = tuple(-(-side // self.attention) for side in x.shape[:2])
        maps = sides if self.gives_maps else None
        out = self.net(params["unet"], inputs, label[None], y=text[None], key=key, maps=maps)
        out, shown = (out[0][0], out[1][0].mean(0)) if self.gives_maps else (out[0], None)
        return prediction(self.predicts, self.process, x, t, out)._replace(attention=shown)


def _split(cond: Any, config: SDUNetConfig, x: Array) -> tuple[Array, tuple[Array, ...]]:
    """The text of a cond, and the further input channels [h, w, n]."""
    if cond is None:
        raise ValueError("cond: the prior requires a text, got none")
    inpaints = config.in_channels > config.out_channels
    if inpaints != isinstance(cond, InpaintCond):
        kind = "an InpaintCond (text, mask, masked)" if inpaints else "the embedding of a text"
        raise ValueError(f"cond: the prior requires {kind}, got {type(cond).__name__}")
    return (cond.text, (cond.mask, cond.masked)) if inpaints else (jnp.asarray(cond), ())


@jax.tree_util.register_static
@dataclass(frozen=True)
class VaeCodec:
    """Pictures to latents of about std 1: (latent - shift_factor) scaling_factor; and back."""

    net: Network

    def encode(self, params: Any, image: Array, z: Array | None = None) -> Array:
        scale, shift = self._scaling()
        mean, std = self.net.apply(params["vae"], image[None], method="encode")
        latent = mean[0] if z is None else mean[0] + std[0] * z
        return scale * (latent - shift)

    def decode(self, params: Any, x0: Array) -> Array:
        scale, shift = self._scaling()
        return self.net.apply(params["vae"], (x0 / scale + shift)[None], method="decode")[0]

    def _scaling(self) -> tuple[float, float]:
        return self.net.config.scaling_factor, self.net.config.shift_factor or 0.0


@jax.tree_util.register_static
@dataclass(frozen=True)
class TextEncoder:
    """(params, ids [M]) -> the embedding [M, K]: the states of the tokens after the last norm.

    Attributes:
        net: the encoder. skip: the last layers that are left out before the norm ("clip skip").
    """

    net: Network
    skip: int = 0

    def __call__(self, params: Any, ids: Array) -> Array:
        return self.net.apply(params["text_encoder"], ids[None], skip=self.skip).tokens[0]


@jax.tree_util.register_static
@dataclass(frozen=True)
class PrepareInpaint:
    """(params, image, mask, cond) -> the cond of an inpainting network.

    `cond` is a text embedding, or a `CFGCond` of two. A mask counts from 0.5 on; a latent may be
    painted if a pixel of it may.
    """

    codec: Codec

    def __call__(self, params: Any, image: Array, mask: Array, cond: Any) -> Any:
        paint = jnp.where(jnp.max(mask, axis=-1, keepdims=True) >= 0.5, 1.0, 0.0)
        masked = self.codec.encode(params, image * (1 - paint))
        small = mask_of_state(paint, masked.shape)
        if isinstance(cond, CFGCond):
            pair = (InpaintCond(each, small, masked) for each in (cond.cond, cond.uncond))
            return CFGCond(*pair, cond.scale)
        return InpaintCond(cond, small, masked)


def check_parts(unet: SDUNetConfig, vae: SDVaeConfig, text: ClipTextConfig, name: str) -> None:
    """Check that the networks of a prior fit together.

    Raises:
        ValueError: they do not.
    """
    n, width, fault = vae.latent_channels, text.hidden_size, ""
    takes, gives, reads = unet.in_channels, unet.out_channels, unet.cross_attention_dim
    if gives != n:
        fault = f"the U-Net gives {gives} channels, the VAE's latents have {n}"
    elif takes not in (n, 2 * n + 1):
        fault = f"the U-Net takes {takes} channels, not {n} (latents) or {2 * n + 1} (inpainting)"
    elif reads != width:
        fault = f"the U-Net takes texts of width {reads}, the text encoder gives {width}"
    if fault:
        raise ValueError(f"{name}: its parts do not fit together: {fault}")


def check_tokens(tokenizer: Tokenizer, vocabulary: int, places: int, name: str) -> None:
    """Check that a tokenizer fits the text encoder.

    Raises:
        ValueError: it has ids that the encoder does not know, or longer texts.
    """
    known = tokenizer.bpe.get_vocab_size()
    if known > vocabulary or tokenizer.length > places:
        raise ValueError(
            f"tokenizer: {name} has {known} tokens and texts of {tokenizer.length}, the text"
            f" encoder knows {vocabulary} tokens and texts of {places}"
        )

"""Priors in the latents of an autoencoder that read texts, as Stable Diffusion is.

The state x is a latent [h, w, c]; its cond is the embedding [M, K] of a text. The network of
inpainting is also shown where it may paint and the rest of the picture: its cond is a `Shown`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.guidance import Guided
from sdedit_jax.nets.functional import Functional
from sdedit_jax.nets.sd_config import ClipTextConfig, SDUNetConfig, SDVaeConfig
from sdedit_jax.prior import PREDICTS, Codec, PredictFn, Text, mask_of_state
from sdedit_jax.rules import Prediction
from sdedit_jax.sde import SDE
from sdedit_jax.text.tokenizer import Tokenizer


class Shown(NamedTuple):
    """The cond of an inpainting network.

    Attributes:
        text: embedding [M, K].
        mask: [h, w, 1], 1 where it may paint.
        masked: the latent [h, w, c] of the picture with grey (0) where it may paint.
    """

    text: Array
    mask: Array
    masked: Array


def stable_diffusion(
    net: Functional,
    process: SDE,
    config: SDUNetConfig,
    *,
    steps: int = 1000,
    predicts: str = "eps",
    attention: int = 4,
) -> PredictFn:
    """The predictor of a U-Net that looks at a text; its params are those of the whole prior.

    The label is the step round(steps t - 1). `Prediction.attention` is the mean [h', w', M] of the
    cross-attention maps, where the U-Net has such layers; what nobody uses costs nothing compiled.

    Args:
        predicts: what the network gives, one of PREDICTS.
        attention: sides of the latent over sides of the maps; a power of 2.
    """
    if predicts not in PREDICTS:
        raise ValueError(f"predicts must be one of {list(PREDICTS)}, got {predicts!r}")
    level = int(attention).bit_length() - 1
    kinds = config.down_block_types
    seen = 0 <= level < len(kinds) and "CrossAttn" in kinds[level] and attention == 2**level

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        label = jnp.clip(jnp.round(steps * jnp.asarray(t, jnp.float32) - 1), 0, steps - 1)
        text, extra = _split(cond, config, x)
        maps = tuple(side // attention for side in x.shape[:2]) if seen else None
        inputs = jnp.concatenate([x, *extra], axis=-1)[None]
        out = net.apply(params["unet"], inputs, label[None], y=text[None], key=key, maps=maps)
        out, shown = (out[0][0], out[1][0].mean(0)) if seen else (out[0], None)
        return Prediction(PREDICTS[predicts](process, x, t, out), attention=shown)

    return predict


def _split(cond: Any, config: SDUNetConfig, x: Array) -> tuple[Array, tuple[Array, ...]]:
    """The text of a cond, and the further channels [h, w, n] that the network is shown."""
    if cond is None:
        raise ValueError("cond: the prior wants a text, got none")
    wanted = config.in_channels > config.out_channels
    if wanted != isinstance(cond, Shown):
        kind = "Shown (text, mask, masked picture)" if wanted else "the embedding of a text"
        raise ValueError(f"cond: the prior wants {kind}, got {type(cond).__name__}")
    return (cond.text, (cond.mask, cond.masked)) if wanted else (jnp.asarray(cond), ())


def codec(net: Functional, config: SDVaeConfig) -> Codec:
    """Pictures to latents of about std 1: (latent - shift_factor) scaling_factor; and back."""
    scale, shift = config.scaling_factor, config.shift_factor or 0.0

    def encode(params: Any, image: Array, z: Array | None = None) -> Array:
        mean, std = net.apply(params["vae"], image[None], method="encode")
        latent = mean[0] if z is None else mean[0] + std[0] * z
        return scale * (latent - shift)

    def decode(params: Any, x0: Array) -> Array:
        return net.apply(params["vae"], (x0 / scale + shift)[None], method="decode")[0]

    return Codec(encode, decode)


def text(net: Functional, tokenizer: Tokenizer) -> Text:
    """Texts to what the U-Net looks at: the tokens' states after the last norm."""

    def encode(params: Any, ids: Array) -> Array:
        return net.apply(params["text_encoder"], ids[None]).tokens[0]

    return Text(tokenizer.encode, jax.jit(encode))


def shown(own: Codec) -> Callable[..., Any]:
    """(params, image, mask, cond) -> the cond of an inpainting network, for a text or a Guided.

    Masks count from 0.5 on; a latent may be painted if a pixel of it may.
    """

    def see(params: Any, image: Array, mask: Array, cond: Any) -> Any:
        paint = jnp.where(jnp.max(mask, axis=-1, keepdims=True) >= 0.5, 1.0, 0.0)
        masked = own.encode(params, image * (1 - paint))
        small = mask_of_state(paint, masked.shape)
        if isinstance(cond, Guided):
            pair = (Shown(each, small, masked) for each in (cond.label, cond.against))
            return Guided(*pair, cond.scale)
        return Shown(cond, small, masked)

    return see


def check_parts(unet: SDUNetConfig, vae: SDVaeConfig, text: ClipTextConfig, name: str) -> None:
    """See that networks belong together.

    Raises:
        ValueError: they do not.
    """
    n, width, told = vae.latent_channels, text.hidden_size, ""
    takes, gives, looks = unet.in_channels, unet.out_channels, unet.cross_attention_dim
    if gives != n:
        told = f"the U-Net gives {gives} channels, the VAE's latents have {n}"
    elif takes not in (n, 2 * n + 1):
        told = f"the U-Net takes {takes} channels, not {n} (latents) or {2 * n + 1} (inpainting)"
    elif looks != width:
        told = f"the U-Net looks at texts of width {looks}, the text encoder gives {width}"
    if told:
        raise ValueError(f"{name}: its parts do not fit each other: {told}")


def check_tokens(tokenizer: Tokenizer, vocabulary: int, places: int, name: str) -> None:
    """See that a tokenizer is one of the text encoder's.

    Raises:
        ValueError: it has ids that the encoder does not know, or longer texts.
    """
    known = tokenizer.bpe.get_vocab_size()
    if known > vocabulary or tokenizer.length > places:
        raise ValueError(
            f"tokenizer: that of {name} has {known} tokens and texts of {tokenizer.length}, the"
            f" text encoder knows {vocabulary} tokens and texts of {places}"
        )

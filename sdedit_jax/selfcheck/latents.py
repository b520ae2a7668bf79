"""A prior in latents as the denoise test takes priors: its state is the picture."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.prior import IDENTITY, Prior
from sdedit_jax.rules import Prediction


def in_latents(prior: Prior, pictures: np.ndarray) -> tuple[Prior, np.ndarray]:
    """The prior of latents without its codec, and the pictures [B, H, W, C] as latents.

    It is told the empty text; an inpainting network may paint everywhere.
    """
    encode = jax.jit(prior.codec.encode)
    latents = np.stack([np.asarray(encode(prior.params, picture)) for picture in pictures])
    cond = None
    if prior.text is not None:
        ids = jnp.asarray(prior.text.tokenize("").ids)
        cond = prior.text.encode(prior.params, ids)
    if prior.see is not None:
        blank = jnp.zeros(prior.shape)
        cond = jax.jit(prior.see)(prior.params, blank, blank[..., :1] + 1, cond)

    def predict(params: Any, x: Array, t: Array, _: Any = None, key: Any = None) -> Prediction:
        return prior.predict(params, x, t, cond, key)._replace(attention=None)

    shape = tuple(latents.shape[1:])
    return prior._replace(predict=predict, shape=shape, codec=IDENTITY, text=None), latents

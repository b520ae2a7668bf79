"""A prior in latents in the form of the denoising test: the latent is the picture."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.prior import IDENTITY, Prior


def in_latents(prior: Prior, pictures: np.ndarray) -> tuple[Prior, np.ndarray]:
    """The prior of latents without its codec, and the pictures [B, H, W, C] as latents.

    The text is empty; the mask of an inpainting network covers the whole picture.
    """
    encode = jax.jit(prior.codec.encode)
    latents = np.stack([np.asarray(encode(prior.params, picture)) for picture in pictures])
    cond = None
    if prior.text is not None:
        cond = conditioning.embedding(prior, "")
    if prior.prepare_cond is not None:
        blank = jnp.zeros(prior.shape)
        cond = jax.jit(prior.prepare_cond)(prior.params, blank, blank[..., :1] + 1, cond)

    def predict(params: Any, x: Array, t: Array, _: Any = None, key: Any = None) -> Prediction:
        return prior.predict(params, x, t, cond, key)._replace(attention=None)

    shape = tuple(latents.shape[1:])
    return prior.replace(predict=predict, shape=shape, codec=IDENTITY, text=None), latents

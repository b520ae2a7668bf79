"""The loss of an autoencoder of pictures, its held-out error, and the scale of its latents.

With reconstruction r of picture x from one draw z of the posterior N(mean, std^2):

    mean |r - x| + square mean (r - x)^2 + edges (mean |D_y r - D_y x| + mean |D_x r - D_x x|)
        + kl sum KL(N(mean, std^2) || N(0, 1))

means over pixels, the sum over the values of a latent; D_y, D_x: differences of neighbours.

Perceptual and adversarial terms (Rombach et al., 2112.10752 appendix G) need other networks and are
not implemented.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.training.loss import Loss

Encode = Callable[[Any, Array], tuple[Array, Array]]
"""encode(params, images [B, H, W, C] in [-1, 1]) -> mean and std [B, h, w, c]."""
Decode = Callable[[Any, Array], Array]
"""decode(params, latents [B, h, w, c]) -> images [B, H, W, C]."""


class Fidelity(NamedTuple):
    """Weights of the terms beside the absolute error; see the module."""

    square: float = 0.5
    edges: float = 0.5
    kl: float = 5e-6


def reconstruction_loss(encode: Encode, decode: Decode, weights: Fidelity) -> Loss:
    """The loss of a batch {"image": [B, H, W, C]}.

    Raises:
        ValueError: a negative weight.
    """
    for name, value in weights._asdict().items():
        if value < 0:
            raise ValueError(f"objective.{name} must not be negative, got {value}")

    def loss(params: Any, batch: dict[str, Array], key: Array) -> Array:
        mean, std = encode(params, batch["image"])
        z = mean + std * jax.random.normal(key, mean.shape, mean.dtype)
        off = decode(params, z) - batch["image"]
        return difference(off, weights) + weights.kl * divergence(mean, std)

    return loss


def difference(off: Array, weights: Fidelity) -> Array:
    """The terms of r - x [B, H, W, C], a scalar."""
    edges = sum(jnp.mean(jnp.abs(jnp.diff(off, axis=axis))) for axis in (1, 2))
    return jnp.mean(jnp.abs(off)) + weights.square * jnp.mean(off**2) + weights.edges * edges


def divergence(mean: Array, std: Array) -> Array:
    """KL(N(mean, std^2) || N(0, 1)) [B, h, w, c], summed over a latent, the mean over a batch."""
    each = (mean**2 + std**2 - 1) / 2 - jnp.log(std)
    return jnp.mean(jnp.sum(each, axis=(1, 2, 3)))


def in_chunks(run: Callable[[Array], Array], rows: np.ndarray, chunk: int = 16) -> np.ndarray:
    """run(rows [B, ...]) in parts of one size, so that it compiles once."""
    full = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % chunk, axis=0)])
    parts = [np.asarray(run(full[i : i + chunk])) for i in range(0, len(full), chunk)]
    return np.concatenate(parts)[: len(rows)]


def reconstructions(encode: Encode, decode: Decode, params: Any, images: np.ndarray) -> np.ndarray:
    """Pictures [B, H, W, C] through the autoencoder, by the posterior's mean."""
    return in_chunks(lambda x: decode(params, encode(params, x)[0]), images)


def reconstruction_errors(images: np.ndarray, again: np.ndarray) -> dict[str, float]:
    """The errors of reconstructions `again` of pictures [B, H, W, C].

    "held_out/rmse" is the root of the mean square over all pixels, in units of [-1, 1]; "psnr" the
    mean over pictures of 10 log10(4 / mean square), in dB.
    """
    found = np.mean((again - images) ** 2, axis=(1, 2, 3))
    psnr = np.mean(10 * np.log10(4 / np.maximum(found, 1e-12)))
    return {"held_out/rmse": float(np.sqrt(found.mean())), "psnr": float(psnr)}


def centred(params: Any, mean: np.ndarray, std: np.ndarray, scale: float) -> Any:
    """The same autoencoder with latents moved by -mean and stretched by 1 / (scale std).

    Its latents times `scale` then have mean 0 and std 1 in each channel. Both maps are merged into
    the 1x1 convolutions beside the latent; reconstructions do not change.

    Args:
        params: of an SDVae with both of these convolutions.
        mean, std: of each channel [c] of its latents over data.
        scale: the scaling_factor of its config.
    """
    stretch = 1 / (scale * std)
    into, out = params["quant_conv"], params["post_quant_conv"]
    factors = np.concatenate([stretch, np.ones_like(stretch)])
    moved = np.concatenate([-mean * stretch, 2 * np.log(stretch)])
    into = {"kernel": into["kernel"] * factors, "bias": into["bias"] * factors + moved}
    kernel = out["kernel"][0, 0]
    out = {"kernel": (kernel / stretch[:, None])[None, None], "bias": out["bias"] + mean @ kernel}
    return {**params, "quant_conv": into, "post_quant_conv": out}

"""Exact priors: the noise in x_t in closed form, without a network.

The arrays (means, stds, weights) are in the params of a prior, so other data compile nothing.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import SDE, level
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.priors.prior import Prior


@jax.tree_util.register_static
@dataclass(frozen=True)
class GaussianPredictor:
    """E[z | x_t] = sigma (x - alpha mean) / (alpha^2 std^2 + sigma^2), params {mean, std}."""

    process: SDE

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        alpha, sigma = level(self.process, t)
        variance = alpha**2 * params["std"] ** 2 + sigma**2
        return Prediction(sigma * (x - alpha * params["mean"]) / variance)


@jax.tree_util.register_static
@dataclass(frozen=True)
class MixturePredictor:
    """E[z | x_t] = sigma sum_k r_k / v_k (x - alpha mean_k), params {means, std, weights}.

    v_k = alpha^2 std_k^2 + sigma^2; r_k is the posterior probability of component k given x_t.
    """

    process: SDE

    def __call__(
        self, params: Any, x: Array, t: Array, cond: Any = None, key: Any = None
    ) -> Prediction:
        alpha, sigma = level(self.process, t)
        away = x[None] - alpha * params["means"]
        variance = alpha**2 * params["std"] ** 2 + sigma**2
        log_density = -jnp.sum(away**2, axis=(1, 2, 3)) / 2 / variance
        log_density -= x.size / 2 * jnp.log(variance)
        r = jax.nn.softmax(log_density + jnp.log(params["weights"]))
        return Prediction(sigma * jnp.tensordot(r / variance, away, 1, precision="highest"))


def gaussian(process: SDE, mean: Array, std: Array | float) -> Prior:
    """The prior of data N(mean, diag(std^2)), exact, for pictures in [-1, 1].

    Args:
        mean: [H, W, C]. std: [H, W, C] or a number.
    """
    params = {"mean": jnp.asarray(mean, jnp.float32), "std": jnp.asarray(std, jnp.float32)}
    return Prior(process, GaussianPredictor(process), params, tuple(params["mean"].shape), stride=0)


def mixture(process: SDE, means: Array, std: Array | float, weights: Array | None = None) -> Prior:
    """The prior of data sum_k w_k N(mean_k, std_k^2), means [K, H, W, C], std a number or [K].

    E[x0 | x_t] = sum_k r_k (mean_k + alpha std_k^2 / v_k (x - alpha mean_k)). With a small std it
    generates the pictures that are its means: a demo without weights.
    """
    means = jnp.asarray(means, jnp.float32)
    k = means.shape[0]
    weights = jnp.full((k,), 1 / k) if weights is None else jnp.asarray(weights, jnp.float32)
    params = {
        "means": means,
        "std": jnp.broadcast_to(jnp.asarray(std, jnp.float32), (k,)),
        "weights": weights / jnp.sum(weights),
    }
    return Prior(process, MixturePredictor(process), params, tuple(means.shape[1:]), stride=0)

"""Exact priors: the noise in x_t in closed form, without a network.

The arrays (means, stds, weights) are in the params of a prior, so other data compile nothing.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.sde import PROCESS, SDE, level
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.files.arrays import finite
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
        mean: [H, W, C]. std: [H, W, C] or a number, at least 0.

    Raises:
        TypeError, ValueError: a value of another type or shape, or one that is not allowed.
    """
    PROCESS.check(process, "process")
    mean = _numbers(mean, "mean", "HWC")
    std = _numbers(std, "std", "", "HWC", least=0)
    if std.ndim and std.shape != mean.shape:
        raise ValueError(f"std must be {mean.shape} as mean, got {std.shape}")
    params = {"mean": mean, "std": std}
    return Prior(process, GaussianPredictor(process), params, mean.shape, stride=0)


def mixture(process: SDE, means: Array, std: Array | float, weights: Array | None = None) -> Prior:
    """The prior of data sum_k w_k N(mean_k, std_k^2), means [K, H, W, C], std a number or [K].

    E[x0 | x_t] = sum_k r_k (mean_k + alpha std_k^2 / v_k (x - alpha mean_k)). With a small std it
    generates the pictures that are its means: a demo without weights.

    Args:
        weights: [K], at least 0; None: all the same.

    Raises:
        TypeError, ValueError: a value of another type or shape, or one that is not allowed.
    """
    PROCESS.check(process, "process")
    means = _numbers(means, "means", "KHWC")
    k = len(means)
    given = {"std": std, "weights": np.ones(k) if weights is None else weights}
    found = {name: _numbers(value, name, "", "K", least=0) for name, value in given.items()}
    for name, value in found.items():
        if value.shape not in ((), (k,)):
            raise ValueError(f"{name} must be a number or {k}, got shape {value.shape}")
    std, weights = (jnp.broadcast_to(value, (k,)) for value in found.values())
    params = {"means": means, "std": std, "weights": weights / jnp.sum(weights)}
    return Prior(process, MixturePredictor(process), params, means.shape[1:], stride=0)


def _numbers(value: Any, name: str, *axes: str, least: float = -math.inf) -> Array:
    """An array with some of these axes, float32; one that JAX traces has its shape checked alone.

    Args:
        axes: those that it may have; "": it may be a number.
    """
    allowed = " or ".join(f"[{', '.join(one)}]" if one else "a number" for one in axes)
    if not isinstance(value, jax.core.Tracer):
        value = finite(value, name, allowed)
        if value.size and value.min() < least:
            raise ValueError(f"{name} must be at least {least:g}, got {value.min():g}")
    if value.ndim not in map(len, axes) or 0 in value.shape:
        raise ValueError(f"{name} must be {allowed}, got shape {value.shape}")
    return jnp.asarray(value, jnp.float32)

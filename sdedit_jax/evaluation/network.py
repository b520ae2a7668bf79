"""Features of a loaded prior's own network; see features.network_features."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from sdedit_jax.diffusion.sde import SDE
from sdedit_jax.evaluation.features import network_features
from sdedit_jax.nets.ncsnpp import NCSNpp
from sdedit_jax.priors.adapters import PredictFn
from sdedit_jax.priors.prior import Prior


def prior_features(prior: Prior, images: np.ndarray, ratio: float = 0.3) -> np.ndarray:
    """Mean and spread of the activations on the way down in a prior's network, without a class.

    Args:
        prior: of the network "ncsnpp", as loaded.
        images: float32 [B, H, W, C] in [-1, 1], of the prior's size.
        ratio: sigma / alpha of the noise that is added.

    Returns:
        float32 [B, D].

    Raises:
        ValueError: a prior of another network.
    """
    check_network(prior)
    return np.asarray(_features(prior.predict, prior.process, prior.params, images, ratio))


def check_network(prior: Prior) -> None:
    """Raise ValueError unless the network of a prior gives features."""
    net = getattr(prior.predict, "net", None)
    if getattr(net, "module", None) is not NCSNpp:
        name = prior.metadata.get("network")
        raise ValueError(f"features need a prior of the network 'ncsnpp', got {name}")


@functools.partial(jax.jit, static_argnums=(0, 1, 4))
def _features(
    predict: PredictFn, process: SDE, params: Any, images: jax.Array, ratio: float
) -> jax.Array:
    """The features; compiled once for a network and a number of pictures."""
    return network_features(
        functools.partial(predict.net.apply, method="statistics"),
        lambda net, process: dataclasses.replace(predict, net=net),
        process,
        params,
        images,
        ratio=ratio,
    )

"""A painting is edited by a prior without a network: the exact mixture of eight drawn pictures."""

from ml_collections import ConfigDict

from sdedit_jax.configs import strokes


def get_config() -> ConfigDict:
    config = strokes.get_config()
    config.prior = "exact"
    config.t0 = 0.65
    return config

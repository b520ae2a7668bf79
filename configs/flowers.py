"""A painting of a flower in a few strokes becomes a photo of a flower."""

from ml_collections import ConfigDict

from sdedit_jax.configs import strokes


def get_config() -> ConfigDict:
    config = strokes.get_config()
    config.prior = "flowers64"
    config.example.input = "examples/flowers"
    return config

"""A painting of a flower in a few strokes becomes a photo of a flower."""

from ml_collections import ConfigDict

from configs import strokes


def get_config() -> ConfigDict:
    config = strokes.get_config()
    config.prior = "checkpoints/flowers64"
    config.input = "examples/flowers"
    return config

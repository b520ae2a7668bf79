"""A photo becomes a stroke painting as in the paper, and the painting is edited."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "simulate"
    config.input = "examples/recolor"
    config.options.colors = 6
    config.options.median = 0
    return config

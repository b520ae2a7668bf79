"""A photo becomes a stroke painting as in the paper, and the painting is edited."""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "simulate"
    config.example.input = "examples/recolor"
    config.options.colors = 6  # 3 to 50
    config.options.median = 0  # odd window in pixels of the edit; 0: by the size, 23 at 256
    return config

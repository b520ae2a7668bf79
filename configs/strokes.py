"""Strokes: a painting in a few flat strokes becomes a photo."""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "strokes"
    config.example.input = "examples/strokes"
    return config

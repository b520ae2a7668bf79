"""Strokes: a painting in a few flat strokes becomes a photo."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "strokes"
    config.input = "examples/strokes"
    return config

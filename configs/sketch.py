"""Sketch: a line drawing becomes a photo; its lines may change, or are held."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "sketch"
    config.input = "examples/sketch"
    config.options.lines = "free"  # free | held
    config.options.threshold = 0  # 0: found by Otsu's method
    config.options.grow = 0.75
    config.options.colors = ()
    config.options.hints = "examples/sketch/hints"
    config.t0 = 0.6
    return config

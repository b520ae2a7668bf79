"""Sketch: a line drawing becomes a photo; its lines may change, or are held."""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "sketch"
    config.example.input = "examples/sketch"
    config.example.options = ConfigDict({"hints": "examples/sketch/hints"})
    config.example.unless = ("colors",)
    config.options.lines = "free"  # free | held
    config.options.threshold = 0  # luminance below which a pixel is a line; 0: by Otsu's method
    config.options.grow = 0.75  # of held lines: pixels of the edit by which they are grown
    config.options.colors = ""  # of the regions between the lines, the largest first
    config.options.hints = ""  # file or folder: colours with alpha, which spread up to the lines
    config.t0 = 0.6
    return config

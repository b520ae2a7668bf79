"""Outpainting: a photo on a larger canvas; the border is filled by a rule and then edited."""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "outpaint"
    config.example.input = "examples/outpaint"
    config.example.options = ConfigDict({"left": 64})
    config.example.unless = ("left", "right", "top", "bottom")
    config.options.left = 0  # pixels to add, of the input
    config.options.right = 0
    config.options.top = 0
    config.options.bottom = 0
    config.options.fill = "smooth"  # smooth | mean | noise | edge
    config.options.overlap = 0  # width of the strip beside the border that may change too
    config.fit = "pad"  # pad | stretch | mask; crop would cut off the border
    config.t0 = 0.75
    return config

"""Composite: a photo with a pasted patch; the edit changes patch and seam."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "composite"
    config.input = "examples/composite"
    config.options.patch = "examples/composite/patches/star.png"
    config.options.x = 0.5  # centre of the patch
    config.options.y = 0.22
    config.options.units = "fraction"  # fraction | pixel
    config.options.scale = 1.0
    config.options.seam = 2.0
    config.t0 = 0.4
    return config

"""Composite: a photo with a pasted patch; the edit changes patch and seam."""

from ml_collections import ConfigDict, config_dict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "composite"
    config.example.input = "examples/composite"
    star = {"patch": "examples/composite/patches/star.png", "y": 0.22}
    config.example.options = ConfigDict(star)
    config.options.patch = ""  # a picture, usually with alpha, or a folder by the inputs' stems
    config.options.x = 0.5  # centre of the patch, from the left; y from the top
    config.options.y = config_dict.placeholder(float)  # unset: 0.5
    config.options.units = "fraction"  # fraction | pixel: of x and y
    config.options.scale = 1.0  # factor on the size of the patch
    config.options.seam = 2.0  # pixels of the edit around the patch that may change too
    config.t0 = 0.4
    return config

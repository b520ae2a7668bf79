"""Inpainting: a hole in a photo is filled by a rule and then edited."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "inpaint"
    config.input = "examples/inpaint"
    config.options.mask = "examples/inpaint/masks"
    config.options.invert = False
    config.options.mask_channel = "auto"  # auto | luminance | alpha
    config.options.fill = "smooth"  # smooth | mean | noise | original
    config.t0 = 0.6
    return config

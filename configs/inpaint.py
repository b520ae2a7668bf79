"""Inpainting: a hole in a photo is filled by a rule and then edited."""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "inpaint"
    config.example.input = "examples/inpaint"
    config.example.options = ConfigDict({"mask": "examples/inpaint/masks"})
    config.options.mask = ""  # a file or folder, white = may change; "": the mask beside the input
    config.options.invert = False
    config.options.mask_channel = "auto"  # auto | luminance | alpha
    config.options.fill = "smooth"  # smooth | mean | noise | original
    config.t0 = 0.6
    return config

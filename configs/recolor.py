"""Recolouring: a photo in the colours of a palette or of another picture."""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "recolor"
    config.example.input = "examples/recolor"
    config.example.options = ConfigDict({"reference": "examples/recolor/references/green.jpg"})
    config.example.unless = ("palette",)
    config.options.palette = ""  # colours from dark to light: "#5a1010,#d8c020"
    config.options.reference = ""  # a picture, or a folder of pictures by the inputs' stems
    config.options.transfer = "histogram"  # histogram | statistics (of reference)
    # auto: foreground on plain ground; a file or folder; "": the mask beside the input, or all
    config.options.mask = "auto"
    config.options.invert = False
    config.options.mask_channel = "auto"  # auto | luminance | alpha
    config.options.threshold = 24  # of auto: levels of difference from the background
    config.t0 = 0.4
    return config

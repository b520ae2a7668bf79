"""Recolouring: a photo in the colours of a palette or of another picture."""

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "recolor"
    config.input = "examples/recolor"
    config.options.palette = ()
    config.options.reference = "examples/recolor/references/green.jpg"
    config.options.transfer = "histogram"  # histogram | statistics
    config.options.mask = "auto"  # "": everything; auto: foreground on plain ground; file
    config.options.invert = False
    config.options.mask_channel = "auto"  # auto | luminance | alpha
    config.options.threshold = 24
    config.t0 = 0.4
    return config

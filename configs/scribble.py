"""Scribble: a photo with strokes on it; the edit changes the region of the strokes.

The strokes are a layer with alpha, a mask, or the difference to a painted copy.
"""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.task = "scribble"
    config.example.input = "examples/scribble"
    config.example.options = ConfigDict({"strokes": "examples/scribble/strokes"})
    config.example.unless = ("mask", "painted")
    config.options.strokes = ""  # file or folder: layer with alpha
    config.options.mask = ""  # file or folder: white may change
    config.options.painted = ""  # file or folder: the painted copy
    config.options.invert = False
    config.options.mask_channel = "auto"  # auto | luminance | alpha
    config.options.threshold = 24  # of painted: levels by which a stroke differs from the photo
    config.options.grow = 1.0  # pixels of the edit by which the mask of the strokes is grown
    config.t0 = 0.45
    return config

"""Text-guided SDEdit: edit a photo by a prompt, everywhere or inside a mask.

--config.input=photo.png --config.prompt="a green apple" [--config.options.mask=mask.png]
"""

from ml_collections import ConfigDict

from sdedit_jax.configs import base


def get_config() -> ConfigDict:
    config = base.get_config()
    config.prior = "fruits64-text"  # or any folder of Stable Diffusion 1 or 2
    config.task = "photo"
    config.example.input = "examples/recolor"
    config.options.mask = ""  # a file or folder, white = may change
    config.options.invert = False
    config.options.mask_channel = "auto"  # auto | luminance | alpha
    config.prompt = ""
    config.negative_prompt = ""
    config.guidance.scale = 7.5
    config.t0 = 0.6
    return config

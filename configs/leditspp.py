"""LEDITS++: a photo is inverted in few steps, and made again by concepts in masks of their own.

--config.prior=FOLDER --config.input=photo.png --config.concepts="+green:7,-red:5"
"""

from ml_collections import ConfigDict

from configs import ledits


def get_config() -> ConfigDict:
    config = ledits.get_config()
    config.preset = "leditspp"
    return config

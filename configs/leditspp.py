"""LEDITS++: invert a photo in few steps, then edit it by concepts with implicit masks.

--config.prior=FOLDER --config.input=photo.png --config.concepts="+green:7,-red:5"
"""

from ml_collections import ConfigDict

from sdedit_jax.configs import ledits


def get_config() -> ConfigDict:
    config = ledits.get_config()
    config.preset = "leditspp"
    return config

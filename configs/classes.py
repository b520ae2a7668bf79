"""A painting of a flower becomes a photo of a given class of flower, `cond`.

`cond` is the name or the number that the prior has for the class. `guidance.against` is a second
class, or "null" where the prior has a label for no class. `guidance.scale` then leads away from it.
"""

from ml_collections import ConfigDict

from sdedit_jax.configs import flowers


def get_config() -> ConfigDict:
    config = flowers.get_config()
    config.example.input = "examples/flowers/sunflower.png"
    config.cond = "sunflower"
    config.guidance.against = "null"
    config.guidance.scale = 2.0
    return config

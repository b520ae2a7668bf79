"""A painting becomes a photo of a class: the label `cond` of a class-conditional prior.

`guidance.against` is a second label, or "null" where the prior has a label for no class.
`guidance.scale` then leads away from it.
"""

from ml_collections import ConfigDict

from configs import strokes


def get_config() -> ConfigDict:
    config = strokes.get_config()
    config.prior = "checkpoints/classes"  # a class-conditional prior
    config.cond = 0
    config.guidance.against = ""
    config.guidance.scale = 1.0
    config.sampler.rule = "ancestral"  # with the learned variance, where the prior has it
    config.sampler.grid = "uniform"
    config.sampler.steps = 50
    return config

"""A painting becomes a photo of a class: the label `cond` of a prior that knows classes.

With `guidance.against` a second label, or "null" where the prior has a label for no class, the two
are mixed by `guidance.scale`.
"""

from ml_collections import ConfigDict

from configs import strokes


def get_config() -> ConfigDict:
    config = strokes.get_config()
    config.prior = "checkpoints/classes"  # a prior with classes, e.g. one of guided-diffusion
    config.cond = 0
    config.guidance.against = ""
    config.guidance.scale = 1.0
    config.sampler.rule = "ancestral"
    config.sampler.grid = "uniform"
    config.sampler.variance = "auto"  # learned, where the prior has it
    config.sampler.steps = 50
    return config

"""Evaluation of compositing: a patch of another picture on each picture, made to fit."""

from ml_collections import ConfigDict

from sdedit_jax.configs import composite, evaluate


def get_config() -> ConfigDict:
    config = evaluate.fields(composite.get_config())
    config.prior = "flowers64"
    config.example.input = "examples/flowers/photos"
    del config.example.options
    config.data.patches = True
    config.measures.guide = ("l2", "rms_edited")
    config.measures.photo = ("rms_kept",)
    config.t0 = 0.35
    config.samples = 8
    return config

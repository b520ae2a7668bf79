"""Evaluation of strokes to photos: guides simulated from the photos of a data set are edited."""

from ml_collections import ConfigDict

from sdedit_jax.configs import evaluate


def get_config() -> ConfigDict:
    config = evaluate.get_config()
    config.prior = "flowers64"
    config.example.input = "examples/flowers/photos"
    config.t0 = 0.5
    config.samples = 8
    return config

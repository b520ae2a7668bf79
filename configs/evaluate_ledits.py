"""Evaluation of LEDITS on a data set with prompts, such as PIE-Bench or a manifest."""

from ml_collections import ConfigDict

from sdedit_jax.configs import evaluate, ledits


def get_config() -> ConfigDict:
    config = evaluate.fields(ledits.get_config())
    config.measures.guide = ()
    config.measures.photo = ("rms_kept", "psnr_kept", "ssim_kept", "rms")
    config.samples = 1
    config.example.input = "examples/ledits/fruits.csv"
    return config

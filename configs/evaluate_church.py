"""Evaluation as in the SDEdit paper on LSUN church: simulated strokes, NCSN++ of score_sde.

--config.prior=FOLDER, the converted checkpoint ve/church_ncsnpp_continuous of score_sde (see
docs/checkpoints.md); --config.input=FOLDER with church_outdoor_val_lmdb of the LSUN release;
--config.features.inception=FILE for KID and FID that compare with published ones.
"""

from ml_collections import ConfigDict

from sdedit_jax.configs import evaluate


def get_config() -> ConfigDict:
    config = evaluate.get_config()
    config.prior = ""
    config.input = ""
    config.example.input = ""
    config.data.layout = "lsun"
    config.data.split = "val"
    config.options.colors = 6
    config.options.median = 23
    config.preset = "paper-ve"
    config.t0 = 0.5
    config.samples = 1
    config.batch = 16
    config.features.prior = ""
    return config

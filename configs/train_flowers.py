"""Training of a class-conditional flower prior, --mode=train.

data.source is a zip or folder of photos with one subfolder for each class.
"""

from ml_collections import ConfigDict

from sdedit_jax.configs import train


def get_config() -> ConfigDict:
    config = train.get_config()
    config.name = "flowers64"
    config.net.patch = 2
    config.net.nf = 32
    config.net.ch_mult = (1, 2, 4, 4)
    config.net.attn_resolutions = (8,)
    config.net.num_classes = 5
    config.data.labels = "folder"
    config.data.views = 128
    config.data.credit = "flower_photos (TensorFlow), CC BY 2.0; photographers in CREDITS.tsv"
    config.augment.shift = 4
    config.augment.scale = (0.8, 1.25)
    config.augment.turn = 180.0
    config.augment.turn_often = 0.5
    config.augment.brightness = 0.15
    config.augment.hue = 8.0
    config.optimizer.method = "muon"
    config.optimizer.rate = 8e-4
    config.optimizer.schedule = "constant"
    config.optimizer.ema = 0.999
    config.optimizer.longer = (0.9997, 0.9999)
    config.run.steps = 62_500  # of 16 pictures: 1,000,000
    config.run.save_seconds = 300.0
    config.run.held_out = 69
    return config

"""Training of the autoencoder of a text prior, --mode=train: the first stage."""

from ml_collections import ConfigDict

from sdedit_jax.configs import train


def get_config() -> ConfigDict:
    base = train.get_config()
    config = ConfigDict()
    config.stage = "vae"
    config.name = "fruits64-text"
    shared = ("compute", "cache", "publish", "data", "augment", "optimizer", "run", "export")
    for name in (*shared, "average"):
        config[name] = base[name]
    config.dtype = "float16"
    # the network: fields of the config.json of diffusers
    config.net = ConfigDict()
    config.net.sample_size = 64
    config.net.in_channels = 3
    config.net.out_channels = 3
    config.net.down_block_types = ("DownEncoderBlock2D",) * 3
    config.net.up_block_types = ("UpDecoderBlock2D",) * 3
    config.net.block_out_channels = (8, 16, 48)
    config.net.layers_per_block = 1
    config.net.latent_channels = 4
    config.net.norm_num_groups = 8
    config.net.scaling_factor = 0.18215  # latents are published with std 1 / scaling_factor
    # the loss
    config.objective = ConfigDict()
    config.objective.square = 0.5
    config.objective.edges = 0.5
    config.objective.kl = 5e-6
    config.statistics = 512  # pictures from which the scale of the latents is measured
    # differences from the run of a prior in pixels
    config.optimizer.rate = 2e-3
    config.optimizer.warmup = 50
    config.optimizer.schedule = "constant"
    config.optimizer.ema = 0.999
    config.run.steps = 4000
    config.run.log_every = 20
    config.run.sample_every = 200
    config.run.held_out_every = 200
    config.run.save_every = 500
    return config

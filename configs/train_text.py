"""Training of a text prior such as fruits64-text, --mode=train: the second stage, on latents.

config.vae is the folder vae/ that the first stage (train_vae.py) published.
"""

from ml_collections import ConfigDict

from sdedit_jax.configs import train


def get_config() -> ConfigDict:
    base = train.get_config()
    config = ConfigDict()
    config.stage = "text"
    config.name = "fruits64-text"
    for name in ("compute", "cache", "publish", "data", "optimizer", "run", "export", "average"):
        config[name] = base[name]
    config.dtype = "float16"
    config.vae = ""  # the folder vae/ of the first stage
    config.data.labels = "captions"
    config.mirror = True  # add the latents of mirrored pictures
    # the networks: fields of the config.json of diffusers and transformers
    config.net = ConfigDict()
    config.net.sample_size = 16
    config.net.in_channels = 4
    config.net.out_channels = 4
    config.net.down_block_types = ("CrossAttnDownBlock2D",) * 3
    config.net.up_block_types = ("CrossAttnUpBlock2D",) * 3
    config.net.block_out_channels = (32, 64, 128)
    config.net.layers_per_block = 1
    config.net.norm_num_groups = 8
    config.net.attention_head_dim = (1, 2, 4)  # the number of heads
    config.net.cross_attention_dim = 128
    config.text = ConfigDict()
    config.text.hidden_size = 128
    config.text.intermediate_size = 384
    config.text.num_hidden_layers = 2
    config.text.num_attention_heads = 4
    config.text.max_position_embeddings = 24  # tokens, start and end included
    config.text.hidden_act = "quick_gelu"
    config.vocabulary = 1000  # entries at most
    config.whole = 6  # copies of the whole caption beside its short forms
    # the process: Stable Diffusion's table
    config.process = ConfigDict()
    config.process.num_train_timesteps = 1000
    config.process.beta_start = 0.00085
    config.process.beta_end = 0.012
    # the prior's own numbers for presets of LEDITS
    config.ledits = ConfigDict({"ledits": {"threshold": 0.8}, "leditspp": {"threshold": 0.5}})
    # the loss
    config.objective = ConfigDict()
    config.objective.weight = "simple"
    config.objective.times = "uniform"
    config.objective.stratified = True
    config.objective.drop_label = 0.1
    # the sample sheet: a column for each seed, a row for each text; (): the captions
    config.sheet = ConfigDict()
    config.sheet.texts = (
        "a photo of a red apple",
        "a photo of a green apple",
        "a photo of a yellow apple",
        "a photo of a black cherry",
        "a photo of a dark red cherry",
        "a photo of an orange tomato",
        "a photo of a red tomato",
        "green",
        "a tomato",
        "",
    )
    config.sheet.seeds = 6
    config.sheet.steps = 20
    config.sheet.guidance = 3.0
    # differences from the run of a prior in pixels
    config.optimizer.rate = 1e-3
    config.optimizer.warmup = 200
    config.optimizer.schedule = "constant"
    config.optimizer.ema = 0.9995
    config.run.batch = 16
    config.run.steps = 100_000
    config.run.sample_every = 1000
    config.run.held_out_every = 500
    config.run.save_seconds = 120.0
    config.run.levels = (0.1, 0.3, 1.0, 3.0)
    return config

"""LEDITS: a photo is inverted, and made again by other words and concepts.

--config.prior=FOLDER --config.input=photo.png --config.source_prompt="a red apple"
--config.concepts="+green:7,-red:5" [--config.prompt="a green apple"]
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.method = "ledits"
    # what to edit
    config.prior = "checkpoints/fruits64-text"  # any folder of Stable Diffusion 1 or 2
    config.compute = "float32"  # float32 | tf32 | bfloat16
    config.input = "examples/recolor"  # a file, a folder or a glob
    config.fit = "crop"  # crop | pad | stretch: how a picture comes to the prior's size
    # in which words; concepts: sign, text[:scale[:warmup[:threshold]]][:name=value], comma
    config.source_prompt = ""  # what the photo shows
    config.prompt = ""  # what it shall show, for large changes
    config.negative_prompt = ""  # what guidance leads away from
    config.concepts = ""  # "+green:7,-red:5:threshold=0.9"
    config.masks = ""  # a file, folder or MAP#COLOUR for each concept, by commas; white = acts
    config.prompts = ""  # JSON file {input's name: {the fields above}}
    # ledits | ledits-app | cog-ledits | ddpm-inversion-paper
    # leditspp | leditspp-diffusers | leditspp-original
    config.preset = "ledits"
    # the preset's numbers, where they shall be others
    number = config_dict.placeholder
    config.steps = number(int)
    config.t0 = number(float)  # strength where the steps begin: ledits, leditspp
    config.skip = number(float)  # steps left out: the other presets
    config.source_scale = number(float)
    config.target_scale = number(float)
    config.intersect_to = number(float)  # of LEDITS++: time up to which both masks act
    config.attention = number(int)  # of LEDITS++: sides of the latent over those of its masks
    # of concepts that do not say them
    for name in ("scale", "warmup", "threshold", "cooldown", "weight", "momentum", "beta"):
        config[name] = number(float)
    config.seed = 0
    # the machine
    config.maps = "device"  # device | host | keys: where the maps of the inversion stay
    config.batch = 4  # pictures at a time, over all devices
    config.devices = 0  # local devices to use; 0: all
    config.cache = "auto"  # folder of compiled programs; "auto": the user's cache folder; "": none
    config.sheet_scale = 0  # pixels per pixel in sheets; 0: at least 128 pixels a picture
    return config

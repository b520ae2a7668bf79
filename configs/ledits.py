"""LEDITS: invert a photo, then edit it by a prompt and concepts.

--config.prior=FOLDER --config.input=photo.png --config.source_prompt="a red apple"
--config.concepts="+green:7,-red:5" [--config.prompt="a green apple"]
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.method = "ledits"
    # what to edit
    config.prior = "fruits64-text"  # or any folder of Stable Diffusion 1 or 2
    config.compute = "float32"  # float32 | tf32 | bfloat16
    config.input = ""  # a file, a folder or a glob; "": the example; --mode=replay: a result
    config.example = ConfigDict({"input": "examples/recolor"})
    config.options = ConfigDict()
    config.options.background = ""  # behind transparent parts; "": white
    config.options.opaque = False  # output original: make transparent parts opaque
    config.options.detail = True  # output original: keep the photo's detail; False: only enlarge
    config.options.mask_suffix = "_mask"  # apple_mask.png belongs to apple.png, and is no photo
    config.only = ""  # --mode=replay of a record.json: names of some results, comma-separated
    # --mode=replay: open all files that a recipe names; for pictures of your own
    config.trust = False
    config.size = ""  # HxW of the edit, such as "768x512"; "": the prior's own
    config.fit = "crop"  # crop | pad | stretch: how a picture is fitted to the size
    config.output = "prior"  # prior | original: the size of the result
    config.feather = 0  # pixels of soft seam with output=original
    # prompts; concepts: sign, text[:scale[:warmup[:threshold]]][:name=value], comma
    config.source_prompt = ""  # describes the photo
    config.prompt = ""  # the target prompt, for large changes
    config.negative_prompt = ""  # guidance leads away from it
    config.concepts = ""  # "+green:7,-red:5:threshold=0.9"; '+"red, ripe":7' with a comma
    config.masks = ""  # file, folder or MAP#COLOUR for each concept, comma-separated; white = acts
    config.clip_skip = 0  # the last layers of the text encoder that are left out
    config.prompts = ""  # JSON file {input's name: {the fields above}}, or CSV with a header
    # ledits | ledits-app | cog-ledits | ddpm-inversion-paper | ddim-inversion
    # leditspp | leditspp-diffusers | leditspp-original
    config.preset = "ledits"
    # numbers of the preset; unset: the prior's own default, or else the preset's
    number = config_dict.placeholder
    config.steps = number(int)
    config.t0 = number(float)  # strength where the steps begin: ledits, leditspp, ddim-inversion
    config.skip = number(float)  # of the other presets: steps left out, or a share (leditspp-...)
    config.source_scale = number(float)
    config.target_scale = number(float)
    config.intersect_to = number(float)  # LEDITS++: both masks act up to this time
    config.attention = number(int)  # LEDITS++: side of the latent / side of the attention maps
    # defaults for the numbers of a concept
    for name in ("scale", "warmup", "threshold", "cooldown", "weight", "momentum", "beta"):
        config[name] = number(float)
    config.seed = 0  # up to 2**64 - 1; -1 draws one
    config.samples = 1  # results for each photo, each with its own inversion
    config.uncertainty = False  # a heat map of the spread of the samples
    config.report = False  # report.html: all results on one page, each beside its guide
    # --mode=sweep
    config.sweep = ConfigDict()
    config.sweep.scale = (3.0, 7.0, 12.0, 20.0)  # scale of all concepts
    config.sweep.seeds = (0, 1)
    # the machine
    config.maps = "device"  # device | host | keys: where the noise maps stay
    config.batch = 4  # pictures at a time, on all devices
    config.devices = 0  # local devices to use; 0: all
    config.cache = "auto"  # folder of compiled programs; "auto": the user's cache folder; "": none
    config.sheet_scale = 0  # enlargement in sheets; 0: at least 128 pixels for each picture
    return config

"""--mode=convert: convert a released checkpoint to the prior in --workdir."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.source = ""  # a file, a folder, the name of a prior, or hf:owner/name[@revision]
    config.card = ""  # name in the catalogue, see docs/checkpoints.md
    config.architecture = ""  # instead of card: a JSON file with the original's configuration
    config.family = ""  # expected family; "": found from the content
    config.name = ""  # of the prior; "": the name of the folder
    config.prediction = ""  # of a single file: eps | v; "": see docs/checkpoints.md
    config.tokenizer = ""  # its folder, where the source has none (single files)
    config.dtype = "float32"  # of stored weights: float32 | bfloat16 | float16 | source
    config.check = True  # denoise test pictures with the new prior
    config.strict = False  # a failed check is an error, and nothing is written
    config.cache = "auto"  # folder of compiled programs; "auto": the user's cache folder; "": none
    return config

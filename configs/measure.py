"""Measure pictures of any program against others, --mode=measure."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.a = ""  # the pictures that are measured: a folder, a glob or a zip
    config.b = ""  # the reference
    config.masks = ""  # a folder of masks with the stems of b: white may change
    config.resize = ""  # HxW to which all pictures are fitted; "": they must have one size
    config.fit = "crop"  # crop | pad | stretch, with resize
    config.measures = ConfigDict()
    # names of measures in pairs, such as ("l2", "ssim"); (): all that can be taken
    config.measures.paired = ()
    config.measures.subsets = 100  # of KID
    config.measures.subset_size = 1000  # pictures in each
    config.features = ConfigDict()
    config.features.hand = True  # colours and edges
    config.features.prior = "fruits64"  # a prior whose network gives features; "": none
    # weights that you have; see docs/guides/researcher.md
    config.features.inception = ""
    config.features.lpips_vgg = ""
    config.features.lpips_alex = ""
    config.features.lpips_heads = ""  # folder of the heads of LPIPS
    config.features.clip = ""  # folder
    config.features.resize = "clean"  # of Inception: clean | pytorch | tensorflow | none
    config.seed = 0  # of the subsets; -1 draws one
    config.batch = 32  # pictures at a time
    config.compute = "float32"  # of the prior's network: float32 | tf32 | bfloat16
    config.cache = "auto"  # folder of compiled programs; "auto": the user's cache folder; "": none
    return config

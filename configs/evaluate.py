"""Evaluation, --mode=evaluate: edits of a whole data set, measured, with tables and plots."""

from ml_collections import ConfigDict

from sdedit_jax.configs import simulate


def get_config() -> ConfigDict:
    return fields(simulate.get_config())


def fields(config: ConfigDict) -> ConfigDict:
    """Add the fields of an evaluation to the config of a kind of edit.

    `input` is the data set: a folder, a zip, a manifest (.csv, .jsonl), or a name of tfds.
    """
    config.data = ConfigDict()
    # auto | folder | zip | tfds | manifest | lsun | celeba_hq | imagenet | pie_bench
    config.data.layout = "auto"
    config.data.split = ""  # a folder in the paths, such as "test"; of tfds: its own
    config.data.labels = ""  # folder | captions; of ImageNet: synset | class | words
    config.data.patches = False  # paste a patch of another picture into each: its guide and mask
    config.data.seed = 0  # of the patches
    config.limit = 0  # the first ids; 0: all
    config.reference = ""  # a data set with which sets of edits are compared; "": the input itself
    config.reference_split = ""
    # how the work is shared: by the processes of a cluster, or by hand, such as "2/8"
    config.shard = ""
    config.merge = False  # True: no edits, only the results of all shares
    config.shard_size = 0  # edits in a shard, the least that is computed again; 0: 4 batches
    config.retry = False  # True: compute shards with failed edits again
    config.unpack = ""  # an id, or "all": write PNGs with recipes from the shards
    config.cluster = ConfigDict()
    config.cluster.use = "auto"  # auto | on | off: connect the processes by jax.distributed
    config.cluster.coordinator = ""  # HOST:PORT of process 0; "": found by JAX
    config.cluster.processes = 0  # 0: found by JAX
    config.cluster.process = -1  # this one, from 0; -1: found by JAX
    config.cluster.timeout = 300.0  # seconds until a process that is missing ends the program
    config.cluster.survive = True  # the others outlive the loss of a process (experimental in JAX)
    # what is measured, see docs/guides/evaluation.md
    config.measures = ConfigDict()
    config.measures.guide = ("l2", "rms")  # of each edit against its guide
    config.measures.photo = ("rms", "psnr", "ssim")  # of each edit against the photo
    config.measures.subsets = 100  # of KID
    config.measures.subset_size = 1000
    config.features = ConfigDict()
    config.features.hand = True  # colours and edges
    config.features.prior = "fruits64"  # a prior whose network gives features; "": none
    config.features.inception = ""  # weights, such as pt_inception-2015-12-05-6726825d.pth
    config.features.lpips_vgg = ""
    config.features.lpips_alex = ""
    config.features.lpips_heads = ""  # folder of the heads, vgg.pth and alex.pth
    config.features.clip = ""  # folder
    config.features.resize = "clean"  # clean | pytorch | tensorflow | none
    config.batch = 64
    config.report_rows = 64  # pictures in the report
    return config

"""Training of a pixel prior such as fruits64, --mode=train; data.source has the photos."""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "fruits64"
    config.compute = "float32"
    config.cache = "auto"  # folder of compiled programs; "auto": the user's cache folder; "": none
    config.publish = ""  # folder or name of the published prior; "": workdir/prior
    config.dtype = "bfloat16"  # of the published weights
    config.init = ""  # a prior, by name or folder: start from its weights
    config.first_step = 0  # with init: the number of steps of those weights
    # the prior
    config.network = "ncsnpp"
    config.net = ConfigDict()
    config.net.image_size = 64
    config.net.num_channels = 3
    config.net.centered = True
    config.net.nf = 16
    config.net.ch_mult = (1, 2, 4, 8, 8)
    config.net.num_res_blocks = 1
    config.net.attn_resolutions = (16, 8)
    config.net.resamp_with_conv = False
    config.net.conditional = True
    config.net.fir = False
    config.net.fir_kernel = (1, 3, 3, 1)
    config.net.skip_rescale = True
    config.net.resblock_type = "ddpm"
    config.net.progressive = "none"
    config.net.progressive_input = "none"
    config.net.progressive_combine = "sum"
    config.net.embedding_type = "fourier"
    config.net.fourier_scale = 0.5
    config.net.init_scale = 0.0
    config.net.scale_by_sigma = False
    config.net.sigma_min = 0.005
    config.net.sigma_max = 40.0
    config.net.dropout = 0.0
    config.net.nonlinearity = "swish"
    config.net.patch = 1
    config.net.num_classes = config_dict.placeholder(int)
    config.process = ConfigDict({"name": "ve", "sigma_min": 0.01, "sigma_max": 80.0})
    config.prediction = ConfigDict({"name": "edm", "sigma_data": 0.5, "label": "sigma"})
    # the data
    config.data = ConfigDict()
    config.data.source = ""  # a folder, a zip or a tfds name
    config.data.split = "train"
    config.data.held_out = "test"
    config.data.labels = ""  # "" | folder | captions
    config.data.size = 0  # side; pictures are cropped and resized; 0: unchanged
    config.data.views = 0  # side of the pictures before augmentation; 0: that of the network
    config.data.skip_broken = False  # True: leave out broken pictures
    config.data.credit = ""  # for the model card
    config.data.credits = ""  # a file of credits, published with the weights
    config.augment = ConfigDict()
    config.augment.flip = True
    config.augment.shift = 3
    config.augment.scale = (0.88, 1.08)
    config.augment.often = 0.5
    config.augment.fill = "border"
    config.augment.turn = 0.0  # largest rotation in degrees
    config.augment.turn_often = 1.0
    config.augment.brightness = 0.0  # largest change of the logarithm
    config.augment.hue = 0.0  # largest rotation in degrees
    # the loss
    config.objective = ConfigDict()
    config.objective.weight = "edm"  # simple | likelihood | edm
    config.objective.times = "lognormal"  # uniform | lognormal
    config.objective.t_min = 1e-5
    config.objective.mean = -0.4
    config.objective.std = 1.6
    config.objective.stratified = True
    config.objective.sigma_data = 0.5
    config.objective.drop_label = 0.1
    # the optimizer
    config.optimizer = ConfigDict()
    config.optimizer.rate = 1e-3
    config.optimizer.warmup = 300
    config.optimizer.schedule = "cosine"  # constant | cosine: down to 0 at run.steps | inverse_sqrt
    config.optimizer.hold = 2000  # steps at the full rate of inverse_sqrt, which then falls
    config.optimizer.clip = 1.0
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.999
    config.optimizer.ema = 0.9995
    config.optimizer.method = "adam"  # adam | muon
    config.optimizer.longer = ()  # decays of further exponential averages
    # the run
    config.run = ConfigDict()
    config.run.steps = 18_750  # of 16 pictures: 300,000
    config.run.batch = 16
    config.run.seed = 0  # up to 2**64 - 1; -1 draws one
    config.run.log_every = 50
    config.run.save_every = 1000
    config.run.save_seconds = 240.0
    config.run.keep = 2
    config.run.sample_every = 1000
    config.run.publish_every = 0  # steps; the weights are always published at the end
    config.run.held_out_every = 1000
    config.run.held_out = 64
    config.run.levels = (0.1, 0.3, 1.0, 3.0)
    config.run.threads = 1
    config.run.workers = 0
    config.export = False  # True: publish the newest checkpoint without training
    config.average = 0.0  # with export: decay of the published average; 0: optimizer.ema
    return config

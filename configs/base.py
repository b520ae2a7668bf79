"""The fields of SDEdit with their defaults; other configs start here and set what differs."""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # what to edit
    config.prior = "fruits64"  # a name of --list, or a folder
    config.compute = "float32"  # float32 | tf32 | bfloat16
    # strokes | scribble | composite | inpaint | outpaint | recolor | sketch | simulate | photo
    config.task = "strokes"
    config.options = ConfigDict()  # of the task; these belong to every task
    config.options.background = ""  # behind transparent parts; "": white
    config.options.opaque = False  # output original: make transparent parts opaque where edited
    config.options.detail = True  # output original: keep the photo's detail; False: only enlarge
    config.options.mask_suffix = "_mask"  # apple_mask.png is the mask of apple.png, and no input
    # a grey picture, or a folder of them: each pixel has its share of t0; white: all, black: kept
    config.options.strength_map = ""
    config.input = ""  # a file, a folder or a glob; "": the example; --mode=replay: a result
    # what is edited without an input: its `options` hold unless one of the options `unless` is set
    config.example = ConfigDict({"input": "examples/strokes"})
    config.only = ""  # --mode=replay of a record.json: names of some results, comma-separated
    # --mode=replay: open all files that a recipe names; for pictures of your own
    config.trust = False
    config.size = ""  # HxW of the edit, such as "64x96"; "": the prior's own
    config.fit = "crop"  # crop | pad | stretch | mask: how a picture is fitted to the size
    config.output = "prior"  # prior | original: the size of the result
    config.feather = 0  # pixels of soft seam, inside the editable region
    # the strength: t0, or one of the others instead
    config.t0 = 0.5
    config.auto_t0 = ""  # guide: found for each picture; map: found for each pixel
    config.sigma = config_dict.placeholder(float)  # noise-to-signal ratio
    config.snr_db = config_dict.placeholder(float)
    config.step = config_dict.placeholder(float)  # of the prior's table, or DDPM's: 0 .. 999
    # RMS distance of each result from its guide on [0, 1] values, where it may change: finds t0
    config.target_l2 = config_dict.placeholder(float)
    # the same by LPIPS, a learned distance; it needs the weights below
    config.target_lpips = config_dict.placeholder(float)
    config.features = ConfigDict()
    config.features.lpips_vgg = ""  # weights that you have: vgg16-397923af.pth, or of AlexNet:
    config.features.lpips_alex = ""  # alexnet-owt-7be5be79.pth
    config.features.lpips_heads = ""  # folder of the heads, vgg.pth and alex.pth
    config.strength = config_dict.placeholder(float)  # presets of diffusers: share of the steps
    # prompts, for a prior that reads them
    config.prompt = ""
    config.negative_prompt = ""  # guidance leads away from it
    config.clip_skip = 0  # the last layers of the text encoder that are left out
    # JSON file {input's name: prompt or {prompt, negative_prompt, scale}}, or CSV: name,prompt
    config.prompts = ""
    # noise and class
    config.seed = 0  # up to 2**64 - 1; -1 draws one
    config.samples = 4  # pictures per guide
    config.uncertainty = False  # a heat map of the spread of the samples
    config.report = False  # report.html: all results on one page, each beside its guide
    config.cond = ""  # a class of a class-conditional prior, by its name or number
    config.guidance = ConfigDict()
    config.guidance.name = "cfg"
    config.guidance.against = ""  # a class, "null" (no class), or "": no guidance
    # 0: against (or negative_prompt) alone; 1: cond (or prompt) alone; above 1: away from against
    config.guidance.scale = 1.0
    # the sampler
    # live | paper-ve | paper-vp | official | diffusers | diffusers-eta | diffusers-ddpm
    # diffusers-dpmpp | diffusers-pndm
    config.preset = ""
    config.process = ""  # ve | vp: edit on this process, with the same network; "": the prior's own
    config.sampler = ConfigDict()
    # a part is a name, or a name with keyword arguments: "ancestral(eta=0.5)"
    config.sampler.rule = "dpmpp_2m_sde"  # the solver
    # unset: 12, or the preset's number; of the rule "adaptive" the most, unset: 1000
    config.sampler.steps = config_dict.placeholder(int)
    config.sampler.grid = "karras"
    config.sampler.corrector = "none"  # none | langevin
    # noise of the kept region: level | paper | official | diffusers; none: kept at the end alone
    config.sampler.hold = "level"
    config.sampler.repeats = 1  # the paper's K
    config.sampler.final = "mean"  # mean | sample: the last step
    # step | time: by time, runs with other numbers of steps follow one Brownian path
    config.sampler.noise_by = "step"
    # --mode=sweep
    config.sweep = ConfigDict()
    config.sweep.t0 = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    config.sweep.seeds = (0, 1, 2, 3)
    # --mode=autotune: every rule with every grid and number of steps, as far as the budget goes
    config.budget = 600.0  # seconds
    config.autotune = ConfigDict()
    config.autotune.rules = ("dpmpp_2m_sde", "dpmpp_3m_sde", "sa_solver", "dpmpp_2m")
    config.autotune.grids = ("karras", "log_snr")
    config.autotune.steps = (5, 8, 12, 20, 35)
    config.autotune.reference = 100  # steps of the reference
    # --mode=web
    config.web = ConfigDict()
    config.web.host = "127.0.0.1"  # this machine alone; "0.0.0.0": all that reach it
    config.web.port = 7860
    config.web.password = ""  # "": none
    # the machine
    config.batch = 16  # pictures at a time, on all devices
    config.devices = 0  # local devices to use; 0: all
    config.cache = "auto"  # folder of compiled programs; "auto": the user's cache folder; "": none
    config.sheet_scale = 0  # enlargement in sheets; 0: at least 128 pixels for each picture
    return config

"""Every field there is, with its default; other configs start here and show what they change."""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    config = ConfigDict()
    # what to edit
    config.prior = "checkpoints/fruits64"  # a folder with a prior.json
    config.compute = "float32"  # float32 | tf32 | bfloat16
    config.task = (
        "strokes"  # strokes | scribble | composite | inpaint | recolor | sketch | simulate | photo
    )
    config.options = ConfigDict()  # of the task
    config.input = "examples/strokes"  # a file, a folder or a glob
    config.fit = "crop"  # crop | pad | stretch: how a picture comes to the prior's size
    config.output = "prior"  # prior | original: the size of the result
    config.feather = 0  # pixels of soft seam, inside the editable region
    # how strongly: t0, or one of the others instead
    config.t0 = 0.5
    config.sigma = config_dict.placeholder(float)  # noise-to-signal ratio
    config.snr_db = config_dict.placeholder(float)
    config.step = config_dict.placeholder(float)  # of the prior's table, else of DDPM's: 0 .. 999
    config.strength = config_dict.placeholder(float)  # of the presets "diffusers": share of steps
    # what it shall show, of a prior that reads texts
    config.prompt = ""
    config.negative_prompt = ""  # what guidance leads away from
    config.prompts = ""  # JSON file {input's name: prompt or {prompt, negative_prompt, scale}}
    # which noise
    config.seed = 0
    config.samples = 4  # pictures per guide
    config.cond = config_dict.placeholder(int)  # label of a class-conditional prior
    config.guidance = ConfigDict()
    config.guidance.name = "cfg"
    config.guidance.against = ""  # a label, or "null": the one that means no class; "": no guidance
    # 0: against (or negative_prompt) alone, 1: cond (or prompt) alone, above 1: away from against
    config.guidance.scale = 1.0
    # how the reverse SDE is run
    # paper-ve | paper-vp | official | diffusers | diffusers-eta | diffusers-ddpm | diffusers-dpmpp
    # diffusers-pndm
    config.preset = ""
    config.sampler = ConfigDict()
    config.sampler.rule = "dpmpp_2m_sde"
    config.sampler.steps = config_dict.placeholder(int)  # 20, or the preset's number
    config.sampler.grid = "karras"
    config.sampler.eta = 1.0
    config.sampler.variance = "auto"  # small | large | learned; auto: learned, else small
    config.sampler.clip_x0 = True
    config.sampler.sigma_end = 0.02
    config.sampler.rho = 7.0
    config.sampler.t_end = 1e-5
    config.sampler.corrector = "none"
    config.sampler.snr = 0.16
    config.sampler.corrector_steps = 1
    config.sampler.norm = "image"
    config.sampler.hold = "level"
    config.sampler.repeats = 1  # the paper's K
    config.sampler.final = "mean"
    config.sampler.spacing = "auto"  # leading | linspace | trailing; auto: the prior's own
    config.sampler.skip = 0  # steps of the grids diffusers_* that are not run
    # --mode=sweep
    config.sweep = ConfigDict()
    config.sweep.t0 = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    config.sweep.seeds = (0, 1, 2, 3)
    # the machine
    config.batch = 16  # pictures at a time, over all devices
    config.devices = 0  # local devices to use; 0: all
    config.cache = "auto"  # folder of compiled programs; "auto": the user's cache folder; "": none
    config.scale = 0  # pixels per pixel in sheets; 0: sheets are at least 128 pixels a picture
    return config

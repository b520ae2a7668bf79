"""Values become objects here and nowhere else: names of configs and of prior.json into code.

The tables are ordinary dicts; a wrong name gives one ValueError that lists what is allowed.
"""

import dataclasses
import functools
import numbers
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import guidance, images, latent, rules, samplers, sde, timesteps
from sdedit_jax import prior as priors
from sdedit_jax.augment import Augment
from sdedit_jax.edits.sdedit import SDEdit
from sdedit_jax.guidance import Classes
from sdedit_jax.nets.adm import ADM, ADMConfig
from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig
from sdedit_jax.nets.ddpm import DDPM, DDPMConfig
from sdedit_jax.nets.edm_dhariwal import DhariwalConfig, DhariwalUNet
from sdedit_jax.nets.edm_song import SongConfig, SongUNet
from sdedit_jax.nets.functional import COMPUTE, Functional, functional
from sdedit_jax.nets.ncsnpp import NCSNpp, NCSNppConfig
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.nets.sd_vae import SDVae, SDVaeConfig
from sdedit_jax.nets.unet2d import UNet2D, UNet2DConfig
from sdedit_jax.prior import Prior
from sdedit_jax.rules import VARIANCES
from sdedit_jax.strength import t_from_log_snr
from sdedit_jax.tasks import composite, inpaint, photo, recolor, scribble, simulate, sketch, strokes
from sdedit_jax.tasks.common import TaskInput
from sdedit_jax.text import tokenizer
from sdedit_jax.weights import store

SDES: dict[str, Callable[..., sde.SDE]] = {
    "ve": sde.VE,
    "vp": sde.VP,
    "subvp": sde.SubVP,
    "linear": sde.linear_table,
    "scaled_linear": sde.scaled_linear_table,
    "cosine": sde.cosine_table,
    "betas": sde.from_betas,
    "respaced": lambda table, kept: sde.respaced(process(table, "process.table"), kept),
}

NETS = {
    "ncsnpp": (NCSNpp, NCSNppConfig.from_mapping),
    "score_sde_ddpm": (NCSNpp, NCSNppConfig.ddpm),
    "ddpm_unet": (DDPM, DDPMConfig.from_mapping),
    "unet2d": (UNet2D, UNet2DConfig.from_mapping),
    "adm": (ADM, ADMConfig.from_mapping),
    "edm_song": (SongUNet, SongConfig.from_mapping),
    "edm_dhariwal": (DhariwalUNet, DhariwalConfig.from_mapping),
}

PARTS = {
    "stable_diffusion": {
        "unet": (SDUNet, SDUNetConfig.from_mapping),
        "vae": (SDVae, SDVaeConfig.from_mapping),
        "text_encoder": (ClipText, ClipTextConfig.from_mapping),
    },
}
"""Networks of several parts, each with its own config and params: priors in latents."""

NO_NULL = ("adm", "unet2d")
"""Networks of whose labels each is a class; the null label of others is num_classes. A card with
`null_label` names a network's own."""

EXACT = ("mixture",)
"""Networks of prior.json that are closed forms; the pictures in the folder are the data."""

PRIORS: dict[str, Callable[..., priors.PredictFn]] = {
    "score_sde_ve": priors.score_sde_ve,
    "score_sde_ve_discrete": priors.score_sde_ve_discrete,
    "score_sde_vp": priors.score_sde_vp,
    "ddpm": priors.ddpm,
    "v": priors.velocity,
    "edm": priors.edm,
    "edm_vp": priors.edm_vp,
    "edm_ve": priors.edm_ve,
    "edm_iddpm": priors.edm_iddpm,
}

LATENT_PRIORS: dict[str, Callable[..., priors.PredictFn]] = {
    "stable_diffusion": latent.stable_diffusion,
}

GUIDANCE: dict[str, Callable[[priors.PredictFn], priors.PredictFn]] = {
    "cfg": guidance.cfg,
}

TASKS: dict[str, Callable[[str, Mapping[str, Any], int, str], TaskInput]] = {
    "strokes": strokes.make,
    "scribble": scribble.make,
    "composite": composite.make,
    "inpaint": inpaint.make,
    "photo": photo.make,
    "recolor": recolor.make,
    "sketch": sketch.make,
    "simulate": simulate.make,
}

RULES: dict[str, Callable[["Sampling"], rules.Rule]] = {
    "ancestral": lambda s: rules.ancestral(s.eta, s.variance, s.clip_x0),
    "ddim": lambda s: rules.ancestral(0.0, s.variance, s.clip_x0),
    "reverse_diffusion": lambda s: rules.reverse_diffusion(),
    "reverse_diffusion_flow": lambda s: rules.reverse_diffusion(probability_flow=True),
    "euler_maruyama": lambda s: rules.euler_maruyama(),
    "probability_flow": lambda s: rules.probability_flow(),
    "heun": lambda s: rules.heun(),
    "dpmpp_2m_sde": lambda s: rules.dpmpp_2m_sde(s.clip_x0),
    "plms": lambda s: rules.plms(),
}

GRIDS: dict[str, Callable[["Sampling", Prior], samplers.MakeGrid]] = {
    "uniform": lambda s, prior: samplers.uniform(),
    "log_snr": lambda s, prior: samplers.uniform_log_snr(s.sigma_end),
    "karras": lambda s, prior: samplers.karras(s.rho, s.sigma_end),
    "score_sde": lambda s, prior: samplers.score_sde(s.t_end),
    "score_sde_euler": lambda s, prior: samplers.score_sde(s.t_end, euler=True),
    "paper": lambda s, prior: samplers.paper(),
    "diffusers_ddim": lambda s, prior: timesteps.grid(way(s, prior), s.steps, s.skip),
    "diffusers_ddpm": lambda s, prior: timesteps.grid(way(s, prior), s.steps, s.skip),
    "diffusers_dpmpp": lambda s, prior: timesteps.grid(way(s, prior), s.steps, s.skip),
    "diffusers_pndm": lambda s, prior: timesteps.grid(way(s, prior), s.steps, s.skip),
}

LISTED = {f"diffusers_{name}": name for name in timesteps.SCHEDULERS}
"""Grids of whole timesteps, which strength enters by their number -> one of
timesteps.SCHEDULERS."""

REFINES: dict[str, Callable[["Sampling"], samplers.Refine]] = {
    "none": lambda s: samplers.Refine(),
    "langevin": lambda s: samplers.langevin(s.snr, s.corrector_steps, s.norm),
}


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the reverse SDE is run; the fields of `config.sampler`.

    Attributes:
        rule: one of RULES. steps: number of steps, N asked = N run. grid: one of GRIDS.
        spacing, skip: of the LISTED grids: one of timesteps.SPACINGS, "auto" being the prior's own;
            steps at the noisy end that are not run.
        eta, variance: of "ancestral"; variance "auto" is "learned" where the model has it, else
            "small". clip_x0: clip the predicted picture to [-1, 1] ("ancestral",
            "ddim", "dpmpp_2m_sde"); latents have no such range and are never clipped.
        sigma_end: last noise-to-signal ratio of "log_snr" and "karras"; rho: of "karras"; t_end: of
            "score_sde".
        corrector: one of REFINES; snr, corrector_steps, norm: of "langevin".
        hold: how the kept region is held, one of samplers.HOLDS.
        repeats: the paper's K.
        final: whether the last step takes its mean or a sample.
    """

    rule: str = "dpmpp_2m_sde"
    steps: int = 20
    grid: str = "karras"
    eta: float = 1.0
    variance: str = "auto"
    clip_x0: bool = True
    sigma_end: float = 0.02
    rho: float = 7.0
    t_end: float = 1e-5
    corrector: str = "none"
    snr: float = 0.16
    corrector_steps: int = 1
    norm: str = "image"
    hold: str = "level"
    repeats: int = 1
    final: str = "mean"
    spacing: str = "auto"
    skip: int = 0

    @property
    def run(self) -> int:
        """The number of steps that are run."""
        twice = self.grid == "diffusers_pndm" and self.steps > 1
        return self.steps - self.skip + twice


_DIFFUSERS = {"variance": "small", "final": "sample", "clip_x0": False, "steps": 50}

PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # name: (process it needs, fields of Sampling); steps are the preset's unless the user says them
    "paper-ve": (
        "ve",
        {"rule": "reverse_diffusion", "grid": "paper", "hold": "paper", "final": "sample"}
        | {"steps": 500, "clip_x0": False},
    ),
    "paper-vp": (
        "vp",
        {"rule": "ancestral", "variance": "large", "grid": "paper", "hold": "paper"}
        | {"final": "sample", "steps": 500, "clip_x0": False},
    ),
    "official": (
        "linear",
        {"rule": "ancestral", "variance": "small", "grid": "paper", "hold": "official"}
        | {"final": "mean", "clip_x0": False},
    ),
    # diffusers' img2img: its timesteps, and strength as a share of the steps
    "diffusers": ("linear", {"rule": "ddim", "grid": "diffusers_ddim"} | _DIFFUSERS),
    "diffusers-eta": ("linear", {"rule": "ancestral", "grid": "diffusers_ddim"} | _DIFFUSERS),
    "diffusers-ddpm": (
        "linear",
        {"rule": "ancestral", "eta": 1.0, "grid": "diffusers_ddpm"} | _DIFFUSERS,
    ),
    "diffusers-dpmpp": ("linear", {"rule": "dpmpp_2m_sde", "grid": "diffusers_dpmpp"} | _DIFFUSERS),
    "diffusers-pndm": ("linear", {"rule": "plms", "grid": "diffusers_pndm"} | _DIFFUSERS),
}
STRENGTH = 0.8
"""Of the presets of diffusers, where none is given; theirs."""


def pick(table: Mapping[str, Any], name: str, field: str) -> Any:
    """table[name].

    Raises:
        ValueError: no such name; the message names the field and what is allowed.
    """
    if name not in table:
        raise ValueError(f"{field} must be one of {sorted(table)}, got {name!r}")
    return table[name]


def process(values: Mapping[str, Any], field: str = "process") -> sde.SDE:
    """{"name": one of SDES, further arguments} -> a process."""
    return _call(SDES, values, field)


def load_prior(folder: str | Path, compute: str = "float32", attention: int | None = None) -> Prior:
    """The prior in a folder with prior.json and params/, checked against each other.

    Args:
        attention: see latent.stable_diffusion; None: the card's.

    Raises:
        ValueError: missing, damaged or contradicting files; an unknown network, process or compute.
    """
    card = store.read_card(folder)
    if attention is not None:
        card = _looking(card, attention, str(folder))
    if card.get("network") in EXACT:
        return exact_prior(card, Path(folder))
    made = prior_of(card, compute, str(folder))
    if card["network"] in PARTS:
        made = made._replace(text=text_of(card, folder, compute))
    if "sha256" not in card:
        raise ValueError(f"{folder}: prior.json lacks 'sha256'")
    shapes = made.params
    params = store.load(Path(folder), shapes, sha256=card["sha256"])
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    return made._replace(params=params)


def exact_prior(card: Mapping[str, Any], folder: Path) -> Prior:
    """The exact prior of data that are the folder's pictures, each with noise of std card["std"].

    Its params are the pictures; the sha256 in its card is theirs.
    """
    for field in ("process", "size", "std"):
        if field not in card:
            raise ValueError(f"{folder}: prior.json lacks {field!r}")
    side = size_of(card, str(folder))[0]
    files = images.find_inputs(folder)
    pictures = [images.fit(images.flatten(images.read(f)), side)[0] for f in files]
    means = np.stack([images.to_unit(p) for p in pictures])
    made = priors.mixture(process(card["process"], f"{folder}: process"), means, card["std"])
    return made._replace(card={**card, "sha256": store.digest(made.params)})


def prior_of(card: Mapping[str, Any], compute: str = "float32", name: str = "prior") -> Prior:
    """The prior that a card describes; its params are the shapes they must have."""
    for field in ("network", "config", "process", "prediction", "size"):
        if field not in card:
            raise ValueError(f"{name}: prior.json lacks {field!r}")
    pick(COMPUTE, compute, "compute")
    if card["network"] in PARTS:
        return latent_prior_of(card, compute, name)
    kind, read_config = pick(NETS, card["network"], f"{name}: network")
    config = read_config(card["config"])
    net = functional(lambda rngs: kind(config, rngs=rngs), compute)
    made = process(card["process"], f"{name}: process")
    predict = _call(PRIORS, card["prediction"], f"{name}: prediction", net.apply, made)
    return Prior(made, predict, net.shapes, size_of(card, name), card=dict(card))


def latent_prior_of(card: Mapping[str, Any], compute: str, name: str) -> Prior:
    """The prior of a card whose network has PARTS; it reads texts once it has its tokenizer."""
    parts = {part: part_of(card, part, compute, name) for part in PARTS[card["network"]]}
    (unet, c), (vae, v) = parts["unet"], parts["vae"]
    latent.check_parts(c, v, parts["text_encoder"][1], name)
    made, size = process(card["process"], f"{name}: process"), size_of(card, name)
    if size[0] % v.factor:
        raise ValueError(f"{name}: size in prior.json must be a multiple of {v.factor}, got {size}")
    predict = _call(LATENT_PRIORS, card["prediction"], f"{name}: prediction", unet, made, c)
    codec = latent.codec(vae, v)
    see = latent.shown(codec) if c.in_channels > c.out_channels else None
    shapes = {part: net.shapes for part, (net, _) in parts.items()}
    return Prior(made, predict, shapes, size, codec, dict(card), see=see)


def _looking(card: Mapping[str, Any], attention: int, name: str) -> Mapping[str, Any]:
    """The card with the attention maps of another size."""
    if card.get("network") not in PARTS:
        raise ValueError(f"attention: {name} reads no texts, got {attention}")
    kinds = card["config"]["unet"]["down_block_types"]
    sizes = [2**level for level, kind in enumerate(kinds) if "CrossAttn" in kind]
    if attention not in sizes:
        raise ValueError(f"attention must be one of {sizes} with {name}, got {attention}")
    return {**card, "prediction": {**card["prediction"], "attention": attention}}


def part_of(card: Mapping[str, Any], part: str, compute: str, name: str) -> tuple[Functional, Any]:
    """One network of a card with PARTS, and its config."""
    kind, read_config = PARTS[card["network"]][part]
    if part not in card["config"]:
        raise ValueError(f"{name}: config in prior.json lacks {part!r}")
    config = read_config(card["config"][part])
    return functional(lambda rngs: kind(config, rngs=rngs), compute), config


def text_of(card: Mapping[str, Any], folder: str | Path, compute: str = "float32") -> priors.Text:
    """How the prior of a card reads texts, with the tokenizer in the folder.

    Raises:
        ValueError: no tokenizer, a damaged one, or one of another text encoder.
    """
    net, config = part_of(card, "text_encoder", compute, str(folder))
    found = tokenizer.read(Path(folder) / "tokenizer")
    latent.check_tokens(found, config.vocab_size, config.max_position_embeddings, str(folder))
    return latent.text(net, found)


def size_of(card: Mapping[str, Any], name: str) -> tuple[int, int, int]:
    """(H, W, C) of the pictures of a card's prior.

    Raises:
        ValueError: it is not the size of square pictures.
    """
    size = card["size"]
    whole = isinstance(size, list | tuple) and all(type(n) is int and n > 0 for n in size)
    if not whole or len(size) != 3 or size[0] != size[1]:
        raise ValueError(f"{name}: size in prior.json must be [side, side, channels], got {size!r}")
    return tuple(size)


def classes(prior: Prior) -> Classes | None:
    """The class labels of a prior; None: nothing is known of them."""
    if not prior.card:
        return None
    config = prior.card.get("config", {})
    fields = ("num_classes", "num_class_embeds", "label_dim")  # as the networks' originals say it
    count = next((config[field] for field in fields if config.get(field)), None)
    own = None if prior.card.get("network") in NO_NULL else count
    return Classes(count, prior.card.get("null_label", own))


def check_label(prior: Prior, cond: int | None) -> None:
    """See that a label is one that the prior knows, and that it gets one if it wants one.

    Raises:
        ValueError: see guidance.check_label.
    """
    guidance.check_label(classes(prior), cond)


def condition(
    prior: Prior, cond: int | None, against: int | str | None = None, scale: float = 1.0
) -> Any:
    """What the predictor gets as its cond: None, a label, or a Guided pair of labels.

    Raises:
        ValueError: see guidance.condition.
    """
    return guidance.condition(classes(prior), cond, against, scale)


def guided(prior: Prior, name: str = "cfg") -> Prior:
    """The prior with a guided predictor, one of GUIDANCE; its cond is a `Guided`."""
    pick(GUIDANCE, name, "guidance.name")
    return prior._replace(predict=_guided(name, prior.predict))


@functools.lru_cache(maxsize=16)
def _guided(name: str, predict: priors.PredictFn) -> priors.PredictFn:
    """The same function for the same predictor, so that equal plans are equal programs."""
    return GUIDANCE[name](predict)


def initial_params(card: Mapping[str, Any], seed: int) -> Any:
    """Freshly initialised parameters of the network of a card."""
    kind, read_config = pick(NETS, card["network"], "network")
    config = read_config(card["config"])
    net = functional(lambda rngs: kind(config, rngs=rngs))
    return net.init(jax.random.key(seed))


def as_process(prior: Prior, target: sde.SDE) -> Prior:
    """The same prior seen through another process, by equal noise-to-signal ratio.

    Noise outside the range of the prior's own process is answered at the end of that range.
    """
    if target == prior.process:
        return prior
    own = prior.process

    def predict(params: Any, x: Any, t: Any, cond: Any = None, key: Any = None) -> Any:
        at = t_from_log_snr(own, sde.log_snr(target, t))
        scale = sde.level(own, at)[0] / sde.level(target, t)[0]
        return prior.predict(params, x * scale, at, cond, key)

    return prior._replace(process=target, predict=predict)


def sampling(
    values: Mapping[str, Any],
    preset: str = "",
    t0: float = 0.5,
    strength: float | None = None,
) -> Sampling:
    """The sampling settings: the preset's where there is one, the values' else.

    Args:
        values: fields of Sampling; steps None takes the preset's number or the default.
        preset: "" or one of PRESETS.
        t0: strength; the preset "official" runs 1000 t0 steps.
        strength: of the presets of diffusers: the share of the steps that is run; None: 0.8.

    Raises:
        ValueError: an unknown name, a value of another type or out of its range, or a strength
            where no preset takes it.
    """
    given = {name: value for name, value in values.items() if value is not None}
    _check_types(given)
    if preset:
        fixed = dict(pick(PRESETS, preset, "preset")[1])
        if preset == "official":
            own = max(round(1000 * t0), 1)
            if given.setdefault("steps", own) != own:
                raise ValueError(
                    f'preset "official" runs 1000 t0 = {own} steps, sampler.steps asks for'
                    f" {given['steps']}"
                )
        given = given | fixed | ({"steps": given["steps"]} if "steps" in given else {})
    s = Sampling(**given)
    if s.grid in LISTED and preset:
        share = STRENGTH if strength is None else strength
        s = dataclasses.replace(s, skip=s.steps - timesteps.count(s.steps, share))
    elif strength is not None:
        raise ValueError(f"strength is of the presets of diffusers; give t0, got {strength}")
    if not 0 <= s.skip < max(s.steps, 1) or (s.skip and s.grid not in LISTED):
        raise ValueError(f"sampler.skip must leave steps of a listed grid to run, got {s.skip}")
    if (s.rule == "plms") != (s.grid == "diffusers_pndm"):
        raise ValueError(
            'sampler.rule "plms" and sampler.grid "diffusers_pndm" belong together, got'
            f" {s.rule!r} and {s.grid!r}"
        )
    if s.steps < 1:
        raise ValueError(f"sampler.steps must be at least 1, got {s.steps}")
    if s.repeats < 1:
        raise ValueError(f"sampler.repeats must be at least 1, got {s.repeats}")
    named = {"hold": samplers.HOLDS, "final": samplers.FINALS, "variance": ("auto", *VARIANCES)}
    named["spacing"] = ("auto", *timesteps.SPACINGS)
    for field, allowed in named.items():
        pick(dict.fromkeys(allowed), getattr(s, field), f"sampler.{field}")
    return s


def takes_share(preset: str) -> bool:
    """Whether the strength of a preset is a share of its steps."""
    return bool(preset) and pick(PRESETS, preset, "preset")[1].get("grid") in LISTED


def preset_process(prior: Prior, preset: str) -> Prior:
    """The prior on the process that the preset is written for."""
    if not preset:
        return prior
    name = pick(PRESETS, preset, "preset")[0]
    kinds = {"ve": sde.VE, "vp": sde.VP, "linear": sde.Tabulated}
    own = prior.process
    if isinstance(own, kinds[name]) and not getattr(own, "exploding", False):
        return prior
    return as_process(prior, SDES[name]())


def settled(prior: Prior, s: Sampling) -> Sampling:
    """The settings with what depends on the prior: the variance and the spacing where they are
    "auto", and clipping, which latents do not have."""
    learned = prior.card.get("prediction", {}).get("learned_variance", False)
    variance = {"auto": "learned" if learned else "small"}.get(s.variance, s.variance)
    spacing = way(s, prior).spacing if s.grid in LISTED else s.spacing
    clip_x0 = s.clip_x0 and not prior.latent
    return dataclasses.replace(s, variance=variance, spacing=spacing, clip_x0=clip_x0)


def way(s: Sampling, prior: Prior) -> timesteps.Timesteps:
    """How a LISTED grid numbers its steps, on the prior's scheduler where the settings say none."""
    told, scheduler = prior.card.get("scheduler", {}), LISTED[s.grid]
    own = told.get("timestep_spacing", "linspace" if scheduler == "dpmpp" else "leading")
    clean = told.get("set_alpha_to_one", scheduler != "pndm")
    if scheduler == "dpmpp":
        clean = told.get("final_sigmas_type", "zero") == "zero"
    table = len(getattr(prior.process, "log_snrs", ())) or 1000
    spacing = own if s.spacing == "auto" else s.spacing
    return timesteps.Timesteps(scheduler, spacing, told.get("steps_offset", 0), clean, table)


def beginning(prior: Prior, s: Sampling, t0: float) -> float:
    """The strength where the steps begin: t0, or the first time of a LISTED grid."""
    if s.grid not in LISTED:
        return t0
    return float(timesteps.times(way(s, prior), s.steps, s.skip)[0][0])


def plan(prior: Prior, s: Sampling) -> SDEdit:
    """The static plan of an edit."""
    s = settled(prior, s)
    return SDEdit(
        prior=prior,
        rule=pick(RULES, s.rule, "sampler.rule")(s),
        grid=pick(GRIDS, s.grid, "sampler.grid")(s, prior),
        n=s.run,
        hold=s.hold,
        repeats=s.repeats,
        refine=pick(REFINES, s.corrector, "sampler.corrector")(s),
        final=s.final,
    )


def augment(values: Mapping[str, Any]) -> Augment:
    """The changes of training pictures; lists become tuples."""
    return Augment(**{**values, "scale": tuple(values["scale"])})


def task(name: str) -> Callable[[str, Mapping[str, Any], int, str], TaskInput]:
    """The task of this name: (path, options, size, fit) -> TaskInput, its mask in 1/255 steps."""
    make = pick(TASKS, name, "task")

    def made(path: str, options: Mapping[str, Any], size: int, fit: str) -> TaskInput:
        item = make(path, options, size, fit)
        mask = np.round(item.mask * 255).astype(np.float32) / 255  # what a PNG beside it can hold
        return item._replace(mask=mask, guide=item.guide._replace(mask=mask[..., None]))

    return made


KINDS = {int: numbers.Integral, float: numbers.Real, str: str, bool: bool | np.bool_}


def _check_types(values: Mapping[str, Any]) -> None:
    defaults = {f.name: f.default for f in dataclasses.fields(Sampling)}
    for name, value in values.items():
        kind = type(pick(defaults, name, "field of sampler"))
        mixed = isinstance(value, bool) and kind is not bool  # Python counts bool as int
        if mixed or not isinstance(value, KINDS[kind]):
            raise ValueError(f"sampler.{name} must be of type {kind.__name__}, got {value!r}")


def _call(table: Mapping[str, Any], values: Mapping[str, Any], field: str, *args: Any) -> Any:
    if not isinstance(values, Mapping) or "name" not in values:
        raise ValueError(f"{field} must be an object with a name, got {values!r}")
    rest = {name: value for name, value in values.items() if name != "name"}
    make = pick(table, values["name"], f"{field}.name")
    try:
        return make(*args, **rest)
    except TypeError as error:
        raise ValueError(f"{field} {values['name']!r}: {error}") from None

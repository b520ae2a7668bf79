"""config.sampler and presets into rules, grids and plans."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from sdedit_jax import grids, rules, samplers, sde, timesteps
from sdedit_jax.build.names import SDES, check_kind, pick
from sdedit_jax.build.priors import as_process
from sdedit_jax.edits.sdedit import SDEdit
from sdedit_jax.prior import Prior
from sdedit_jax.rules import VARIANCES

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


GRIDS: dict[str, Callable[["Sampling", Prior], grids.MakeGrid]] = {
    "uniform": lambda s, prior: grids.uniform(),
    "log_snr": lambda s, prior: grids.uniform_log_snr(s.sigma_end),
    "karras": lambda s, prior: grids.karras(s.rho, s.sigma_end),
    "score_sde": lambda s, prior: grids.score_sde(s.t_end),
    "score_sde_euler": lambda s, prior: grids.score_sde(s.t_end, euler=True),
    "paper": lambda s, prior: grids.paper(),
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
            steps at the noisy end that are not run. They begin there, whatever t0 says.
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
        defaults = {f.name: f.default for f in dataclasses.fields(Sampling)}
        check_preset(preset, {name: v for name, v in given.items() if v != defaults.get(name)})
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


def check_preset(preset: str, given: Mapping[str, Any]) -> None:
    """See that nothing was asked for which a preset settles otherwise.

    Args:
        given: fields of Sampling that were asked for.

    Raises:
        ValueError: one has another value in the preset; its number of steps may be changed.
    """
    fixed = pick(PRESETS, preset, "preset")[1]
    for name in set(given) & set(fixed) - {"steps"}:
        if given[name] != fixed[name]:
            raise ValueError(
                f"sampler.{name}: preset {preset!r} has {fixed[name]!r}, got {given[name]!r}; leave"
                " one of them out"
            )


def _check_types(values: Mapping[str, Any]) -> None:
    defaults = {f.name: f.default for f in dataclasses.fields(Sampling)}
    for name, value in values.items():
        check_kind(value, type(pick(defaults, name, "field of sampler")), f"sampler.{name}")

"""Settings of SDEdit, resolved once: prior + sampling + strength -> a static plan."""

import dataclasses
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, NamedTuple

from sdedit_jax import registry
from sdedit_jax.diffusion import masking, sampler, timesteps
from sdedit_jax.diffusion.grids import MakeGrid
from sdedit_jax.diffusion.sde import CLEAN, VE, VP, Tabulated
from sdedit_jax.diffusion.solvers import PLMS, AdaptiveSolver, Ancestral, DPMpp, Solver
from sdedit_jax.diffusion.timesteps import TimestepGrid, Timesteps
from sdedit_jax.edits.sdedit import NOISE_BY, SDEdit
from sdedit_jax.images.guide import Guide
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import bounds, sampler_parts
from sdedit_jax.registry.fields import SDEDIT
from sdedit_jax.registry.sampler_parts import CORRECTORS, GRIDS, SOLVERS, Scheduler, SchedulerStep


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the reverse SDE is run; the fields of `config.sampler`.

    Attributes:
        rule: the solver: a string of SOLVERS such as "ancestral(eta=0.5)", or a value.
        steps: number of steps, all of which are run; for the rule "adaptive" the bound of its
            attempts, ATTEMPTS where it is not given.
        grid: a string of GRIDS such as "karras(rho=7.0)", or a value.
        corrector: a string of CORRECTORS such as "langevin(snr=0.16)", or a value.
        hold: the noise of the kept region, one of masking.MODES; "none": the region is not kept
            during the run, for networks that see it, as those of nine channels do.
        repeats: the paper's K.
        final: whether the last step takes its mean or a sample, one of sampler.FINALS.
        noise_by: whether a step's number or its times decide its noise, one of sdedit.NOISE_BY.
    """

    rule: str | Solver = "dpmpp_2m_sde"
    steps: int = 12
    grid: str | MakeGrid | Scheduler = "karras"
    corrector: Any = "none"
    hold: str = "level"
    repeats: int = 1
    final: str = "mean"
    noise_by: str = "step"


class Resolved(NamedTuple):
    """An edit with all its settings.

    Attributes:
        prior: on the process of the settings. plan: static. t0: strength where the steps begin.
        sampling: the settings as strings, all of them resolved.
    """

    prior: Prior
    plan: SDEdit
    t0: float
    sampling: Sampling

    def given(self, guide: Guide) -> Guide:
        """A guide as the program takes it: with a strength map, if its region is kept in a run."""
        return guide if self.plan.hold is None else guide.with_map()


_DIFFUSERS = {"final": "sample", "steps": 50}
_DDPM = "ancestral(variance='small', clip_x0=False)"

# name -> (process it needs, "" for any; fields of Sampling); only its steps may be changed
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # at the noise floor of both pixel priors; with 6 evaluations it is not, see experiments/steps
    "live": ("", {"rule": "sa_solver", "grid": "log_snr", "steps": 8}),
    "paper-ve": (
        "ve",
        {"rule": "reverse_diffusion", "grid": "paper", "hold": "paper", "final": "sample"}
        | {"steps": 500},
    ),
    "paper-vp": (
        "vp",
        {"rule": "ancestral(variance='large', clip_x0=False)", "grid": "paper", "hold": "paper"}
        | {"final": "sample", "steps": 500},
    ),
    "official": ("linear", {"rule": _DDPM, "grid": "paper", "hold": "official", "final": "mean"}),
    # diffusers' img2img: its timesteps, and strength as a share of the steps
    "diffusers": ("linear", {"rule": "diffusers_ddim", "grid": "diffusers_ddim"} | _DIFFUSERS),
    "diffusers-eta": (
        "linear",
        {"rule": "diffusers_ddim(eta=1.0)", "grid": "diffusers_ddim"} | _DIFFUSERS,
    ),
    "diffusers-ddpm": ("linear", {"rule": "diffusers_ddpm", "grid": "diffusers_ddpm"} | _DIFFUSERS),
    "diffusers-dpmpp": (
        "linear",
        {"rule": "dpmpp_2m_sde(clip_x0=False)", "grid": "diffusers_dpmpp"} | _DIFFUSERS,
    ),
    "diffusers-pndm": ("linear", {"rule": "plms", "grid": "diffusers_pndm"} | _DIFFUSERS),
}

VARIANCE_TYPES = {
    "fixed_small": "small",
    "fixed_small_log": "small",
    "fixed_large": "large",
    "fixed_large_log": "large",
    "learned_range": "learned",
}
"""variance_type of diffusers' DDPM -> variance of Ancestral."""

ATTEMPTS = 1000
"""The bound of the attempts of an adaptive solver, where none is given."""

NO_HOLD = "none"
"""`hold` of a run without replacement of the kept region."""

FEW = 15
"""Steps below which diffusers' DPM-Solver++ ends with a step of first order, wherever it ends."""

STRENGTH = 0.8
"""Of the presets of diffusers, where none is given; theirs."""


def sampling(
    values: Mapping[str, Any],
    preset: str = "",
    t0: float = 0.5,
    strength: float | None = None,
    prefix: str = "sampler.",
) -> Sampling:
    """The sampling settings: the preset's where there is one, the values' else.

    Args:
        values: fields of Sampling; None stands for the preset's value or the default.
        preset: "" or one of PRESETS.
        t0: strength; the preset "official" runs 1000 t0 steps.
        strength: of the presets of diffusers: the share of the steps that is run; None: 0.8.
        prefix: before the names of fields in messages; "" for arguments in Python.

    Raises:
        ValueError: an unknown name, a value of another type or out of its range, or a strength
            where no preset takes it.
    """
    given = {name: value for name, value in values.items() if value is not None}
    if preset:
        given = _of_preset(preset, given, t0, prefix)
    _check_types(given, prefix)
    s = Sampling(**given)
    s = dataclasses.replace(
        s,
        rule=sampler_parts.parse(s.rule, SOLVERS, f"{prefix}rule"),
        grid=sampler_parts.parse(s.grid, GRIDS, f"{prefix}grid"),
        corrector=sampler_parts.parse(s.corrector, CORRECTORS, f"{prefix}corrector"),
    )
    if isinstance(s.rule, AdaptiveSolver) and "steps" not in given:
        s = dataclasses.replace(s, steps=ATTEMPTS)
    _check(s, prefix)
    if isinstance(s.grid, Scheduler) and preset:
        share = STRENGTH if strength is None else strength
        skip = s.steps - timesteps.count(s.steps, share)
        s = dataclasses.replace(s, grid=dataclasses.replace(s.grid, skip=skip))
    elif strength is not None:
        raise ValueError(f"strength is of the presets of diffusers; give t0, got {strength}")
    if isinstance(s.grid, Scheduler) and not s.grid.skip < s.steps:
        raise ValueError(f"{prefix}grid: skip must be below {s.steps} steps, got {s.grid.skip}")
    return s


def _of_preset(preset: str, given: Mapping[str, Any], t0: float, prefix: str) -> dict[str, Any]:
    """The values of a preset, with the number of steps that was given."""
    fixed, given = dict(registry.pick(PRESETS, preset, "preset")[1]), dict(given)
    if preset == "official":
        own = max(round(1000 * t0), 1)
        if given.setdefault("steps", own) != own:
            raise ValueError(
                f'preset "official" runs 1000 t0 = {own} steps, {prefix}steps is {given["steps"]}'
            )
    if prefix:  # fields of a config that hold their default were not given
        defaults = _defaults()
        own = {n: v for n, v in given.items() if n not in defaults or v != defaults[n]}
    else:
        own = given
    check_preset(preset, own, prefix)
    return given | fixed | ({"steps": given["steps"]} if "steps" in given else {})


def _check(s: Sampling, prefix: str) -> None:
    pndm = isinstance(s.grid, Scheduler) and s.grid.name == "pndm"
    if isinstance(s.rule, PLMS) != pndm and not isinstance(s.grid, TimestepGrid):
        raise ValueError(
            f'{prefix}rule "plms" and {prefix}grid "diffusers_pndm" belong together, got'
            f" {sampler_parts.as_text(s.rule, SOLVERS)!r} and"
            f" {sampler_parts.as_text(s.grid, GRIDS)!r}"
        )
    if getattr(s.corrector, "mixes", False):
        raise ValueError(f"{prefix}corrector: norm 'batch' mixes the pictures; give norm='image'")
    bounds.work(_evaluations(s, prefix), bounds.MOST_EVALUATIONS, "evaluations a picture")
    named = {"hold": (*masking.MODES, NO_HOLD), "final": sampler.FINALS, "noise_by": NOISE_BY}
    for name, allowed in named.items():
        registry.pick(dict.fromkeys(allowed), getattr(s, name), f"{prefix}{name}")


def _evaluations(s: Sampling, prefix: str) -> dict[str, int]:
    """Field -> its factor of the evaluations of a picture, guidance left out."""
    found = {f"{prefix}steps": s.steps, f"{prefix}repeats": s.repeats}
    each = getattr(s.rule, "evaluations", 1) + getattr(s.corrector, "evaluations", 0)
    part = "rule" if s.corrector is None else "corrector"
    return found if each == 1 else {**found, f"{prefix}{part}": each}


def resolve(prior: Prior, s: Sampling, t0: float) -> Resolved:
    """The plan of an edit on a prior.

    x0 of latents is never clipped: they have no range. A scheduler takes what the settings leave
    open from the prior.

    Args:
        prior: on the process of its preset, see `preset_process`.
        t0: strength; grids of listed steps have their own beginning.
    """
    solver, grid, n = s.rule, s.grid, s.steps
    if isinstance(solver, SchedulerStep):
        solver = scheduler_step(solver, prior)
    if prior.latent and getattr(solver, "clip_x0", False):
        solver = dataclasses.replace(solver, clip_x0=False)
    if getattr(solver, "variance", "") == "auto":
        learned = prior.metadata.get("prediction", {}).get("learned_variance", False)
        solver = dataclasses.replace(solver, variance="learned" if learned else "small")
    if isinstance(grid, Scheduler):
        own = schedule(grid, prior)
        s = dataclasses.replace(s, grid=dataclasses.replace(grid, spacing=own.spacing))
        if own.scheduler == "ddpm" and timesteps.steps(own, n)[-1] == 0:
            s = dataclasses.replace(s, final="mean")  # its step 0 draws no noise
        if isinstance(solver, DPMpp) and own.scheduler == "dpmpp":
            solver = with_last_order(solver, own, n, prior)
        grid = TimestepGrid(own, n, grid.skip)
        n, t0 = grid.count, grid.start
    end = (None if s.hold == NO_HOLD else s.hold, s.repeats, s.corrector, s.final, s.noise_by)
    plan = SDEdit(prior.static, solver, grid, n, *end)
    resolved = dataclasses.replace(s, rule=solver)
    return Resolved(prior, plan, t0, as_strings(resolved))


def as_strings(s: Sampling) -> Sampling:
    """The settings with their parts as strings, for records and the screen."""
    tables = {"rule": SOLVERS, "grid": GRIDS, "corrector": CORRECTORS}
    texts = {f: sampler_parts.as_text(getattr(s, f), table) for f, table in tables.items()}
    return dataclasses.replace(s, **texts)


def schedule(scheduler: Scheduler, prior: Prior) -> Timesteps:
    """How a scheduler numbers its steps for a prior: by its metadata where nothing is given."""
    found, name = prior.metadata.get("scheduler", {}), scheduler.name
    spacing = found.get("timestep_spacing", "linspace" if name == "dpmpp" else "leading")
    spacing = spacing if scheduler.spacing == "auto" else scheduler.spacing
    clean = found.get("set_alpha_to_one", name != "pndm")
    if name == "dpmpp":
        clean = found.get("final_sigmas_type", "zero") == "zero"
    table = len(getattr(prior.process, "log_snrs", ())) or 1000
    return Timesteps(name, spacing, found.get("steps_offset", 0), clean, table)


def with_last_order(solver: DPMpp, own: Timesteps, n: int, prior: Prior) -> DPMpp:
    """The solver of a scheduler of n steps, whose last step is of first order.

    diffusers takes it so where it ends clean, and elsewhere in a run of fewer than FEW steps
    (lower_order_final), or always (euler_at_final).
    """
    found = prior.metadata.get("scheduler", {})
    lower = n < FEW and found.get("lower_order_final", True)
    lower = lower or found.get("euler_at_final", False)
    if own.clean or not lower or solver.first_order_to != CLEAN:
        return solver
    return dataclasses.replace(solver, first_order_to=float(timesteps.times(own, n)[1][-1]))


def scheduler_step(given: SchedulerStep, prior: Prior) -> Ancestral:
    """The solver of a scheduler for a prior: clipping and variance are those of its metadata.

    Raises:
        ValueError: a variance or a clipping that the solver does not have.
    """
    found = prior.metadata.get("scheduler", {})
    clips = bool(found.get("clip_sample", False))
    for name, allowed in {"clip_sample_range": 1, "thresholding": False}.items():
        if found.get(name, allowed) != allowed and not prior.latent:
            raise ValueError(
                f"preset, rule: {name} of the prior's scheduler must be {allowed} here, got"
                f" {found[name]!r}; give another rule"
            )
    if given.name == "ddim":
        return Ancestral(given.eta, "small", clips, keep_eps=clips)
    kind = found.get("variance_type", "fixed_small")
    variance = registry.pick(VARIANCE_TYPES, kind, "variance_type of the prior's scheduler")
    return Ancestral(1.0, variance, clips)


def takes_share(preset: str) -> bool:
    """Whether the strength of a preset is a share of its steps."""
    return bool(preset) and "diffusers" in registry.pick(PRESETS, preset, "preset")[1]["grid"]


def check_one_strength(given: Mapping[str, Any]) -> None:
    """Check that the strength is given once.

    Args:
        given: option -> its value, None where it is not given; arrays are named without values.

    Raises:
        ValueError: it is given twice.
    """
    found = {name: value for name, value in given.items() if value is not None}
    if len(found) > 1:
        shown = [f"{n} {v}" if isinstance(v, str | Real) else n for n, v in found.items()]
        raise ValueError(f"the strength is given twice, {' and '.join(shown)}; give one of them")


def check_takes_t0(preset: str, grid: Any, user: str, prefix: str = "") -> None:
    """Check that a preset and a grid run at any t0 without compiling again.

    Args:
        grid: a string, a value, or None for the default; a preset has its own.
        user: what needs that, for the message. prefix: before the name of the field.

    Raises:
        ValueError: they do not.
    """
    if preset == "official":
        raise ValueError(f'preset "official" compiles for each t0; {user} needs another preset')
    if takes_share(preset):
        raise ValueError(f'preset "{preset}" has no t0; {user} needs another preset')
    check_moves(preset, grid, user, prefix)


def check_moves(preset: str, grid: Any, user: str, prefix: str = "") -> None:
    """Raise ValueError for a grid whose steps are listed, so that t0 moves none of them.

    Args:
        preset, grid, user, prefix: as of check_takes_t0.
    """
    if preset or grid is None:
        return
    parsed = sampler_parts.parse(grid, GRIDS, f"{prefix}grid")
    if isinstance(parsed, Scheduler) or parsed.fixed:
        text = sampler_parts.as_text(parsed, GRIDS)
        raise ValueError(f'{prefix}grid "{text}" has no t0; {user} needs another grid')


def check_strength_maps(preset: str, maps: Sequence[Any], hold: str | None = None) -> None:
    """Check that strength maps go with a preset and `hold`, None where it is not given.

    Raises:
        ValueError: preset "official", which runs 1000 t0 steps, and a map that does not reach t0;
            or a map where nothing is kept during the run.
    """
    for shares in maps:
        if hold == NO_HOLD and shares is not None:
            raise ValueError(
                f"hold: a strength map needs one of {list(masking.MODES)}, got {hold!r}"
            )
        if preset == "official" and shares is not None and shares.max() < 1:
            raise ValueError(
                f'strength_map: preset "official" runs 1000 t0 steps, so the map must be white'
                f" somewhere, its largest share is {shares.max():.3g}; give a lower t0"
            )


def on_process(prior: Prior, name: str, preset: str) -> Prior:
    """The prior on the process of a name, "ve" or "vp", or on that of a preset; "": its own.

    Raises:
        ValueError: an unknown name, or one beside a preset.
    """
    if not name:
        return preset_process(prior, preset)
    if preset:
        raise ValueError(f"process: the preset {preset!r} decides it; leave out process {name!r}")
    known = {one: registry.SDES[one] for one in ("ve", "vp")}
    kind = registry.pick(known, name, "process")
    return prior if isinstance(prior.process, kind) else prior.with_process(kind())


def preset_process(prior: Prior, preset: str) -> Prior:
    """The prior on the process that the preset is written for."""
    name = registry.pick(PRESETS, preset, "preset")[0] if preset else ""
    if not name:
        return prior
    kinds = {"ve": VE, "vp": VP, "linear": Tabulated}
    own = prior.process
    if isinstance(own, kinds[name]) and not getattr(own, "exploding", False):
        return prior
    return prior.with_process(registry.SDES[name]())


def check_preset(preset: str, given: Mapping[str, Any], prefix: str = "sampler.") -> None:
    """Refuse fields of Sampling that a preset fixes to another value; its steps may be changed.

    Raises:
        ValueError: naming the field, the preset's value and the given one.
    """
    fixed = registry.pick(PRESETS, preset, "preset")[1]
    for name in set(given) & set(fixed) - {"steps"}:
        if given[name] != fixed[name]:
            raise ValueError(
                f"{prefix}{name}: preset {preset!r} has {fixed[name]!r}, got {given[name]!r}; leave"
                " one of them out"
            )


def _defaults() -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(Sampling)}


def _check_types(values: Mapping[str, Any], prefix: str) -> None:
    for name, value in values.items():
        registry.pick(_defaults(), name, "field of sampler")
        if name not in ("rule", "grid", "corrector") or isinstance(value, bool | int | float):
            SDEDIT[f"sampler.{name}"].check(value, f"{prefix}{name}")

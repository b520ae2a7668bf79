"""SDEdit as a kind of edit: tasks, class labels or prompts, strength."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, registry
from sdedit_jax.diffusion import strength
from sdedit_jax.diffusion.sde import VE, level
from sdedit_jax.edits.sdedit import Request, proposition_1
from sdedit_jax.images import Size
from sdedit_jax.modes import prompt_files
from sdedit_jax.modes.session import (
    Input,
    Job,
    Made,
    change_outside_mask,
    check_common,
    check_size_of_edit,
    described,
    distances,
    grey,
    open_prior,
    own_files,
    refuse_given,
    size_of,
)
from sdedit_jax.pipeline import settings
from sdedit_jax.pipeline.base import total_evaluations
from sdedit_jax.pipeline.outputs import check_opaque, check_visible, finished
from sdedit_jax.pipeline.sdedit import SDEditPipeline, warn_short
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.conditioning import CFGCond, Classes, Prompt
from sdedit_jax.priors.prior import Prior
from sdedit_jax.tasks import TaskInput
from sdedit_jax.tasks.common import Photo, assemble
from sdedit_jax.text.spelling import counted

UNITS = ("sigma", "snr_db", "step")
"""Units in which a config may give the strength instead of t0."""

OF_A_SWEEP = {"t0": "sweep.t0", "seed": "sweep.seeds", "samples": "sweep.seeds"}

FIELDS = ("prompt", "negative_prompt", "prompts")


@dataclasses.dataclass(frozen=True)
class SDEditKind:
    """See session.Kind.

    Attributes:
        resolved: the plan with its strength and sampling.
        cond: the class label of all edits. default, own: the prompts of inputs without and with
            their own, of a prior that reads prompts. guided: whether the predictor is guided; in a
            run all inputs are, or none.
    """

    config: ConfigDict
    prior: Prior
    size: Size
    resolved: settings.Resolved
    cond: Any = None
    default: Prompt | None = None
    own: Mapping[str, Prompt] = dataclasses.field(default_factory=dict)
    guided: bool = False
    embed: Any = None
    sweep: ClassVar[tuple[str, str]] = ("t0", "t")
    memory_hint: ClassVar[str] = ""

    @property
    def masked_beside(self) -> bool:
        return registry.reads_mask_beside(self.config.task, self.config.options)

    @property
    def cuts(self) -> list[str]:
        return [f"_{k}" for k in range(self.config.samples)]

    def shapes(self, jobs: Sequence[Job]) -> dict[str, Any]:
        return {}

    def pipeline(self, shapes: Mapping[str, Any]) -> SDEditPipeline:
        return SDEditPipeline(self.resolved.plan, measure=self._bounded)

    def lines(self, jobs: Sequence[Job]) -> list[str]:
        s, process = self.resolved.sampling, self.prior.process
        times = dict.fromkeys(self._t0(job) for job in jobs) or [self.resolved.t0]
        shown = "\n          ".join(f"{described(process, t0)}" for t0 in times)
        corrected = "" if s.corrector == "none" else f" + {s.corrector}"
        plan, total = self.resolved.plan, total_evaluations(self.pipeline({}))
        most = "at most " if plan.adaptive else ""
        lines = [
            f"strength  {shown}",
            f"sampler   {s.rule}{corrected}, {s.grid} grid, {most}{counted(plan.n, 'step')}"
            f" x {counted(s.repeats, 'repeat')} = {counted(total, 'evaluation')}, hold {s.hold}",
        ]
        if self.cond is not None:
            lines.append(f"class     {classes_line(registry.classes(self.prior), self.cond)}")
        if self.default is not None:
            lines.append(f"prompt    {self._prompts_line()}")
        if self.config.preset == "official":
            lines.append("          this preset runs 1000 t0 steps and compiles for each t0")
        return lines

    def check_input(self, path: Path) -> None:
        if self.default is not None:
            with prompt_files.naming(self.config.prompts, self.own, path.stem):
                conditioning.check_prompt(self._prompt(path.stem))

    def read(self, path: Path, name: str) -> Input:
        config = self.config
        options = config.options.to_dict()
        item = registry.task(config.task)(str(path), options, self.size, config.fit)
        item = item.in_channels(self.prior.shape[-1])
        return Input(check_visible(item, config.output), name)

    def candidates(self, recipe: Mapping[str, Any], path: Path) -> Iterator[Callable[[], Input]]:
        name = path.stem.removesuffix(recipe["cut"])
        for file in own_files(self.config, recipe["id"], path):
            yield functools.partial(self.read, file, name)
        yield functools.partial(self._read_guide, path, name, recipe["id"])

    def _read_guide(self, path: Path, name: str, id: str) -> Input:
        """The guide and mask that were written beside a result."""
        check_size_of_edit(self.config)
        fitted = images.read(path.with_name(f"{name}_guide.png")).rgb
        grey = images.luminance(images.read(path.with_name(f"{name}_mask.png")).rgb)
        kept = path.with_name(f"{name}_photo.png")
        photo = images.read(kept if kept.is_file() else path.with_name(f"{name}_guide.png"))
        placement = images.place(fitted.shape[:2], self.size, "stretch")
        item = assemble(
            id, fitted, grey / np.float32(255), Photo(photo.rgb, photo), placement
        )._replace(id=id)
        return Input(item.in_channels(self.prior.shape[-1]), name)

    def beside(self, one: Input) -> list[str]:
        return ["_guide", "_mask", *["_photo"] * _blends(one.item)]

    def request(self, job: Job, shapes: Mapping[str, Any]) -> Request:
        item = job.input.item
        return Request(np.float32(self._t0(job)), item.guide, self._cond(item.id))

    def made(self, job: Job, row: Any) -> Made:
        item, config = job.input.item, self.config
        output = finished(row.image, item, config.output, config.feather)
        entry = distances(output.fitted, item) | {
            "max_change_outside_mask": change_outside_mask(
                item, output, config.output == "original"
            ),
            "strength": described(self.prior.process, self._t0(job))._asdict(),
            "proposition_1": self._bound(job, row),
        }
        if self.default is not None:
            entry["prompts"] = self._text(item.id)
        mask = grey(item.mask)
        line = (
            f"L2 {entry['l2']:.2f} (RMS {entry['rms']:.4f})"
            f"  max change outside the mask {entry['max_change_outside_mask']}"
        )
        if row.attempts is not None:
            entry["evaluations"] = int(row.attempts.count) * self.pipeline({}).evaluations
            line += f"  {counted(entry['evaluations'], 'evaluation')}"
            warn_short(row, f"sampler.steps {self.resolved.plan.n}", job.name)
        beside = {"_guide": item.fitted, "_mask": mask}
        if _blends(item):
            beside["_photo"] = item.kept
        return Made(output, beside, entry, line)

    def recipe(self, job: Job) -> dict[str, Any]:
        item = job.input.item
        return {
            "task": self.config.task,
            "strength": described(self.prior.process, self._t0(job))._asdict(),
            "class": _labels(self.cond),
            "prompts": self._text(item.id) if self.default is not None else None,
            "sampler": dataclasses.asdict(self.resolved.sampling),
            "mask": grey(item.mask),
        }

    def record(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "sampler": dataclasses.asdict(self.resolved.sampling),
            "class": _labels(self.cond),
            "evaluations": total_evaluations(self.pipeline({})),
        }

    def leads(self, one: Input, made: Made | None) -> dict[str, np.ndarray | None]:
        item = one.item
        mask = item.original_mask if self.config.output == "original" else item.mask
        return {"input": item.original, "guide": item.fitted, "mask": grey(mask)}

    def label(self, value: float, entries: Sequence[dict[str, Any]]) -> str:
        l2 = np.mean([e["l2"] for e in entries] or [np.nan])
        return f"{value:g} s{described(self.prior.process, value).sigma:.2g} L2 {l2:.1f}"

    def _t0(self, job: Job) -> float:
        return self.resolved.t0 if job.value is None else job.value

    def _prompt(self, id: str) -> Prompt:
        return self.own.get(id, self.default)

    def _cond(self, id: str) -> Any:
        if self.default is None:
            return self.cond
        prompt = self._prompt(id)
        cond = self.embed(prompt.prompt)
        if not self.guided:
            return cond
        return CFGCond(cond, self.embed(prompt.negative_prompt), np.float32(prompt.scale))

    def _text(self, id: str) -> dict[str, Any]:
        return {**self._prompt(id)._asdict(), "guided": self.guided}

    def _prompts_line(self) -> str:
        prompt, negative, scale = self.default
        line = f"{prompt!r}" + (f" against {negative!r}, scale {scale:g}" if self.guided else "")
        return line + (f"; own prompts for {counted(len(self.own), 'input')}" if self.own else "")

    @property
    def _bounded(self) -> bool:
        """Whether the paper states Proposition 1 for edits without a mask."""
        return isinstance(self.prior.process, VE) and self.resolved.plan.repeats == 1

    def _bound(self, job: Job, row: Any) -> dict[str, Any] | str:
        """Proposition 1 of the paper beside the distance, where the paper states it."""
        item, t0 = job.input.item, self._t0(job)
        if not self._bounded or not (item.mask == 1).all():
            return "not stated for this run: it is for VE, one repeat and no mask"
        sigma = float(level(self.prior.process, t0)[1]) if t0 else 0.0
        distance = float(np.sum((row.image.astype(np.float64) - item.guide.image) ** 2))
        return {
            "delta": 0.05,
            "bound": proposition_1(sigma, float(row.score_sq), row.image.size),
            "distance": distance,
            "C": float(row.score_sq),
            "note": "squared distance in [-1, 1] units; C is the largest squared norm of the score"
            " at the beginning of a step; the bound is loose",
        }


def open_kind(
    config: ConfigDict, inputs: Sequence[Path] = (), recipe: Mapping[str, Any] | None = None
) -> SDEditKind:
    """Load the prior and resolve strength and sampler.

    Args:
        inputs: that a file of prompts may name.
        recipe: of a replay, which guides where the first run did.
    """
    check_common(config)
    registry.pick(registry.GUIDANCE, config.guidance.name, "guidance.name")
    prior, guide = open_prior(config), config.guidance
    size = size_of(config, prior)
    replayed = bool(((recipe or {}).get("prompts") or {}).get("guided"))
    prompts = _prompts(config, prior, inputs, replayed)
    cond = None if prompts else registry.condition(prior, config.cond, guide.against, guide.scale)
    prior = settings.preset_process(prior, config.preset)
    t0 = _strength(config, prior)
    sampling = settings.sampling(config.sampler.to_dict(), config.preset, t0, config.strength)
    guided = isinstance(cond, CFGCond) or bool(prompts and prompts["guided"])
    used = registry.guided(prior, guide.name) if guided else prior
    resolved = settings.resolve(used, sampling, t0)
    return SDEditKind(config, prior, size, resolved, cond, **(prompts or {}))


def check_sweep(config: ConfigDict) -> None:
    """Check that a config has strengths for a sweep.

    Raises:
        ValueError: its preset or grid has no t0, or the strength is given in another unit.
    """
    if config.preset == "official":
        raise ValueError('preset "official" compiles for each t0; a sweep needs another preset')
    if settings.takes_share(config.preset):
        raise ValueError(f'preset "{config.preset}" has no t0; a sweep needs another preset')
    if config.sampler.grid.startswith("diffusers"):
        raise ValueError(f'sampler.grid "{config.sampler.grid}" has no t0; a sweep needs another')
    for unit in UNITS:
        if config[unit] is not None:
            raise ValueError(
                f"{unit}: a sweep takes its strengths from sweep.t0, got {config[unit]}"
            )
    for t0 in config.sweep.t0:
        strength.check_t0(t0)


def check_given(mode: str, config: ConfigDict, given: Mapping[str, Any]) -> None:
    """Check fields of the command line against each other; see check.check."""
    check_opaque(config.options.opaque, config.output)
    if mode == "sweep":
        refuse_given(given, {f: f"a sweep takes {o} instead" for f, o in OF_A_SWEEP.items()})
    if settings.takes_share(config.preset):
        refuse_given(given, {"t0": f'preset "{config.preset}" takes strength instead'})
    found = [name for name in ("t0", *UNITS, "strength") if name in given]
    if len(found) > 1:
        values = " and ".join(f"{name} {given[name]:g}" for name in found)
        raise ValueError(f"the strength is given twice, {values}; give one of them")
    if config.preset:
        parts = [(name.removeprefix("sampler."), name) for name in given]
        settings.check_preset(config.preset, {f: given[name] for f, name in parts if f != name})


def restore(config: ConfigDict, recipe: Mapping[str, Any]) -> None:
    """Set the fields of a replay's config that the recipe has resolved."""
    for name, value in (recipe["prompts"] or {}).items():
        if name == "scale":
            config.guidance.scale = value
        elif name in config:
            config[name] = value
    config.sampler.steps = recipe["sampler"]["steps"]
    config.t0 = recipe["strength"]["t0"]
    for unit in UNITS:
        config[unit] = None


def _strength(config: ConfigDict, prior: Prior) -> float:
    """t0 of the config: of sigma, snr_db or step where one is given, else t0 itself."""
    given = {unit: config[unit] for unit in UNITS if config[unit] is not None}
    if given and settings.takes_share(config.preset):
        raise ValueError(f'{next(iter(given))}: preset "{config.preset}" takes strength instead')
    return strength.to_t0(prior.process, **(given or {"t0": config.t0}))


def _prompts(
    config: ConfigDict, prior: Prior, inputs: Sequence[Path], guided: bool
) -> dict[str, Any] | None:
    """The prompts of a config; None for a prior that reads none.

    Raises:
        ValueError: prompts for a prior that reads none, labels for one that reads prompts, a
            damaged file, or a scale that goes with no prompt.
    """
    if prior.text is None:
        for field in FIELDS:
            if config[field]:
                conditioning.check_reads(prior, field)
        return None
    if config.cond or config.guidance.against:
        raise ValueError(
            "cond, guidance.against: the prior reads prompts; give prompt and negative_prompt"
        )
    default = Prompt(config.prompt, config.negative_prompt, config.guidance.scale)
    entries = prompt_files.of_inputs(config.prompts, inputs, Prompt._fields, "prompt")
    own = {name: default._replace(**entry) for name, entry in entries.items()}
    conditioning.check_scale(default.scale)
    every = [default, *own.values()]
    conditioning.warn(prior, [text for prompt in every for text in prompt[:2]])
    return {
        "default": default,
        "own": own,
        "guided": guided or any(prompt.scale != 1 for prompt in every),
        "embed": functools.cache(lambda text: conditioning.embedding(prior, text)),
    }


def _blends(item: TaskInput) -> bool:
    """Whether a grey part of the mask blends the edit with a picture that is not the guide."""
    grey_part = (item.mask > 0) & (item.mask < 1)
    return bool((item.fitted != item.kept)[grey_part].any())


def classes_line(known: Classes | None, cond: Any) -> str:
    """The classes of an edit by their names, with their numbers in brackets."""
    if not isinstance(cond, CFGCond):
        return _name(known, int(cond))
    label, against = (_name(known, int(one)) for one in cond[:2])
    return f"{label} against {against}, scale {float(cond.scale):g}"


def _name(known: Classes | None, label: int) -> str:
    if known and label == known.null:
        return f"no class ({label})"
    return f"{known.names[label]} ({label})" if known and known.names else str(label)


def _labels(cond: Any) -> dict[str, float] | None:
    """The class labels in a record."""
    if not isinstance(cond, CFGCond):
        return None if cond is None else {"label": int(cond)}
    both = {"label": int(cond.cond), "against": int(cond.uncond)}
    return {**both, "scale": float(cond.scale)}

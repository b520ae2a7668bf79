"""SDEdit as a kind of edit: tasks, class labels or prompts, strength."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, registry
from sdedit_jax.data.examples import Example
from sdedit_jax.diffusion import strength
from sdedit_jax.diffusion.noise import image_key
from sdedit_jax.diffusion.sde import VE, level
from sdedit_jax.edits.sdedit import Request, proposition_1
from sdedit_jax.edits.target import Found
from sdedit_jax.images import Size
from sdedit_jax.modes import prompt_files, targets
from sdedit_jax.modes.inputs import Each, Input, Pictures, Source, opened, recent_pictures
from sdedit_jax.modes.session import (
    Job,
    Made,
    change_outside_mask,
    check_common,
    check_size_of_edit,
    described,
    device_errors,
    distances,
    open_prior,
    own_files,
    refuse_given,
    size_of,
)
from sdedit_jax.pipeline import auto_strength, recipes, settings, target
from sdedit_jax.pipeline.base import total_evaluations
from sdedit_jax.pipeline.executor import Cancel, devices_for
from sdedit_jax.pipeline.outputs import check_opaque, check_visible, finished
from sdedit_jax.pipeline.recent import Recent
from sdedit_jax.pipeline.sdedit import SDEditPipeline, warn_short
from sdedit_jax.pipeline.target import Target
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.conditioning import CFGCond, Classes, Prompt
from sdedit_jax.priors.prior import Prior
from sdedit_jax.tasks import TaskInput
from sdedit_jax.tasks.common import Photo, assemble, read_strength_map, with_strength_map
from sdedit_jax.tasks.examples import of_example
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
        recent: keeps the pictures of inputs.
        goal: the distance that results shall have; None: none.
        cond: the class label of all edits. default, own: the prompts of inputs without and with
            their own, of a prior that reads prompts. guided: whether the predictor is guided; in a
            run all inputs are, or none.
    """

    config: ConfigDict
    prior: Prior
    size: Size
    resolved: settings.Resolved
    recent: Recent
    cond: Any = None
    default: Prompt | None = None
    own: Mapping[str, Prompt] = dataclasses.field(default_factory=dict)
    guided: bool = False
    embed: Any = None
    goal: Target | None = None
    sweep: ClassVar[tuple[str, str]] = ("t0", "t")
    memory_hint: ClassVar[str] = ""

    @property
    def masked_beside(self) -> bool:
        return registry.reads_mask_beside(self.config.task, self.config.options)

    @property
    def cuts(self) -> list[str]:
        return [f"_{k}" for k in range(self.config.samples)]

    @property
    def finds_strengths(self) -> bool:
        return bool(self.config.auto_t0) or self.goal is not None

    def shapes(self, jobs: Sequence[Job]) -> dict[str, Any]:
        return {}

    def pipeline(self, shapes: Mapping[str, Any]) -> SDEditPipeline:
        return SDEditPipeline(self.resolved.plan, measure=self._bounded)

    def lines(self, jobs: Sequence[Job]) -> list[str]:
        s, process = self.resolved.sampling, self.prior.process
        times = dict.fromkeys(self._t0(job) for job in jobs) or [self.resolved.t0]
        shown = "\n          ".join(f"{described(process, t0)}" for t0 in times)
        if self.config.auto_t0:
            shown = f"found for each {auto_strength.WAYS[self.config.auto_t0]}"
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
        return self._opened(name, path, functools.partial(self._pictures, path))

    def _pictures(self, path: Path) -> Pictures:
        """The pictures of an input."""
        config = self.config
        options = config.options.to_dict()
        item = registry.task(config.task)(str(path), options, self.size, config.fit)
        item = item.in_channels(self.prior.shape[-1])
        maps = [item.guide.strength_map]
        settings.check_strength_maps(config.preset, maps, config.sampler.hold)
        return Pictures(check_visible(item, config.output))

    def _opened(self, name: str, path: Path, read: Callable[[], Pictures]) -> Input:
        """An input whose pictures are read from files."""
        return opened(name, Source(name, path, read, self.recent), self._beside)

    def take(self, example: Example, name: str) -> Input:
        config, given = self.config, None
        options = config.options.to_dict()
        item = of_example(example, config.task, options, self.size, config.fit)
        item = item.in_channels(self.prior.shape[-1])
        if self.default is not None and (example.prompt or example.negative_prompt):
            text = {"prompt": example.prompt, "negative_prompt": example.negative_prompt}
            given = self.default._replace(**{field: t for field, t in text.items() if t})
            conditioning.check_prompt(given)
        elif example.label and getattr(registry.classes(self.prior), "count", None):
            guide = config.guidance
            given = registry.condition(self.prior, example.label, guide.against, guide.scale)
        pictures = Pictures(check_visible(item, config.output))
        return opened(name, lambda: pictures, self._beside, given)

    def candidates(self, recipe: Mapping[str, Any], path: Path) -> Iterator[Callable[[], Input]]:
        name = path.stem.removesuffix(recipe["cut"])
        mapped = recipe.get("strength_map") is not None
        for file in own_files(self.config, recipe["id"], path):
            read = functools.partial(self.read, file, name)
            found = mapped and self.config.auto_t0 == "map"
            yield functools.partial(self._with_map_of, path, read) if found else read
        guide = functools.partial(self._guide, path, name, recipe["id"], mapped)
        yield functools.partial(self._opened, name, path, guide)

    def _with_map_of(self, path: Path, read: Callable[[], Input]) -> Input:
        """An input with the strength map that was found and written beside a result."""
        one = read()
        file = path.with_name(f"{one.name}_strength.png")
        shares = functools.partial(read_strength_map, str(file), path, self.size)
        return self._with_map(one, shares)

    def _with_map(self, one: Input, shares: Callable[[], np.ndarray]) -> Input:
        """An input with a strength map, float32 [h, w]."""

        def pictures() -> Pictures:
            found = one.pictures()
            return found._replace(item=with_strength_map(found.item, shares()))

        return self._opened(one.name, Path(one.name), pictures)

    def _guide(self, path: Path, name: str, id: str, mapped: bool) -> Pictures:
        """The guide and mask that were written beside a result."""
        check_size_of_edit(self.config)
        fitted = images.read(path.with_name(f"{name}_guide.png")).rgb
        grey = images.luminance(images.read(path.with_name(f"{name}_mask.png")).rgb)
        kept = path.with_name(f"{name}_photo.png")
        photo = images.read(kept if kept.is_file() else path.with_name(f"{name}_guide.png"))
        file = str(path.with_name(f"{name}_strength.png")) if mapped else ""
        shares = read_strength_map(file, path, fitted.shape[:2])
        photo = Photo(photo.rgb, photo, strength_map=shares)
        placement = images.place(fitted.shape[:2], self.size, "stretch")
        item = assemble(id, fitted, grey / np.float32(255), photo, placement)._replace(id=id)
        return Pictures(item.in_channels(self.prior.shape[-1]))

    def _beside(self, pictures: Pictures) -> list[str]:
        """The endings of the further files of an input."""
        item = pictures.item
        mapped = item.guide.strength_map is not None or self.config.auto_t0 == "map"
        more = {"_strength": mapped, "_photo": _blends(item)}
        more["_target"] = self.goal is not None
        return ["_guide", "_mask", *(end for end, there in more.items() if there)]

    def inputs_beside(self, one: Input) -> dict[str, np.ndarray]:
        item = one.item
        found = {"_guide": item.fitted, "_mask": images.to_levels(item.mask)}
        if item.guide.strength_map is not None:
            found["_strength"] = images.to_levels(item.guide.strength_map[..., 0])
        if _blends(item):
            found["_photo"] = item.kept
        return found

    def with_strengths(self, jobs: Sequence[Job], cancel: Cancel | None = None) -> list[Job]:
        config = self.config
        if config.auto_t0:
            every, batch = list({job.input.name: job.input for job in jobs}.values()), config.batch
            found: dict[str, dict[str, Any]] = {}
            for first in range(0, len(every), batch):
                found |= self._found(every[first : first + batch], cancel)
            return [job._replace(**found[job.input.name]) for job in jobs]
        if self.goal is None:
            return list(jobs)
        trials: dict[str, dict[str, Mapping[float, float]]] = {}
        found = list(zip(jobs, self._at_distance(jobs, cancel), strict=True))
        for job, one in found:
            trials.setdefault(job.input.name, {})[job.cut] = one.trials
        return [self._with_target(job, one, trials[job.input.name]) for job, one in found]

    def _with_target(
        self, job: Job, one: Found, trials: Mapping[str, Mapping[float, float]]
    ) -> Job:
        """A job with the strength that was found, or with the reason why there is none."""
        if one.t0 is None:
            why = f"the edit {one.why_not(self.goal.value)}"
            return job._replace(failed=self.goal.why_not(why))
        tried = counted(len(one.trials), "trial")
        print(f"target    {job.name}: t0 {one.t0:.7g}, distance {one.distance:.4g}, {tried}")
        return job._replace(value=one.t0, trials=trials)

    def _at_distance(self, jobs: Sequence[Job], cancel: Cancel | None) -> list[Found]:
        """The strengths at which jobs have the distance of the target from their guides."""
        config = self.config
        keys = [image_key(job.seed, job.input.id, job.sample) for job in jobs]
        with device_errors(self, config.batch):
            return target.find(
                self.pipeline({}), self.prior.params, Each(jobs, lambda job: self.request(job, {})),
                keys, self.goal, Each(jobs, lambda job: job.input.item),
                feather=config.feather, batch=config.batch,
                devices=devices_for(config.batch, self.prior.params, config.devices),
                cancel=cancel,
            )  # fmt: skip

    def request(self, job: Job, shapes: Mapping[str, Any]) -> Request:
        item = job.input.item
        guide = self.resolved.given(item.guide)
        return Request(np.float32(self._t0(job)), guide, self.cond_of(job.input))

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
            entry["prompts"] = self._text(job.input)
        line = (
            f"L2 {entry['l2']:.2f} (RMS {entry['rms']:.4f})"
            f"  max change outside the mask {entry['max_change_outside_mask']}"
        )
        if row.attempts is not None:
            entry["evaluations"] = int(row.attempts.count) * self.pipeline({}).evaluations
            line += f"  {counted(entry['evaluations'], 'evaluation')}"
            warn_short(row, f"sampler.steps {self.resolved.plan.n}", job.name)
        beside = self.inputs_beside(job.input)
        if job.trials is not None:
            goal, away = self.goal, float(self.goal.distances([output.fitted], [item])[0])
            tried = [list(pair) for pair in job.trials[job.cut].items()]
            entry[goal.field] = {"target": goal.value, "distance": away, "trials": tried}
            line += f"  distance {away:.4f} of {goal.value:g}"
            curves = {f"sample {cut[1:]}": list(own.items()) for cut, own in job.trials.items()}
            label = f"distance from the guide ({goal.name})"
            beside["_target"] = images.lines(curves, "t0", label, goal.value)
        return Made(output, beside, entry, line)

    def recipe(self, job: Job) -> dict[str, Any]:
        item = job.input.item
        return recipes.sdedit(
            self.config.task, described(self.prior.process, self._t0(job)), self.resolved.sampling,
            item, self._label_of(job.input),
            self._text(job.input) if self.default is not None else None, self.goal,
        )  # fmt: skip

    def record(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "sampler": dataclasses.asdict(self.resolved.sampling),
            "class": recipes.labels(self.cond),
            "evaluations": total_evaluations(self.pipeline({})),
        }

    def leads(self, one: Input, made: Made | None) -> dict[str, np.ndarray | None]:
        item = one.item
        mask = item.original_mask if self.config.output == "original" else item.mask
        leads = {"input": item.original, "guide": item.fitted, "mask": images.to_levels(mask)}
        shares = item.guide.strength_map
        if shares is not None or self.config.auto_t0 == "map":
            leads["strength"] = None if shares is None else images.to_levels(shares[..., 0])
        return leads

    def label(self, value: float, entries: Sequence[dict[str, Any]]) -> str:
        l2 = np.mean([e["l2"] for e in entries] or [np.nan])
        return f"{value:g} s{described(self.prior.process, value).sigma:.2g} L2 {l2:.1f}"

    def _found(self, batch: Sequence[Input], cancel: Cancel | None) -> dict[str, dict[str, Any]]:
        """Each input with its strength map, and the strength, by the prior's calibration."""
        config = self.config
        with device_errors(self, config.batch):
            found = auto_strength.find_and_print(
                self.prior, [one.item.guide for one in batch], [one.name for one in batch],
                [self.cond_of(one) for one in batch], config.auto_t0, batch=config.batch,
                devices=devices_for(config.batch, self.prior.params, config.devices),
                cancel=cancel,
            )  # fmt: skip
        return {
            one.name: {"input": self._with_found(one, own.shares), "value": own.t0}
            for one, own in zip(batch, found, strict=True)
        }

    def _with_found(self, one: Input, shares: np.ndarray | None) -> Input:
        """An input with the strength map that was found, in levels; None: without one."""
        if shares is None:
            return one
        levels = images.to_levels(shares)
        return self._with_map(one, lambda: images.in_levels(levels / 255))

    def _t0(self, job: Job) -> float:
        return self.resolved.t0 if job.value is None else job.value

    def _prompt(self, id: str) -> Prompt:
        return self.own.get(id, self.default)

    def _prompt_of(self, one: Input) -> Prompt:
        return self._prompt(one.id) if one.extra is None else one.extra

    def cond_of(self, one: Input | None = None) -> Any:
        """The condition of an input; without one, that of the config."""
        if self.default is None:
            return self.cond if one is None or one.extra is None else one.extra
        prompt = self.default if one is None else self._prompt_of(one)
        cond = self.embed(prompt.prompt)
        if not self.guided:
            return cond
        return CFGCond(cond, self.embed(prompt.negative_prompt), np.float32(prompt.scale))

    def _label_of(self, one: Input) -> Any:
        return None if self.default is not None else self.cond_of(one)

    def _text(self, one: Input) -> dict[str, Any]:
        return {**self._prompt_of(one)._asdict(), "guided": self.guided}

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
        whole = (item.mask == 1).all() and item.guide.strength_map is None
        if not self._bounded or not whole:
            return "not stated for this run: it is for VE, one repeat, no mask and no strength map"
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
    prior = settings.on_process(prior, config.get("process", ""), config.preset)
    goal = targets.open_target(config, {name: config[name] for name in (*UNITS, "strength")})
    if config.auto_t0:
        _check_auto(config)
        if recipe is None:  # a replay takes the strength that was found
            auto_strength.calibration(prior)
    t0 = _strength(config, prior)
    sampling = settings.sampling(config.sampler.to_dict(), config.preset, t0, config.strength)
    guided = isinstance(cond, CFGCond) or bool(prompts and prompts["guided"])
    used = registry.guided(prior, guide.name) if guided else prior
    resolved = settings.resolve(used, sampling, t0)
    layers = 2 if config.auto_t0 == "map" else 1  # an input with a map that was found counts twice
    recent = recent_pictures(layers * config.batch)
    return SDEditKind(config, prior, size, resolved, recent, cond, goal=goal, **(prompts or {}))


def check_sweep(config: ConfigDict) -> None:
    """Check that a config has strengths for a sweep.

    Raises:
        ValueError: its preset or grid has no t0, or the strength is given in another unit or is to
            be found.
    """
    _check_has_t0(config, "a sweep", "takes its strengths from sweep.t0")
    for t0 in config.sweep.t0:
        strength.check_t0(t0)


def check_search(config: ConfigDict) -> None:
    """Check that a config can be searched for a strength by eye.

    Raises:
        ValueError: its preset or grid has no t0, or the strength is given in another unit.
    """
    _check_has_t0(config, "a search", "finds the strength")


def _check_has_t0(config: ConfigDict, what: str, does: str) -> None:
    settings.check_takes_t0(config.preset, config.sampler.grid, what, "sampler.")
    for unit in (*UNITS, *targets.FIELDS, "auto_t0"):
        if config[unit] not in (None, ""):
            raise ValueError(f"{unit}: {what} {does}, got {config[unit]}")


def check_given(mode: str, config: ConfigDict, given: Mapping[str, Any]) -> None:
    """Check fields of the command line against each other; see check.check."""
    check_opaque(config.options.opaque, config.output)
    if mode == "sweep":
        refuse_given(given, {f: f"a sweep takes {o} instead" for f, o in OF_A_SWEEP.items()})
    if mode == "search":
        units = ("t0", *UNITS, "strength", *targets.FIELDS, "auto_t0")
        refuse_given(given, dict.fromkeys(units, "a search finds the strength"))
    if settings.takes_share(config.preset):
        refuse_given(given, {"t0": f'preset "{config.preset}" takes strength instead'})
    if mode != "evaluate":  # which measures by them
        targets.check_weights(config, given)
    units = ("t0", *UNITS, "strength", *targets.FIELDS)
    found = {name: given[name] for name in units if name in given}
    if config.auto_t0:
        found["auto_t0"] = config.auto_t0
    settings.check_one_strength(found)
    if found:
        settings.check_moves(config.preset, config.sampler.grid, next(iter(found)), "sampler.")
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
    for unit in (*UNITS, *targets.FIELDS):
        config[unit] = None


def _check_auto(config: ConfigDict) -> None:
    """Check that a strength can be found and used.

    Raises:
        ValueError: an unknown way, another strength or strength map beside it, or no t0.
    """
    registry.pick(auto_strength.WAYS, config.auto_t0, "auto_t0")
    user = f"auto_t0={config.auto_t0}"
    settings.check_takes_t0(config.preset, config.sampler.grid, user, "sampler.")
    beside = {name: config[name] for name in (*UNITS, "strength", *targets.FIELDS)}
    if config.auto_t0 == "map":
        beside["options.strength_map"] = config.options.strength_map or None
    settings.check_one_strength({"auto_t0": config.auto_t0, **beside})


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

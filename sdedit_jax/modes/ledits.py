"""LEDITS and LEDITS++ as a kind of edit: prompts, concepts and their masks."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, registry
from sdedit_jax.data.examples import Example
from sdedit_jax.edits import inversion
from sdedit_jax.edits.inversion import Request
from sdedit_jax.images import Size, size_text
from sdedit_jax.modes import prompt_files
from sdedit_jax.modes.inputs import Input, Pictures, Source, opened, recent_pictures
from sdedit_jax.modes.session import (
    Job,
    Made,
    check_common,
    check_size_of_edit,
    described,
    distances,
    open_prior,
    own_files,
    refuse_given,
    size_of,
)
from sdedit_jax.pipeline import ledits_settings, recipes
from sdedit_jax.pipeline.base import total_evaluations
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.pipeline.ledits_settings import OWN, SCALES, Prompts
from sdedit_jax.pipeline.outputs import check_opaque, check_visible, finished
from sdedit_jax.pipeline.recent import Recent
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.prior import Prior
from sdedit_jax.tasks import TaskInput, common
from sdedit_jax.tasks.examples import of_example
from sdedit_jax.text.concept_parser import NUMBERS, as_text, parse
from sdedit_jax.text.spelling import counted

OF_A_SWEEP = {"scale": "sweep.scale", "seed": "sweep.seeds", "samples": "sweep.seeds"}

FIELDS = ("source_prompt", "prompt", "negative_prompt", "concepts", "masks")


@dataclasses.dataclass(frozen=True)
class Extra:
    """The prompts of a photo, and the mask files of its concepts."""

    prompts: Prompts
    files: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class LEDITSKind:
    """See session.Kind.

    Attributes:
        resolved: preset and numbers with the plan. recent: keeps the pictures of inputs.
        own: fields of inputs in the file of prompts.
    """

    config: ConfigDict
    prior: Prior
    size: Size
    resolved: ledits_settings.Resolved
    recent: Recent
    own: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    sweep: ClassVar[tuple[str, str]] = ("scale", "scale")
    masked_beside: ClassVar[bool] = False
    finds_strengths: ClassVar[bool] = False
    memory_hint: ClassVar[str] = ", and so does --config.maps=host or keys"

    @property
    def cuts(self) -> list[str]:
        count = self.config.samples
        return ["_edit"] if count == 1 else [f"_edit_{k}" for k in range(count)]

    def shapes(self, jobs: Sequence[Job]) -> dict[str, Any]:
        extras = [job.input.extra for job in jobs]
        slots = max((len(extra.prompts.concepts) for extra in extras), default=0)
        guided = ledits_settings.guides(self.resolved.recipe, [one.prompts for one in extras])
        masks = any(extra.files for extra in extras)
        return {"slots": slots, "masks": masks, "guided": guided}

    def pipeline(self, shapes: Mapping[str, Any]) -> LEDITSPipeline:
        return self.resolved.pipeline(shapes["slots"], shapes["guided"])

    def lines(self, jobs: Sequence[Job]) -> list[str]:
        config, plan, numbers = self.config, self.resolved.plan, self._numbers()
        concept, removal = (numbers.pop(name, {}) for name in ("concept", "removal"))
        guidance = numbers.pop("guidance")
        removed = f"; removed: {_listed(removal)}" if removal else ""
        count = min(config.batch, len(jobs))
        shape = ledits_settings.state_shape(self.prior, (*self.size, self.prior.shape[-1]))
        size = inversion.map_bytes(plan, shape, count)
        total = total_evaluations(self.pipeline(self.shapes(jobs)))
        prompts = {job.input.name: _line(job.input.extra.prompts) for job in jobs}
        maps = (
            f"maps      {plan.steps} of {size_text(shape)} for {counted(count, 'photo')}, kept by"
            f" {config.maps}: {size.device / 1e6:.2f} MB on the device, {size.host / 1e6:.2f} MB on"
            " the host"
        )
        return [
            f"preset    {config.preset}: {_listed(numbers)}",
            f"guidance  {guidance}; concepts: {_listed(concept) or 'none'}{removed}",
            *self._defaults(),
            f"strength  {described(self.prior.process, self.resolved.t0)}",
            *([maps] if count else []),
            f"steps     {plan.steps} each way, {counted(total, 'evaluation')} of the network",
            *(f"{name:<10}{line}" for name, line in list(prompts.items())[:8]),
        ]

    def check_input(self, path: Path) -> None:
        """Check the prompts of an input: errors in them stop the run.

        Raises:
            ValueError: naming the input where there is a file of prompts.
        """
        with prompt_files.naming(self.config.prompts, self.own, path.stem):
            self._prompts(self._fields(path.stem))

    def read(self, path: Path, name: str) -> Input:
        return self.read_with(path, name, self._fields(path.stem))

    def take(self, example: Example, name: str) -> Input:
        """See session.Kind; the mask of a row marks what is measured, and bounds no edit."""
        options = self.config.options.to_dict()
        whole = example._replace(mask=None, guide=None)
        item = of_example(whole, "photo", options, self.size, self.config.fit)
        item = check_visible(item.in_channels(self.prior.shape[-1]), self.config.output)
        texts = {name: getattr(example, name) for name in FIELDS[:4]}
        given = {field: text for field, text in texts.items() if text}
        prompts = self._prompts({**self._fields(example.id), **given})
        return opened(name, lambda: Pictures(item), _beside, Extra(prompts))

    def candidates(self, recipe: Mapping[str, Any], path: Path) -> Iterator[Callable[[], Input]]:
        name, fields = path.stem.removesuffix(recipe["cut"]), recipe["prompts"]
        for file in own_files(self.config, recipe["id"], path):
            yield functools.partial(self.read_with, file, name, fields)
        yield functools.partial(self._read_photo, path, name, recipe)

    def _read_photo(self, path: Path, name: str, recipe: Mapping[str, Any]) -> Input:
        """The photo and the masks that were written beside a result."""
        check_size_of_edit(self.config)
        fields = recipe["prompts"]
        numbers = range(1, len(fields["masks"]) + 1)
        files = [path.with_name(f"{name}_mask_{k}.png") for k in numbers]
        masks = [str(file) if file.is_file() else "" for file in files]
        photo = path.with_name(f"{name}_photo.png")
        found = self.read_with(photo, name, {**fields, "masks": masks}, recipe["id"])
        extra = dataclasses.replace(found.extra, files=tuple(fields["masks"]))
        return found._replace(extra=extra)

    def read_with(self, path: Path, name: str, fields: Mapping[str, Any], id: str = "") -> Input:
        """An input with its FIELDS.

        Args:
            id: "": the stem of its file.
        """
        prompts, files = self._prompts(fields), tuple(_files(fields["masks"]))
        read = functools.partial(self._pictures, path, files, id)
        found = opened(name, Source(name, path, read, self.recent), _beside, Extra(prompts, files))
        conditioning.warn(self.prior, prompts.texts)
        return found

    def _pictures(self, path: Path, files: Sequence[str], id: str) -> Pictures:
        """The pictures of an input, with the mask files of its concepts."""
        options = self.config.options.to_dict() | {"mask_suffix": ""}  # no mask bounds the edit
        item = registry.task("photo")(str(path), options, self.size, self.config.fit)
        item = check_visible(item.in_channels(self.prior.shape[-1]), self.config.output)
        masks = tuple(_read_mask(file, item, path) for file in files)
        return Pictures(item._replace(id=id or item.id), masks)

    def inputs_beside(self, one: Input) -> dict[str, np.ndarray]:
        masks = [mask for mask in one.masks if mask is not None]
        named = zip(_mask_endings(one.masks), masks, strict=True)
        found = {end: images.to_levels(mask[..., 0]) for end, mask in named}
        return {"_photo": one.item.fitted, **found}

    def with_strengths(self, jobs: Sequence[Job], cancel: Cancel | None = None) -> list[Job]:
        return list(jobs)

    def request(self, job: Job, shapes: Mapping[str, Any]) -> Request:
        extra = job.input.extra
        made = self.resolved.recipe
        prompts = extra.prompts
        if job.value is not None:
            prompts = prompts._replace(
                concepts=tuple(
                    c._replace(given={**c.given, "scale": job.value}) for c in prompts.concepts
                )
            )
        found = ledits_settings.request(
            self.prior, made, prompts, job.input.item.guide.image, self.resolved.embed,
            guided=shapes["guided"], slots=shapes["slots"],
            masks=job.input.masks if shapes["masks"] else None,
        )  # fmt: skip
        return found._replace(t0=np.float32(made.t0))

    def made(self, job: Job, row: Any) -> Made:
        item, config, extra = job.input.item, self.config, job.input.extra
        output = finished(row.image, item, config.output, config.feather)
        back = finished(row.reconstruction, item).fitted
        autoencoded = finished(row.autoencoded, item).fitted
        error = {
            "latent_error": float(row.state_error),
            "latent_largest": float(row.state_largest),
            **distances(back, item),
            "rms_of_the_autoencoder_alone": distances(autoencoded, item)["rms"],
        }
        entry = {"prompts": _fields_of(extra), **distances(output.fitted, item)}
        entry |= {"reconstruction": error}
        if job.value is not None:
            entry["scale"] = job.value
        beside = {"_reconstruction": back, **self.inputs_beside(job.input)}
        line = f"RMS {entry['rms']:.4f}, RMS of the reconstruction {error['rms']:.4f}"
        return Made(output, beside, entry, line)

    def recipe(self, job: Job) -> dict[str, Any]:
        extra, strength = job.input.extra, described(self.prior.process, self.resolved.t0)
        return recipes.ledits(
            self.config.preset, strength, self.resolved, _fields_of(extra), job.input.masks
        )

    def record(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "preset": self.config.preset,
            "numbers": self._numbers(),
            "evaluations": total_evaluations(self.pipeline(shapes)),
        }

    def leads(self, one: Input, made: Made | None) -> dict[str, np.ndarray | None]:
        drawn = [mask for mask in one.masks if mask is not None]
        mask = np.max(drawn, axis=0)[..., 0] if drawn else one.item.mask
        back = made.beside["_reconstruction"].picture if made else None
        row = {"input": one.item.original, "guide": one.item.fitted}
        return {**row, "mask": images.to_levels(mask), "reconstruction": back}

    def label(self, value: float, entries: Sequence[dict[str, Any]]) -> str:
        rms = np.mean([e["rms"] for e in entries] or [np.nan])
        return f"scale {value:g} RMS {rms:.3f}"

    def _numbers(self) -> dict[str, Any]:
        return ledits_settings.summary(self.resolved.recipe)

    def _defaults(self) -> list[str]:
        """A line about the numbers that are the prior's own."""
        own = ", ".join(f"{name} {value:g}" for name, value in self.resolved.defaults.items())
        return [f"defaults  {own}, as stored with the prior"] if own else []

    def _fields(self, id: str) -> dict[str, Any]:
        return _fields(self.config, self.own.get(id, {}))

    def _prompts(self, fields: Mapping[str, Any]) -> Prompts:
        """The prompts of an input.

        Raises:
            ValueError: a mistake in them, or prompts that the preset does not take.
        """
        made = _read(fields)
        ledits_settings.check_prompts(self.resolved.recipe, made)
        ledits_settings.check_change(self.resolved.recipe, made)
        if len(_files(fields["masks"])) > len(made.concepts):
            many = counted(len(made.concepts), "concept")
            raise ValueError(f"masks: one for each of {many} at most, got {fields['masks']!r}")
        return made


def open_kind(
    config: ConfigDict, inputs: Sequence[Path] = (), recipe: Mapping[str, Any] | None = None
) -> LEDITSKind:
    """Load the prior and resolve preset and numbers; a replay has the prior's own of its recipe.

    Args:
        inputs: that a file of prompts may name.
    """
    check_common(config)
    if given := config.options.get("strength_map"):
        raise ValueError(f"options.strength_map: LEDITS takes no strength map, got {given!r}")
    numbers = {name: config[name] for name in (*OWN, *SCALES, *NUMBERS)}
    ledits_settings.recipe(config.preset, numbers)
    registry.pick(dict.fromkeys(inversion.KEEPS), config.maps, "maps")
    own = prompt_files.of_inputs(config.prompts, inputs, FIELDS)
    if config.prompts and recipe is None:
        _check_used(config, own, inputs)
    prior = open_prior(config, attention=config.attention)
    stored = None if recipe is None else recipe.get("defaults", {})
    resolved = ledits_settings.resolve(prior, config.preset, numbers, config.maps, stored)
    size = size_of(config, prior)
    ledits_settings.check_maps(prior, resolved.recipe, (*size, prior.shape[-1]))
    return LEDITSKind(config, prior, size, resolved, recent_pictures(config.batch), own)


def _fields(config: ConfigDict, own: Mapping[str, Any]) -> dict[str, Any]:
    """The FIELDS of an input, from the config and its entry in the file of prompts."""
    return {field: config[field] for field in FIELDS} | dict(own)


def _read(fields: Mapping[str, Any]) -> Prompts:
    """The prompts of FIELDS.

    Raises:
        ValueError: a mistake in the concepts.
    """
    return Prompts(*(fields[name] for name in FIELDS[:3]), parse(fields["concepts"]))


def _check_used(config: ConfigDict, own: Mapping[str, Any], inputs: Sequence[Path]) -> None:
    """Check that the numbers of a config have an effect on one of the inputs.

    Raises:
        ValueError: they have none, or a mistake in the concepts of an input.
    """
    every = []
    for path in inputs:
        with prompt_files.naming(config.prompts, own, path.stem):
            every.append(_read(_fields(config, own.get(path.stem, {}))))
    names = [name for name in (*OWN, *SCALES, *NUMBERS) if config[name] is not None]
    ledits_settings.check_used(every, names)


def check_sweep(config: ConfigDict) -> None:
    """Check that a config has concepts whose scale a sweep can vary.

    Raises:
        ValueError: it has none.
    """
    if not config.concepts and not config.prompts:
        raise ValueError("concepts: a sweep varies their scale, and the config has none")


def check_search(config: ConfigDict) -> None:
    """Raise ValueError: a search by eye is over t0."""
    raise ValueError("--mode=search is over t0 of SDEdit; LEDITS has --mode=sweep over sweep.scale")


def check_given(mode: str, config: ConfigDict, given: Mapping[str, Any]) -> None:
    """Check fields of the command line; see check.check."""
    check_opaque(config.options.opaque, config.output)
    if not config.prompts:
        ledits_settings.check_used([_read(config)], given)
    if mode == "sweep":
        refuse_given(given, {f: f"a sweep takes {o} instead" for f, o in OF_A_SWEEP.items()})


def restore(config: ConfigDict, recipe: Mapping[str, Any]) -> None:
    """Set the fields of a replay's config that the recipe has resolved: none but its prompts."""


def _beside(pictures: Pictures) -> list[str]:
    """The endings of the further files of an input."""
    return ["_reconstruction", "_photo", *_mask_endings(pictures.masks)]


def _mask_endings(masks: Sequence[np.ndarray | None]) -> list[str]:
    return [f"_mask_{k}" for k, mask in enumerate(masks, 1) if mask is not None]


def _line(prompts: Prompts) -> str:
    """The prompts of a photo in one line."""
    concepts = ",".join(map(as_text, prompts.concepts)) or "no concepts"
    to = f" to {prompts.prompt!r}" if prompts.prompt else ""
    return f"{prompts.source_prompt!r}{to}, {concepts}"


def _listed(numbers: Mapping[str, Any]) -> str:
    """Numbers with their names in one line."""
    return ", ".join(f"{name} {value}" for name, value in numbers.items())


def _fields_of(extra: Extra) -> dict[str, Any]:
    """The prompts of a photo as a file of prompts has them."""
    return recipes.prompt_fields(extra.prompts, extra.files)


def _files(masks: str | Sequence[str]) -> list[str]:
    """Mask files, one for each concept; "" for one that acts everywhere."""
    every = masks.split(",") if isinstance(masks, str) else list(masks)
    return [file.strip() for file in every] if any(every) else []


def _read_mask(file: str, item: TaskInput, path: Path) -> np.ndarray | None:
    """A mask [H, W, 1] of the edit's size, 1 where a concept acts."""
    if not file:
        return None
    chosen = common.MaskOptions(mask=file)
    mask = common.read_mask(chosen, path, item.photo.size)
    return ledits_settings.fitted_mask(mask, item.placement, f"masks: {file}")

"""Edits of the page: settings and what is painted in, events of the executor and results out."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import api, images, provenance, registry
from sdedit_jax.diffusion import strength
from sdedit_jax.diffusion.strength import Strength
from sdedit_jax.pipeline import auto_strength, ledits_settings
from sdedit_jax.pipeline.base import Cancelled, Done, Event
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.from_arrays import Maps
from sdedit_jax.pipeline.recent import Recent
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import included
from sdedit_jax.registry.fields import SAMPLES
from sdedit_jax.tasks import TaskInput
from sdedit_jax.text.concept_parser import as_text
from sdedit_jax.text.spelling import one_of
from sdedit_jax.web import recipe
from sdedit_jax.web.guides import Painted, guide, options_of
from sdedit_jax.web.settings import (
    AUTO,
    LEDITS,
    TASKS,
    Settings,
    check_work,
    config_of,
    restored,
)
from sdedit_jax.weights import load, store
from sdedit_jax.weights.readers.folder import reads_texts

KEPT_PRIORS = 4
KEPT_INVERSIONS = 16


class Result(NamedTuple):
    """The end of an edit.

    Attributes:
        pictures: uint8 [n, h, w, C].
        t0: the strength that was used. seconds: of the edit, compiling included.
        recipes: one for each picture.
        item: the input, with guide, mask and what is kept.
    """

    pictures: np.ndarray
    t0: float
    seconds: float
    recipes: tuple[Mapping[str, Any], ...]
    item: TaskInput

    def png(self, row: int = 0, settings: bool = True) -> bytes:
        """The file of a picture, with its settings or without."""
        text = provenance.chunks(self.recipes[row]) if settings else None
        return images.png(self.pictures[row], text)


class Editor:
    """Edits with some priors, which stay loaded, and the inversions that are kept.

    Visitors share one editor; its methods may run in several threads.
    """

    def __init__(
        self, priors: Mapping[str, str | Path] | None = None, compute: str = "float32"
    ) -> None:
        """priors: name -> folder; None: those of --list. compute: as of load_prior."""
        self.priors = dict(included.priors() if priors is None else priors)
        self.compute = compute
        self.loaded, self.inversions = Recent(KEPT_PRIORS), Recent(KEPT_INVERSIONS)
        self.digests = Recent(len(self.priors))

    def prior(self, name: str) -> Prior:
        """A prior by its name.

        Raises:
            ValueError: an unknown name, or see load_prior.
        """
        one_of("prior", name, self.priors)
        return self.loaded.get(name, lambda: load.load_prior(self.priors[name], self.compute))[0]

    def reads(self, name: str) -> bool:
        """Whether a prior reads texts."""
        folder = included.prior(self.priors[name])
        if reads_texts(folder):
            return True
        with contextlib.suppress(ValueError, OSError):
            return "text_encoder" in (store.read_metadata(folder).get("config") or {})
        return False

    def readings(self, name: str, t0: float) -> Strength:
        """A strength of a prior in its four units."""
        return strength.describe(self.prior(name).process, t0)

    def restored(self, data: bytes) -> Settings:
        """The settings of a result, see settings.restored."""
        known = {}
        for name, folder in self.priors.items():
            with contextlib.suppress(ValueError, OSError):  # others of the user may be damaged
                known[self.digests.get(name, lambda own=folder: load.sha256_of(own))[0]] = name
        return restored(data, known)

    def events(
        self,
        settings: Settings,
        painted: Painted,
        *,
        cancel: Cancel | None = None,
        preview_every: int = 0,
    ) -> Iterator[Event | Result]:
        """The progress of an edit, and its Result at the end; a cancelled edit ends without.

        Raises:
            ValueError: a setting out of its range, or something is not painted that the task needs.
        """
        one_of("task", settings.task, TASKS)
        SAMPLES.check(settings.samples, "samples")
        check_work(settings)
        make = self._words if settings.task == LEDITS else self._pictures
        return make(settings, painted, cancel, preview_every)

    def sheet(
        self,
        settings: Settings,
        painted: Painted,
        t0s: Sequence[float],
        seeds: Sequence[int],
        *,
        cancel: Cancel | None = None,
    ) -> Iterator[Event | Result]:
        """Strengths against seeds: for each strength, and for each seed, an edit of one picture."""
        for t0, seed in itertools.product(t0s, seeds):
            own = replace(settings, t0=float(t0), seed=seed, samples=1)
            yield from self.events(own, painted, cancel=cancel)

    def _config(self, settings: Settings, painted: Painted) -> dict[str, Any]:
        """The config that makes the same edit from files."""
        made = config_of(settings, self.compute)
        return made | {"options": made["options"] | options_of(settings.task, painted)}

    # --- SDEdit -----------------------------------------------------------------------------------

    def _pictures(
        self, settings: Settings, painted: Painted, cancel: Cancel | None, preview_every: int
    ) -> Iterator[Event | Result]:
        """The results of SDEdit."""
        begun, prior = time.perf_counter(), self.prior(settings.prior)
        config = self._config(settings, painted)
        item = _item(settings, painted, prior, config)
        try:
            t0 = _t0(settings, prior, item, config, cancel)
        except Cancelled:
            return
        function, texts = _texts(prior, settings)
        events = api.stream(
            function, prior, item, t0=t0, seed=settings.seed, sample=settings.sample,
            samples=settings.samples, preset=settings.preset, output=settings.output,
            preview_every=preview_every, cancel=cancel, **texts, **dict(settings.sampler),
        )  # fmt: skip
        for event in events:
            if not isinstance(event, Done):
                yield event
                continue
            own = recipe.of_sdedit(settings, prior, item, t0)
            value = t0 if settings.t0 == AUTO else None
            cuts = [f"_{settings.sample + k}" for k in range(settings.samples)]
            made = recipe.of_samples(settings, config, own, prior, item, event.result, cuts, value)
            yield Result(event.result, t0, time.perf_counter() - begun, made, item)

    # --- LEDITS -----------------------------------------------------------------------------------

    def _words(
        self, settings: Settings, painted: Painted, cancel: Cancel | None, preview_every: int
    ) -> Iterator[Event | Result]:
        """An edit by LEDITS; its inversion is kept for others of the same photo."""
        begun, prior = time.perf_counter(), self.prior(settings.prior)
        conditioning.check_reads(prior, "prior")
        if settings.samples != 1:
            raise ValueError(f"samples must be 1 for words, got {settings.samples}")
        if not (settings.concepts or settings.prompt):
            raise ValueError("concepts: say what is added or removed")
        config = self._config(settings, painted)
        item = _item(settings, painted, prior, config)
        preset, t0 = config["preset"], _given(settings)
        maps = None
        for found in self._inversion(settings, prior, item, preset, t0, cancel, preview_every):
            if isinstance(found, Maps):
                maps = found
            else:
                yield found
        if maps is None:
            return
        parsed = [concept.parsed for concept in settings.concepts]
        masks = _concept_masks(settings, painted)
        events = api.stream(
            api.ledits, prior, item, [as_text(one) for one in parsed], settings.prompt,
            negative_prompt=settings.negative_prompt, preset=preset, mask=masks, t0=t0,
            inverted=maps, slots=len(parsed) or None, output=settings.output,
            preview_every=preview_every, cancel=cancel,
        )  # fmt: skip
        for event in events:
            if not isinstance(event, Done):
                yield event
                continue
            pictures = event.result[None]
            resolved = ledits_settings.resolve(prior, preset, {"t0": t0})
            own = recipe.of_ledits(settings, prior, item, resolved, preset, masks or ())
            guided = bool(settings.source_prompt) and resolved.recipe.source_scale != 1
            shapes = {"slots": len(parsed), "masks": masks is not None, "guided": guided}
            made = recipe.of_samples(
                settings, config, own, prior, item, pictures, ["_edit"], shapes=shapes
            )
            yield Result(pictures, resolved.t0, time.perf_counter() - begun, made, item)

    def _inversion(
        self,
        settings: Settings,
        prior: Prior,
        item: TaskInput,
        preset: str,
        t0: float | None,
        cancel: Cancel | None,
        preview_every: int,
    ) -> Iterator[Event | Maps]:
        """The inversion of a photo: the one that is kept, or events and then a new one."""
        photo = provenance.digest(item.fitted)
        key = (settings.prior, preset, t0, settings.source_prompt, settings.seed, item.id, photo)
        kept = self.inversions.find(key)
        if kept is not None:
            yield kept
            return
        events = api.stream(
            api.invert, prior, item, settings.source_prompt, preset, settings.seed, t0=t0,
            preview_every=preview_every, cancel=cancel,
        )  # fmt: skip
        for event in events:
            if isinstance(event, Done):
                self.inversions.keep(key, event.result)
            yield event.result if isinstance(event, Done) else event


# --- parts of an edit -----------------------------------------------------------------------------


def _item(
    settings: Settings, painted: Painted, prior: Prior, config: Mapping[str, Any]
) -> TaskInput:
    """The task input of what is painted, in the channels of the prior."""
    made = guide(
        settings.task, painted, config["options"], prior.edit_size(), config["fit"], settings.id
    )
    return made.in_channels(prior.shape[-1])


def _given(settings: Settings) -> float | None:
    """The strength as a number, or None.

    Raises:
        ValueError: AUTO, which LEDITS does not have.
    """
    if settings.t0 == AUTO:
        raise ValueError("t0: words take a number; an automatic strength is for the other tasks")
    return None if settings.t0 is None else float(settings.t0)


def _t0(
    settings: Settings,
    prior: Prior,
    item: TaskInput,
    config: Mapping[str, Any],
    cancel: Cancel | None,
) -> float:
    """The strength of an edit, found where the settings ask for it."""
    if settings.t0 != AUTO:
        return float(config["t0"])
    conds = [_condition(prior, settings)]
    return auto_strength.find(prior, [item.guide], conds, "guide", cancel=cancel)[0].t0


def _condition(prior: Prior, settings: Settings) -> Any:
    """What the prior is conditioned on, without guidance."""
    if prior.text is not None:
        return conditioning.embedding(prior, settings.prompt)
    return registry.condition(prior, settings.cond or None)


def _texts(prior: Prior, settings: Settings) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of the API for a prior, with its class or texts.

    Raises:
        ValueError: texts for a prior that reads none, or a class for one that reads texts.
    """
    if prior.text is None:
        for name in ("prompt", "negative_prompt"):
            if getattr(settings, name):
                conditioning.check_reads(prior, name)
        return api.edit, {"cond": settings.cond or None}
    if settings.cond:
        raise ValueError("cond: the prior reads prompts; give a prompt instead")
    return api.text_edit, settings.texts


def _concept_masks(settings: Settings, painted: Painted) -> list[np.ndarray | None] | None:
    """The painted mask for the concepts that it bounds; None where there are none.

    Raises:
        ValueError: there is no mask.
    """
    bounded = [concept.masked for concept in settings.concepts]
    if not any(bounded):
        return None
    if painted.free is None:
        raise ValueError("mask: paint the region in which the concept acts")
    return [painted.free if masked else None for masked in bounded]

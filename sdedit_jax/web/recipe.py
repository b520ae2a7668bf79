"""The recipes of the page's results, as those of the program."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdedit_jax import registry
from sdedit_jax.diffusion import strength
from sdedit_jax.pipeline import executor, ledits_settings, recipes
from sdedit_jax.pipeline.ledits_settings import Prompts
from sdedit_jax.pipeline.settings import preset_process, resolve, sampling
from sdedit_jax.priors.prior import Prior
from sdedit_jax.tasks import TaskInput
from sdedit_jax.web.settings import Settings


def of_sdedit(settings: Settings, prior: Prior, item: TaskInput, t0: float) -> dict[str, Any]:
    """The part of a recipe that belongs to SDEdit."""
    texts = None
    if prior.text is not None:
        texts = settings.texts | {"guided": settings.texts["scale"] != 1}
    chosen = sampling(dict(settings.sampler), settings.preset, t0)
    own = preset_process(prior, settings.preset)
    label = None if texts else registry.condition(prior, settings.cond or None)
    return recipes.sdedit(
        "photo" if settings.task == "img2img" else settings.task,
        strength.describe(own.process, t0), resolve(own, chosen, t0).sampling, item, label, texts,
    )  # fmt: skip


def of_ledits(
    settings: Settings,
    prior: Prior,
    item: TaskInput,
    resolved: ledits_settings.Resolved,
    preset: str,
    given: Sequence[np.ndarray | None],
) -> dict[str, Any]:
    """The part of a recipe that belongs to LEDITS; given: the masks of the concepts."""
    masks = [
        None if mask is None else ledits_settings.fitted_mask(mask, item.placement, "mask")
        for mask in given
    ]
    prompts = Prompts(
        settings.source_prompt,
        settings.prompt,
        settings.negative_prompt,
        tuple(concept.parsed for concept in settings.concepts),
    )
    files = [settings.id if mask is not None else "" for mask in masks]
    return recipes.ledits(
        preset, strength.describe(prior.process, resolved.t0), resolved,
        recipes.prompt_fields(prompts, files), masks,
    )  # fmt: skip


def of_samples(
    settings: Settings,
    config: Mapping[str, Any],
    own: Mapping[str, Any],
    prior: Prior,
    item: TaskInput,
    pictures: np.ndarray,
    cuts: Sequence[str],
    value: float | None = None,
    shapes: Mapping[str, Any] | None = None,
) -> tuple[Mapping[str, Any], ...]:
    """The recipe of each sample; cuts: what their names add to that of the input."""
    devices = executor.devices_for(len(cuts), prior.params)
    place = {"rows": len(cuts), "devices": devices, "shapes": dict(shapes or {})}
    return tuple(
        recipes.recipe(
            config, own, item, prior.metadata, picture, seed=settings.seed,
            sample=settings.sample + k, place={**place, "row": k}, value=value, cut=cut,
        )
        for k, (cut, picture) in enumerate(zip(cuts, pictures, strict=True))
    )  # fmt: skip

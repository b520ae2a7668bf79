"""Recipes of results: all that makes a picture again, and shows that it is the same."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sdedit_jax import images, provenance
from sdedit_jax.diffusion.strength import Strength
from sdedit_jax.pipeline import ledits_settings, settings
from sdedit_jax.pipeline.target import Target
from sdedit_jax.priors.conditioning import CFGCond
from sdedit_jax.registry import bounds, sampler_parts
from sdedit_jax.tasks import TaskInput
from sdedit_jax.text.concept_parser import as_text

FORMAT = 3
"""Of recipes; raised when older ones cannot be replayed."""


def recipe(
    config: Mapping[str, Any],
    own: Mapping[str, Any],
    item: TaskInput,
    metadata: Mapping[str, Any],
    picture: np.ndarray,
    *,
    seed: int,
    sample: int,
    place: Mapping[str, Any],
    value: float | None = None,
    cut: str = "",
) -> dict[str, Any]:
    """The recipe of a result.

    Args:
        config: plain values of the config. own: of `sdedit` or `ledits`.
        item: the input. metadata: of the prior. picture: the result.
        place: rows of the batch, this row, devices, and the shapes of the run.
        value: the strength or scale of the result, where it is not the config's.
        cut: what the result's name adds to the input's.
    """
    own = dict(own)
    mask = own.pop("mask")
    return {
        "format": FORMAT,
        "config": config,
        "id": item.id,
        "seed": seed,
        "sample": sample,
        "value": value,
        "cut": cut,
        **own,
        "size": [*item.fitted.shape[:2], item.channels],
        "prior": {"name": metadata.get("name", ""), "sha256": metadata.get("sha256", "")},
        "guide": {"sha256": provenance.digest(item.fitted)},
        "mask": {"sha256": digests(mask)},
        "original": {"sha256": provenance.digest(item.original)},
        "picture": {"sha256": provenance.digest(picture)},
        "place": dict(place),
        "environment": provenance.environment(config["compute"]),
    }


def read(text: Mapping[str, str], name: str) -> dict[str, Any]:
    """The recipe out of a PNG's text chunks, with settings that this version can run.

    Raises:
        ValueError: there is none, it has another format, or a wrong field.
    """
    found = provenance.read_recipe(text, name, FORMAT)
    check_settings(found, name)
    return found


def of_record(
    record: Mapping[str, Any], name: str, files: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """The recipes of pictures in a record.json, by their names; see `read`.

    Args:
        files: names of pictures; None: all.
    """
    every, checked = provenance.recipes_of(record, name), set[int]()
    for file in every if files is None else files:
        of = f"{file} of {name}"
        provenance.checked(every[file], of, FORMAT)
        config = id(every[file]["config"])  # most share one
        check_settings(every[file], of, config in checked)
        checked.add(config)
    return every


def check_settings(recipe: Mapping[str, Any], name: str, known: bool = False) -> None:
    """Check the settings of a recipe whose fields have the right types.

    Args:
        known: whether its config has been checked already.

    Raises:
        ValueError: a value out of its range, an unknown part of the sampler, or too much work.
    """
    try:
        if not known:
            bounds.check(recipe["config"], "recipe.config.")
        if recipe["task"] != "ledits":
            _check_parts(recipe["sampler"], "recipe.sampler")
            _check_parts(recipe["config"]["sampler"], "recipe.config.sampler")
        _check_work(recipe)
    except ValueError as error:
        raise provenance.damaged(name, error) from None


def _check_parts(sampler: Mapping[str, Any], place: str) -> None:
    tables = {"rule": "SOLVERS", "grid": "GRIDS", "corrector": "CORRECTORS"}
    for field, table in tables.items():
        sampler_parts.parse(sampler[field], getattr(sampler_parts, table), f"{place}.{field}")


def _check_work(recipe: Mapping[str, Any]) -> None:
    """Check the evaluations of the network, and the pixels at a time."""
    place, (height, width, _) = recipe["place"], recipe["size"]
    parts = {f"recipe.sampler.{name}": recipe["sampler"][name] for name in ("steps", "repeats")}
    bounds.work(parts, bounds.MOST_EVALUATIONS, "evaluations")
    rows = {"recipe.place.rows": place["rows"], "recipe.size": height * width}
    if "slots" in place["shapes"]:  # each concept has a row, beside the photo and its prompt
        rows["recipe.place.shapes.slots"] = place["shapes"]["slots"] + 2
    bounds.work(rows, bounds.MOST_PIXELS, "pixels at a time")


def sdedit(
    task: str,
    strength: Strength,
    sampling: settings.Sampling,
    item: TaskInput,
    cond: Any = None,
    prompts: Mapping[str, Any] | None = None,
    goal: Target | None = None,
) -> dict[str, Any]:
    """The part of a recipe that belongs to SDEdit.

    Args:
        sampling: as strings, see settings.as_strings. cond: of class labels; None: none.
        prompts: the fields of a Prompt, and whether the predictor is guided; None: none.
        goal: the distance by which the strength was found; None: it was given.
    """
    shares = item.guide.strength_map
    if shares is not None:
        shares = provenance.digest(images.to_levels(shares[..., 0]))
    return {
        "task": task,
        "strength": strength._asdict(),
        "target": None if goal is None else target_fields(goal),
        "class": labels(cond),
        "prompts": prompts,
        "sampler": dataclasses.asdict(sampling),
        "mask": images.to_levels(item.mask),
        "strength_map": shares,
    }


def ledits(
    preset: str,
    strength: Strength,
    resolved: ledits_settings.Resolved,
    prompts: Mapping[str, Any],
    masks: Sequence[np.ndarray | None],
) -> dict[str, Any]:
    """The part of a recipe that belongs to LEDITS.

    Args:
        prompts: of `prompt_fields`. masks: [H, W, 1] of the concepts, None of those without.
    """
    sampler = {"rule": preset, "steps": resolved.plan.steps, "grid": "", "repeats": 1}
    return {
        "task": "ledits",
        "strength": strength._asdict(),
        "prompts": prompts,
        "numbers": ledits_settings.summary(resolved.recipe),
        "defaults": dict(resolved.defaults),
        "sampler": sampler,
        "mask": [np.zeros(0) if mask is None else mask for mask in masks],
    }


def target_fields(goal: Target) -> dict[str, Any]:
    """A target: its field and value, the measure, and the sha256 of the measure's weights."""
    return {
        "field": goal.field,
        "value": goal.value,
        "measure": goal.name,
        "sha256": goal.sha256,
    }


def prompt_fields(prompts: ledits_settings.Prompts, masks: Sequence[str]) -> dict[str, Any]:
    """The prompts of a photo as a file of prompts has them; masks: the files of the concepts."""
    concepts = [as_text(concept) for concept in prompts.concepts]
    return {**prompts._asdict(), "concepts": concepts, "masks": list(masks)}


def labels(cond: Any) -> dict[str, float] | None:
    """The class labels of a condition."""
    if not isinstance(cond, CFGCond):
        return None if cond is None else {"label": int(cond)}
    both = {"label": int(cond.cond), "against": int(cond.uncond)}
    return {**both, "scale": float(cond.scale)}


def digests(mask: Any) -> Any:
    """The sha256 of a mask, or of each of a list."""
    if isinstance(mask, list):
        return [provenance.digest(each) for each in mask]
    return provenance.digest(mask)

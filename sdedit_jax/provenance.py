"""Provenance of results: the recipe inside a PNG, the record, and the environment."""

import functools
import hashlib
import importlib.metadata
import json
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from sdedit_jax.files import json_file, recipe_fields

RECIPE = "sdedit_jax"
"""The PNG text chunk that holds the recipe, as JSON."""

PARAMETERS = "parameters"
"""The PNG text chunk that image browsers of the web UIs read."""

ENTRY = "sdedit_jax entry"
"""The PNG text chunk with the entry of record.json, without the time; an interrupted run has no
record, and goes on by these."""

SHARED = ("config", "environment")
"""Fields of recipes that a record.json has at its top."""


def environment(compute: str) -> dict[str, Any]:
    """Versions and devices that a result may depend on."""
    names = ("sdedit_jax", "jax", "jaxlib", "flax", "numpy", "pillow")
    device = jax.local_devices()[0]
    return {
        "versions": {"python": platform.python_version()} | {n: version(n) for n in names},
        "device": device.device_kind if device.platform != "cpu" else platform.machine(),
        "platform": device.platform,
        "devices": jax.local_device_count(),
        "compute": compute,
    }


def digest(array: np.ndarray) -> str:
    """sha256 of an array: dtype, shape and C-order bytes."""
    array = np.ascontiguousarray(array)
    head = f"{array.dtype}{tuple(array.shape)}".encode()
    return hashlib.sha256(head + array.tobytes()).hexdigest()


def short(values: Any) -> str:
    """A short digest of plain values."""
    return hashlib.sha256(dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def chunks(recipe: Mapping[str, Any], entry: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The text chunks of a PNG: the recipe, and the `parameters` line of the web UIs.

    Args:
        entry: of record.json; its time is left out, so that equal results are equal files.

    Raises:
        ValueError: a recipe that could not be read again.
    """
    text = dumps(recipe, sort_keys=True)
    recipe_fields.check(json.loads(text))
    found = {RECIPE: text, PARAMETERS: parameters(recipe)}
    if entry is not None:
        found[ENTRY] = dumps({name: value for name, value in entry.items() if name != "seconds"})
    return found


def dumps(values: Any, **options: Any) -> str:
    """JSON; numbers that are not finite, which JSON lacks, become null."""
    try:
        return json.dumps(values, allow_nan=False, **options)
    except (ValueError, TypeError):  # such a number, or another kind of mapping
        return json.dumps(_finite(values), allow_nan=False, **options)


def as_read(values: Any) -> Any:
    """Values as JSON gives them back: lists in the place of tuples."""
    return json.loads(dumps(values))


def read_recipe(text: Mapping[str, str], name: str, version: int) -> dict[str, Any]:
    """The recipe out of a PNG's text chunks.

    Args:
        version: the format that is read; recipes of another one are refused.

    Raises:
        ValueError: there is none, it is damaged, or it has another format.
    """
    if RECIPE not in text:
        raise ValueError(f"input: {name} carries no recipe of sdedit_jax")
    if len(text[RECIPE]) > recipe_fields.LONGEST:
        raise damaged(name, f"it has more than {recipe_fields.LONGEST} characters")
    try:
        found = json_file.parse_text(text[RECIPE], "it", "recipe")
    except ValueError as error:
        raise damaged(name, error) from None
    return checked(found, name, version)


def checked(recipe: Any, name: str, version: int) -> dict[str, Any]:
    """A recipe, if this version can replay it; see `read_recipe`."""
    found = recipe.get("format") if isinstance(recipe, dict) else None
    if isinstance(found, int) and found != version:
        raise ValueError(
            f"input: the recipe in {name} has format {str(found)[:20]}, this version reads"
            f" {version}: make the picture again from its input"
        )
    try:
        recipe_fields.check(recipe)
    except ValueError as error:
        raise damaged(name, error) from None
    return recipe


def damaged(name: str, why: object) -> ValueError:
    """The error for a recipe with a wrong field."""
    return ValueError(f"input: the recipe in {name} is damaged: {why}")


def split(recipes: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The fields that all recipes share, and the other fields of each."""
    first = recipes[0]
    shared = {k: v for k, v in first.items() if all(k in r and r[k] == v for r in recipes)}
    return shared, [{k: v for k, v in recipe.items() if k not in shared} for recipe in recipes]


def recipes_of(record: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The recipes in a record.json, by the names of their pictures; `checked` is to follow.

    Raises:
        ValueError: it has none, or a picture without the name of a file.
    """
    if not isinstance(record.get("recipe"), dict) or not record.get("pictures"):
        raise ValueError(f"input: {name} is no record.json with recipes, as an edit writes it")
    try:
        recipe_fields.check_pictures(record)
    except ValueError as error:
        raise ValueError(f"input: {name} is damaged: {error}") from None
    shared = {field: record[field] for field in SHARED if field in record} | record["recipe"]
    return {entry["file"]: {**shared, **entry["recipe"]} for entry in record["pictures"]}


def parameters(recipe: Mapping[str, Any]) -> str:
    """The settings as the web UIs write them: a first line, then comma-separated fields."""
    strength = recipe["strength"]
    height, width = recipe["size"][:2]
    fields = {
        "Steps": recipe["sampler"]["steps"],
        "Sampler": recipe["sampler"]["rule"],
        "Schedule type": recipe["sampler"]["grid"],
        "Seed": recipe["seed"],
        "Size": f"{width}x{height}",
        "Model hash": recipe["prior"]["sha256"][:10],
        "Model": recipe["prior"]["name"],
        "Denoising strength": f"{strength['t0']:.4g}",
        "Sigma": f"{strength['sigma']:.4g}",
        "Repeats": recipe["sampler"]["repeats"],
        "Sample": recipe["sample"],
        "Version": f"sdedit_jax {recipe['environment']['versions']['sdedit_jax']}",
    }
    line = ", ".join(f"{name}: {_quoted(value)}" for name, value in fields.items())
    return f"SDEdit {recipe['task']}: {recipe['id']}\n{line}"


def differences(then: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """What differs between two environments, one line each."""
    lines = []
    for name in sorted(set(then) | set(now)):
        a, b = then.get(name), now.get(name)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines += differences(a, b, f"{path}{name}.")
        elif a != b:
            lines.append(f"{path}{name}: {str(a)[:200]} then, {str(b)[:200]} now")
    return lines


def _quoted(value: Any) -> str:
    """The web UIs put values with their own separators between quotes."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if set(text) & set(',:\n"') else text


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {name: _finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


@functools.cache
def version(name: str) -> str:
    """The version of an installed package."""
    return importlib.metadata.version(name)

"""--mode=replay of LEDITS: an edit made again from the recipe inside its PNG."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, record
from sdedit_jax.run.ledits_jobs import Done, batches_of
from sdedit_jax.run.ledits_session import Opened, Photo, files_of, open_prior, read_photo
from sdedit_jax.run.session import prior_of


def again(config: ConfigDict, recipe: Mapping[str, Any], path: Path) -> tuple[Opened, Done]:
    """The prior and the result of a recipe, run in a batch of the same size.

    Args:
        config: of this run: its machine, and its prior where the recipe's is gone or another now.
        path: the picture that carries the recipe.

    Raises:
        ValueError: another prior, or the photo or a mask is not to be found.
    """
    opened = open_prior(recipe_config(config, recipe, path))
    photo = find_photo(opened, recipe, path)
    place = recipe["place"]
    rows = [photo] * place["rows"]
    made = next(batches_of(opened, [rows], place["rows"], place["slots"], place["masks"]))
    if isinstance(made, str):
        raise FloatingPointError(made)
    return opened, made


def recipe_config(config: ConfigDict, recipe: Mapping[str, Any], path: Path) -> ConfigDict:
    """The recipe's config with the words of its photo and the machine of the present one."""
    then = ConfigDict(recipe["config"])
    then.update({"prompts": "", "cache": config.cache})
    used = recipe["place"]["devices"]
    then.devices = config.devices or (used if used <= jax.local_device_count() else 0)
    then.prior = prior_of(config, recipe, path)
    return then


def find_photo(opened: Opened, recipe: Mapping[str, Any], path: Path) -> Photo:
    """The photo of the recipe: its own file if it is still there, else the one beside `path`.

    Raises:
        ValueError: none of them is that photo with its masks; the message says why not.
    """
    name = path.stem.removesuffix(recipe["cut"])
    beside = path.with_name(f"{name}_photo.png")
    try:
        own = [f for f in images.find_inputs(opened.config.input) if f.stem == recipe["id"]]
    except ValueError:
        own = []
    asked, known = dict(recipe["words"]), files_of(recipe["words"]["masks"])
    files = [path.with_name(f"{name}_mask_{k}.png") for k in range(1, 1 + len(known))]
    written = {**asked, "masks": [str(file) if file.is_file() else "" for file in files]}
    candidates = [(file, asked) for file in own] + [(beside, written)] * beside.is_file()
    reasons = []
    for file, fields in candidates:
        try:
            photo = read_photo(opened, file, name, fields)
        except (ValueError, OSError) as error:
            reasons.append(str(error))
            continue
        photo = photo._replace(files=tuple(known))
        masks = [np.zeros(0) if mask is None else mask for mask in photo.masks]
        found = {"guide": record.digest(photo.item.fitted), "mask": list(map(record.digest, masks))}
        if all(found[part] == recipe[part]["sha256"] for part in found):
            return photo._replace(item=photo.item._replace(id=recipe["id"]))
        reasons.append(f"{file} or a mask of it is another")
    told = f" ({'; '.join(reasons)})" if reasons else ""
    raise ValueError(f"input: the photo of {path.name} with its masks is not to be found{told}")

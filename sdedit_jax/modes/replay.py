"""--mode=replay: make a result again from the recipe inside its PNG, and measure the difference."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance
from sdedit_jax.images.guide import Guide
from sdedit_jax.modes import kinds
from sdedit_jax.modes.check import UNITS
from sdedit_jax.modes.files import Target, refuse_existing
from sdedit_jax.modes.jobs import FORMAT, Failed, digests, done, run_batch
from sdedit_jax.modes.session import Input, Job, Kind
from sdedit_jax.tasks import TaskInput
from sdedit_jax.weights import load

TOLERANCE = 1
"""Grey levels of 255 by which a replay may differ on another machine and still count as equal."""


def replay(config: ConfigDict, target: Target | None) -> int:
    """Run the recipe of `config.input` again; 0 if the picture comes out equal, else 1.

    The prior is the recipe's folder or `config.prior`, whichever has the recipe's sha256. With a
    workdir the replayed picture is written there.
    """
    if "input" not in config:
        raise ValueError("config: --mode=replay needs one of those that edit pictures, or none")
    path = Path(config.input)
    if target:
        refuse_existing([target.folder / path.name], target.overwrite, [path])
    before = images.read(path).rgb
    recipe = provenance.read_recipe(images.read_text(path), path.name, FORMAT)
    if provenance.digest(before) != recipe["picture"]["sha256"]:
        print(f"note      {path.name} was changed after it was made")
    kind = kinds.open_kind(recipe_config(config, recipe, path), recipe)
    made = again(kind, recipe, find_input(kind, recipe, path))
    if target:
        text = provenance.chunks(made.recipe)
        print(f"replayed  {target.png(path.name, made.made.output.picture, text)}")
    return verdict(before, made.made.output.picture, recipe, kind)


def recipe_config(config: ConfigDict, recipe: Mapping[str, Any], path: Path) -> ConfigDict:
    """The recipe's config with the machine's fields of the present one, all settings resolved."""
    then = ConfigDict(recipe["config"])
    for name, value in (recipe.get("text") or {}).items():
        if name == "scale":
            then.guidance.scale = value
        elif name in then:
            then[name] = value
    then.prompts, then.cache = "", config.cache
    used = recipe["place"]["devices"]
    then.devices = config.devices or (used if used <= jax.local_device_count() else 0)
    then.prior = prior_of(config, recipe, path)
    if "method" not in then:
        then.sampler.steps = recipe["sampler"]["steps"]
        then.t0 = recipe["strength"]["t0"]
        for unit in UNITS:
            then[unit] = None
    return then


def prior_of(config: ConfigDict, recipe: Mapping[str, Any], path: Path) -> str:
    """The folder with the prior of a recipe: the recipe's own, or that of the present config.

    Raises:
        ValueError: neither holds weights of the recipe's sha256.
    """
    wanted, found = recipe["prior"]["sha256"], []
    for folder in dict.fromkeys((recipe["config"]["prior"], config.prior)):
        try:
            sha256 = load.sha256_of(folder)
        except (ValueError, OSError) as error:
            found.append(str(error).removeprefix("prior: "))
            continue
        if sha256 == wanted:
            return folder
        found.append(f"{folder} has sha256 {sha256[:16]}")
    raise ValueError(
        f"prior: the recipe of {path.name} needs weights of sha256 {wanted[:16]};"
        f" {'; '.join(found)}; name their folder by --config.prior"
    )


def find_input(kind: Kind, recipe: Mapping[str, Any], path: Path) -> Input:
    """The input of the recipe: its own file if it is still there, else the files beside `path`.

    Raises:
        ValueError: none of them has the recipe's content; the message says why.
    """
    reasons = []
    for read in candidates(kind, recipe, path):
        try:
            found = read()
            check_input(kind, found, recipe)
            return found
        except (ValueError, OSError) as error:
            reasons.append(str(error))
    raise ValueError(f"input: the input of {path.name} was not found: {'; '.join(reasons)}")


def candidates(kind: Kind, recipe: Mapping[str, Any], path: Path) -> Iterator[Any]:
    """Functions that read the input of a recipe, the likeliest first."""
    name = path.stem.removesuffix(recipe["cut"])
    fields, id = recipe.get("words"), recipe["id"]
    try:
        own = [f for f in images.find_inputs(kind.config.input) if f.stem == id]
    except ValueError:
        own = []
    for file in own:
        yield lambda file=file: _read(kind, file, name, fields)
    if fields is None:
        yield lambda: _from_guide(kind, path, name, id)
    elif (photo := path.with_name(f"{name}_photo.png")).is_file():
        count = len(fields["masks"])
        files = [path.with_name(f"{name}_mask_{k}.png") for k in range(1, count + 1)]
        masks = [str(file) if file.is_file() else "" for file in files]
        found = {**fields, "masks": masks}
        yield lambda: _named(_read(kind, photo, name, found), id, fields["masks"])


def _read(kind: Kind, file: Path, name: str, fields: Mapping[str, Any] | None) -> Input:
    return kind.read(file, name) if fields is None else kind.read_with(file, name, fields)


def _named(found: Input, id: str, files: list[str]) -> Input:
    """An input read from files beside a result, under the names of its own files."""
    extra = dataclasses.replace(found.extra, files=tuple(files))
    return found._replace(item=found.item._replace(id=id), extra=extra)


def _from_guide(kind: Kind, path: Path, name: str, id: str) -> Input:
    """The guide and mask that were written beside the result."""
    if kind.config.output == "original":
        raise ValueError("a result at the input's size needs the input itself")
    fitted = images.read(path.with_name(f"{name}_guide.png")).rgb
    mask = images.read_mask(path.with_name(f"{name}_mask.png"), fitted.shape[:2])
    guide = Guide(images.to_unit(fitted), mask[..., None])
    placement = images.place(fitted.shape[:2], kind.size, "stretch")
    return Input(TaskInput(id, guide, fitted, mask, fitted, placement, mask), name)


def check_input(kind: Kind, found: Input, recipe: Mapping[str, Any]) -> None:
    """Raise ValueError unless guide and masks are the recipe's."""
    mask = kind.recipe(job_of(recipe, found))["mask"]
    now = {"guide": provenance.digest(found.item.fitted), "mask": digests(mask)}
    for part, sha256 in now.items():
        if sha256 != recipe[part]["sha256"]:
            raise ValueError(f"the {part} found is not the recipe's: its sha256 differs")


def job_of(recipe: Mapping[str, Any], found: Input) -> Job:
    """The job of a recipe."""
    value = recipe["value"]
    return Job(found, recipe["cut"], recipe["seed"], recipe["sample"], value)


def again(kind: Kind, recipe: Mapping[str, Any], found: Input) -> Any:
    """The same job, in the same place of a batch of the same size."""
    place, job = recipe["place"], job_of(recipe, found)
    jobs = [job] * place["rows"]
    finished = run_batch(kind, jobs, place["shapes"], place["rows"])
    row = jax.tree.map(lambda a: a[place["row"]], finished.result)
    made = done(kind, job, row, place, 0.0)
    if isinstance(made, Failed):
        raise FloatingPointError(made.reason)
    return made


def verdict(before: np.ndarray, after: np.ndarray, recipe: Mapping[str, Any], kind: Kind) -> int:
    """Print how equal two pictures are, and what differs in the environment; the exit code."""
    now = provenance.environment(kind.config.compute)
    lines = provenance.differences(recipe["environment"], now)
    if before.shape != after.shape:
        raise ValueError(f"input: the picture has size {before.shape}, the replay {after.shape}")
    worst = int(np.abs(before.astype(int) - after).max())
    if worst == 0:
        print("verdict   bit-equal")
    elif worst <= TOLERANCE:
        print(f"verdict   equal within {worst} of 255 levels")
    else:
        print(f"verdict   differs by up to {worst} of 255 levels")
    for line in lines:
        print(f"environment differs: {line}")
    return 0 if worst <= TOLERANCE else 1

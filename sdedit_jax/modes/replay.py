"""--mode=replay: make a result again from the recipe inside its PNG, and measure the difference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance
from sdedit_jax.modes import kinds, signals
from sdedit_jax.modes.files import Target, refuse_existing
from sdedit_jax.modes.jobs import FORMAT, Done, Failed, digests, done, run_batch
from sdedit_jax.modes.session import Input, Job, Kind
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.outputs import given_out
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
    with signals.catch() as caught:
        made = again(kind, recipe, find_input(kind, recipe, path), caught.stop)
    if made is None:
        return caught.exit_code
    if target:
        text = provenance.chunks(made.recipe)
        picture = given_out(made.made.output.picture, made.job.input.item)
        print(f"replayed  {target.png(path.name, picture, text)}")
    return verdict(before, made.made.output.picture, recipe, kind)


def recipe_config(config: ConfigDict, recipe: Mapping[str, Any], path: Path) -> ConfigDict:
    """The recipe's config with the machine's fields of the present one, all settings resolved."""
    then = ConfigDict(recipe["config"])
    then.prompts, then.cache = "", config.cache
    used = recipe["place"]["devices"]
    then.devices = config.devices or (used if used <= jax.local_device_count() else 0)
    then.prior = prior_of(config, recipe, path)
    kinds.module_of(then).restore(then, recipe)
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
    for read in kind.candidates(recipe, path):
        try:
            found = read()
            check_input(kind, found, recipe)
            return found
        except (ValueError, OSError) as error:
            reasons.append(str(error))
    raise ValueError(f"input: the input of {path.name} was not found: {'; '.join(reasons)}")


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


def again(
    kind: Kind, recipe: Mapping[str, Any], found: Input, cancel: Cancel | None = None
) -> Done | None:
    """The same job, in the same place of a batch of the same size; None if it was stopped."""
    place, job = recipe["place"], job_of(recipe, found)
    jobs = [job] * place["rows"]
    finished = run_batch(kind, jobs, place["shapes"], place["rows"], cancel)
    if finished is None:
        return None
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

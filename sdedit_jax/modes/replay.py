"""--mode=replay: make results again from their recipes, and measure the difference.

A recipe is inside its PNG; record.json has the recipes of all results of a run.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance
from sdedit_jax.modes import kinds, signals
from sdedit_jax.modes.edit import report
from sdedit_jax.modes.files import Target, plain, refuse_existing
from sdedit_jax.modes.jobs import FORMAT, Done, Failed, digests, done, run_batch
from sdedit_jax.modes.session import Input, Job, Kind
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.outputs import given_out
from sdedit_jax.text import json_file
from sdedit_jax.text.spelling import counted, one_of
from sdedit_jax.weights import load

TOLERANCE = 1
"""Grey levels of 255 by which a replay may differ on another machine and still count as equal."""


def replay(config: ConfigDict, target: Target | None) -> int:
    """Run the recipes of `config.input` again; 0 if every picture comes out equal, else 1.

    The input is a result, or a record.json; of its results, `config.only` selects some. The prior
    is the recipe's folder or `config.prior`, whichever has the recipe's sha256. With a workdir the
    replayed pictures are written there.
    """
    if "input" not in config:
        raise ValueError("config: --mode=replay needs one of those that edit pictures, or none")
    if not config.input:
        raise ValueError("input: give a result or a record.json, e.g. --config.input=RESULT.png")
    results = results_of(Path(config.input), config.only)
    if target:
        files = [target.folder / result.path.name for result in results]
        refuse_existing(files, target.overwrite, [result.path for result in results])
    if len(results) == 1:
        return replay_one(config, results[0], target, {})
    codes, failed, loaded = [], [], {}
    for result in results:
        print(f"picture   {result.path.name}")
        try:
            codes.append(replay_one(config, result, target, loaded))
        except (ValueError, OSError, FloatingPointError) as error:
            failed.append(f"{result.path.name}: {error}")
        if codes and codes[-1] > 1:  # a signal
            break
    print(f"replayed  {codes.count(0)} of {counted(len(results), 'picture')} equal")
    return report(failed, max(codes, default=0))


class Result(NamedTuple):
    """A result and its recipe."""

    path: Path
    recipe: dict[str, Any]


def results_of(path: Path, only: str) -> list[Result]:
    """The result `path`, or those of a record.json.

    Args:
        only: names of some of them, separated by commas; "": all.

    Raises:
        ValueError: an unreadable file, no recipe, or a name that the record lacks.
    """
    if path.is_dir():
        raise ValueError(
            f"input: --mode=replay needs a result or a record.json, got the folder {path}; give"
            " --config.input=RESULT.png"
        )
    if path.suffix.lower() != ".json":
        if only:
            raise ValueError(f"only: it selects results of a record.json, the input is {path}")
        return [Result(path, provenance.read_recipe(images.read_text(path), path.name, FORMAT))]
    record = json_file.read_object(path, "input")
    recipes = provenance.recipes_of(record, path.name, FORMAT)
    names = {Path(file).stem: Path(file).name for file in recipes}
    given = [name.strip().removesuffix(".png") for name in only.split(",") if name.strip()]
    chosen = given or list(names)
    for name in chosen:
        one_of(f"only: a result of {path.name}", name, names)
    return [Result(path.with_name(names[name]), recipes[names[name]]) for name in chosen]


def replay_one(
    config: ConfigDict, result: Result, target: Target | None, loaded: dict[str, Kind]
) -> int:
    """Make one result again and compare; the exit code.

    Args:
        loaded: kinds by their settings, so that results of equal ones load the prior once.
    """
    path, recipe = result
    before = images.read(path).pixels if path.is_file() else None
    if before is not None and provenance.digest(before) != recipe["picture"]["sha256"]:
        print(f"note      {path.name} was changed after it was made")
    then = recipe_config(config, recipe, path)
    settings = provenance.dumps([plain(then), (recipe.get("prompts") or {}).get("guided")])
    if settings not in loaded:
        loaded[settings] = kinds.open_kind(then, recipe=recipe)
    kind = loaded[settings]
    with signals.catch() as caught:
        made = again(kind, recipe, find_input(kind, recipe, path), caught.stop)
    if made is None:
        return caught.exit_code
    if target:
        text = provenance.chunks(made.recipe)
        item = made.job.input.item
        picture = given_out(made.made.output.picture, item)
        print(f"replayed  {target.png(path.name, picture, text, item.photo.source)}")
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
    """Raise ValueError unless guide, masks and strength map are the recipe's."""
    own = kind.recipe(job_of(recipe, found))
    now = {"guide": provenance.digest(found.item.fitted), "mask": digests(own["mask"])}
    then = {part: recipe[part]["sha256"] for part in now}
    now["strength map"], then["strength map"] = (r.get("strength_map") for r in (own, recipe))
    for part, sha256 in now.items():
        if sha256 != then[part]:
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


def verdict(
    before: np.ndarray | None, after: np.ndarray, recipe: Mapping[str, Any], kind: Kind
) -> int:
    """Print how equal two pictures are, and what differs in the environment; the exit code.

    Args:
        before: None: the file is gone, and its sha256 in the recipe is compared.
    """
    equal, how = compared(before, after, recipe)
    print(f"verdict   {how}")
    now = provenance.environment(kind.config.compute)
    for line in provenance.differences(recipe["environment"], now):
        print(f"environment differs: {line}")
    return 0 if equal else 1


def compared(
    before: np.ndarray | None, after: np.ndarray, recipe: Mapping[str, Any]
) -> tuple[bool, str]:
    """Whether two pictures count as equal, and how equal they are."""
    if before is None:
        same = provenance.digest(after) == recipe["picture"]["sha256"]
        how = "bit-equal" if same else "differs, and cannot be measured"
        return same, f"{how}, by the sha256 of the picture, whose file is gone"
    if before.shape != after.shape:
        was, now = images.size_text(before.shape), images.size_text(after.shape)
        raise ValueError(f"input: the picture has size {was}, the replay {now}")
    worst = int(np.abs(before.astype(int) - after).max())
    if worst == 0:
        return True, "bit-equal"
    if worst <= TOLERANCE:
        return True, f"equal within {worst} of 255 levels"
    return False, f"differs by up to {worst} of 255 levels"

"""--mode=replay: make results again from their recipes, and measure the difference.

A recipe is inside its PNG; record.json has the recipes of all results of a run.
"""

import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance, signals
from sdedit_jax.files import door, json_file
from sdedit_jax.files.paths import shown, user_path
from sdedit_jax.modes import kinds
from sdedit_jax.modes.edit import report
from sdedit_jax.modes.files import Target, plain, refuse_existing
from sdedit_jax.modes.inputs import Input
from sdedit_jax.modes.jobs import Done, Failed, done, run_batch, unchanged
from sdedit_jax.modes.reach import Reach, of_replay
from sdedit_jax.modes.session import Job, Kind
from sdedit_jax.pipeline import recipes
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.outputs import given_out
from sdedit_jax.pipeline.recipes import digests
from sdedit_jax.registry import bounds
from sdedit_jax.text.spelling import counted, one_of
from sdedit_jax.weights import load

TOLERANCE = 1
"""Grey levels of 255 by which a replay may differ on another machine and still count as equal."""


def replay(config: ConfigDict, target: Target | None) -> int:
    """Run the recipes of `config.input` again; 0 if every picture comes out equal, else 1.

    The input is a result, or a record.json; of its results, `config.only` selects some. The prior
    is the recipe's folder or `config.prior`, whichever has the recipe's sha256. With a workdir the
    replayed pictures are written there. Files are opened where `reach.of_replay` allows it, and
    printed before.
    """
    if "input" not in config:
        raise ValueError("config: --mode=replay needs one of those that edit pictures, or none")
    if not config.input:
        raise ValueError("input: give a result or a record.json, e.g. --config.input=RESULT.png")
    path = user_path(config.input)
    reach = of_replay(config, path, target.folder if target else None)
    with door.guarded(reach.see):
        return _replay(config, target, path, reach)


def _replay(config: ConfigDict, target: Target | None, path: Path, reach: Reach) -> int:
    results = results_of(path, config.only)
    if target:
        files = [target.folder / result.file for result in results]
        refuse_existing(files, target.overwrite, [result.path for result in results])
    alone = len(results) == 1
    codes, failed = replay_all(config, results, target, alone, reach)
    if alone:
        return codes[0]
    print(f"replayed  {codes.count(0)} of {counted(len(results), 'picture')} equal")
    return report(failed, max(codes, default=0))


class Result(NamedTuple):
    """A result and its recipe."""

    path: Path
    recipe: dict[str, Any]

    @property
    def picture(self) -> np.ndarray | None:
        """The picture; None: its file is gone."""
        return images.read(self.path).pixels if self.path.is_file() else None

    @property
    def file(self) -> str:
        """The name of the replayed file, a PNG whatever a record names."""
        return f"{self.path.name.removesuffix('.png')}.png"


class Ready(NamedTuple):
    """A result that can be made again.

    Attributes:
        kind: of its settings. job: with its input.
    """

    result: Result
    kind: Kind
    job: Job

    @property
    def place(self) -> dict[str, Any]:
        """Where it was made, see jobs.run."""
        return self.result.recipe["place"]


def replay_all(
    config: ConfigDict,
    results: Sequence[Result],
    target: Target | None,
    alone: bool,
    reach: Reach,
) -> tuple[list[int], list[str]]:
    """The exit codes of the results that were made again, and one line for each that was not.

    Args:
        alone: whether an error is raised instead. reach: what may be opened.
    """
    found, codes, failed, loaded = [], [], [], {}
    for result in results:
        with noted([result], failed, alone):
            found.append(ready(config, result, loaded, reach))
    with signals.catch() as caught:
        for batch in batches(found):
            made: Sequence[Done | Failed] | None = ()
            with noted([one.result for one in batch], failed, alone):
                made = again(batch, caught.stop)
            if made is None:
                print(f"error: {caught.name}; what is replayed is kept", file=sys.stderr)
                codes.append(caught.exit_code)
                break
            for one, new in zip(batch, made, strict=False):  # none where the batch failed
                if not alone:
                    print(f"picture   {one.result.path.name}")
                with noted([one.result], failed, alone):
                    codes.append(judged(one, new, target))
    return codes, failed


@contextlib.contextmanager
def noted(results: Sequence[Result], failed: list[str], alone: bool) -> Iterator[None]:
    """Within it, an error is a line in `failed` for each result, or is raised if `alone`."""
    try:
        yield
    except (ValueError, OSError, FloatingPointError) as error:
        if alone:
            raise
        failed += [f"{result.path.name}: {error}" for result in results]


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
        return [Result(path, recipes.read(images.read_text(path), shown(path.name)))]
    record, name = json_file.read_object(path, "input"), shown(path.name)
    names = {Path(file).stem: file for file in provenance.recipes_of(record, name)}
    given = [name.strip().removesuffix(".png") for name in only.split(",") if name.strip()]
    chosen = given or list(names)
    for one in chosen:
        one_of(f"only: a result of {path.name}", one, names)
    files = [names[one] for one in chosen]
    found = recipes.of_record(record, name, files)
    return [Result(path.with_name(file), found[file]) for file in files]


def ready(config: ConfigDict, result: Result, loaded: dict[str, Kind], reach: Reach) -> Ready:
    """A result with its kind and its input.

    Args:
        loaded: kinds by their settings, so that results of equal ones load the prior once.
    """
    path, recipe, before = *result, result.picture
    if before is not None and provenance.digest(before) != recipe["picture"]["sha256"]:
        print(f"note      {path.name} was changed after it was made")
    then = recipe_config(config, recipe, path, reach)
    settings = provenance.dumps([plain(then), (recipe.get("prompts") or {}).get("guided")])
    if settings not in loaded:
        kind = kinds.open_kind(then, recipe=recipe)
        recent = next(iter(loaded.values()), kind).recent  # one bound for the pictures of all
        loaded[settings] = dataclasses.replace(kind, recent=recent)
    kind = loaded[settings]
    return Ready(result, kind, job_of(recipe, find_input(kind, recipe, path)))


def batches(found: Sequence[Ready]) -> list[list[Ready]]:
    """Results of equal kinds, sizes and shapes in batches, no two of a batch in the same row."""
    made: list[list[Ready]] = []
    for one in found:
        fitting = (batch for batch in made if fits(one, batch))
        batch = next(fitting, None)
        if batch is None:
            made.append([one])
        else:
            batch.append(one)
    return made


def fits(one: Ready, batch: Sequence[Ready]) -> bool:
    """Whether a result can be made again in the same batch."""
    same = batch[0].kind is one.kind and all(
        batch[0].place[part] == one.place[part] for part in ("rows", "shapes")
    )
    return same and one.place["row"] not in {other.place["row"] for other in batch}


def judged(one: Ready, made: Done | Failed, target: Target | None) -> int:
    """Write a replayed result, if asked, and compare it; the exit code."""
    if isinstance(made, Failed):
        raise FloatingPointError(made.reason)
    before = one.result.picture  # a replay may write the same file
    if target:
        text = provenance.chunks(made.recipe)
        item = made.job.input.item
        picture = given_out(made.made.output.picture, item)
        path = target.png(one.result.file, picture, text, item.photo.source)
        print(f"replayed  {path}")
    return verdict(before, made.made.output.picture, one.result.recipe, one.kind)


def recipe_config(
    config: ConfigDict, recipe: Mapping[str, Any], path: Path, reach: Reach
) -> ConfigDict:
    """The recipe's config with the machine's fields of the present one, all settings resolved."""
    then = ConfigDict(bounds.completed(recipe["config"]))
    then.prompts, then.cache = "", config.cache
    used = recipe["place"]["devices"]
    then.devices = config.devices or (used if used <= jax.local_device_count() else 0)
    then.prior = prior_of(config, recipe, path, reach)
    kinds.module_of(then).restore(then, recipe)
    return then


def prior_of(config: ConfigDict, recipe: Mapping[str, Any], path: Path, reach: Reach) -> str:
    """The folder with the prior of a recipe: the recipe's own, or that of the present config.

    Raises:
        ValueError: neither may be opened and holds weights of the recipe's sha256.
    """
    wanted, found = recipe["prior"]["sha256"], []
    for name in dict.fromkeys((recipe["config"]["prior"], config.prior)):
        try:
            folder = reach.prior(name)
            reach.show(folder)
            sha256 = load.sha256_of(folder)
        except (ValueError, OSError) as error:
            found.append(str(error).removeprefix("prior: "))
            continue
        if sha256 == wanted:
            return str(folder)
        found.append(f"{name} has sha256 {sha256[:16]}")
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


def again(batch: Sequence[Ready], cancel: Cancel | None = None) -> list[Done | Failed] | None:
    """The same jobs, each in its row of a batch of the same size; None if they were stopped."""
    kind, place = batch[0].kind, batch[0].place
    jobs = [batch[0].job] * place["rows"]
    for one in batch:
        jobs[one.place["row"]] = one.job
    jobs, lost = unchanged(jobs)
    if not jobs:
        return [Failed(one.job, lost[one.job.name]) for one in batch]
    finished = run_batch(kind, jobs, place["shapes"], place["rows"], cancel)
    if finished is None:
        return None

    def made(one: Ready) -> Done | Failed:
        if one.job.name in lost:
            return Failed(one.job, lost[one.job.name])
        row = jax.tree.map(lambda a: a[one.place["row"]], finished.result)
        return done(kind, one.job, row, one.place, 0.0)

    return [made(one) for one in batch]


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

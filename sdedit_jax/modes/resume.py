"""--resume: what an interrupted run has left, checked against the run that finishes it."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sdedit_jax import images, provenance
from sdedit_jax.diffusion.noise import check_seed
from sdedit_jax.files import door, json_file
from sdedit_jax.modes import jobs as batches
from sdedit_jax.modes.files import Target, check_file
from sdedit_jax.modes.inputs import Changed, Input
from sdedit_jax.modes.jobs import Done
from sdedit_jax.modes.session import Job, Kind, Made
from sdedit_jax.pipeline import recipes
from sdedit_jax.pipeline.outputs import Stored, given_out

FOUND = ("value", "strength", "strength_map", "place")
"""Fields of a recipe that are not known before the strengths are found."""

GROUPS = ("strength", "prompts", "reconstruction", "target_l2", "target_lpips")
"""Fields of an entry that hold fields."""
NUMBERS = ("l2", "rms", "max_change_outside_mask", "evaluations", "scale")
"""Fields of an entry that are numbers."""

Earlier = Mapping[str, Done]
"""The name of a job -> its result of the interrupted run."""


def seed_of(folder: Path, field: str) -> Any:
    """`seed`, or the seeds of a sweep, by the first result in a workdir; None without one."""
    for file in sorted(folder.glob("*.png")):
        try:
            config = recipe_of(images.read_head(file), file)["config"] if file.is_file() else {}
            found = config["sweep"]["seeds"] if field == "sweep.seeds" else config[field]
            for seed in found if field == "sweep.seeds" else [found]:
                check_seed(seed)
            return found
        except (ValueError, OSError, KeyError, TypeError):
            continue
    return None


def results(
    kind: Kind, jobs: Sequence[Job], target: Target, ends: Sequence[str], with_strengths: bool
) -> Earlier:
    """The finished results of jobs: those whose picture, and the files beside it, are there.

    A picture of an interrupted run that is empty or cut off is removed.

    Args:
        ends: what files that are written at the end add to an input's name.
        with_strengths: whether the jobs have their strengths; without them, these are not compared.

    Raises:
        ValueError: a file belongs to another run; the message names the difference.
    """
    found, damaged = {}, []
    inputs = {job.input.name: job.input for job in jobs}
    whole = {name: beside(kind, one, target, ends) for name, one in inputs.items()}
    places = batches.places(kind, jobs) if with_strengths else [None] * len(jobs)
    for job, place in zip(jobs, places, strict=True):
        file = target.folder / f"{job.name}.png"
        if not file.exists():
            continue
        if (picture := readable(file, provenance.RECIPE)) is None:
            damaged.append(file)
            continue
        same = compared(kind, job, file, picture, place)
        if whole[job.input.name]:
            found[job.name] = same
    for file in damaged:
        print(f"damaged   {file} is made again")
        file.unlink()
    return found


def again(kind: Kind, jobs: Sequence[Job], earlier: Earlier, target: Target) -> Earlier:
    """The results with the strengths of their jobs, which are compared now.

    Those of inputs that have changed meanwhile are left out: their jobs fail when they are run.

    Raises:
        ValueError: see `results`.
    """
    found = {}
    for job, place in zip(jobs, batches.places(kind, jobs), strict=True):
        done = earlier.get(job.name)
        if done is not None and place is not None:
            file = target.folder / f"{job.name}.png"
            with contextlib.suppress(Changed):
                picture = done.made.output.picture
                found[job.name] = compared(kind, job, file, picture, place)
    return found


def readable(file: Path, mark: str) -> np.ndarray | None:
    """The picture of a result; None if the file is empty, or one of ours that is cut off.

    Args:
        mark: the text chunk that such a file has.

    Raises:
        ValueError: it is no result.
    """
    check_file(file)
    if not file.stat().st_size:
        return None
    if mark not in images.read_head(file):
        raise ValueError(f"workdir: {file} exists and is no result of this program; move it away")
    try:
        data = door.read(file, "workdir", door.PICTURE)
        return images.decode(data, str(file)).pixels if END in data else None
    except ValueError:
        return None


END = b"IEND\xaeB`\x82"
"""The last bytes of a PNG file; Pillow misses no pixels without them."""


def compared(
    kind: Kind, job: Job, file: Path, picture: np.ndarray, place: Mapping[str, Any] | None
) -> Done:
    """A result as that of a job.

    Args:
        place: where it would be made now; None: unknown, as the strength is.

    Raises:
        ValueError: it was made from something else; the message names the first difference.
    """
    text = images.read_head(file)
    then = recipe_of(text, file)
    recipe = batches.recipe(kind, job, picture, place or {})
    now = provenance.as_read(recipe)
    if then["picture"] != now["picture"]:
        raise ValueError(f"workdir: {file} was changed after it was made; move it away")
    if differing := provenance.differences(_known(then, place), _known(now, place)):
        raise ValueError(
            f"workdir: {file} is of another run, {differing[0]}; give the settings as they were,"
            " or another --workdir"
        )
    if _names(then["environment"]) != _names(now["environment"]):
        raise ValueError(f"workdir: the recipe in {file} is damaged; move it away")
    entry = {**entry_of(text, job, file), "seconds": None}
    beside = {end: Stored(file.with_name(f"{job.input.name}{end}.png")) for end in job.input.beside}
    made = Made(Stored(file), beside, entry, "")
    kept = {name: then.get(name) for name in ("environment", *(() if place else FOUND))}
    return Done(job, made, entry, recipe | kept)


def recipe_of(text: Mapping[str, str], file: Path) -> dict[str, Any]:
    """The recipe of a result.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    try:
        return recipes.read(text, file.name)
    except ValueError as error:
        raise ValueError(str(error).replace("input:", "workdir:", 1)) from None


def entry_of(text: Mapping[str, str], job: Job, file: Path) -> dict[str, Any]:
    """The entry of record.json that a result carries.

    Raises:
        ValueError: there is none, it is damaged, or it is that of another result.
    """
    try:
        entry = json_file.parse_text(text.get(provenance.ENTRY, ""), file, "workdir")
        own = {"file": file.name, "id": job.input.id, "seed": job.seed, "sample": job.sample}
        whole = all(entry[name] == value for name, value in own.items())
        whole &= all(isinstance(entry[name], dict) for name in GROUPS if name in entry)
        whole &= all(isinstance(entry[name], int | float) for name in NUMBERS if name in entry)
    except (ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise ValueError(
            f"workdir: {file} lacks its entry of record.json, or it is damaged; move it away"
        )
    return entry


# --- the files beside results ---------------------------------------------------------------------


def beside(kind: Kind, one: Input, target: Target, ends: Sequence[str]) -> bool:
    """Whether the files beside the results of an input are there; one that is cut off is removed.

    Args:
        ends: of files that are written at the end; they may be missing.

    Raises:
        ValueError: one is no file of this program, or has another content.
    """
    known, whole = kind.inputs_beside(one), True
    for end in (*one.beside, *ends):
        file = target.folder / f"{one.name}{end}.png"
        found = readable(file, images.PART) if file.exists() else None
        if file.exists() and found is None:
            file.unlink()
        if found is not None and end in known and not _equal(found, known[end], one):
            raise ValueError(
                f"workdir: {file} is of another run, its content differs; give the settings as they"
                " were, or another --workdir"
            )
        whole &= found is not None or end in ends
    return whole


def _equal(found: np.ndarray, picture: np.ndarray, one: Input) -> bool:
    """Whether a file has the pixels of a picture."""
    data = images.png(given_out(picture, one.item))
    return np.array_equal(found, images.decode(data, one.name).pixels)


# --- recipes --------------------------------------------------------------------------------------


def _known(recipe: Mapping[str, Any], place: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of a recipe that are compared: not the environment, and not the cache's folder."""
    left_out = ("environment", "picture", *(() if place else FOUND))
    found = {name: value for name, value in recipe.items() if name not in left_out}
    if isinstance(found["config"], Mapping):
        found["config"] = {k: v for k, v in found["config"].items() if k != "cache"}
    return found


def _names(environment: Any) -> Any:
    """The names of an environment's fields."""
    if not isinstance(environment, Mapping):
        return None
    return {name: _names(value) for name, value in environment.items()}

"""The files about a whole run: their names, and whether they are there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdedit_jax import images, provenance
from sdedit_jax.files import json_file, recipe_fields
from sdedit_jax.modes.files import Target, check_file, plain
from sdedit_jax.modes.session import Job, Kind

SUMMARY = ("sheet{}.png", "record{}.json", "report{}.html")
"""Names of the files about a run, without their number."""

RUN = "sdedit_jax run"
"""The PNG text chunk of a sheet that names its run."""


def run_of(kind: Kind, jobs: Sequence[Job]) -> str:
    """A short digest that names a run: of its settings, prior and results."""
    config = {name: value for name, value in plain(kind.config).items() if name != "cache"}
    sha256 = kind.prior.metadata.get("sha256", "")
    return provenance.short([config, sha256, [job.name for job in jobs]])


def ending(target: Target, run: str) -> str:
    """What the names of a run's sheet, record and report end in: "", or "-2", "-3" ..

    An interrupted run keeps its own.

    Raises:
        ValueError: a folder is in the place of one of these files.
    """
    for number in range(1, 100_000):
        end = f"-{number}" if number > 1 else ""
        files = [target.folder / name.format(end) for name in SUMMARY]
        there = any(file.exists() for file in files)
        if target.overwrite or not there or (target.resume and _is_of(target.folder, end, run)):
            for file in files:
                check_file(file)
            return end
    raise ValueError(f"workdir: {target.folder} holds too many runs")


def complete(target: Target, run: str, jobs: Sequence[Job], ends: Sequence[str]) -> bool:
    """Whether the record, which is written last, covers all jobs, and all files are there.

    Args:
        ends: what further files add to an input's name.
    """
    end = ending(target, run)
    record = _record(target.folder / SUMMARY[1].format(end))
    files = {entry["file"] for entry in record.get("pictures", [])}
    further = [target.folder / f"{job.input.name}{name}.png" for job in jobs for name in ends]
    own = record.get("run") == run and files == {f"{job.name}.png" for job in jobs}
    return own and all(file.is_file() for file in further)


def _is_of(folder: Path, end: str, run: str) -> bool:
    """Whether the files with an ending are those of a run."""
    sheet = folder / SUMMARY[0].format(end)
    try:
        named = images.read_head(sheet).get(RUN) if sheet.is_file() else None
    except ValueError:
        named = None
    return run in (named, _record(folder / SUMMARY[1].format(end)).get("run"))


def _record(file: Path) -> dict[str, Any]:
    """A record; empty if it is missing or damaged."""
    try:
        found = json_file.read_object(file, "workdir")
        recipe_fields.check_pictures(found)
    except ValueError:
        return {}
    return found

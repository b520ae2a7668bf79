"""--mode=edit: pictures in, edited pictures, guides, a contact sheet and a record out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, record
from sdedit_jax.run.jobs import Done, Failed, Job, run_jobs
from sdedit_jax.run.session import (
    Session,
    free_name,
    labels,
    needs,
    open_session,
    plain,
    process_name,
    read_inputs,
    refuse_existing,
    refuse_own_folder,
    sheet_scale,
)
from sdedit_jax.tasks import TaskInput

CELL = 512
"""Pixels of the longest side of a picture on the contact sheet."""


def edit(config: ConfigDict, workdir: Path, overwrite: bool) -> int:
    """Edit every input `samples` times.

    Writes <name>_<sample>.png, <name>_guide.png and <name>_mask.png for each input, sheet.png and
    record.json. Returns 1 if an input could not be read or a result not be made; the others are
    done all the same.

    Configs with a method of their own go to it.
    """
    if "input" not in config:
        raise ValueError("config: this one edits no pictures; see configs/, or give another --mode")
    if config.get("method") == "ledits":
        from sdedit_jax.run import ledits

        return ledits.edit(config, workdir, overwrite)
    refuse_own_folder(config, workdir)
    session = open_session(config)
    items, bad = read_inputs(session)
    planned = [file for _, name in items for file in files(workdir, name, config)]
    refuse_existing(planned, overwrite, needs(config))
    jobs = [
        Job(item, f"{name}_{k}", session.t0, config.seed, k, f"_{k}")
        for item, name in items
        for k in range(config.samples)
    ]
    done, failed = make(session, workdir, jobs, overwrite)
    if done:
        summarise(session, workdir, items, done, overwrite)
    return report_bad(bad + failed)


def files(workdir: Path, name: str, config: ConfigDict) -> list[Path]:
    """The files that one input gives."""
    ends = [*map(str, range(config.samples)), "guide", "mask"]
    return [workdir / f"{name}_{end}.png" for end in ends]


def make(
    session: Session, workdir: Path, jobs: Sequence[Job], overwrite: bool
) -> tuple[list[Done], list[str]]:
    """Run the jobs and write each result as it comes, a guide with its first result.

    Returns:
        the results, and one line for each job that failed.
    """
    done, failed, guided = [], [], set()
    for result in run_jobs(session, jobs) if jobs else ():
        job = result.job
        if isinstance(result, Failed):
            failed.append(f"{job.name}: {result.reason}")
            continue
        if job.stem not in guided:
            write_guide(workdir, job.item, job.stem, overwrite)
            guided.add(job.stem)
        write(workdir, result, overwrite)
        done.append(result)
    return done, failed


def write_guide(workdir: Path, item: TaskInput, name: str, overwrite: bool) -> None:
    """The fitted guide and its mask, beside the results."""
    images.write_png(workdir / f"{name}_guide.png", item.fitted, overwrite=overwrite)
    mask = np.round(item.mask * 255).astype(np.uint8)
    images.write_png(workdir / f"{name}_mask.png", mask, overwrite=overwrite)


def write(workdir: Path, done: Done, overwrite: bool) -> None:
    """One result with its recipe, and a line about it."""
    path = workdir / f"{done.job.name}.png"
    images.write_png(path, done.picture, record.chunks(done.recipe), overwrite)
    e = done.entry
    print(
        f"{path}  L2 {e['l2']:.2f} (RMS {e['rms']:.4f})"
        f"  max change outside the mask {e['max_change_outside_mask']}"
        f"  {e['seconds']:.2f} s"
    )


def summarise(
    session: Session,
    workdir: Path,
    items: Sequence[tuple[TaskInput, str]],
    done: Sequence[Done],
    overwrite: bool,
) -> None:
    """The contact sheet and the record of a run."""
    sheet = free_name(workdir / "sheet.png", overwrite)
    images.write_png(sheet, contact_sheet(session, items, done), overwrite=overwrite)
    file = free_name(workdir / "record.json", overwrite)
    write_record(file, session, done, overwrite)
    print(f"sheet {sheet}, record {file}")


def contact_sheet(
    session: Session, items: Sequence[tuple[TaskInput, str]], done: Sequence[Done]
) -> np.ndarray:
    """A row for each input: guide, mask, results."""
    config, rows = session.config, []
    made = {d.job.name: d.picture for d in done}
    for item, name in items:
        before = (item.fitted, item.mask)
        if config.output == "original":
            before = (item.original, item.original_mask)
        mask = np.repeat(np.round(before[1][..., None] * 255).astype(np.uint8), 3, axis=-1)
        results = [made.get(f"{name}_{k}") for k in range(config.samples)]
        rows.append([None if cell is None else small(cell) for cell in (before[0], mask, *results)])
    first = "input" if config.output == "original" else "guide"
    columns = [first, "mask"] + [f"sample {k}" for k in range(config.samples)]
    scale = sheet_scale(config, rows)
    return images.contact_sheet(rows, [name for _, name in items], columns, scale)


def small(picture: np.ndarray) -> np.ndarray:
    """The picture, or where it is larger than a sheet's cell, shrunk into it."""
    if max(picture.shape[:2]) <= CELL:
        return picture
    return images.fit(picture, CELL, "pad", (255, 255, 255))[0]


def write_record(file: Path, session: Session, done: Sequence[Done], overwrite: bool) -> None:
    """record.json: what ran, on what, and what came out."""
    body: dict[str, Any] = {
        "config": plain(session.config),
        "prior": session.prior.card,
        "process": process_name(session.prior),
        "sampler": done[0].recipe["sampler"],
        "class": labels(session.cond),
        "evaluations": session.evaluations,
        "environment": done[0].recipe["environment"],
        "pictures": [{"file": f"{d.job.name}.png", **d.entry} for d in done],
    }
    images.write_bytes(file, record.dumps(body, indent=1).encode() + b"\n", overwrite)


def report_bad(bad: Sequence[str]) -> int:
    """Tell what failed; the exit code."""
    if bad:
        print(f"error: {len(bad)} picture(s) could not be made:", file=sys.stderr)
        for line in bad:
            print(f"  {line}", file=sys.stderr)
    return 1 if bad else 0

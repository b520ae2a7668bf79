"""--mode=edit: pictures in, edited pictures, guides, a contact sheet and a record out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, record
from sdedit_jax.run.session import (
    Done,
    Job,
    Session,
    free_name,
    open_session,
    plain,
    process_name,
    read_inputs,
    refuse_existing,
    run_jobs,
    sheet_scale,
)
from sdedit_jax.tasks import TaskInput


def edit(config: ConfigDict, workdir: Path, overwrite: bool) -> int:
    """Edit every input `samples` times.

    Writes <name>_<sample>.png, <name>_guide.png and <name>_mask.png for each input, sheet.png and
    record.json. Returns 1 if an input could not be read; the others are done all the same.
    """
    session = open_session(config)
    items, bad = read_inputs(session)
    refuse_existing([f for _, name in items for f in files(workdir, name, config)], overwrite)
    jobs = [
        Job(item, f"{name}_{k}", session.t0, config.seed, k, f"_{k}")
        for item, name in items
        for k in range(config.samples)
    ]
    done = []
    for item, name in items:
        write_guide(workdir, item, name, overwrite)
    for result in run_jobs(session, jobs) if jobs else ():
        write(workdir, result, overwrite)
        done.append(result)
    if done:
        summarise(session, workdir, items, done, overwrite)
    return report_bad(bad)


def files(workdir: Path, name: str, config: ConfigDict) -> list[Path]:
    """The files that one input gives."""
    ends = [*map(str, range(config.samples)), "guide", "mask"]
    return [workdir / f"{name}_{end}.png" for end in ends]


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
    rows = []
    for item, _ in items:
        pictures = [d.picture for d in done if d.job.item is item]
        if session.config.output == "original":
            rows.append([item.original, np.round(item.original_mask * 255).astype(np.uint8)])
        else:
            rows.append([item.fitted, np.round(item.mask * 255).astype(np.uint8)])
        rows[-1] += pictures
    columns = ["guide", "mask"] + [f"sample {k}" for k in range(session.config.samples)]
    longest = max(max(cell.shape[:2]) for row in rows for cell in row)
    scale = sheet_scale(session.config, longest)
    return images.contact_sheet(rows, [name for _, name in items], columns, scale)


def write_record(file: Path, session: Session, done: Sequence[Done], overwrite: bool) -> None:
    """record.json: what ran, on what, and what came out."""
    body: dict[str, Any] = {
        "config": plain(session.config),
        "prior": session.prior.card,
        "process": process_name(session.prior),
        "sampler": done[0].recipe["sampler"],
        "evaluations": session.plan.nfe,
        "environment": done[0].recipe["environment"],
        "pictures": [{"file": f"{d.job.name}.png", **d.entry} for d in done],
    }
    images.write_bytes(file, json.dumps(body, indent=1).encode() + b"\n", overwrite)


def report_bad(bad: Sequence[str]) -> int:
    """Tell the inputs that failed; the exit code."""
    if bad:
        print(f"error: {len(bad)} input(s) could not be edited:")
        for line in bad:
            print(f"  {line}")
    return 1 if bad else 0

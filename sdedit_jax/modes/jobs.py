"""Jobs in batches through the executor, each result with the recipe by which it is replayed."""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from sdedit_jax import devices
from sdedit_jax.diffusion.noise import image_key
from sdedit_jax.modes.files import plain
from sdedit_jax.modes.inputs import Changed
from sdedit_jax.modes.session import Job, Kind, Made, device_errors
from sdedit_jax.pipeline import executor, recipes
from sdedit_jax.pipeline.base import Event, Finished, total_evaluations
from sdedit_jax.text.spelling import counted


class Done(NamedTuple):
    """A finished job: its pictures, the entry of the record, and the recipe."""

    job: Job
    made: Made
    entry: dict[str, Any]
    recipe: dict[str, Any]


class Failed(NamedTuple):
    """A job that gave no picture."""

    job: Job
    reason: str


def run(
    kind: Kind,
    jobs: Sequence[Job],
    cancel: executor.Cancel | None = None,
    finished: Collection[str] = (),
) -> Iterator[Done | Failed]:
    """Run the jobs, `config.batch` at a time, all in one program; the last batch is filled up.

    Setting `cancel` stops after the current chunk; finished batches are kept. A job whose input has
    changed since it was checked fails alone.

    Args:
        finished: names of jobs whose results are there. A batch of such jobs alone is left out.
            Other batches are made as a whole, so that each job has its row.

    Raises:
        ValueError: the device fails, for example because it runs out of memory.
    """
    yield from (Failed(job, job.failed) for job in jobs if job.failed)
    placed = [(job, place) for job, place in zip(jobs, places(kind, jobs), strict=True) if place]
    while placed:
        rows, shapes = placed[0][1]["rows"], placed[0][1]["shapes"]
        batch, placed = placed[:rows], placed[rows:]
        left = [(job, place) for job, place in batch if job.name not in finished]
        if not left:
            continue
        given, lost = unchanged([job for job, _ in batch])
        yield from (Failed(job, lost[job.name]) for job, _ in left if job.name in lost)
        left = [(job, place) for job, place in left if job.name not in lost]
        if not left:
            continue
        made = run_batch(kind, given, shapes, rows, cancel)
        if made is None:
            return
        if made.compile_seconds > 0.01:
            pictures = counted(rows, "picture")
            print(f"compiled  {made.compile_seconds:.1f} s for {pictures} at a time")
        for job, place in left:
            row = jax.tree.map(lambda a, i=place["row"]: a[i], made.result)
            yield done(kind, job, row, place, made.seconds / len(batch))


def unchanged(batch: Sequence[Job]) -> tuple[list[Job], dict[str, str]]:
    """The jobs to run, one for each row, and why others cannot be made, by their names.

    A job cannot be made where a file of its input has changed since it was checked. The first other
    job takes its row. Without another one there are no jobs to run.
    """
    lost: dict[str, str] = {}
    for job in batch:
        try:
            job.input.pictures()
        except Changed as error:
            lost[job.name] = str(error)
    there = [job for job in batch if job.name not in lost]
    return [there[0] if job.name in lost else job for job in batch if there], lost


def with_strengths(
    kind: Kind, jobs: Sequence[Job], cancel: executor.Cancel | None = None
) -> list[Job]:
    """See `Kind.with_strengths`; a job whose input has changed since it was checked fails alone."""
    lost: dict[str, str] = {}
    while True:
        ready = [job for job in jobs if job.name not in lost]
        try:
            found = iter(kind.with_strengths(ready, cancel) if ready else ())
        except Changed as error:
            lost |= {job.name: str(error) for job in ready if job.input.name == error.name}
            lost |= unchanged(ready)[1]  # all at once, since strengths are found again
            continue
        return [
            job._replace(failed=lost[job.name]) if job.name in lost else next(found) for job in jobs
        ]


def places(kind: Kind, jobs: Sequence[Job]) -> list[dict[str, Any] | None]:
    """Where each job is made: rows of its batch, its row, devices, and the shapes of the run.

    None for a job that has failed.
    """
    ready = [job for job in jobs if not job.failed]
    if not ready:
        return [None] * len(jobs)
    rows = min(kind.config.batch, len(ready))
    used = executor.devices_for(rows, kind.prior.params, kind.config.devices)
    shared = {"rows": rows, "devices": used, "shapes": kind.shapes(ready)}
    numbers = itertools.count()
    return [None if job.failed else {**shared, "row": next(numbers) % rows} for job in jobs]


def run_batch(
    kind: Kind,
    batch: Sequence[Job],
    shapes: Mapping[str, Any],
    rows: int,
    cancel: executor.Cancel | None = None,
) -> Finished | None:
    """One batch with a progress bar; None where it was stopped."""
    total = total_evaluations(kind.pipeline(shapes))
    bar = tqdm(total=total, unit="eval", leave=False, mininterval=0.5)
    with bar, device_errors(kind, rows):
        for event in events(kind, batch, shapes, rows, cancel):
            if isinstance(event, Finished):
                return event
            show(bar, event)
    return None


def events(
    kind: Kind,
    batch: Sequence[Job],
    shapes: Mapping[str, Any],
    rows: int,
    cancel: executor.Cancel | None = None,
    *,
    listen: bool = True,
) -> Iterator[Event | Finished]:
    """The events of one batch; see executor.run."""
    requests = devices.stack([kind.request(job, shapes) for job in batch])
    params, given = kind.prior.params, kind.config.devices
    return executor.run(
        kind.pipeline(shapes), params, requests, keys(batch), rows=rows, cancel=cancel,
        devices=executor.devices_for(rows, params, given), listen=listen,
    )  # fmt: skip


def keys(batch: Sequence[Job]) -> jax.Array:
    """The keys of jobs, [B]."""
    return jnp.stack([image_key(j.seed, j.input.id, j.sample) for j in batch])


def show(bar: tqdm, event: Event) -> None:
    """The progress of an edit on its bar."""
    bar.set_description(event.stage, refresh=False)
    bar.update(event.evaluations - bar.n)


def done(kind: Kind, job: Job, row: Any, place: Mapping[str, Any], seconds: float) -> Done | Failed:
    """The pictures of a row with the entry of the record and the recipe.

    Args:
        place: rows of the batch, this row, devices, and the shapes of the run.
    """
    try:
        made = kind.made(job, row)
    except FloatingPointError as error:
        return Failed(job, str(error))
    entry = {
        "file": f"{job.name}.png",
        "id": job.input.id,
        "seed": job.seed,
        "sample": job.sample,
        **made.entry,
        "not_kept": list(job.input.item.photo.source.lost),
        "seconds": round(seconds, 3),
    }
    return Done(job, made, entry, recipe(kind, job, made.output.picture, place))


def recipe(kind: Kind, job: Job, picture: np.ndarray, place: Mapping[str, Any]) -> dict[str, Any]:
    """All that a replay needs to make this picture again and to know that it is the same."""
    return recipes.recipe(
        plain(kind.config), kind.recipe(job), job.input.item, kind.prior.metadata, picture,
        seed=job.seed, sample=job.sample, place=place, value=job.value, cut=job.cut,
    )  # fmt: skip

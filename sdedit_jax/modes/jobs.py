"""Jobs in batches through the executor, each result with the recipe by which it is replayed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from tqdm import tqdm

from sdedit_jax import devices
from sdedit_jax.diffusion.noise import image_key
from sdedit_jax.modes.files import plain
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
    kind: Kind, jobs: Sequence[Job], cancel: executor.Cancel | None = None
) -> Iterator[Done | Failed]:
    """Run the jobs, `config.batch` at a time, all in one program; the last batch is filled up.

    Setting `cancel` stops after the current chunk; finished batches are kept.

    Raises:
        ValueError: the device fails, for example because it runs out of memory.
    """
    yield from (Failed(job, job.failed) for job in jobs if job.failed)
    jobs = [job for job in jobs if not job.failed]
    if not jobs:
        return
    rows, shapes = min(kind.config.batch, len(jobs)), kind.shapes(jobs)
    for first in range(0, len(jobs), rows):
        batch = jobs[first : first + rows]
        finished = run_batch(kind, batch, shapes, rows, cancel)
        if finished is None:
            return
        if finished.compile_seconds > 0.01:
            pictures = counted(rows, "picture")
            print(f"compiled  {finished.compile_seconds:.1f} s for {pictures} at a time")
        used = executor.devices_for(rows, kind.config.devices)
        for i, job in enumerate(batch):
            row = jax.tree.map(lambda a, i=i: a[i], finished.result)
            place = {"rows": rows, "row": i, "devices": used, "shapes": shapes}
            yield done(kind, job, row, place, finished.seconds / len(batch))


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
    return executor.run(
        kind.pipeline(shapes), kind.prior.params, requests, keys(batch),
        devices=executor.devices_for(rows, kind.config.devices), rows=rows, cancel=cancel,
        listen=listen,
    )  # fmt: skip


def keys(batch: Sequence[Job]) -> jax.Array:
    """The keys of jobs, [B]."""
    return jnp.stack([image_key(j.seed, j.input.item.id, j.sample) for j in batch])


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
        "id": job.input.item.id,
        "seed": job.seed,
        "sample": job.sample,
        **made.entry,
        "not_kept": list(job.input.item.photo.source.lost),
        "seconds": round(seconds, 3),
    }
    return Done(job, made, entry, recipe(kind, job, made, place))


def recipe(kind: Kind, job: Job, made: Made, place: Mapping[str, Any]) -> dict[str, Any]:
    """All that a replay needs to make this picture again and to know that it is the same."""
    return recipes.recipe(
        plain(kind.config), kind.recipe(job), job.input.item, kind.prior.metadata,
        made.output.picture, seed=job.seed, sample=job.sample, place=place, value=job.value,
        cut=job.cut,
    )  # fmt: skip

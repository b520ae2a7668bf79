"""The batches of an evaluation: read in threads, and edited on the devices."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance
from sdedit_jax.data.examples import DataSet, Example
from sdedit_jax.evaluation import shards
from sdedit_jax.evaluation.opening import Measures
from sdedit_jax.evaluation.paired import Paired
from sdedit_jax.evaluation.plan import Edit, Plan
from sdedit_jax.modes import jobs as batches
from sdedit_jax.modes.inputs import Input
from sdedit_jax.modes.session import Job, Kind, device_errors
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.base import total_evaluations

TARGETS = ("guide", "photo")
"""What edits are measured against."""

LONGEST = 150
"""Bytes of the name of an id's files without its digest."""


class Run(NamedTuple):
    """An evaluation, opened.

    Attributes:
        data: the data set. reference: that of the comparison, or None. plan: of the edits.
        store: of the shards. measures: what is measured. identity: what results depend on.
    """

    config: ConfigDict
    kind: Kind
    data: DataSet
    plan: Plan
    store: shards.Store
    measures: Measures
    identity: Mapping[str, Any]
    reference: DataSet | None = None

    def named(self, target: str) -> list[Paired]:
        """The measures of an edit against one of TARGETS."""
        return self.measures.named(self.config.measures[target], f"measures.{target}")

    def expected(self, shard: int) -> list[tuple[str, int]]:
        """The id and the sample of each line of a shard."""
        return [(self.data.ids[edit.row], edit.sample) for edit in self.plan.of_shard(shard)]

    def shard(self, number: int) -> shards.Shard:
        """A finished shard.

        Raises:
            ValueError: it is damaged, or belongs to another run.
        """
        return self.store.of_run(number, self.digest, self.expected(number))

    @property
    def digest(self) -> str:
        """The short name of the run in its shards."""
        return provenance.short(self.identity)


class Batch(NamedTuple):
    """A batch of a shard: its edits, and whether it is the last one of the shard."""

    shard: int
    edits: list[Edit]
    last: bool


def batches_of(plan: Plan, shard: int) -> list[Batch]:
    """The batches of a shard."""
    parts = list(plan.batches(shard))
    return [Batch(shard, part, i == len(parts) - 1) for i, part in enumerate(parts)]


class Given(NamedTuple):
    """A row of the data set.

    Attributes:
        input: of its edits. mask: by which regions are measured, float32 [h, w].
        source_prompt: that describes the photo, or "".
    """

    input: Input
    mask: np.ndarray
    source_prompt: str


class Loaded(NamedTuple):
    """A batch with its inputs, by rows of the data set.

    Attributes:
        inputs: row -> what was read, or why it cannot be read.
    """

    batch: Batch
    inputs: Mapping[int, Given | str]


class Edited(NamedTuple):
    """A batch after the edits.

    Attributes:
        jobs: in the order of the edits; a string where the input cannot be read.
        rows: the result of each job that was run, by its place in the batch.
        place: of the recipes. keys: of the jobs, as hexadecimal words.
    """

    loaded: Loaded
    jobs: list[Job | str]
    rows: Mapping[int, Any]
    places: Mapping[int, Mapping[str, Any]]
    keys: Mapping[int, str]
    evaluations: int
    seconds: float


class Reader(NamedTuple):
    """Reads the inputs of a batch, in threads."""

    run: Run

    def __call__(self, batch: Batch) -> Loaded:
        rows = dict.fromkeys(edit.row for edit in batch.edits)
        return Loaded(batch, {row: self.one(row) for row in rows})

    def one(self, row: int) -> Given | str:
        """An input, or why it cannot be read."""
        try:
            example = self.run.data[row]
            one = self.run.kind.take(example, file_name(example.id))
            return Given(one, _mask(example, one), example.source_prompt)
        except (ValueError, OSError) as error:
            return str(error)


def _mask(example: Example, one: Input) -> np.ndarray:
    """The mask by which regions are measured, float32 [h, w]."""
    if example.mask is None or (one.item.mask < 1).any():
        return one.item.mask
    return images.fit_mask(example.mask, one.item.placement, f"mask of {example.id}")


def file_name(id: str) -> str:
    """The name of an id's files: the id, or where it has other characters, with a digest."""
    plain = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in id).lstrip(".")
    plain = plain.encode()[:LONGEST].decode(errors="ignore")
    if plain == id:
        return id
    return f"{plain}-{hashlib.sha256(id.encode()).hexdigest()[:8]}"


class Editor(NamedTuple):
    """Edits a batch on the devices."""

    run: Run
    cancel: executor.Cancel

    def __call__(self, loaded: Loaded) -> Edited | None:
        kind, begun = self.run.kind, time.perf_counter()
        jobs = [self.job(loaded, edit) for edit in loaded.batch.edits]
        places = [i for i, job in enumerate(jobs) if isinstance(job, Job)]
        found = kind.with_strengths([jobs[i] for i in places], self.cancel)
        jobs = _put(jobs, places, found)
        ready = [i for i in places if not jobs[i].failed]
        if not ready:
            return Edited(loaded, jobs, {}, {}, {}, 0, 0.0)
        given, rows = [jobs[i] for i in ready], self.run.plan.batch
        shapes = kind.shapes(given)
        with device_errors(kind, rows):
            events = batches.events(kind, given, shapes, rows, self.cancel, listen=False)
            finished = next(events, None)
        if finished is None:
            return None
        used = executor.devices_for(rows, kind.prior.params, kind.config.devices)
        words = np.asarray(jax.random.key_data(batches.keys(given)))
        return Edited(
            loaded,
            jobs,
            {i: jax.tree.map(lambda a, n=n: a[n], finished.result) for n, i in enumerate(ready)},
            {
                i: {"rows": rows, "row": n, "devices": used, "shapes": shapes}
                for n, i in enumerate(ready)
            },
            {i: words[n].tobytes().hex() for n, i in enumerate(ready)},
            total_evaluations(kind.pipeline(shapes)),
            (time.perf_counter() - begun) / len(ready),
        )

    def job(self, loaded: Loaded, edit: Edit) -> Job | str:
        """The job of an edit, or why its input cannot be read."""
        found = loaded.inputs[edit.row]
        if isinstance(found, str):
            return found
        return Job(found.input, f"_{edit.sample}", self.run.config.seed, edit.sample)


def _put(jobs: list, places: Sequence[int], found: Sequence[Job]) -> list:
    made = list(jobs)
    for place, job in zip(places, found, strict=True):
        made[place] = job
    return made

"""The features of a reference data set, with which the sets of an evaluation are compared."""

from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.evaluation import flow, shards
from sdedit_jax.evaluation import plan as plans
from sdedit_jax.evaluation.cluster import Process
from sdedit_jax.modes.evaluating.batches import Batch, Run, batches_of
from sdedit_jax.tasks import common

FOLDER = "reference"


class Pictures(NamedTuple):
    """A batch of the reference.

    Attributes:
        fitted: uint8 [H, W, 3] each, at the size of the edits. lines: one for each picture.
    """

    batch: Batch
    fitted: list[np.ndarray]
    lines: list[dict[str, Any]]


def store_of(run: Run) -> tuple[plans.Plan, shards.Store]:
    """The plan and the shards of the reference."""
    size = 4 * run.config.batch
    plan = plans.plan(run.reference.ids, 1, run.config.batch, size)
    folder = run.store.folder.parent / FOLDER
    return plan, shards.Store(folder, plan.shards)


def missing(run: Run) -> list[int]:
    """The shards of the reference that are not computed yet."""
    return store_of(run)[1].missing if run.reference is not None else []


def compute(run: Run, process: Process, stop: flow.Stop) -> None:
    """Compute this process's share of the reference."""
    plan, store = store_of(run)
    own = plans.share(plan.shards, process.index, process.count)
    items = [batch for k in own if not store.has(k) for batch in batches_of(plan, k)]
    writer = Writer(run, plan, store)
    for _ in flow.run(items, lambda batch: read(run, batch), lambda one: one, writer, stop):
        pass


def read(run: Run, batch: Batch) -> Pictures:
    """The pictures of a batch, fitted as those of the edits are."""
    fitted, lines = [], []
    for edit in batch.edits:
        line = {"id": run.reference.ids[edit.row]}
        try:
            fitted.append(_fitted(run, edit.row))
        except (ValueError, OSError) as error:
            line["failed"] = str(error)
        lines.append(line)
    return Pictures(batch, fitted, lines)


def _fitted(run: Run, row: int) -> np.ndarray:
    source = run.reference[row].picture
    photo = common.Photo(images.flatten(source), source)
    placement = common.place("", photo, run.kind.size, run.config.fit)
    found = images.fit_rgb(photo.rgb, placement)
    return found if run.kind.prior.shape[-1] == 3 else images.in_grey(found)


class Writer:
    """Features of batches; writes a shard after its last batch."""

    def __init__(self, run: Run, plan: plans.Plan, store: shards.Store) -> None:
        self.run, self.plan, self.shard = run, plan, shards.Growing(store)

    def __call__(self, pictures: Pictures) -> None:
        self.shard.lines += pictures.lines
        if rows := pictures.fitted:
            every, used = np.stack(rows), self.run.measures.extractors
            self.shard.add({one.name: one.in_batch(every, self.plan.batch) for one in used})
        if pictures.batch.last:
            number = pictures.batch.shard
            header = {"shard": number, "run": self.run.digest}
            edits = self.plan.of_shard(number)
            self.shard.finish(number, header, [(self.run.reference.ids[e.row], 0) for e in edits])


def features(run: Run) -> tuple[dict[str, np.ndarray] | None, list[dict[str, Any]]]:
    """Name -> features [M, D] of the reference, None without one; and the pictures that failed.

    Raises:
        ValueError: no picture of the reference can be read.
    """
    if run.reference is None:
        return None, []
    plan, store = store_of(run)
    found: dict[str, list[np.ndarray]] = {}
    failed: list[dict[str, Any]] = []
    for number in range(plan.shards):
        expected = [(run.reference.ids[edit.row], 0) for edit in plan.of_shard(number)]
        shard = store.of_run(number, run.digest, expected)
        bad = [line for line in shard.lines if "failed" in line]
        failed += bad
        count = len(shard.lines) - len(bad)
        rows_of = {one.name: count for one in run.measures.extractors}
        for name, rows in store.features(number, shard, rows_of).items():
            found.setdefault(name, []).append(rows)
    if len(failed) == plan.edits:
        raise ValueError(f"reference: no picture can be read: {failed[0]['failed']}")
    return shards.joined(found), failed

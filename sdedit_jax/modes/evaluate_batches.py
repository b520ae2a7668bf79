"""The batches of an evaluation: read, edited, measured and written."""

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
from sdedit_jax.evaluation.identity import digest
from sdedit_jax.evaluation.opening import Measures
from sdedit_jax.evaluation.paired import Paired
from sdedit_jax.evaluation.plan import Edit, Plan
from sdedit_jax.modes import jobs as batches
from sdedit_jax.modes.jobs import Done, Failed
from sdedit_jax.modes.session import Input, Job, Kind, device_errors
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.base import total_evaluations
from sdedit_jax.tasks.examples import fitted_photo

TARGETS = ("guide", "photo")
"""What edits are measured against."""


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

    @property
    def digest(self) -> str:
        """The short name of the run in its shards."""
        return digest(self.identity)


class Batch(NamedTuple):
    """A batch of a shard: its edits, and whether it is the last one of the shard."""

    shard: int
    edits: list[Edit]
    last: bool


class Loaded(NamedTuple):
    """A batch with its inputs, by rows of the data set.

    Attributes:
        inputs: row -> the input with its mask for measures, or why it cannot be read.
    """

    batch: Batch
    inputs: Mapping[int, tuple[Input, np.ndarray] | str]


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

    def one(self, row: int) -> tuple[Input, np.ndarray] | str:
        """An input, or why it cannot be read."""
        try:
            example = self.run.data[row]
            one = self.run.kind.take(example, file_name(example.id))
            return one, _mask(example, one)
        except (ValueError, OSError) as error:
            return str(error)


def _mask(example: Example, one: Input) -> np.ndarray:
    """The mask by which regions are measured, float32 [h, w]."""
    if example.mask is None or (one.item.mask < 1).any():
        return one.item.mask
    return images.fit_mask(example.mask, one.item.placement, f"mask of {example.id}")


def file_name(id: str) -> str:
    """The name of an id's files: the id, or where it has other characters, with a digest."""
    plain = "".join(c if c.isalnum() or c in "-_.+" else "_" for c in id)[:100].lstrip(".")
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
        used = executor.devices_for(rows, kind.config.devices)
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
        return Job(found[0], f"_{edit.sample}", self.run.config.seed, edit.sample)


def _put(jobs: list, places: Sequence[int], found: Sequence[Job]) -> list:
    made = list(jobs)
    for place, job in zip(places, found, strict=True):
        made[place] = job
    return made


class Writer:
    """Measures batches, and writes a shard after its last batch; used by one thread."""

    def __init__(self, run: Run) -> None:
        self.run, self.recipes = run, []
        self.clear()

    def clear(self) -> None:
        """Begin a shard."""
        self.lines: list[dict[str, Any]] = []
        self.pictures: list[bytes] = []
        self.features: dict[str, list[np.ndarray]] = {}
        self.recipes.clear()

    def __call__(self, edited: Edited) -> None:
        batch = edited.loaded.batch
        made = {i: self.made(edited, i) for i in edited.rows}
        done = {i: one for i, one in made.items() if isinstance(one, Done)}
        numbers = self.measured(edited, done)
        for i, edit in enumerate(batch.edits):
            line = self.line(edited, i, edit, made.get(i))
            if i in done:
                line |= {"numbers": numbers[i], "picture": len(self.pictures)}
                self.pictures.append(shards.webp(done[i].made.output.picture))
                self.recipes.append(done[i].recipe)
            self.lines.append(line)
        if batch.last:
            self.finish(batch.shard)

    def made(self, edited: Edited, i: int) -> Done | Failed:
        """The pictures and the recipe of a job that was run."""
        job = edited.jobs[i]
        return batches.done(self.run.kind, job, edited.rows[i], edited.places[i], edited.seconds)

    def line(
        self, edited: Edited, i: int, edit: Edit, made: Done | Failed | None
    ) -> dict[str, Any]:
        """The line of an edit, without its measures."""
        job, id = edited.jobs[i], self.run.data.ids[edit.row]
        line = {"id": id, "sample": edit.sample, "seed": self.run.config.seed}
        if isinstance(job, str) or made is None or isinstance(made, Failed):
            why = job if isinstance(job, str) else job.failed or made.reason
            return {**line, "failed": why}
        entry = made.entry
        kept = {name: entry[name] for name in ("strength", "prompts", "class") if name in entry}
        return {
            **line,
            "key": edited.keys[i],
            **kept,
            "evaluations": entry.get("evaluations", edited.evaluations),
            "seconds": entry["seconds"],
            "sha256": made.recipe["picture"]["sha256"],
        }

    def measured(self, edited: Edited, done: Mapping[int, Done]) -> dict[int, dict[str, float]]:
        """The numbers of each finished edit; the features are collected beside."""
        if not done:
            return {}
        items = {i: one.job.input.item for i, one in done.items()}
        edits = np.stack([one.made.output.fitted for one in done.values()])
        against = {
            "guide": np.stack([item.fitted for item in items.values()]),
            "photo": np.stack([fitted_photo(item) for item in items.values()]),
        }
        rows = [edited.loaded.batch.edits[i].row for i in done]
        mask = np.stack([edited.loaded.inputs[row][1] for row in rows])
        self.collect({"edit": edits})
        first = [n for n, i in enumerate(done) if edited.loaded.batch.edits[i].sample == 0]
        if first:
            self.collect({name: pictures[first] for name, pictures in against.items()})
        columns = {
            f"{name}_{measure.name}": measure.of(edits, pictures, mask)
            for name, pictures in against.items()
            for measure in self.run.named(name)
        }
        return {
            i: {name: float(values[n]) for name, values in columns.items()} | _bound(one)
            for n, (i, one) in enumerate(done.items())
        }

    def collect(self, sets: Mapping[str, np.ndarray]) -> None:
        """Add the features of pictures, in batches of one size."""
        for extractor in self.run.measures.extractors:
            for name, pictures in sets.items():
                found = extractor.apply(filled(pictures, self.run.plan.batch))[: len(pictures)]
                self.features.setdefault(f"{extractor.name}/{name}", []).append(found)

    def finish(self, shard: int) -> None:
        """Write the shard."""
        shared, own = provenance.split(self.recipes) if self.recipes else ({}, [])
        header = {"shard": shard, "run": self.run.digest, "recipe": shared}
        with_picture = iter(own)
        lines = [
            {**line, "recipe": next(with_picture)} if "picture" in line else line
            for line in self.lines
        ]
        features = {name: np.concatenate(found) for name, found in self.features.items()}
        self.run.store.write(shard, header, lines, self.pictures, features)
        self.clear()


def _bound(one: Done) -> dict[str, float]:
    """Proposition 1 of the paper and the distance that it bounds, where it is stated."""
    found = one.entry.get("proposition_1")
    if not isinstance(found, dict):
        return {}
    return {f"proposition_1_{name}": float(found[name]) for name in ("distance", "bound")}


def filled(pictures: np.ndarray, rows: int) -> np.ndarray:
    """Pictures [n, ...] -> [rows, ...], the last one repeated."""
    return pictures[np.minimum(np.arange(rows), len(pictures) - 1)]

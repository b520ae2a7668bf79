"""What is written of the batches of an evaluation: lines, pictures and features of shards."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax import provenance
from sdedit_jax.evaluation import shards
from sdedit_jax.evaluation.plan import Edit
from sdedit_jax.modes import jobs as batches
from sdedit_jax.modes.evaluating import numbers
from sdedit_jax.modes.evaluating.batches import Edited, Run
from sdedit_jax.modes.jobs import Done, Failed

KEPT = ("strength", "prompts")
"""Of the entry of a record, what stands in the line of an edit."""


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
        found = self.measured(edited, done)
        for i, edit in enumerate(batch.edits):
            line = self.line(edited, i, edit, made.get(i))
            if i in done:
                line |= {"numbers": found[i], "picture": len(self.pictures)}
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
        kept = {name: entry[name] for name in KEPT if name in entry}
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
        pictures = numbers.pictures_of(edited, done)
        for name, rows in numbers.features(self.run, pictures).items():
            self.features.setdefault(name, []).append(rows)
        columns = numbers.columns(self.run, pictures)
        return {
            i: {name: float(values[n]) for name, values in columns.items()} | numbers.bound(one)
            for n, (i, one) in enumerate(done.items())
        }

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

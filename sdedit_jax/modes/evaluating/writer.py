"""What is written of the batches of an evaluation: lines, pictures and features of shards."""

from collections.abc import Mapping
from typing import Any

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
        self.run, self.shard, self.recipes = run, shards.Growing(run.store), []

    def __call__(self, edited: Edited) -> None:
        batch = edited.loaded.batch
        made = {i: self.made(edited, i) for i in edited.rows}
        done = {i: one for i, one in made.items() if isinstance(one, Done)}
        found = self.measured(edited, done)
        for i, edit in enumerate(batch.edits):
            line = self.line(edited, i, edit, made.get(i))
            if i in done:
                picture = done[i].made.output.picture
                line |= {"numbers": found[i], "picture": len(self.shard.pictures)}
                line |= {"channels": picture.shape[-1]}
                self.shard.pictures.append(shards.webp(picture))
                self.recipes.append(done[i].recipe)
            self.shard.lines.append(line)
        if batch.last:
            self.finish(batch.shard)

    def made(self, edited: Edited, i: int) -> Done | Failed:
        """The pictures and the recipe of a job that was run."""
        job = edited.jobs[i]
        found = batches.done(self.run.kind, job, edited.rows[i], edited.places[i], edited.seconds)
        if isinstance(found, Done) and max(found.made.output.picture.shape) > shards.LONGEST:
            return Failed(job, f"pictures have at most {shards.LONGEST} pixels a side")
        return found

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
        self.shard.add(numbers.features(self.run, pictures))
        columns = numbers.columns(self.run, pictures)
        return {
            i: {name: float(values[n]) for name, values in columns.items()} | numbers.bound(one)
            for n, (i, one) in enumerate(done.items())
        }

    def finish(self, shard: int) -> None:
        """Write the shard."""
        shared, own = provenance.split(self.recipes) if self.recipes else ({}, [])
        rest = iter(own)
        for line in self.shard.lines:
            if "picture" in line:
                line["recipe"] = next(rest)
        header = {"shard": shard, "run": self.run.digest, "recipe": shared}
        self.shard.finish(shard, header, self.run.expected(shard))
        self.recipes = []

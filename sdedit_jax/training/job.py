"""A training run of any stage: its data and settings, and how it is executed and published."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sdedit_jax.data.pictures import Source
from sdedit_jax.training import history, loop
from sdedit_jax.training.augment import Augment
from sdedit_jax.training.batches import batch_of, spaced
from sdedit_jax.training.loop import Hooks, Run, Stop
from sdedit_jax.training.loss import Loss
from sdedit_jax.training.report import read, seconds
from sdedit_jax.training.step import Optimizer, State


class Job(NamedTuple):
    """A training run.

    Attributes:
        name: of what is trained.
        origin: "source" and "credit" of the data.
        workdir: gets checkpoints, metrics and sample sheets.
        folder: gets the published weights.
        files: name -> file to publish with the weights.
        data: pictures to train on.
        held_out: pictures for the held-out errors; None: a stage may use the training pictures.
        run: how long, and how often what.
        optimizer: its update.
        augment: random changes of the pictures.
        compute: numeric mode of the networks, see nets/functional.py.
        dtype: of the published weights.
        settings: recorded with the published weights.
        entries: the configs of the run, see history.py.
        export: publish the newest checkpoint and train nothing.
        average: with export, the decay of the average to publish; 0: optimizer.ema.
        stop: ends the training after the current step, with a checkpoint.
    """

    name: str
    origin: Mapping[str, str]
    workdir: Path
    folder: Path
    files: Mapping[str, Path]
    data: Source
    held_out: Source | None
    run: Run
    optimizer: Optimizer
    augment: Augment | None
    compute: str
    dtype: str
    settings: Mapping[str, Any]
    entries: Sequence[Mapping[str, Any]]
    export: bool = False
    average: float = 0.0
    stop: Stop | None = None


def execute(job: Job, loss: Loss, params: Any, data: Source, hooks: Hooks, step: int = 0) -> None:
    """Train from the newest checkpoint, or from `params` at `step`; or export the checkpoint."""
    if job.export:
        state = loop.newest(job.workdir, params, job.optimizer, job.run)
        hooks.publish(averaged(state, job.optimizer, job.average), int(state.step))
        return
    history.write(job.workdir, job.entries)
    loop.fit(
        job.workdir,
        loss,
        params,
        data,
        run=job.run,
        optimizer=job.optimizer,
        augment=job.augment,
        hooks=hooks,
        first_step=step,
        stop=job.stop,
    )


def averaged(state: State, optimizer: Optimizer, decay: float) -> Any:
    """The averaged weights with a decay; 0 means optimizer.ema.

    Raises:
        ValueError: the run keeps no such average.
    """
    kept = dict(zip((optimizer.ema, *optimizer.longer), (state.ema, *state.longer), strict=True))
    decay = decay or optimizer.ema
    if decay not in kept:
        raise ValueError(f"average must be one of {list(kept)}, got {decay:g}")
    return kept[decay]


def so_far(job: Job, step: int) -> dict[str, Any]:
    """Settings, pictures and seconds of a run until `step`."""
    records = [r for r in read(job.workdir / "metrics.jsonl") if r["step"] <= step]
    batch = job.run.batch
    counts = {"steps": step, "images": step * batch, "seconds": seconds(records, batch)}
    return {**counts, **job.settings}


def some(data: Source, count: int) -> np.ndarray:
    """Pictures evenly spaced in their source, float32 [B, H, W, C] in [-1, 1]."""
    return batch_of(data, spaced(len(data), count))[0]


def rounded(params: Any, dtype: str) -> Any:
    """The weights rounded to a dtype, as float32 host arrays."""
    return jax.tree.map(lambda a: np.asarray(a).astype(dtype).astype(np.float32), params)


def size(tree: Any) -> int:
    """The number of values in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))

"""Training of a prior in pixels: denoising of pictures, published as a prior's folder."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from sdedit_jax import registry
from sdedit_jax.nets.functional import together
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import included
from sdedit_jax.training import sheets
from sdedit_jax.training.batches import batch_of, spaced
from sdedit_jax.training.checks import check
from sdedit_jax.training.job import Job, execute
from sdedit_jax.training.loop import Hooks
from sdedit_jax.training.loss import Objective, denoising_loss, held_out_errors
from sdedit_jax.weights import store


class Start(NamedTuple):
    """Where a run begins.

    Attributes:
        prior: folder whose weights it begins with; None: fresh weights.
        step: the step count of those weights.
        images: pictures that they have been trained on.
    """

    prior: Path | None = None
    step: int = 0
    images: int = 0


def start(prior: str, step: int, batch: int) -> Start:
    """The start from the weights of a prior, by name or folder; "" means fresh weights."""
    if not prior:
        return Start()
    folder = included.prior(prior)
    training = store.read_metadata(folder).get("training", {})
    return Start(folder, step, training.get("images", step * batch))


def train(job: Job, prior: Prior, objective: Objective, begin: Start) -> None:
    """Train a prior and publish its folder.

    Args:
        prior: its params are shapes; its metadata is published.
        objective: null_label is the number of classes, if any.
    """
    hooks = Hooks(
        sample=sheets.unconditional(prior, objective.null_label),
        publish=publisher(job, prior, begin),
    )
    if job.held_out is not None:
        rows = batch_of(job.held_out, spaced(len(job.held_out), job.run.held_out))
        found = held_out_errors(prior.process, prior.predict, job.run.levels, *rows)
        hooks = hooks._replace(errors=found)
    predict = prior.predict
    if not prior.metadata["config"].get("dropout"):
        predict = dataclasses.replace(predict, net=together(predict.net))
    loss = denoising_loss(prior.process, predict, objective)
    params = prior.params if job.export else initial(prior, begin, job.run.seed)
    execute(job, loss, params, job.data, hooks, begin.step)


def initial(prior: Prior, begin: Start, seed: int) -> Any:
    """The weights that a run begins with, float32."""
    if begin.prior is None:
        return registry.initial_params(prior.metadata, seed)
    sha256 = store.read_metadata(begin.prior)["sha256"]
    params = store.load(
        begin.prior, prior.params, sha256=sha256, network="the network of this config"
    )
    return jax.tree.map(lambda a: np.asarray(a, np.float32), params)


def publisher(job: Job, prior: Prior, begin: Start) -> Callable[[Any, int], None]:
    """(averaged weights, step) -> the prior's folder, with the verdict of the self-check."""

    def publish(params: Any, step: int) -> None:
        images = begin.images + (step - begin.step) * job.run.batch
        training = {**job.settings, "steps": step, "images": images}
        stored = jax.tree.map(lambda a: np.asarray(a.astype(job.dtype)), params)
        params = jax.tree.map(lambda a: np.asarray(a, np.float32), stored)
        found = check(prior.replace(params=params), job.folder, step)
        card = {**prior.metadata, "training": training, "check": found}
        store.save(job.folder, stored, card, job.files)
        print(f"published {job.folder} at step {step}")

    return publish

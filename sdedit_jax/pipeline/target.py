"""Strengths by distance: the search of edits/target.py, with its trials run by the executor."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from sdedit_jax import devices as parallel
from sdedit_jax.edits import target
from sdedit_jax.edits.target import Found, Measure, Trial
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.arguments import number
from sdedit_jax.pipeline.sdedit import SDEditPipeline


def check(value: Any) -> None:
    """Check a target.

    Raises:
        TypeError: no number. ValueError: not in (0, 1).
    """
    number("target_l2", value)
    if not 0 < value < 1:
        raise ValueError(f"target_l2 must be in (0, 1), got {value}")


def find(
    pipeline: SDEditPipeline,
    params: Any,
    requests: Sequence[Any],
    keys: Sequence[Any],
    distance: Callable[[int, np.ndarray], float],
    value: float,
    *,
    batch: int,
    devices: int,
    cancel: executor.Cancel | None = None,
) -> list[Found]:
    """The strength of each request at which its edit has the distance `value`.

    All trials of a request have the noise of its key. The trials of all requests are rows of a
    program, at most `batch` at a time.

    Args:
        distance: (number of the request, its result [h, w, C]) -> the distance from its guide.

    Raises:
        Cancelled: `cancel` was set.
    """

    def run(pipeline: SDEditPipeline, trials: Sequence[Trial]) -> np.ndarray:
        rows = [requests[i]._replace(t0=np.float32(t0)) for i, t0 in trials]
        events = executor.run(
            pipeline, params, parallel.stack(rows), jnp.stack([keys[i] for i, _ in trials]),
            devices=devices, most=batch, cancel=cancel, listen=False,
        )  # fmt: skip
        return executor.finish(events).result.image

    def measured(pipeline: SDEditPipeline) -> Measure:
        def measure(trials: Sequence[Trial]) -> list[float]:
            found = []
            for first in range(0, len(trials), batch):
                some = trials[first : first + batch]
                images = run(pipeline, some)
                found += [distance(i, image) for (i, _), image in zip(some, images, strict=True)]
            return found

        return measure

    quick = replace(pipeline, plan=target.denoising(pipeline.plan))
    return target.search(len(requests), value, measured(pipeline), measured(quick))


def check_found(found: Sequence[Found], names: Sequence[str], value: float) -> None:
    """Check that all searches have reached the target.

    Raises:
        ValueError: with the distances that the others can have.
    """
    pairs = zip(found, names, strict=True)
    bad = [f"{name or 'image'} {one.why_not(value)}" for one, name in pairs if one.t0 is None]
    if bad:
        raise ValueError(f"target_l2: no strength gives {value:g}; {'; '.join(bad)}")

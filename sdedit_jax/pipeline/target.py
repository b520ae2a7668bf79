"""Strengths by distance: the search of edits/target.py, with its trials run by the executor.

    target_l2       RMS of the difference of values in [0, 1]
    target_lpips    LPIPS, by a function that callers give

Both are taken where a result may change (mask > 0), at the size of the edit.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from sdedit_jax import devices as parallel
from sdedit_jax.edits import target
from sdedit_jax.edits.target import Found, Measure, Trial
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.outputs import finished
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.tasks import TaskInput

FIELDS = ("target_l2", "target_lpips")

Distance = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
"""(results, guides, mask) -> distances [B]; of uint8 [B, h, w, 3] where the mask, float32
[B, h, w], is 1; None: everywhere. A row does not depend on the others."""


class Target(NamedTuple):
    """The distance that each result shall have from its guide.

    Attributes:
        field: one of FIELDS. value: the distance.
        of: measures it. name: of the measure.
        sha256: of the weights of the measure; "": it has none.
    """

    field: str
    value: float
    of: Distance
    name: str
    sha256: str = ""

    def distances(self, fitted: Sequence[np.ndarray], items: Sequence[TaskInput]) -> np.ndarray:
        """The distances of results uint8 [h, w, 3] from their guides: float64 [B].

        Raises:
            ValueError: pictures that the measure refuses, for example of too small a size.
        """
        results, guides = np.stack(fitted), np.stack([item.fitted for item in items])
        free = np.stack([item.mask > 0 for item in items])
        whole, found = free.all((1, 2)), np.empty(len(items))
        for rows, mask in ((whole, None), (~whole, free[~whole].astype(np.float32))):
            if rows.any():
                found[rows] = self._measured(results[rows], guides[rows], mask)
        return found

    def _measured(
        self, results: np.ndarray, guides: np.ndarray, mask: np.ndarray | None
    ) -> np.ndarray:
        try:
            found = np.asarray(self.of(results, guides, mask))
        except ValueError as error:
            raise ValueError(f"{self.field}: {error}") from None
        if found.shape != (len(results),):
            shape = f"{(len(results),)}, got {found.shape}"
            raise ValueError(f"{self.field}: the distances must be of shape {shape}")
        return found

    def why_not(self, reasons: str) -> str:
        """The message where no strength gives the distance."""
        return f"{self.field}: no strength gives {self.value:g}; {reasons}"


def by_l2(value: float) -> Target:
    """A target by the RMS distance."""
    return Target("target_l2", value, rms, "RMS")


def by_lpips(value: float, of: Distance) -> Target:
    """A target by LPIPS.

    Args:
        of: such as evaluation.recognition.lpips gives; its `facts`, if it has any, name it.
    """
    facts = getattr(of, "facts", {})
    return Target("target_lpips", value, of, facts.get("network", "LPIPS"), facts.get("sha256", ""))


def given(l2: float | None, lpips: float | None, of: Distance | None) -> Target | None:
    """The target of a call, None where it has none; of two, that of l2.

    Args:
        of: measures LPIPS.

    Raises:
        ValueError: LPIPS without the function that measures it, or the function without a target.
    """
    if of is not None and lpips is None:
        raise ValueError("lpips: it has no effect without target_lpips")
    if l2 is not None:
        return by_l2(l2)
    if lpips is None:
        return None
    if of is None:
        raise ValueError(
            "target_lpips needs lpips, the function that measures it, such as"
            " evaluation.recognition.lpips makes from weights"
        )
    return by_lpips(lpips, of)


def rms(results: np.ndarray, guides: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """RMS distances, on values in [0, 1]; see Distance. Sums are exact in integers."""
    squares = np.square(results.astype(np.int32) - guides).sum(-1)
    where = np.ones(squares.shape, bool) if mask is None else mask > 0
    total = np.sum(squares * where, axis=(1, 2), dtype=np.int64)
    return np.sqrt(total / (results.shape[-1] * where.sum((1, 2)))) / 255


def find(
    pipeline: SDEditPipeline,
    params: Any,
    requests: Sequence[Any],
    keys: Sequence[Any],
    goal: Target,
    items: Sequence[TaskInput],
    *,
    feather: int,
    batch: int,
    devices: int,
    cancel: executor.Cancel | None = None,
) -> list[Found]:
    """The strength of each request at which its edit has the distance of a target.

    All trials of a request have the noise of its key. The trials of all requests are rows of a
    program, at most `batch` at a time.

    Args:
        items: the input of each request. feather: see outputs.finished.

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
            found: list[float] = []
            for first in range(0, len(trials), batch):
                some = trials[first : first + batch]
                found += _distances(goal, run(pipeline, some), [items[i] for i, _ in some], feather)
            return found

        return measure

    quick = replace(pipeline, plan=target.denoising(pipeline.plan))
    return target.search(len(requests), goal.value, measured(pipeline), measured(quick))


def _distances(
    goal: Target, images: np.ndarray, items: Sequence[TaskInput], feather: int
) -> list[float]:
    """The distances of results [B, h, w, C] in [-1, 1]; nan where one is not finite."""
    found = np.full(len(items), np.nan)
    rows = [i for i, image in enumerate(images) if np.isfinite(image).all()]
    if rows:
        fitted = [finished(images[i], items[i], feather=feather).fitted for i in rows]
        found[rows] = goal.distances(fitted, [items[i] for i in rows])
    return found.tolist()


def check_found(found: Sequence[Found], names: Sequence[str], goal: Target) -> None:
    """Check that all searches have reached the target.

    Raises:
        ValueError: with the distances that the others can have.
        FloatingPointError: edits have no finite distance.
    """
    pairs = zip(found, names, strict=True)
    bad = [(name or "image", one) for one, name in pairs if one.t0 is None]
    if any(not np.isfinite(list(one.trials.values())).all() for _, one in bad):
        raise FloatingPointError("the prior gave values that are not finite (NaN or infinity)")
    if bad:
        reasons = "; ".join(f"{name} {one.why_not(goal.value)}" for name, one in bad)
        raise ValueError(goal.why_not(reasons))

"""Samples of a prior. A sample is an edit of strength 1 of the whole picture."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from sdedit_jax.edits.sdedit import Request
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import executor, settings
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors.prior import Prior


def samples(prior: Prior, **sampling: Any) -> Callable[[Any, Any, Array], np.ndarray]:
    """(params, conds [B, ...] or None, keys [B]) -> samples [B, *prior.shape].

    Args:
        **sampling: fields of settings.Sampling.
    """
    plan = settings.resolve(prior, settings.sampling(sampling), 1.0).plan

    def draw(params: Any, conds: Any, keys: Array) -> np.ndarray:
        rows, shape = len(keys), prior.shape
        free = np.ones((rows, *shape[:2], 1), np.float32)
        guide = Guide(np.zeros((rows, *shape), np.float32), free)
        request = Request(np.ones(rows, np.float32), guide, conds)
        pipeline = SDEditPipeline(plan)
        events = executor.run(pipeline, params, request, keys, devices=1, listen=False)
        return executor.finish(events).result.image

    return draw

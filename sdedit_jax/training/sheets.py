"""Sample sheets."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import images
from sdedit_jax.pipeline.samples import samples
from sdedit_jax.priors.prior import Prior


def unconditional(prior: Prior, null: int | None, count: int = 16) -> Callable[[Any], np.ndarray]:
    """Weights -> a sheet of samples, with the same keys at each call.

    Args:
        null: the class label that means "none"; None for a network without classes.
    """
    draw = samples(prior, steps=25)
    conds = None if null is None else jnp.full(count, null, jnp.int32)
    keys = jax.random.split(jax.random.key(1), count)

    def sheet(params: Any) -> np.ndarray:
        pictures = draw(params, conds, keys)
        return images.grid([images.from_unit(p) for p in pictures], columns=8)

    return sheet

"""Classifier-free guidance."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.priors.adapters import PredictFn
from sdedit_jax.priors.conditioning import CFGCond


@jax.tree_util.register_static
@dataclass(frozen=True)
class CFG:
    """Classifier-free guidance (Ho and Salimans, 2207.12598, eq. 6), a predictor itself.

    eps = eps(uncond) + scale (eps(cond) - eps(uncond)), for a `CFGCond`. With two labels it mixes
    them: scale 0.5 is half-way. It is exactly `uncond` at scale 0 and `cond` at 1. A learned
    variance and attention maps are those of `cond`; below scale 1 the fraction is mixed too.

    Each prediction evaluates the network for both conditions, as a batch of two.

    Attributes:
        predict: the predictor that is guided.
        evaluations: network evaluations for a prediction.
    """

    predict: PredictFn
    evaluations: ClassVar[int] = 2

    def __call__(
        self, params: Any, x: Array, t: Array, cond: CFGCond, key: Any = None
    ) -> Prediction:
        both = jax.vmap(lambda c: self.predict(params, x, t, c, key))(_pair(cond))
        ours, uncond = (jax.tree.map(lambda a, i=i: a[i], both) for i in (0, 1))
        scale = jnp.asarray(cond.scale, jnp.float32)
        eps = (1 - scale) * uncond.eps + scale * ours.eps  # this form is exact at both ends
        return ours._replace(eps=eps, variance=_variance(ours, uncond, scale))


def _pair(cond: CFGCond) -> Any:
    """cond and uncond as one cond with a leading axis of 2."""
    kinds = [jax.tree.map(jnp.shape, c) for c in (cond.cond, cond.uncond)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"uncond must have the shapes of cond, got {kinds[1]} and {kinds[0]}")
    return jax.tree.map(lambda a, b: jnp.stack([a, b]), cond.cond, cond.uncond)


def _variance(ours: Prediction, uncond: Prediction, scale: Array) -> Array | None:
    if ours.variance is None:
        return None
    part = jnp.clip(scale, 0, 1)  # beyond 1 a fraction would leave [0, 1]
    return (1 - part) * uncond.variance + part * ours.variance

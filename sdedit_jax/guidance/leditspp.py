"""Guidance of LEDITS++ (Brack et al., 2311.16711): concepts in implicit masks, no target text.

eps = eps_u + sum of w_c mask_c psi_c over the concepts that act at the step, psi_c = +-scale_c
(eps_c - eps_u). A concept has two masks from the prediction itself, each 1 where a map is at least
its threshold_c quantile. The map of M1 is the cross-attention to the tokens of the concept, that of
M2 is sum_channels |psi_c|.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.solvers import Prediction, StatefulPredictor
from sdedit_jax.guidance.sega import Concepts, direction, fit_masks, top
from sdedit_jax.priors.adapters import PredictFn

MASKS = ("intersect", "attention", "noise")
INTERSECT_TO = 0.801
"""The time of step 800 of 1000: for noisier states diffusers uses M1 alone."""


class LeditsPPCond(NamedTuple):
    """The cond of LEDITS++.

    Attributes:
        against: cond of the empty or negative text.
        concepts: with `tokens` if a mask is from attention; usually with a warm-up of 0. Momentum
            and beta are not used.
    """

    against: Any
    concepts: Concepts


@jax.tree_util.register_static
@dataclass(frozen=True)
class LeditsPP:
    """Guidance of LEDITS++; `bind` gives the predictor of the loop, which counts its steps.

    A step evaluates the network once, for a batch of 1 + K conds: against, concepts. For masks
    from attention the network must give `Prediction.attention` [h, w, L]: the mean over the heads
    and over the cross-attention layers of one size on the way down and up, without the middle.
    `Prediction.masks` [K, H, W, 1] are the masks of the concepts that act at this step.

    Attributes:
        predict: the predictor that is guided.
        masks: "intersect": M1 M2. "attention": M1. "noise": M2, the default of the authors' code.
        intersect_to: "intersect" uses M1 alone at times above this one (1: never, as in the
            authors' code).
        conditions: network evaluations for a prediction, without those of the concepts.
    """

    predict: PredictFn
    masks: str = "intersect"
    intersect_to: float = INTERSECT_TO
    conditions: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.masks not in MASKS:
            raise ValueError(f"masks must be one of {list(MASKS)}, got {self.masks!r}")

    def prepare(self, cond: LeditsPPCond, shape: tuple[int, ...]) -> LeditsPPCond:
        """The cond for states of this shape: its masks are drawn on pictures."""
        return cond._replace(concepts=fit_masks(cond.concepts, shape))

    def bind(self, params: Any, cond: LeditsPPCond) -> StatefulPredictor:
        """The predictor of the loop for params and a cond; its state is empty."""

        def guided(state: tuple, x: Array, t: Array, index: Array) -> tuple[Prediction, tuple]:
            return self._guided(params, cond, x, t, index), state

        return StatefulPredictor(lambda x: (), guided)

    def _guided(
        self, params: Any, cond: LeditsPPCond, x: Array, t: Array, index: Array
    ) -> Prediction:
        every = jax.vmap(lambda c: self.predict(params, x, t, c))(stacked(cond))
        both = t <= self.intersect_to + 1e-4
        against = jax.tree.map(lambda a: a[0], every)
        if len(cond.concepts.scale) == 0:
            return against._replace(masks=jnp.zeros((0, *x.shape[:2], 1)))
        _check(self.masks, every, cond.concepts)
        push, masks = jax.vmap(lambda p, c: pushed(against.eps, p, c, index, self.masks, both))(
            jax.tree.map(lambda a: a[1:], every), cond.concepts._replace(cond=None)
        )
        return against._replace(eps=against.eps + sum(push[1:], push[0]), masks=masks)


def stacked(cond: LeditsPPCond) -> Any:
    """All conds as one with a leading axis 1 + K: against, concepts."""
    return jax.tree.map(
        lambda against, each: jnp.concatenate([against[None], each]),
        *jax.tree.map(jnp.asarray, (cond.against, cond.concepts.cond)),
    )


def pushed(
    against: Array, prediction: Prediction, one: Concepts, index: Array, masks: str, both: Array
) -> tuple[Array, Array]:
    """w mask psi [H, W, C] of one concept and its mask [H, W, 1]; 0 where it does not act."""
    psi = direction(against, prediction.eps, one)
    now = one.active & (index >= one.warmup) & (index < one.cooldown) & (one.weight > 0)
    mask = mask_of(psi, prediction.attention, one, masks, both)
    return jnp.where(now, one.weight * mask * psi, 0.0), jnp.where(now, mask, 0.0)


def mask_of(
    psi: Array, attention: Array | None, one: Concepts, masks: str, both: Array | bool = True
) -> Array:
    """The mask [H, W, 1] of psi [H, W, C]; `both`: whether "intersect" uses M2 too."""
    if masks == "noise":
        return noise_mask(psi, one.threshold)
    (h, w), own = psi.shape[:2], attention.shape[:2]
    first = attention_mask(attention, one.tokens, one.threshold, _factor((h, w), own))[:h, :w]
    if masks == "attention":
        return first
    return jnp.where(both, first * noise_mask(psi, one.threshold), first)


def noise_mask(psi: Array, threshold: Array) -> Array:
    """M2 [H, W, 1]: the sum of |psi| over the channels is at least its quantile."""
    total = jnp.sum(jnp.abs(psi), axis=-1, keepdims=True)
    return jnp.where(top(total, threshold), 1.0, 0.0)


def attention_mask(attention: Array, tokens: Array, threshold: Array, factor: int) -> Array:
    """M1 [h factor, w factor, 1]: attention [h, w, L], summed over the tokens [L] and smoothed, is
    at least its quantile; each value covers a square of factor x factor."""
    smooth = smoothed(jnp.sum(attention * tokens[None, None], axis=-1))
    mask = jnp.where(top(smooth, threshold), 1.0, 0.0)
    return jnp.repeat(jnp.repeat(mask, factor, 0), factor, 1)[..., None]


def smoothed(a: Array) -> Array:
    """a [h, w] smoothed by the 3 x 3 kernel outer(k, k), k = [1/e, 1, 1/e] scaled to sum 1;
    edges are reflected."""
    side = np.exp(-1.0)
    kernel = np.asarray([side, 1, side]) / (1 + 2 * side)
    for axis in (0, 1):
        rows = jnp.moveaxis(
            jnp.pad(a, [(1, 1) if i == axis else (0, 0) for i in (0, 1)], "reflect"), axis, 0
        )
        a = jnp.moveaxis(
            sum(float(k) * rows[i : len(rows) - 2 + i] for i, k in enumerate(kernel)), 0, axis
        )
    return a


def _factor(sides: tuple[int, ...], own: tuple[int, ...]) -> int | None:
    """The power of 2 by which the sides of a state are those of maps, rounded up; None: there is
    none. The convolutions of a U-Net that halve a picture round odd sides up."""
    powers = (2**i for i in range(max(sides).bit_length() + 1))
    fits = (f for f in powers if tuple(-(-side // f) for side in sides) == tuple(own))
    return next(fits, None)


def _check(masks: str, every: Prediction, many: Concepts) -> None:
    if masks == "noise":
        return
    if every.attention is None or many.tokens is None:
        raise ValueError(
            f"masks {masks!r} requires the attention of the network and the tokens of the concepts;"
            ' "noise" requires neither'
        )
    sides, own = every.eps.shape[1:3], every.attention.shape[1:3]
    if _factor(sides, own) is None:
        raise ValueError(
            f"attention must have the sides {sides} of the state, halved and rounded up some times,"
            f" got {own}"
        )
    if every.attention.shape[-1] != many.tokens.shape[-1]:
        raise ValueError(
            f"tokens must be [K, {every.attention.shape[-1]}], got {many.tokens.shape}"
        )

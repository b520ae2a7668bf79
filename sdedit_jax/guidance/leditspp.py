"""Guidance of LEDITS++ (Brack et al., 2311.16711): concepts in implicit masks, without a text.

eps = eps_u + sum of w_c mask_c psi_c over the concepts in their time, psi_c = +-scale_c (eps_c -
eps_u). Two masks of a concept come from the prediction itself, each 1 where a map is at least its
threshold_c quantile: M1 of the cross-attention to the concept's own tokens, M2 of sum_channels
|psi_c|.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.guidance.sega import Concepts, PredictFn, direction, top
from sdedit_jax.rules import Prediction, Remembering

MASKS = ("intersect", "attention", "noise")
INTERSECT_TO = 0.801
"""The time of step 800 of 1000: noisier states have M1 alone in diffusers."""


class Pushed(NamedTuple):
    """The cond of a predictor guided by concepts alone.

    Attributes:
        against: cond of the empty or negative text.
        concepts: with `tokens` where a mask is from attention; warm-up of 0 as a rule. Momentum and
            beta are not used.
    """

    against: Any
    concepts: Concepts


def leditspp(
    predict: PredictFn, masks: str = "intersect", intersect_to: float = INTERSECT_TO
) -> Callable[[Any, Pushed], Remembering]:
    """Guidance of LEDITS++: (params, Pushed) -> a predictor for the loop that counts its steps.

    A step evaluates the network once, for a batch of 1 + K conds: against, concepts. For masks
    from attention it must give `Prediction.attention` [h, w, L]: the mean over the heads and over
    the cross-attention layers of one size on the way down and up, the middle left out.

    Args:
        masks: "intersect": M1 M2. "attention": M1. "noise": M2, the default of the authors' code.
        intersect_to: "intersect" has M1 alone at times above this one (1: nowhere, as in the
            authors' code).
    """
    if masks not in MASKS:
        raise ValueError(f"masks must be one of {list(MASKS)}, got {masks!r}")

    def bind(params: Any, cond: Pushed) -> Remembering:
        def guided(memory: tuple, x: Array, t: Array, index: Array) -> tuple[Prediction, tuple]:
            every = jax.vmap(lambda c: predict(params, x, t, c))(stacked(cond))
            both = t <= intersect_to + 1e-4
            against = jax.tree.map(lambda a: a[0], every)
            if len(cond.concepts.scale) == 0:
                return against, memory
            _check(masks, every, cond.concepts)
            push = jax.vmap(lambda p, c: pushed(against.eps, p, c, index, masks, both))(
                jax.tree.map(lambda a: a[1:], every), cond.concepts._replace(cond=None)
            )
            return against._replace(eps=against.eps + sum(push[1:], push[0])), memory

        return Remembering(lambda x: (), guided)

    return bind


def stacked(cond: Pushed) -> Any:
    """All conds as one with a leading axis 1 + K: against, concepts."""
    return jax.tree.map(
        lambda against, each: jnp.concatenate([against[None], each]),
        *jax.tree.map(jnp.asarray, (cond.against, cond.concepts.cond)),
    )


def pushed(
    against: Array, said: Prediction, one: Concepts, index: Array, masks: str, both: Array
) -> Array:
    """w mask psi [H, W, C] of one concept in its time, else 0."""
    psi = direction(against, said.eps, one)
    now = one.active & (index >= one.warmup) & (index < one.cooldown) & (one.weight > 0)
    part = one.weight * mask_of(psi, said.attention, one, masks, both) * psi
    return jnp.where(now, part, 0.0)


def mask_of(
    psi: Array, attention: Array | None, one: Concepts, masks: str, both: Array | bool = True
) -> Array:
    """The mask [H, W, 1] of psi [H, W, C]; `both` as in `leditspp`, whether M2 joins M1."""
    if masks == "noise":
        return noise_mask(psi, one.threshold)
    first = attention_mask(attention, one.tokens, one.threshold, psi.shape[0] // len(attention))
    if masks == "attention":
        return first
    return jnp.where(both, first * noise_mask(psi, one.threshold), first)


def noise_mask(psi: Array, threshold: Array) -> Array:
    """M2 [H, W, 1]: the sum of |psi| over the channels is at least its quantile."""
    total = jnp.sum(jnp.abs(psi), axis=-1, keepdims=True)
    return jnp.where(top(total, threshold), 1.0, 0.0)


def attention_mask(attention: Array, tokens: Array, threshold: Array, factor: int) -> Array:
    """M1 [h factor, w factor, 1]: attention [h, w, L] summed over the tokens [L], made smooth, is
    at least its quantile; each value then covers a square of factor x factor."""
    smooth = smoothed(jnp.sum(attention * tokens[None, None], axis=-1))
    mask = jnp.where(top(smooth, threshold), 1.0, 0.0)
    return jnp.repeat(jnp.repeat(mask, factor, 0), factor, 1)[..., None]


def smoothed(a: Array) -> Array:
    """a [h, w] under the 3 x 3 kernel outer(e, e), e = [1/e, 1, 1/e] to sum 1; reflected edges."""
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


def _check(masks: str, every: Prediction, many: Concepts) -> None:
    if masks == "noise":
        return
    if every.attention is None or many.tokens is None:
        raise ValueError(
            f"masks {masks!r} needs the attention of the network and the tokens of the concepts;"
            ' "noise" needs neither'
        )
    sides, own = every.eps.shape[1:3], every.attention.shape[1:3]
    if (
        any(a % b for a, b in zip(sides, own, strict=True))
        or sides[0] * own[1] != sides[1] * own[0]
    ):
        raise ValueError(f"attention of {own} must divide the sides {sides} of the state")
    if every.attention.shape[-1] != many.tokens.shape[-1]:
        raise ValueError(
            f"tokens must be [K, {every.attention.shape[-1]}], got {many.tokens.shape}"
        )

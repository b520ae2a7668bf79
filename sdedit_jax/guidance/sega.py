"""Semantic guidance (SEGA, Brack et al., 2301.12247): words that push a prediction, each with its
own scale, threshold and time.

A concept c has the direction psi_c = +-scale_c (eps_c - eps_u), with eps_u the estimate of the
empty or negative text. Only its largest entries count: G_c = psi_c where |psi_c| is at least its
threshold_c quantile, else 0. With the weight w_c and the momentum nu_c of the concept

    push_c = w_c G_c + m_c nu_c,        nu_c <- b_c nu_c + (1 - b_c) push_c,
    eps = eps_u + scale (eps_text - eps_u) + sum of push_c over the concepts past their warm-up.

The momentum gathers from the first step on, warm or not, and fades after the cool-down, when w_c
G_c is 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.rules import Prediction, Remembering

PredictFn = Callable[..., Prediction]
"""(params, x [H, W, C], t, cond=None, key=None) -> Prediction."""

MODES = ("mended", "sega-original")


class Concepts(NamedTuple):
    """K concepts; all arrays are traced, so that changing them compiles nothing.

    Attributes:
        cond: what the predictor takes as its cond, with a leading axis K.
        scale: [K] factor of the direction. reverse: [K] away from the concept.
        warmup: [K] steps before it pushes. cooldown: [K] the step from which it is over, or inf.
        threshold: [K] in [0, 1]; 0 keeps every entry, 1 the largest alone.
        weight: [K]; below 0 counts as 0.
        momentum, beta: [K] scale and decay of the momentum.
        active: [K]; what is not active (padding) changes nothing.
        mask: [K, H, W, 1] where the direction counts, multiplied before the threshold; or None.
        tokens: [K, L] 1 at the concept's own tokens, without start and end, for masks from
            attention; or None.
    """

    cond: Any
    scale: Any
    reverse: Any
    warmup: Any
    cooldown: Any
    threshold: Any
    weight: Any
    momentum: Any
    beta: Any
    active: Any
    mask: Any = None
    tokens: Any = None


def concepts(
    cond: Any,
    *,
    scale: Any = 5.0,
    reverse: Any = False,
    warmup: Any = 10,
    cooldown: Any = None,
    threshold: Any = 0.9,
    weight: Any = 1.0,
    momentum: Any = 0.1,
    beta: Any = 0.4,
    active: Any = True,
    mask: Any = None,
    tokens: Any = None,
) -> Concepts:
    """Concepts from one value for all, or from K values; the defaults are those of diffusers.

    Args:
        cond: with a leading axis K. cooldown: None, also as one of K: never. Else see Concepts.

    Raises:
        ValueError: another number of values than K, a threshold outside [0, 1], a time below 0.
    """
    k = jax.tree.leaves(cond)[0].shape[0]
    never = [np.inf if c is None else c for c in np.atleast_1d(np.asarray(cooldown, object))]
    values = {
        "scale": scale, "reverse": reverse, "warmup": warmup, "cooldown": never,
        "threshold": threshold, "weight": weight, "momentum": momentum, "beta": beta,
        "active": active,
    }  # fmt: skip
    rows = {name: _row(name, value, k) for name, value in values.items()}
    if np.any((rows["threshold"] < 0) | (rows["threshold"] > 1)):
        raise ValueError(f"threshold must be in [0, 1], got {threshold}")
    for name in ("warmup", "cooldown"):
        if np.any(rows[name] < 0):
            raise ValueError(f"{name} must be at least 0 steps, got {values[name]}")
    for name, extra in (("mask", mask), ("tokens", tokens)):
        if extra is not None and len(extra) != k:
            raise ValueError(f"{name} must have one row for each of {k} concepts, got {len(extra)}")
    return Concepts(cond, **rows, mask=mask, tokens=tokens)


def padded(many: Concepts, k: int) -> Concepts:
    """The concepts with inactive ones behind them, k in all; it guides exactly as without them."""
    missing = k - len(many.scale)
    if missing < 0:
        raise ValueError(f"k must be at least the number of concepts {len(many.scale)}, got {k}")

    def pad(a: Any) -> np.ndarray:
        return np.pad(np.asarray(a), [(0, missing)] + [(0, 0)] * (np.ndim(a) - 1))

    return jax.tree.map(pad, many)


class Sega(NamedTuple):
    """The cond of a semantically guided predictor.

    Attributes:
        text: cond of the target text. against: of the empty or negative text. Same shapes.
        scale: of the guidance from `against` to `text`; 0 leaves the text out.
        concepts: the concepts.
        supplied: [N, H, W, C] guidance of the user's own for each step of the grid, or None.
    """

    text: Any
    against: Any
    scale: Any
    concepts: Concepts
    supplied: Any = None


def sega(predict: PredictFn, mode: str = "mended") -> Callable[[Any, Sega], Remembering]:
    """Semantic guidance of a predictor: (params, Sega) -> a predictor with memory for the loop.

    A step evaluates the network once, for a batch of 2 + K conds: against, text, concepts. Warm-up
    and cool-down count the steps of the grid that is run.

    Args:
        mode: "mended" guides as the head of this module says. "sega-original" is what the released
            code and diffusers do, where it differs: while some concepts are warm and others are
            not, the guidance is the mean of the warm ones by weight, without momentum, and jumps to
            the sum over all with momentum when the last one is warm; empty concepts count in that
            mean, and it is NaN once every warm concept has cooled down; with a guidance scale of at
            most 1 neither text guidance nor concepts act.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {list(MODES)}, got {mode!r}")

    def bind(params: Any, cond: Sega) -> Remembering:
        def init(x: Array) -> Array:
            return jnp.zeros((len(cond.concepts.scale), *x.shape))

        def guided(memory: Array, x: Array, t: Array, index: Array) -> tuple[Prediction, Array]:
            every = jax.vmap(lambda c: predict(params, x, t, c))(stacked(cond))
            against, text = every.eps[0], every.eps[1]
            push, memory = semantic(against, every.eps[2:], cond.concepts, memory, index, mode)
            eps = against + (cond.scale * (text - against) + push)
            if cond.supplied is not None:
                eps = eps + jnp.asarray(cond.supplied)[index]
            if mode == "sega-original":
                eps = jnp.where(jnp.asarray(cond.scale) > 1, eps, text)
            return jax.tree.map(lambda a: a[1], every)._replace(eps=eps), memory

        return Remembering(init, guided)

    return bind


def stacked(cond: Sega) -> Any:
    """All conds as one with a leading axis 2 + K: against, text, concepts."""
    return jax.tree.map(
        lambda against, text, each: jnp.concatenate([against[None], text[None], each]),
        *jax.tree.map(jnp.asarray, (cond.against, cond.text, cond.concepts.cond)),
    )


def semantic(
    against: Array, eps: Array, many: Concepts, memory: Array, index: Array, mode: str = "mended"
) -> tuple[Array, Array]:
    """The guidance of one step and the momentum after it.

    Args:
        against: eps_u [H, W, C]. eps: of the concepts [K, H, W, C]. memory: nu [K, H, W, C].
        index: steps run so far.

    Returns:
        sum of the pushes [H, W, C], and nu [K, H, W, C].
    """
    many, k = many._replace(cond=None), len(many.scale)
    if k == 0:
        return jnp.zeros_like(against), memory
    warm = jnp.asarray(many.active, bool) & (index >= jnp.asarray(many.warmup))
    weight = jnp.where(_over(many, index), 0.0, jnp.maximum(jnp.asarray(many.weight), 0.0))
    part = jax.vmap(lambda e, c: _largest(direction(against, e, c), c.threshold))(eps, many)
    # what is switched off is chosen away, not multiplied by 0: padding may hold anything
    part = jnp.where(_each(weight > 0), _each(weight) * part, 0.0)
    push = part + _each(jnp.asarray(many.momentum)) * memory
    beta = _each(jnp.asarray(many.beta))
    memory = beta * memory + (1 - beta) * push
    if mode == "mended":
        return _sum(jnp.where(_each(warm), push, 0.0)), memory
    total = jnp.sum(jnp.where(warm, weight, 0.0))
    mean = _sum(jnp.where(_each(warm), part, 0.0)) / total  # 0 / 0 is NaN, as in the original
    some, all_ = jnp.any(warm), jnp.all(warm | ~jnp.asarray(many.active, bool))
    return jnp.where(some & all_, _sum(push), jnp.where(some, mean, 0.0)), memory


def direction(against: Array, eps: Array, one: Concepts) -> Array:
    """psi [H, W, C] of one concept, where its mask lets it: +-scale (eps - against) mask."""
    psi = (eps - against) * jnp.where(one.reverse, -1.0, 1.0) * one.scale
    return psi if one.mask is None else psi * one.mask


def top(values: Array, q: Array) -> Array:
    """Whether each of the values, of any shape, is at least the q quantile of them all.

    By rank as well as by size: a compiler may compute a value twice and round it in two ways, and
    where the quantile is one of the values this one would be smaller than itself.
    """
    flat = values.astype(jnp.float32).ravel()
    ordered, places = jax.lax.sort((flat, jnp.arange(len(flat))), num_keys=1)
    rank = _rank(q, len(flat))
    by_rank = jnp.zeros(len(flat), bool).at[places].set(jnp.arange(len(flat)) >= jnp.ceil(rank))
    return (by_rank | (flat >= _at_rank(ordered, rank))).reshape(values.shape)


def _rank(q: Array, n: int) -> Array:
    return q * jnp.float32(n - 1)


def _at_rank(ordered: Array, rank: Array) -> Array:
    """The value at a rank, between two of them by a straight line."""
    low = jnp.floor(rank)
    below, above = (ordered[i.astype(jnp.int32)] for i in (low, jnp.ceil(rank)))
    return below + (rank - low) * (above - below)


def _largest(psi: Array, threshold: Array) -> Array:
    """psi [H, W, C] where |psi| is at least its quantile over the positions of each channel."""
    large = jax.vmap(lambda v: top(v, threshold), in_axes=-1, out_axes=-1)(jnp.abs(psi))
    return jnp.where(large, psi, 0.0)


def _over(many: Concepts, index: Array) -> Array:
    return ~jnp.asarray(many.active, bool) | (index >= jnp.asarray(many.cooldown))


def _each(row: Array) -> Array:
    return row[:, None, None, None]


def _sum(parts: Array) -> Array:
    """The sum over the first axis in its order: zeros behind change no digit of it."""
    return sum(parts[1:], parts[0])


def _row(name: str, value: Any, k: int) -> np.ndarray:
    row = np.asarray(value, bool if name in ("reverse", "active") else np.float32)
    if row.size not in (1, k):
        raise ValueError(f"{name} must be one value or {k}, one for each concept, got {row.size}")
    return np.broadcast_to(row.ravel(), (k,)).copy()

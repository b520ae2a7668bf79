"""Semantic guidance (SEGA, Brack et al., 2301.12247): concepts that change a prediction, each with
its own scale, threshold and range of steps.

A concept c has the direction psi_c = +-scale_c (eps_c - eps_u), with eps_u the prediction for the
empty or negative text. Only its largest entries are used: G_c = psi_c where |psi_c| is at least its
threshold_c quantile, else 0. With the weight w_c and the momentum nu_c of the concept

    push_c = w_c G_c + m_c nu_c,        nu_c <- b_c nu_c + (1 - b_c) push_c,
    eps = eps_u + scale (eps_text - eps_u) + sum of push_c over the concepts past their warm-up.

The momentum accumulates from the first step on, also during the warm-up. It decays after the
cool-down, when w_c G_c is 0.

The eps of these formulas is the network's own output, as in the released code: for networks that
predict v, nu is in units of v. This matters for the momentum alone, which carries over to levels
where an output means another amount of noise.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.solvers import Prediction, StatefulPredictor
from sdedit_jax.priors.adapters import PredictFn
from sdedit_jax.priors.prior import mask_of_state

MODES = ("mended", "sega-original")


class Concepts(NamedTuple):
    """K concepts; all arrays are traced, so other values compile nothing.

    Attributes:
        cond: what the predictor takes as its cond, with a leading axis K.
        scale: [K] factor of the direction.
        reverse: [K] whether to lead away from the concept.
        warmup: [K] number of steps before it acts.
        cooldown: [K] the step from which it no longer acts, or inf.
        threshold: [K] in [0, 1]; 0 keeps every entry, 1 only the largest.
        weight: [K]; a negative weight is 0.
        momentum, beta: [K] scale and decay of the momentum.
        active: [K] False for padding, which changes nothing.
        mask: [K, H, W, 1] factor of the direction before the threshold; or None.
        tokens: [K, L] 1 at the tokens of the concept, without start and end, for masks from
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
    """Concepts from one value for all of them, or from K values; defaults as in diffusers.

    Args:
        cond: with a leading axis K.
        cooldown: None, also as one of K values, means never.
        The others: see Concepts.

    Raises:
        ValueError: a number of values other than K, a threshold outside [0, 1], a negative step.
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
    """The concepts followed by inactive ones, k in total; the guidance is exactly the same."""
    missing = k - len(many.scale)
    if missing < 0:
        raise ValueError(f"k must be at least the number of concepts {len(many.scale)}, got {k}")

    def pad(a: Any) -> np.ndarray:
        return np.pad(np.asarray(a), [(0, missing)] + [(0, 0)] * (np.ndim(a) - 1))

    return jax.tree.map(pad, many)


class SEGACond(NamedTuple):
    """The cond of semantic guidance.

    Attributes:
        text: cond of the target text.
        against: cond of the empty or negative text; same shapes.
        scale: guidance scale from `against` to `text`; 0 leaves the text out.
        concepts: the concepts.
        supplied: [N, H, W, C] guidance of the user for each step of the grid, in units of the
            network's output; or None.
    """

    text: Any
    against: Any
    scale: Any
    concepts: Concepts
    supplied: Any = None


def fit_masks(many: Concepts, shape: tuple[int, ...]) -> Concepts:
    """The concepts with their masks [K, H, W, 1] of pictures as masks [K, h, w, 1] of states."""
    if many.mask is None:
        return many
    return many._replace(mask=jax.vmap(lambda m: mask_of_state(m, shape))(jnp.asarray(many.mask)))


@jax.tree_util.register_static
@dataclass(frozen=True)
class SEGA:
    """Semantic guidance of a predictor; `bind` gives the stateful predictor of the loop.

    A step evaluates the network once, for a batch of 2 + K conds: against, text, concepts. Warm-up
    and cool-down count the steps of the grid that is run. The state is the momentum [K, H, W, C].
    `Prediction.masks` [K, H, W, 1] is the share of channels in which a concept acts.

    Attributes:
        predict: the predictor that is guided.
        mode: "mended" guides as this module describes. "sega-original" reproduces the released
            code and diffusers where they differ. While some concepts are warm and others are not,
            the guidance is the mean of the warm ones by weight, without momentum; it changes to
            the sum over all with momentum when the last one is warm. Empty concepts count in that
            mean. It is NaN once every warm concept has cooled down. With a guidance scale of at
            most 1 neither text guidance nor concepts act.
        conditions: network evaluations for a prediction, without those of the concepts.
    """

    predict: PredictFn
    mode: str = "mended"
    conditions: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {list(MODES)}, got {self.mode!r}")

    def prepare(self, cond: SEGACond, shape: tuple[int, ...]) -> SEGACond:
        """The cond for states of this shape: its masks are drawn on pictures."""
        return cond._replace(concepts=fit_masks(cond.concepts, shape))

    def bind(self, params: Any, cond: SEGACond) -> StatefulPredictor:
        """The predictor of the loop for params and a cond."""

        def init(x: Array) -> Array:
            return jnp.zeros((len(cond.concepts.scale), *x.shape))

        def guided(state: Array, x: Array, t: Array, index: Array) -> tuple[Prediction, Array]:
            return self._guided(params, cond, state, x, t, index)

        return StatefulPredictor(init, guided)

    def _guided(
        self, params: Any, cond: SEGACond, state: Array, x: Array, t: Array, index: Array
    ) -> tuple[Prediction, Array]:
        every = jax.vmap(lambda c: self.predict(params, x, t, c))(stacked(cond))
        against, text = every.eps[0], every.eps[1]
        unit = _unit(every)
        own = every.eps / unit  # outputs of the network, but for a term that all have
        push, state, masks = semantic(own[0], own[2:], cond.concepts, state, index, self.mode)
        if cond.supplied is not None:
            push = push + jnp.asarray(cond.supplied)[index]
        eps = against + (cond.scale * (text - against) + unit * push)
        if self.mode == "sega-original":
            eps = jnp.where(jnp.asarray(cond.scale) > 1, eps, text)
        return jax.tree.map(lambda a: a[1], every)._replace(eps=eps, masks=masks), state


def stacked(cond: SEGACond) -> Any:
    """All conds as one with a leading axis 2 + K: against, text, concepts."""
    return jax.tree.map(
        lambda against, text, each: jnp.concatenate([against[None], text[None], each]),
        *jax.tree.map(jnp.asarray, (cond.against, cond.text, cond.concepts.cond)),
    )


def semantic(
    against: Array, eps: Array, many: Concepts, state: Array, index: Array, mode: str = "mended"
) -> tuple[Array, Array, Array]:
    """The guidance of one step, the momentum after it, and the masks.

    Args:
        against: eps_u [H, W, C].
        eps: predictions for the concepts [K, H, W, C].
        state: nu [K, H, W, C].
        index: number of steps already run.

    Returns:
        sum of the pushes [H, W, C]; nu [K, H, W, C]; share [K, H, W, 1] of the channels in which
        each concept acts.
    """
    many, k = many._replace(cond=None), len(many.scale)
    if k == 0:
        return jnp.zeros_like(against), state, jnp.zeros((0, *against.shape[:2], 1))
    warm = jnp.asarray(many.active, bool) & (index >= jnp.asarray(many.warmup))
    weight = jnp.where(_over(many, index), 0.0, jnp.maximum(jnp.asarray(many.weight), 0.0))
    part, large = jax.vmap(lambda e, c: _largest(direction(against, e, c), c.threshold))(eps, many)
    masks = jnp.where(_each(warm & (weight > 0)), jnp.mean(large, axis=-1, keepdims=True), 0.0)
    # selected, not multiplied by 0: padding may hold any value
    part = jnp.where(_each(weight > 0), _each(weight) * part, 0.0)
    push = part + _each(jnp.asarray(many.momentum)) * state
    beta = _each(jnp.asarray(many.beta))
    state = beta * state + (1 - beta) * push
    if mode == "mended":
        return _sum(jnp.where(_each(warm), push, 0.0)), state, masks
    total = jnp.sum(jnp.where(warm, weight, 0.0))
    mean = _sum(jnp.where(_each(warm), part, 0.0)) / total  # 0 / 0 is NaN, as in the original
    some, all_ = jnp.any(warm), jnp.all(warm | ~jnp.asarray(many.active, bool))
    return jnp.where(some & all_, _sum(push), jnp.where(some, mean, 0.0)), state, masks


def direction(against: Array, eps: Array, one: Concepts) -> Array:
    """psi [H, W, C] of one concept: +-scale (eps - against) mask."""
    psi = (eps - against) * jnp.where(one.reverse, -1.0, 1.0) * one.scale
    return psi if one.mask is None else psi * one.mask


def top(values: Array, q: Array) -> Array:
    """Whether each value of an array of any shape is at least the q quantile of the array.

    Values are compared by rank as well as by size. A compiler may compute a value twice with
    different rounding; if it is the quantile itself, it could be smaller than itself.
    """
    flat = values.astype(jnp.float32).ravel()
    ordered, places = jax.lax.sort((flat, jnp.arange(len(flat))), num_keys=1)
    rank = _rank(q, len(flat))
    by_rank = jnp.zeros(len(flat), bool).at[places].set(jnp.arange(len(flat)) >= jnp.ceil(rank))
    return (by_rank | (flat >= _at_rank(ordered, rank))).reshape(values.shape)


def _rank(q: Array, n: int) -> Array:
    return q * jnp.float32(n - 1)


def _at_rank(ordered: Array, rank: Array) -> Array:
    """The value at a rank, by linear interpolation."""
    low = jnp.floor(rank)
    below, above = (ordered[i.astype(jnp.int32)] for i in (low, jnp.ceil(rank)))
    return below + (rank - low) * (above - below)


def _largest(psi: Array, threshold: Array) -> tuple[Array, Array]:
    """psi [H, W, C] where |psi| is at least its quantile over the positions of each channel, and
    where that is [H, W, C]."""
    large = jax.vmap(lambda v: top(v, threshold), in_axes=-1, out_axes=-1)(jnp.abs(psi))
    return jnp.where(large, psi, 0.0), large


def _over(many: Concepts, index: Array) -> Array:
    return ~jnp.asarray(many.active, bool) | (index >= jnp.asarray(many.cooldown))


def _unit(every: Prediction) -> Array | float:
    """The factor of the network's output in eps; 1 where eps does not depend on it."""
    if every.unit is None:
        return 1.0
    return jnp.where(every.unit[0] == 0, 1.0, every.unit[0])


def _each(row: Array) -> Array:
    return row[:, None, None, None]


def _sum(parts: Array) -> Array:
    """The sum over the first axis in order, so that trailing zeros change no digit."""
    return sum(parts[1:], parts[0])


def _row(name: str, value: Any, k: int) -> np.ndarray:
    row = np.asarray(value, bool if name in ("reverse", "active") else np.float32)
    if row.size not in (1, k):
        raise ValueError(f"{name} must be one value or {k}, one for each concept, got {row.size}")
    return np.broadcast_to(row.ravel(), (k,)).copy()

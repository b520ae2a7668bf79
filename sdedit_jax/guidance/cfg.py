"""Guidance: predictor -> predictor, and the class labels that it may be guided by.

What a guided predictor needs beside the picture travels in its `cond`, traced.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.rules import Prediction

Predict = Callable[..., Prediction]
"""(params, x [H, W, C], t, cond=None, key=None) -> Prediction."""


class Guided(NamedTuple):
    """A condition with what it is held against.

    Attributes:
        label: what the picture shall be: whatever the predictor takes as its cond (a class label,
            the embedding of a text; any pytree).
        against: another condition of the same structure and shapes; often the one that says
            nothing: the null label, the empty text.
        scale: 0: `against` alone; 1: `label` alone; above 1 away from `against`.
    """

    label: Any
    against: Any
    scale: Any


def cfg(predict: Predict) -> Predict:
    """Classifier-free guidance (Ho and Salimans, 2207.12598, eq. 6) of a predictor.

    eps = eps(against) + scale (eps(label) - eps(against)), for a cond of type Guided. With two
    labels it mixes them: scale 0.5 stands half-way. Exactly `against` at scale 0 and `label` at 1.
    A learned variance and attention maps are the label's; below scale 1 the fraction is mixed too.

    Each prediction evaluates the network for both conditions, as a batch of two.
    """

    def guided(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        both = jax.vmap(lambda c: predict(params, x, t, c, key))(_pair(cond))
        ours, against = (jax.tree.map(lambda a, i=i: a[i], both) for i in (0, 1))
        scale = jnp.asarray(cond.scale, jnp.float32)
        eps = (1 - scale) * against.eps + scale * ours.eps  # this form is exact at both ends
        return ours._replace(eps=eps, variance=_variance(ours, against, scale))

    return guided


def _pair(cond: Guided) -> Any:
    """Label and against as one cond with a leading axis of 2."""
    kinds = [jax.tree.map(jnp.shape, c) for c in (cond.label, cond.against)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"cond.against must have the shapes of cond.label, got {kinds}")
    return jax.tree.map(lambda a, b: jnp.stack([a, b]), cond.label, cond.against)


def _variance(ours: Prediction, against: Prediction, scale: Array) -> Array | None:
    if ours.variance is None:
        return None
    part = jnp.clip(scale, 0, 1)  # beyond 1 a fraction would leave [0, 1]
    return (1 - part) * against.variance + part * ours.variance


# --- class labels ---------------------------------------------------------------------------------


class Classes(NamedTuple):
    """The labels of a network.

    Attributes:
        count: number of class labels 0 .. count - 1; None: it has none.
        null: the label by which it means "no class"; None: there is none, so it wants a label.
    """

    count: int | None
    null: int | None = None


def check_label(classes: Classes | None, label: int | None, field: str = "cond") -> None:
    """See that a label is one that the network knows, and that it gets one if it wants one.

    Args:
        classes: None: nothing is known, nothing is refused. field: its name in messages.

    Raises:
        ValueError: a label for a network without classes, none of its classes, or no label for a
            network that wants one.
    """
    if classes is None:
        return
    allowed = f"[0, {(classes.count or 0) - 1}]"
    if label is None:
        if classes.count is not None and classes.null is None:
            raise ValueError(f"{field}: the prior wants a class label in {allowed}, got none")
        return
    if classes.count is None:
        raise ValueError(f"{field}: the prior has no classes, got label {label}")
    whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
    if not whole or not 0 <= label < classes.count:
        raise ValueError(f"{field} must be in {allowed}, got {label}")


def condition(
    classes: Classes | None, cond: int | None, against: int | str | None, scale: float
) -> Any:
    """What a predictor gets as its cond: None, a label, or a Guided pair of labels.

    Args:
        cond: class label, or None.
        against: the label that guidance leads away from (a number may be text), "null" for the
            label that means no class, None or "" for no guidance.
        scale: of the guidance: 0 is `against` alone, 1 `cond` alone.

    Raises:
        ValueError: a label that the network does not know, or a scale without two labels.
    """
    check_label(classes, cond)
    if against in (None, ""):
        if scale != 1:
            raise ValueError(
                f"guidance.scale is {scale}, but guidance.against names no label to lead away from"
            )
        return None if cond is None else np.int32(cond)
    if cond is None:
        raise ValueError(f"cond: guidance against {against!r} wants a label in cond too")
    if not np.isfinite(scale):
        raise ValueError(f"guidance.scale must be finite, got {scale}")
    return Guided(np.int32(cond), np.int32(_other(classes, against)), np.float32(scale))


def _other(classes: Classes | None, against: int | str) -> int:
    """The number of the label `against`."""
    if against == "null":
        if classes is None or classes.null is None:
            raise ValueError(
                "guidance.against: the prior has no null label, each of its labels is a class;"
                " give another class"
            )
        return classes.null
    if isinstance(against, str):
        try:
            against = int(against)
        except ValueError:
            raise ValueError(
                f'guidance.against must be a label, "null" or "", got {against!r}'
            ) from None
    check_label(classes, against, "guidance.against")
    return against

"""Conditions: what a predictor takes as its cond, as arrays.

A cond is a class label, the embedding of a text, an `InpaintCond`, or a `CFGCond` of two of these.
All of them are traced: another label, text or scale compiles nothing.
"""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax import caution
from sdedit_jax.files.arrays import finite
from sdedit_jax.files.values import WEIGHT
from sdedit_jax.files.wording import brief
from sdedit_jax.priors.prior import Prior
from sdedit_jax.text.spelling import hint

FOREIGN = re.compile(r"\([^()]+:\s*[\d.]+\s*\)|<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)
"""Notation of other programs in prompts: "(word:1.3)" and "<lora:name:0.8>"."""


AGAINST = "guidance.against"
"""The field of the label that guidance leads away from; it may be the null label."""


class CFGCond(NamedTuple):
    """The cond of classifier-free guidance.

    Attributes:
        cond: the target: whatever the predictor takes as its cond (any pytree).
        uncond: another cond of the same structure and shapes; often the null label or the empty
            text.
        scale: 0: `uncond` alone; 1: `cond` alone; above 1: away from `uncond`.
    """

    cond: Any
    uncond: Any
    scale: Any


class InpaintCond(NamedTuple):
    """The cond of an inpainting network.

    Attributes:
        text: embedding [M, K].
        mask: [h, w, 1], 1 where it may paint.
        masked: the latent [h, w, c] of the picture with grey (0) where it may paint.
    """

    text: Array
    mask: Array
    masked: Array


# --- class labels ---------------------------------------------------------------------------------


class Classes(NamedTuple):
    """The labels of a network.

    Attributes:
        count: number of class labels 0 .. count - 1; None: it has no labels.
        null: the label that means "no class"; None: there is none, so a label is required.
        names: of the classes, in the order of their numbers; empty: they have none.
    """

    count: int | None
    null: int | None = None
    names: tuple[str, ...] = ()


def check_label(classes: Classes | None, label: int | None, field: str = "cond") -> None:
    """Check that the network knows a label, and has one if it requires one.

    Args:
        classes: None: unknown, every label passes.
        field: name of the label in messages.

    Raises:
        ValueError: a label for a network without classes, a label out of range, or no label for a
            network that requires one.
    """
    if classes is None:
        return
    allowed = f"[0, {(classes.count or 0) - 1}]"
    if label is None:
        if classes.count is not None and classes.null is None:
            raise ValueError(f"{field}: the prior requires a class label in {allowed}, got none")
        return
    if classes.count is None:
        raise ValueError(f"{field}: the prior has no classes, got label {brief(label)}")
    whole = isinstance(label, int | np.integer) and not isinstance(label, bool)
    if not whole or not 0 <= label < classes.count:
        raise ValueError(
            f"{field} must be in {allowed}{_or_null(classes, field)}, got {brief(label)}"
        )


def _or_null(classes: Classes | None, field: str) -> str:
    """What is allowed beside a class, for messages."""
    null = field == AGAINST and classes is not None and classes.null is not None
    return ', or "null" for no class' if null else ""


def class_cond(
    classes: Classes | None, label: int | str | None, against: int | str | None, scale: float
) -> Any:
    """The cond of class labels: None, a label, or a `CFGCond` of two labels.

    Args:
        label: a class: its number, the number as text, or its name; None or "": no class.
        against: the class that guidance leads away from, given in the same ways; "null": the null
            label; None or "": no guidance.
        scale: guidance scale: 0 is `against` alone, 1 `label` alone.

    Raises:
        ValueError: a label that the network does not know, a scale without two labels, or one at
            which the second has no effect.
    """
    label = _number(classes, label, "cond")
    if against in (None, ""):
        if scale != 1:
            raise ValueError(
                f"guidance.scale is {scale}, but guidance.against names no label to lead away from"
            )
        return None if label is None else np.int32(label)
    if label is None:
        raise ValueError(f"cond: guidance against {brief(against)} requires a label in cond too")
    if not np.isfinite(scale):
        raise ValueError(f"guidance.scale must be finite, got {scale}")
    other = _against(classes, against)
    if scale == 1:
        raise ValueError(
            f"guidance.against: {brief(against)} has no effect at guidance.scale 1; give another"
            " scale"
        )
    return CFGCond(np.int32(label), np.int32(other), np.float32(scale))


def _number(classes: Classes | None, value: int | str | None, field: str) -> int | None:
    """The number of a class that the network knows: names and digits become one, "" becomes None.

    Raises:
        ValueError: a text that is neither a name of the classes nor a number; see `check_label`.
    """
    label = _parsed(classes, value, field) if isinstance(value, str) else value
    check_label(classes, label, field)
    return label


def _parsed(classes: Classes | None, value: str, field: str) -> int | None:
    names = () if classes is None else classes.names
    if value in names:
        return names.index(value)
    if value == "":
        return None
    try:
        return int(value)
    except ValueError:
        if classes is not None and classes.count is None:
            raise ValueError(f"{field}: the prior has no classes, got {brief(value)}") from None
        allowed = f"one of {list(names)}, or its number" if names else "a number"
        null = _or_null(classes, field)
        near = hint(value, [*names, "null"] if null else names)
        raise ValueError(f"{field}: a class is {allowed}{null}; got {brief(value)}{near}") from None


def _against(classes: Classes | None, against: int | str) -> int:
    """The number of the label that guidance leads away from."""
    if against == "null":
        if classes is None or classes.null is None:
            raise ValueError(
                "guidance.against: the prior has no null label, each of its labels is a class;"
                " give another class"
            )
        return classes.null
    return _number(classes, against, AGAINST)


# --- prompts --------------------------------------------------------------------------------------


class Prompt(NamedTuple):
    """Texts of classifier-free guidance.

    Attributes:
        prompt: the target text; "" is the empty text.
        negative_prompt: the text that guidance leads away from.
        scale: guidance scale: 0 is the negative prompt alone, 1 the prompt alone.
    """

    prompt: "str | Embedded" = ""
    negative_prompt: "str | Embedded" = ""
    scale: float = 1.0


def check_reads(prior: Prior, field: str = "prompt") -> None:
    """Check that a prior reads texts.

    Raises:
        ValueError: it does not.
    """
    if prior.text is None:
        name = prior.metadata.get("name") or "unnamed"
        raise ValueError(f"{field}: the prior does not read texts ({name}); use one that does")


@dataclass(frozen=True, eq=False)
class Embedded:
    """A text that is given by its embedding [M, K]; each is equal to itself alone."""

    array: Any


def texts(prior: Prior, name: str, value: Any, count: int) -> list[str | Embedded]:
    """One text for all pictures, or one for each; a text is a string or its embedding [M, K].

    Args:
        value: a text, a list of `count` texts, or an array [count, M, K].

    Raises:
        TypeError: a value of another type. ValueError: another number of texts, or another shape.
    """
    rows = isinstance(value, np.ndarray | Array) and value.ndim not in (0, 2)
    listed = isinstance(value, list | tuple) or (rows and not isinstance(value, jax.core.Tracer))
    found = list(value) if listed else [value] * count
    if len(found) != count:
        raise ValueError(f"{name}: one for all or one for each of {count}, got {len(found)}")
    return [one if isinstance(one, str) else _embedded(prior, name, one) for one in found]


def _embedded(prior: Prior, name: str, value: Any) -> Embedded:
    if not isinstance(value, np.ndarray | Array):
        raise TypeError(f"{name} must be a string or an embedding [M, K], got {brief(value)}")
    wanted = jax.eval_shape(lambda: embedding(prior, "")).shape
    if value.shape != wanted:
        raise ValueError(f"{name}: an embedding of this prior is {wanted}, got {value.shape}")
    return Embedded(finite(value, name, "an embedding of real numbers"))


def with_clip_skip(prior: Prior, skip: int | None) -> Prior:
    """The prior with a text encoder that leaves out its last `skip` layers; None is 0.

    Raises:
        ValueError: the prior does not read texts, or its encoder has fewer layers.
    """
    whole = isinstance(skip, int | np.integer) and not isinstance(skip, bool)
    if skip is None or (whole and not skip):
        return prior
    check_reads(prior, "clip_skip")
    layers = prior.text.encode.net.config.num_hidden_layers
    if not whole or not 0 <= skip <= layers:
        raise ValueError(f"clip_skip must be a whole number in [0, {layers}], got {brief(skip)}")
    encoder = replace(prior.text.encode, skip=int(skip))
    return prior.replace(text=replace(prior.text, encode=encoder))


def embedding(prior: Prior, text: str | Embedded) -> Array:
    """The cond [M, K] of a text; a text that is too long is truncated (see `remarks`).

    The encoder is compiled once for equal priors.

    Raises:
        ValueError: the prior does not read texts, or `text` is not a string.
    """
    check_reads(prior)
    if isinstance(text, Embedded):
        return jnp.asarray(text.array)
    if not isinstance(text, str):
        raise ValueError(f"prompt must be a string, got {text!r}")
    return encode(prior.text.encode, prior.params, jnp.asarray(prior.text.tokenize(text).ids))


@functools.partial(jax.jit, static_argnums=0)
def encode(encoder: Callable[..., Array], params: Any, ids: Array) -> Array:
    """The embedding [M, K] of ids [M] by `Prior.text.encode`, compiled."""
    return encoder(params, ids)


def warn(prior: Prior, texts: Sequence[str | Embedded]) -> None:
    """Warn about texts: parts that are not read, unknown words, notation of other programs."""
    for message in remarks(prior, texts):
        caution.warn(message)


def remarks(prior: Prior, texts: Sequence[str | Embedded]) -> list[str]:
    """The warnings about texts, one line each."""
    every = list(dict.fromkeys(text for text in texts if isinstance(text, str)))
    tokenize = functools.cache(prior.text.tokenize)
    read = [tokenize(text) for text in every]
    found = [f"prompt: only {a.count} tokens are read; cut off: {a.cut!r}" for a in read if a.cut]
    plain = [FOREIGN.sub(" ", text) for text in every]
    if words := dict.fromkeys(word for text in plain for word in tokenize(text).unseen):
        listed = ", ".join(map(repr, words))
        found.append(
            f"prompt: the prior's vocabulary has never seen {listed}; expect little of them"
        )
    if foreign := list(dict.fromkeys(part for text in every for part in FOREIGN.findall(text))):
        parts = ", ".join(map(repr, foreign))
        found.append(
            f"prompt: read as plain text: {parts}; prompt weights and extra networks of other"
            " programs have no effect"
        )
    return found


def check_prompt(prompt: Prompt, field: str = "guidance.scale") -> None:
    """Check that the scale of a prompt is a number, and that scale and texts have an effect.

    Args:
        field: the name of the scale in messages.

    Raises:
        ValueError: it is not, or they have none.
    """
    WEIGHT.check(prompt.scale, field)
    if prompt.scale != 1 and not (prompt.prompt or prompt.negative_prompt):
        raise ValueError(
            f"prompt: {field} {prompt.scale:g} has no effect without a prompt; give prompt or"
            f" negative_prompt, or {field} 1 for an edit without any"
        )
    if prompt.prompt and prompt.scale == 0:
        raise ValueError(
            f"prompt: {prompt.prompt!r} has no effect at {field} 0; give another scale"
        )
    if prompt.negative_prompt and prompt.scale == 1:
        raise ValueError(
            f"negative_prompt: {prompt.negative_prompt!r} has no effect at {field} 1; give another"
            " scale"
        )


def prompt_cond(prior: Prior, prompt: Prompt) -> CFGCond:
    """The cond of a prompt and its negative prompt.

    Raises:
        ValueError: see `embedding`, or a scale that is not a finite number.
    """
    WEIGHT.check(prompt.scale, "guidance.scale")
    pair = (embedding(prior, text) for text in (prompt.prompt, prompt.negative_prompt))
    return CFGCond(*pair, np.float32(prompt.scale))

"""Texts as what a predictor gets as its cond: embeddings, alone or as a Guided pair.

Embeddings are traced: another text or scale compiles nothing.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.guidance import Guided
from sdedit_jax.prior import Prior


class Words(NamedTuple):
    """What a picture shall show.

    Attributes:
        prompt: the text; "" says nothing.
        negative_prompt: the text that guidance leads away from.
        scale: of the guidance: 0 is the negative prompt alone, 1 the prompt alone.
    """

    prompt: str = ""
    negative_prompt: str = ""
    scale: float = 1.0


def check_reads(prior: Prior, field: str = "prompt") -> None:
    """See that a prior reads texts.

    Raises:
        ValueError: it does not.
    """
    if prior.text is None:
        name = prior.card.get("name") or "this one"
        raise ValueError(f"{field}: the prior reads no texts ({name}); give one that does")


def embedding(prior: Prior, text: str) -> Array:
    """The cond [M, K] of a text; of one that is too long, of its beginning (see `cut`).

    Raises:
        ValueError: the prior reads no texts, or what is given is no text.
    """
    check_reads(prior)
    if not isinstance(text, str):
        raise ValueError(f"prompt must be a text, got {text!r}")
    return prior.text.encode(prior.params, jnp.asarray(prior.text.tokenize(text).ids))


def cut(prior: Prior, text: str) -> str:
    """One line that says what of a text is not read; "" where all is."""
    found = prior.text.tokenize(text)
    return f"prompt: only {found.count} tokens are read; cut off: {found.cut!r}" * bool(found.cut)


def check_scale(scale: float) -> None:
    """See that a scale of guidance is a number.

    Raises:
        ValueError: it is not.
    """
    number = isinstance(scale, int | float | np.number) and not isinstance(scale, bool)
    if not number or not math.isfinite(scale):
        raise ValueError(f"guidance.scale must be a finite number, got {scale!r}")


def guided(label: Array, against: Array, scale: float) -> Guided:
    """The cond of a guided predictor."""
    return Guided(label, against, np.float32(scale))


def condition(prior: Prior, words: Words) -> Any:
    """The Guided pair of some words; see `embedding`.

    Raises:
        ValueError: see `embedding`, or a scale that is no number.
    """
    check_scale(words.scale)
    pair = (embedding(prior, text) for text in (words.prompt, words.negative_prompt))
    return guided(*pair, words.scale)

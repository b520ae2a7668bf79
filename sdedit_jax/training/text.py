"""The loss of a text-conditional denoiser, trained together with its text encoder.

As in loss.py, E w(t) mean |eps(x_t, t, text) - z|^2, computed for a batch at once: the weights of
the low levels are larger than the pictures, so a gradient per picture would dominate the cost.

Each picture is paired with one of several wordings of its caption, so that short texts ("green", "a
tomato") are learned too, and sometimes with the empty text, for classifier-free guidance.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.sde import SDE, perturb
from sdedit_jax.registry import bounds
from sdedit_jax.training.loss import Loss, Objective, check, drop, quantile, time, weight

PHOTO = ["a", "photo", "of"]
ARTICLES = ("a", "an")
MOST_TEXTS = 10**7
"""Wordings of all captions."""

Denoise = Callable[[Any, Array, Array, Array], Array]
"""denoise(params, x [B, h, w, c], t [B], ids [B, N]) -> eps [B, h, w, c]."""


class Wordings(NamedTuple):
    """The wordings of each caption.

    Attributes:
        ids: tokens of every text [V, N], int32; the last text is empty.
        rows: rows of ids for each caption [C + 1, K]; the first is the caption itself; the last
            caption is the empty text.
    """

    ids: np.ndarray
    rows: np.ndarray


def wordings(
    captions: Sequence[str], encode: Callable[[str], np.ndarray], whole: int = 6
) -> Wordings:
    """The wordings of captions, each to be drawn with equal probability.

    Args:
        captions: by number.
        encode: text -> ids [N].
        whole: how often the whole caption is among them, beside the short forms.
    """
    if whole < 1:
        raise ValueError(f"whole must be at least 1, got {whole}")
    spelt = [[caption] * whole + short_forms(caption) for caption in captions]
    count = math.lcm(*(len(own) for own in spelt))
    bounds.work({"whole": count, "data": len(captions)}, MOST_TEXTS, "texts")
    spelt = [own * (count // len(own)) for own in spelt] + [[""] * count]
    texts = [*sorted({text for own in spelt for text in own} - {""}), ""]
    number = {text: i for i, text in enumerate(texts)}
    rows = np.array([[number[text] for text in own] for own in spelt], np.int32)
    return Wordings(np.stack([encode(text) for text in texts]).astype(np.int32), rows)


def short_forms(caption: str) -> list[str]:
    """Shorter texts for "a photo of ARTICLE [ADJECTIVES] NOUN"; none for other captions."""
    words = caption.split()
    if words[:3] != PHOTO or len(words) < 5 or words[3] not in ARTICLES:
        return []
    article, adjectives, noun = words[3], " ".join(words[4:-1]), words[-1]
    of_noun = "an" if noun[0] in "aeiou" else "a"
    plain = [f"a photo of {of_noun} {noun}", f"{of_noun} {noun}"]
    if not adjectives:
        return plain
    return [*plain, f"{article} {adjectives} {noun}", f"{adjectives} {noun}", adjectives, noun]


def worded(wordings: Wordings, key: Array, label: Array, objective: Objective) -> Array:
    """The ids [N] of the wording that is paired with a picture of caption `label`."""
    k_drop, k_row = jax.random.split(key)
    label = drop(k_drop, label, objective)
    rows = jnp.asarray(wordings.rows)
    row = rows[label, jax.random.randint(k_row, (), 0, rows.shape[1])]
    return jnp.asarray(wordings.ids)[row]


def text_loss(
    process: SDE, denoise: Denoise, wordings: Wordings, objective: Objective, levels: int
) -> Loss:
    """The loss of a batch {"image": latents [B, h, w, c], "label": captions [B]}.

    Args:
        objective: its null_label must be the number of captions.
        levels: of the table of the process; times are those of its levels, (i + 1) / levels.

    Raises:
        ValueError: a field of the objective is outside its allowed values.
    """
    check(objective)

    def seen(x0: Array, label: Array, key: Array, i: Array, count: int) -> tuple[Array, ...]:
        k_time, k_noise, k_text = jax.random.split(jax.random.fold_in(key, i), 3)
        t = time(process, quantile(k_time, i, count, objective), objective)
        t = jnp.clip(jnp.ceil(t * levels), 1, levels) / levels
        z = jax.random.normal(k_noise, x0.shape, x0.dtype)
        ids = worded(wordings, k_text, label, objective)
        return perturb(process, x0, t, z), t, z, ids, weight(process, t, objective)

    def loss(params: Any, batch: dict[str, Array], key: Array) -> Array:
        x0, labels = batch["image"], batch["label"]
        every = jax.vmap(seen, in_axes=(0, 0, None, 0, None))
        x, t, z, ids, w = every(x0, labels, key, jnp.arange(len(x0)), len(x0))
        off = denoise(params, x, t, ids) - z
        return jnp.mean(w * jnp.mean(off**2, axis=(1, 2, 3)))

    return loss

"""The Python face of LEDITS: photos inverted, and edited by words and concepts."""

import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import api, editor, images, prompts, record, words
from sdedit_jax.concepts import NUMBERS, parse
from sdedit_jax.edits import inversion
from sdedit_jax.edits import ledits as edits
from sdedit_jax.edits.inversion import Inverted, Request
from sdedit_jax.edits.ledits import Recipe
from sdedit_jax.prior import Prior
from sdedit_jax.words import SCALES, Words

__all__ = ["Maps", "invert", "ledits"]


class Maps(NamedTuple):
    """The inversion of a photo.

    Attributes:
        x: the state [h, w, c] where the replay begins, in the space of the prior.
        zs: the maps [N, h, w, c] in the order of the steps.
        of: what they belong to: the preset with its numbers, and the photo.
    """

    x: Any
    zs: Any
    of: Mapping[str, Any]


def invert(
    prior: Prior,
    image: np.ndarray,
    source_prompt: str = "",
    preset: str = "ledits",
    seed: int = 0,
    id: str = "",
    *,
    fit: str = "crop",
    **numbers: float | None,
) -> Maps:
    """The maps of a photo: the noise that the prior would have made it with.

    They serve `ledits(..., inverted=...)` with the same preset, steps, skip and t0, as often as you
    like.

    Args:
        prior: one that reads texts, of `load_prior`.
        image: uint8 [H, W, 3] or floats [H, W, 3] in [-1, 1]; fitted to the prior's size.
        source_prompt: what the photo shows; "" says nothing.
        preset: one of edits.ledits.PRESETS.
        seed, id: the noise depends on these alone.
        fit: how a picture of another size comes to the prior's: "crop", "pad" or "stretch".
        **numbers: steps, skip, t0, source_scale; what is left out is the preset's.

    Raises:
        ValueError: an argument out of its range, or a prior that reads no texts.
    """
    made, fitted = _settled(prior, image, preset, fit, numbers)
    run = _compiled(_bare(prior), preset, _static(numbers), "invert")
    request = _request(prior, made, fitted, Words(source_prompt), None)
    found = run(prior.params, request, editor.image_key(seed, id))
    return Maps(found.x, found.zs, _belonging(preset, made, fitted))


def ledits(
    prior: Prior,
    image: np.ndarray,
    concepts: str | Sequence[str] = "",
    prompt: str = "",
    source_prompt: str = "",
    negative_prompt: str = "",
    preset: str = "ledits",
    mask: np.ndarray | Sequence[np.ndarray | None] | None = None,
    seed: int = 0,
    id: str = "",
    *,
    inverted: Maps | None = None,
    slots: int | None = None,
    fit: str = "crop",
    **numbers: float | None,
) -> np.ndarray:
    """Edit one photo by words: inverted, and replayed under concepts, another text, or both.

    Args:
        prior: one that reads texts, of `load_prior`.
        image, source_prompt, seed, id, fit: as in `invert`.
        concepts: what is added (+) and removed (-), with its scale: "+green:7,-red:5", or a list of
            such texts; see `sdedit_jax.concepts.parse`. "": none.
        prompt: what the picture shall show, for large changes; LEDITS++ takes none.
        negative_prompt: what guidance and concepts lead away from.
        preset: one of edits.ledits.PRESETS.
        mask: where concepts act: [H, W] like the image for all, or one or None for each; white
            (1, 255) = acts. None: everywhere.
        inverted: of `invert` with this photo, preset, steps, skip and t0, instead of inverting
            again; source_prompt, source_scale, seed and id are not used then.
        slots: rows of the concepts, the last ones padding that changes nothing: calls with any
            number of concepts up to it are one program. None: as many as there are.
        **numbers: steps, skip, t0, source_scale, target_scale, intersect_to; of concepts that do
            not say them scale, warmup, threshold, cooldown, weight, momentum, beta.

    Returns:
        uint8 [h, w, 3] at the prior's size. Calls that differ in image, texts, any number but steps
        and skip, mask, seed or id compile nothing new.

    Raises:
        ValueError: an argument out of its range, or a prior that reads no texts.
        FloatingPointError: the model gave NaN.

    Warns:
        UserWarning: a text is too long; the message says what of it is not read.
    """
    made, fitted = _settled(prior, image, preset, fit, numbers)
    asked = Words(source_prompt, prompt, negative_prompt, parse(concepts))
    for text in (*asked[:3], *(concept.text for concept in asked.concepts)):
        if told := prompts.cut(prior, text):
            warnings.warn(told, stacklevel=2)
    masks = _masks(mask, np.shape(image)[:2], prior.shape[0], fit, len(asked.concepts))
    if slots is not None and masks is None:
        masks = []  # one program, drawn or not
    request = _request(prior, made, fitted, asked, masks, slots)
    bare, static = _bare(prior), _static(numbers)
    if inverted is None:
        key = editor.image_key(seed, id)
        result = _compiled(bare, preset, static, "edit")(prior.params, request, key)
    else:
        _check_maps(prior, inverted, _belonging(preset, made, fitted))
        maps = Inverted(inverted.x, inverted.zs)
        result = _compiled(bare, preset, static, "replay")(prior.params, request, maps)
    if not np.isfinite(result).all():
        raise FloatingPointError("the prior gave values that are not finite")
    return images.from_unit(np.asarray(result))


def _settled(
    prior: Prior, image: np.ndarray, preset: str, fit: str, numbers: Mapping[str, Any]
) -> tuple[Recipe, np.ndarray]:
    """The recipe, and the picture uint8 at the prior's size."""
    words.check_prior(prior)
    allowed = ("steps", "skip", "t0", *SCALES, *NUMBERS)
    if strange := sorted(set(numbers) - set(allowed)):
        raise ValueError(f"{strange[0]} is no number of a preset; there are {list(allowed)}")
    made = words.recipe(preset, numbers)
    return made, images.fit(api.pixels(image), prior.shape[0], fit)[0]


def _request(
    prior: Prior, made: Recipe, fitted: np.ndarray, asked: Words, masks: Any, slots: Any = None
) -> Request:
    embed = functools.cache(lambda text: prompts.embedding(prior, text))
    found = words.request(
        prior, made, asked, images.to_unit(fitted), embed, slots=slots, masks=masks
    )
    return jax.tree.map(jnp.asarray, found)


def _masks(
    mask: Any, size: tuple[int, int], side: int, fit: str, count: int
) -> list[np.ndarray | None] | None:
    """A mask [h, w, 1] at the prior's size, or None, for each concept."""
    if mask is None:
        return None
    shape = getattr(mask, "shape", ())
    one = len(shape) == 2 or (len(shape) == 3 and shape == (*size, 1))
    every = [mask] * count if one else list(mask)
    placement = images.place(size, side, fit)
    return [
        None if m is None else words.fitted_mask(api.mask_of(m, size), placement, "mask")
        for m in every
    ]


def _belonging(preset: str, made: Recipe, fitted: np.ndarray) -> dict[str, Any]:
    numbers = {"steps": made.n, "skip": made.skip, "t0": float(made.t0)}
    return {"preset": preset, **numbers, "photo": record.digest(fitted)[:16]}


def _check_maps(prior: Prior, inverted: Maps, wanted: Mapping[str, Any]) -> None:
    """See that maps are of this photo, prior and way to edit."""
    found = dict(inverted.of)
    if other := [name for name in wanted if found.get(name) != wanted[name]]:
        told = ", ".join(f"{name} {found.get(name)} (here {wanted[name]})" for name in other)
        raise ValueError(f"inverted: the maps were made with {told}")
    if tuple(inverted.zs.shape[1:]) != words.state_shape(prior):
        raise ValueError(
            f"inverted: the maps are {tuple(inverted.zs.shape[1:])}, the prior's states"
            f" {words.state_shape(prior)}"
        )


class Bare(NamedTuple):
    """What of a prior a compiled edit depends on."""

    process: Any
    predict: Any
    codec: Any
    shape: tuple


def _bare(prior: Prior) -> Bare:
    return Bare(prior.process, prior.predict, prior.codec, prior.shape)


def _static(numbers: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """What of the numbers a program depends on; all others are its arguments."""
    return tuple((name, numbers.get(name)) for name in ("steps", "skip", "intersect_to"))


PARTS = {"invert": inversion.invert, "replay": inversion.replay, "edit": inversion.edit}


@functools.lru_cache(maxsize=16)
def _compiled(bare: Bare, preset: str, static: tuple, part: str) -> Callable[..., Any]:
    """A jitted part; one per prior, preset and number of steps."""
    prior = Prior(bare.process, bare.predict, None, bare.shape, bare.codec)
    return jax.jit(PARTS[part](edits.plan(prior, words.recipe(preset, dict(static)))))

"""LEDITS in words: the numbers of a preset, and the request that texts and concepts make."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax import prompts
from sdedit_jax.concepts import NUMBERS, Concept, check_number, shown
from sdedit_jax.edits import inversion, ledits
from sdedit_jax.edits.inversion import Inversion, Request
from sdedit_jax.edits.ledits import PRESETS, Recipe
from sdedit_jax.guidance.leditspp import MASKS
from sdedit_jax.guidance.sega import Concepts, padded
from sdedit_jax.images import Placement, fit_mask, in_levels
from sdedit_jax.prior import IDENTITY, Prior
from sdedit_jax.strength import check_t0

OTHERS = {"cooldown": None, "weight": 1.0, "momentum": 0.0, "beta": 0.0}
"""Of concepts that say nothing else, where the preset says nothing either."""
SCALES = ("source_scale", "target_scale", "intersect_to")


class Words(NamedTuple):
    """What one picture shows, and what it shall show.

    Attributes:
        source_prompt: what the photo shows; "" says nothing.
        prompt: what it shall show, for large changes; "" says nothing. LEDITS++ takes none.
        negative_prompt: what guidance and concepts lead away from, instead of the empty text.
        concepts: what is added and removed.
    """

    source_prompt: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    concepts: tuple[Concept, ...] = ()


# --- the numbers of a preset ---------------------------------------------------------------------


def recipe(preset: str, numbers: Mapping[str, float | None]) -> Recipe:
    """The recipe of a preset with numbers of the user's own.

    Args:
        numbers: steps, skip, t0 (of presets that take them), SCALES, and NUMBERS of all concepts;
            None: the preset's.

    Raises:
        ValueError: an unknown preset, or a number that it does not take or out of its range.
    """
    given = {name: value for name, value in numbers.items() if value is not None}
    if preset not in PRESETS:
        ledits.recipe(preset)
    takes = inspect.signature(PRESETS[preset]).parameters
    own = {"n" if name == "steps" else name: given.pop(name) for name in _own(given)}
    for name, value in own.items():
        if name not in takes:
            allowed = ["steps" if other == "n" else other for other in takes]
            raise ValueError(f"{name}: preset {preset!r} takes {allowed} instead, got {value:g}")
        whole = isinstance(takes[name].default, int)
        own[name] = _whole(name, value) if whole else _share(name, value)
    made = PRESETS[preset](**own)
    of_concepts = [name for name in NUMBERS if name in given]
    for name in of_concepts:
        check_number(name, given[name], name)
        if not made.concept or (made.guidance in MASKS and name in ("momentum", "beta")):
            raise ValueError(f"{name}: the concepts of preset {preset!r} have none")
    if made.guidance != "intersect" and "intersect_to" in given:
        raise ValueError(f"intersect_to: preset {preset!r} has no two masks of its own")
    if made.guidance in MASKS and "target_scale" in given:
        raise ValueError(f"target_scale: preset {preset!r} takes no target text")
    for name in set(given) & set(SCALES):
        check_number(name, given[name], name)
    scales = {name: float(given.pop(name)) for name in SCALES if name in given}
    removal = {name: value for name, value in made.removal.items() if name not in given}
    return made._replace(concept={**made.concept, **given}, removal=removal, **scales)


def _own(given: Mapping[str, float]) -> list[str]:
    return [name for name in ("steps", "skip", "t0") if name in given]


def _whole(name: str, value: float) -> int:
    told, least = ("steps", 1) if name == "n" else (name, 0)
    if int(value) != value or value < least:
        raise ValueError(f"{told} must be a whole number of at least {least}, got {value:g}")
    return int(value)


def _share(name: str, value: float) -> float:
    if name == "t0":
        check_t0(value)
    elif not 0 <= value < 1:
        raise ValueError(f"{name} must be a share of the steps in [0, 1), got {value:g}")
    return float(value)


def told(made: Recipe) -> dict[str, Any]:
    """The numbers of a recipe, for records and the screen."""
    fixed = {"steps": made.n, "skip": made.skip, "t0": made.t0, "guidance": made.guidance}
    if made.listed:
        fixed.pop("t0")
    scales = {"source_scale": made.source_scale}
    if made.guidance not in MASKS:
        scales["target_scale"] = made.target_scale
    elif made.guidance == "intersect":
        scales["intersect_to"] = made.intersect_to
    of_concepts = {"concept": dict(made.concept)}
    if made.removal:
        of_concepts["removal"] = dict(made.removal)
    return {**fixed, "zero_last": made.zero_last, **scales, **of_concepts}


def check_prior(prior: Prior) -> None:
    """See that a prior can be edited by words.

    Raises:
        ValueError: it reads no texts, or wants to be shown a mask.
    """
    prompts.check_reads(prior, "prior")
    if prior.see is not None:
        name = prior.card.get("name") or "this one"
        raise ValueError(
            f"prior: {name} is a network of inpainting, which LEDITS has no mask for; give one that"
            " takes the latent alone (text-guided SDEdit takes both)"
        )


# --- requests -------------------------------------------------------------------------------------


def request(
    prior: Prior,
    made: Recipe,
    words: Words,
    image: Any,
    embed: Callable[[str], Array],
    *,
    slots: int | None = None,
    masks: Sequence[Any] | None = None,
) -> Request:
    """The request of an edit by words.

    Args:
        image: the photo [H, W, C] in [-1, 1], or its latent for `latent_plan`.
        embed: text -> its embedding [M, K].
        slots: rows of the concepts, the last ones padding; None: as many as there are.
        masks: [H, W, 1] of the picture for each concept, or None of those without; None: none has.

    Raises:
        ValueError: concepts or a prompt for a preset that takes none, or other masks than concepts.
    """
    check_words(made, words)
    many = padded(rows(prior, made, words.concepts, embed, masks), slots or len(words.concepts))
    target = None if made.guidance in MASKS and not words.prompt else embed(words.prompt)
    return ledits.request(
        made, image, source=embed(words.source_prompt), empty=embed(""), many=many, target=target,
        against=embed(words.negative_prompt),
    )  # fmt: skip


def check_words(made: Recipe, words: Words) -> None:
    """See that a recipe can do what is asked.

    Raises:
        ValueError: it cannot.
    """
    if words.concepts and not made.concept:
        raise ValueError("concepts: this preset takes none; say the change as the prompt")
    if made.guidance not in MASKS:
        return
    if words.prompt:
        raise ValueError("prompt: LEDITS++ is by concepts alone; say the change as a concept")
    for concept in words.concepts:
        for name in set(concept.given) & {"momentum", "beta"}:
            raise ValueError(f"concepts: LEDITS++ has no {name}, got {shown(concept)!r}")


def rows(
    prior: Prior,
    made: Recipe,
    asked: Sequence[Concept],
    embed: Callable[[str], Array],
    masks: Sequence[Any] | None = None,
) -> Concepts:
    """The concepts as arrays; see `request`."""
    empty, count = embed(""), len(asked)
    cond = np.stack([np.asarray(embed(c.text)) for c in asked] or [np.asarray(empty)])[:count]
    base = {**OTHERS, **made.concept}
    own = [{**base, **(made.removal if c.reverse else {}), **c.given} for c in asked]
    numbers = {name: [values[name] for values in own] for name in NUMBERS}
    tokens = np.zeros((count, len(empty)), np.float32)
    for row, concept in zip(tokens, asked, strict=True):
        row[1 : 1 + prior.text.tokenize(concept.text).count] = 1
    drawn = None if masks is None else _masks(prior, masks, count)
    return ledits.concepts_of(
        made, cond, reverse=[c.reverse for c in asked], mask=drawn,
        tokens=tokens if made.guidance in MASKS else None, **numbers,
    )  # fmt: skip


def _masks(prior: Prior, masks: Sequence[Any], count: int) -> np.ndarray:
    if len(masks) > count:
        raise ValueError(f"masks: one for each of {count} concepts at most, got {len(masks)}")
    everywhere = np.ones((*prior.shape[:2], 1), np.float32)
    filled = [*masks, *[None] * (count - len(masks))]
    drawn = [everywhere if mask is None else np.asarray(mask, np.float32) for mask in filled]
    return np.stack([*drawn, everywhere])[:count]


def fitted_mask(mask: np.ndarray, placement: Placement, told: str) -> np.ndarray:
    """A mask [h, w] of the input as [H, W, 1] of the prior's size, in steps of 1/255.

    Raises:
        ValueError: a concept could act nowhere.
    """
    if not mask.any():
        raise ValueError(f"{told} is black everywhere: its concept could act nowhere")
    return in_levels(fit_mask(mask, placement, told))[..., None]


# --- the run on latents ---------------------------------------------------------------------------


def latent_plan(prior: Prior, made: Recipe, keep: str = "device") -> Inversion:
    """The plan of a recipe on latents: its requests hold them in the place of pictures."""
    plan = ledits.plan(prior._replace(params=None), made, keep)
    return plan._replace(prior=plan.prior._replace(codec=IDENTITY))


def own(plan: Inversion, request: Request) -> tuple[Inversion, Request]:
    """The replay under the guidance of the inversion itself, which leads back to the photo."""
    return plan._replace(target=plan.source), request._replace(target=request.source)


def both(plan: Inversion) -> Callable[..., tuple[Array, Array]]:
    """The edit and the way back as (params, request, key, noises=None) -> two states.

    With the maps on the device both replay the same inversion; else each makes its own.
    """

    def run(params: Any, request: Request, key: Array, noises: Array | None = None) -> tuple:
        back, same = own(plan, request)
        if plan.keep != "device":
            made = (inversion.edit(p)(params, r, key, noises) for p, r in
                    ((plan, request), (back, same)))  # fmt: skip
            return tuple(made)
        inverted = inversion.invert(plan)(params, request, key, noises)
        return (
            inversion.replay(plan)(params, request, inverted),
            inversion.replay(back)(params, same, inverted),
        )

    return run


def state_shape(prior: Prior) -> tuple[int, ...]:
    """(h, w, c) of the prior's states."""
    picture = jax.ShapeDtypeStruct(prior.shape, jnp.float32)
    return jax.eval_shape(prior.codec.encode, prior.params, picture).shape

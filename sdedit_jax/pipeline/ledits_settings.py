"""Settings of LEDITS: the numbers of a preset, and the request of prompts and concepts."""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.strength import check_t0
from sdedit_jax.edits import inversion, ledits
from sdedit_jax.edits.inversion import Request
from sdedit_jax.edits.ledits import PRESETS, Recipe
from sdedit_jax.guidance.leditspp import MASKS
from sdedit_jax.guidance.sega import Concepts, padded
from sdedit_jax.images import Placement, fit_mask, in_levels
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.conditioning import Embedded
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import bounds
from sdedit_jax.registry.fields import NUMBER
from sdedit_jax.text.concept_parser import NUMBERS, Concept, as_text, check_number
from sdedit_jax.text.spelling import counted, one_of

DEFAULTS = {"cooldown": None, "weight": 1.0, "momentum": 0.0, "beta": 0.0}
"""Numbers of a concept that neither the concept nor the preset gives."""
SCALES = ("source_scale", "target_scale", "intersect_to")
OWN = ("steps", "skip", "t0")
"""Numbers that a preset's function may take."""


class Prompts(NamedTuple):
    """The prompts of one photo.

    Attributes:
        source_prompt: describes the photo; "": none.
        prompt: the target, for large changes; "": none. LEDITS++ takes none.
        negative_prompt: guidance and concepts lead away from it; "": the empty prompt.
        concepts: what is added and removed.
    """

    source_prompt: str | Embedded = ""
    prompt: str | Embedded = ""
    negative_prompt: str | Embedded = ""
    concepts: tuple[Concept, ...] = ()

    @property
    def texts(self) -> list[str | Embedded]:
        """All texts."""
        return [*self[:3], *(concept.text for concept in self.concepts)]


# --- the numbers of a preset ---------------------------------------------------------------------


def recipe(preset: str, numbers: Mapping[str, float | None]) -> Recipe:
    """The recipe of a preset with numbers of the user's own.

    Args:
        numbers: OWN (of presets that take them), SCALES, and NUMBERS of all concepts; None: the
            preset's.

    Raises:
        ValueError: an unknown preset, or a number that it does not take or out of its range.
    """
    given = {name: value for name, value in numbers.items() if value is not None}
    one_of("preset", preset, PRESETS)
    for name, value in given.items():
        NUMBER.check(value, name)
    made = PRESETS[preset](**_own(preset, given))
    _check_numbers(preset, made, given)
    scales = {name: float(given[name]) for name in SCALES if name in given}
    of_concepts = {name: given[name] for name in NUMBERS if name in given}
    removal = {name: value for name, value in made.removal.items() if name not in given}
    return made._replace(concept={**made.concept, **of_concepts}, removal=removal, **scales)


def defaults(stored: Mapping[str, Any], preset: str, field: str) -> dict[str, float]:
    """The numbers that a prior stores for a preset.

    Args:
        stored: preset -> its numbers. field: where they are stored, for the message.

    Raises:
        ValueError: an unknown number, or one that the preset does not take or out of its range.
    """
    numbers = stored.get(preset, {}) if isinstance(stored, Mapping) else stored
    known = (*OWN, *SCALES, *NUMBERS)
    if not isinstance(numbers, Mapping) or any(name not in known for name in numbers):
        raise ValueError(f"{field} must be {{preset: {{number: value}}}}, got {stored!r}")
    try:
        recipe(preset, numbers)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None
    return dict(numbers)


def _own(preset: str, given: Mapping[str, float]) -> dict[str, float]:
    """The arguments of a preset's function."""
    takes = inspect.signature(PRESETS[preset]).parameters
    own = {"n" if name == "steps" else name: given[name] for name in OWN if name in given}
    for name, value in own.items():
        if name not in takes:
            allowed = ["steps" if other == "n" else other for other in takes]
            raise ValueError(f"{name}: preset {preset!r} takes {allowed} instead, got {value:g}")
        whole = isinstance(takes[name].default, int)
        own[name] = _whole(name, value) if whole else _share(name, value)
    return own


def _check_numbers(preset: str, made: Recipe, given: Mapping[str, float]) -> None:
    for name in (name for name in NUMBERS if name in given):
        check_number(name, given[name], name)
        if not made.concept or (made.guidance in MASKS and name in ("momentum", "beta")):
            raise ValueError(f"{name}: the concepts of preset {preset!r} have none")
    if made.guidance != "intersect" and "intersect_to" in given:
        raise ValueError(f"intersect_to: preset {preset!r} has no two masks of its own")
    if made.guidance in MASKS and "target_scale" in given:
        raise ValueError(f"target_scale: preset {preset!r} takes no target prompt")
    for name in set(given) & set(SCALES):
        check_number(name, given[name], name)


def _whole(name: str, value: float) -> int:
    field, least = ("steps", 1) if name == "n" else (name, 0)
    if int(value) != value or value < least:
        raise ValueError(f"{field} must be a whole number of at least {least}, got {value:g}")
    return int(value)


def _share(name: str, value: float) -> float:
    if name == "t0":
        check_t0(value)
    elif not 0 <= value < 1:
        raise ValueError(f"{name} must be a share of the steps in [0, 1), got {value:g}")
    return float(value)


def summary(made: Recipe) -> dict[str, Any]:
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


class Resolved(NamedTuple):
    """LEDITS on a prior with all its settings.

    Attributes:
        embed: text -> its embedding [M, K], each computed once.
        t0: strength where the steps begin; 0 returns the photo.
        defaults: the numbers that were not given and are the prior's own.
    """

    prior: Prior
    recipe: Recipe
    plan: inversion.Inversion
    embed: Callable[[str], Array]
    t0: float
    defaults: Mapping[str, float] = {}

    def pipeline(self, slots: int, guided: bool, **options: Any) -> LEDITSPipeline:
        """The pipeline for `slots` rows of concepts; options as LEDITSPipeline.

        Args:
            guided: whether the inversion has guidance, see `guides`; as in `request`.
        """
        return LEDITSPipeline(self.plan if guided else ledits.unguided(self.plan), slots, **options)


def resolve(
    prior: Prior,
    preset: str,
    numbers: Mapping[str, float | None],
    keep: str = "device",
    stored: Mapping[str, float] | None = None,
) -> Resolved:
    """A preset with its numbers on a prior.

    Args:
        numbers: as in `recipe`; those that are None are the prior's own, or else the preset's.
        keep: as in Inversion.
        stored: the prior's own numbers for the preset; None: those of its metadata.

    Raises:
        ValueError: see `recipe`, or a prior that LEDITS cannot use.
    """
    check_prior(prior)
    given = {name: value for name, value in numbers.items() if value is not None}
    recipe(preset, given)
    if stored is None:
        stored = defaults(prior.metadata.get("ledits", {}), preset, "prior: ledits")
    own = {name: value for name, value in stored.items() if name not in given}
    made = recipe(preset, {**own, **given})
    plan = ledits.plan(prior, made, keep)
    inversion.check(plan)
    embed = functools.cache(lambda text: conditioning.embedding(prior, text))
    grid = plan.grid(prior.process, jnp.float32(made.t0), made.n)
    start = float(grid.t[plan.skip]) if made.t0 else 0.0
    return Resolved(prior, made, plan, embed, start, own)


def check_prior(prior: Prior) -> None:
    """Check that LEDITS can use a prior.

    Raises:
        ValueError: it reads no prompts, or its network takes a mask.
    """
    conditioning.check_reads(prior, "prior")
    if prior.prepare_cond is not None:
        name = prior.metadata.get("name") or "unnamed"
        raise ValueError(
            f"prior: {name} is an inpainting network, for which LEDITS has no mask; use one that"
            " takes the latent alone (text-guided SDEdit takes both)"
        )


# --- requests -------------------------------------------------------------------------------------


def request(
    prior: Prior,
    made: Recipe,
    prompts: Prompts,
    image: Any,
    embed: Callable[[str], Array],
    *,
    guided: bool,
    slots: int | None = None,
    masks: Sequence[Any] | None = None,
) -> Request:
    """The request of an edit.

    Args:
        image: the photo [H, W, C] in [-1, 1].
        embed: text -> its embedding [M, K].
        guided: as in Resolved.pipeline.
        slots: rows of the concepts, the last ones padding; None: as many as there are.
        masks: [H, W, 1] of the picture for each concept, or None of those without; None: none has.

    Raises:
        ValueError: concepts or a prompt for a preset that takes none, or other masks than concepts.
    """
    check_prompts(made, prompts)
    size = np.shape(image)[:2]
    many = rows(prior, made, prompts.concepts, embed, masks, size)
    many = padded(many, len(prompts.concepts) if slots is None else slots)
    target = None if made.guidance in MASKS and not prompts.prompt else embed(prompts.prompt)
    found = ledits.request(
        made, image, source=embed(prompts.source_prompt), empty=embed(""), many=many,
        target=target, against=embed(prompts.negative_prompt),
    )  # fmt: skip
    return found if guided else ledits.without_guidance(found)


def guides(made: Recipe, every: Iterable[Prompts]) -> bool:
    """Whether inversion has guidance: a photo has a source prompt, and the scale is not 1.

    Otherwise guidance would evaluate the network twice for the same prediction.
    """
    return made.source_scale != 1 and any(one.source_prompt for one in every)


def check_maps(prior: Prior, made: Recipe, shape: tuple[int, int, int]) -> None:
    """Raise ValueError for noise maps of pictures [H, W, C] that take too much memory."""
    values = {"steps": made.n, "size": math.prod(state_shape(prior, shape))}
    bounds.work(values, bounds.MOST_MAPS, "values of noise maps a photo")


def check_prompts(made: Recipe, prompts: Prompts) -> None:
    """Check that a recipe can use the prompts.

    Raises:
        ValueError: it cannot.
    """
    if prompts.concepts and not made.concept:
        raise ValueError("concepts: this preset takes none; give the change as the prompt")
    if made.guidance not in MASKS:
        return _check_target(made, prompts)
    if prompts.prompt:
        raise ValueError("prompt: LEDITS++ takes concepts alone; give the change as a concept")
    for concept in prompts.concepts:
        for name in set(concept.given) & {"momentum", "beta"}:
            raise ValueError(f"concepts: LEDITS++ has no {name}, got {as_text(concept)!r}")


def _check_target(made: Recipe, prompts: Prompts) -> None:
    """Check that the prompts have an effect at the scale of the target."""
    if prompts.prompt and made.target_scale == 0:
        raise ValueError(
            f"prompt: {prompts.prompt!r} has no effect at target_scale 0; give another scale"
        )
    if prompts.negative_prompt and made.target_scale == 1 and not prompts.concepts:
        raise ValueError(
            f"negative_prompt: {prompts.negative_prompt!r} has no effect at target_scale 1 without"
            " concepts; give another scale"
        )


def check_change(made: Recipe, prompts: Prompts) -> None:
    """Check that the prompts say what the edit should change.

    Raises:
        ValueError: they do not, so the result would be the reconstruction.
    """
    negative = prompts.negative_prompt and made.guidance not in MASKS
    if prompts.prompt or prompts.concepts or negative:
        return
    takes = ["a prompt"] * (made.guidance not in MASKS)
    takes += ['concepts such as "+green:7,-red:5"'] * bool(made.concept)
    raise ValueError(f"prompt, concepts: nothing would change; give {' or '.join(takes)}")


def check_used(every: Sequence[Prompts], given: Iterable[str]) -> None:
    """Check that the given numbers have an effect on one of the photos.

    Args:
        every: the prompts of each photo. given: the names of numbers.

    Raises:
        ValueError: a number is for prompts or concepts that no photo has.
    """
    parts = {
        "source_scale": ("source_prompt", any(one.source_prompt for one in every)),
        "target_scale": (
            "prompt or negative_prompt",
            any(one.prompt or one.negative_prompt for one in every),
        ),
        **dict.fromkeys(NUMBERS, ("concepts", any(one.concepts for one in every))),
    }
    for name in given:
        needs, there = parts.get(name, ("", True))
        if not there:
            raise ValueError(f"{name}: it has no effect without {needs}; give both, or neither")


def rows(
    prior: Prior,
    made: Recipe,
    given: Sequence[Concept],
    embed: Callable[[str], Array],
    masks: Sequence[Any] | None,
    size: tuple[int, int],
) -> Concepts:
    """The concepts as arrays; see `request`."""
    empty, count = embed(""), len(given)
    cond = np.stack([np.asarray(embed(c.text)) for c in given] or [np.asarray(empty)])[:count]
    base = {**DEFAULTS, **made.concept}
    own = [{**base, **(made.removal if c.reverse else {}), **c.given} for c in given]
    numbers = {name: [values[name] for values in own] for name in NUMBERS}
    tokens = np.zeros((count, len(empty)), np.float32)
    for row, concept in zip(tokens, given, strict=True):
        row[1 : 1 + prior.text.tokenize(concept.text).count] = 1
    return ledits.concepts_of(
        made, cond, reverse=[c.reverse for c in given],
        mask=None if masks is None else _masks(size, masks, count),
        tokens=tokens if made.guidance in MASKS else None, **numbers,
    )  # fmt: skip


def _masks(size: tuple[int, int], masks: Sequence[Any], count: int) -> np.ndarray:
    if len(masks) > count:
        concepts = counted(count, "concept")
        raise ValueError(f"masks: one for each of {concepts} at most, got {len(masks)}")
    everywhere = np.ones((*size, 1), np.float32)
    filled = [*masks, *[None] * (count - len(masks))]
    drawn = [everywhere if mask is None else np.asarray(mask, np.float32) for mask in filled]
    return np.stack([*drawn, everywhere])[:count]


def fitted_mask(mask: np.ndarray, placement: Placement, field: str) -> np.ndarray:
    """A mask [h, w] of the input as [H, W, 1] of the fitted size, in steps of 1/255.

    Raises:
        ValueError: fitting removes the whole mask.
    """
    return in_levels(fit_mask(mask, placement, field))[..., None]


def state_shape(prior: Prior, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """(h, w, c) of the states for pictures [H, W, C]."""
    picture = jax.ShapeDtypeStruct(shape, jnp.float32)
    return jax.eval_shape(prior.codec.encode, prior.params, picture).shape

"""Calls of the Python API: its arguments, with one value for all pictures or one for each, become
requests of a pipeline.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax import images, provenance, registry
from sdedit_jax.diffusion import strength as units
from sdedit_jax.diffusion.noise import drawn_seed, image_key
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.inversion import KEEPS, Inverted, Request
from sdedit_jax.edits.sdedit import Recorded
from sdedit_jax.files.arrays import finite
from sdedit_jax.files.values import WEIGHT
from sdedit_jax.files.wording import brief
from sdedit_jax.pipeline import auto_strength, ledits_settings, settings, target
from sdedit_jax.pipeline.arguments import LABEL, WORD, each
from sdedit_jax.pipeline.cache import default_cache
from sdedit_jax.pipeline.calls import Call
from sdedit_jax.pipeline.ledits import Result
from sdedit_jax.pipeline.ledits_settings import Prompts
from sdedit_jax.pipeline.outputs import (
    OUTPUTS,
    check_opaque,
    check_visible,
    finished,
    given_out,
)
from sdedit_jax.pipeline.sdedit import SDEditPipeline, warn_short
from sdedit_jax.pipeline.target import Distance, Target
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.conditioning import CFGCond, Prompt
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry.fields import SEED
from sdedit_jax.tasks import TaskInput, arrays
from sdedit_jax.text.concept_parser import parse
from sdedit_jax.text.spelling import counted, one_of

WORDS = {"auto": "guide", "map": "map"}
"""t0 -> the way in which strengths are found, one of auto_strength.WAYS."""


class Maps(NamedTuple):
    """The inversion of a photo, or of a batch with a leading axis B.

    Attributes:
        x: the state [h, w, c] where the replay begins, in the space of the prior.
        zs: the noise maps [N, h, w, c] in the order of the steps.
        of: what they belong to: the preset with its numbers, and the photo (a list for a batch).
    """

    x: Any
    zs: Any
    of: Any


class Ledits(NamedTuple):
    """The result of `ledits` with `details`.

    Attributes:
        image: the edit, uint8 [h, w, 3].
        reconstruction: the replay without the edit, uint8 [h, w, 3].
        masks: [K, h, w] in [0, 1], the share of the steps in which each concept acts at a pixel.
    """

    image: Any
    reconstruction: Any
    masks: Any


def edit_call(prior: Prior, cond: Any, against: Any, scale: float, **given: Any) -> Call:
    """The call of `edit`."""
    _check_prior(prior)
    given["image"] = arrays.read(given["image"], value_range=given["value_range"])
    count = len(given["image"].pictures)
    labels = each("cond", cond, count, LABEL)
    WEIGHT.check(scale, "scale")
    conds = [registry.condition(prior, label, against, scale) for label in labels]
    return _sdedit_call(prior, conds, 0.5, **given)


def text_call(
    prior: Prior, prompt: Any, negative_prompt: Any, scale: Any, clip_skip: Any, **given: Any
) -> Call:
    """The call of `text_edit`."""
    _check_prior(prior)
    conditioning.check_reads(prior)
    prior = conditioning.with_clip_skip(prior, clip_skip)
    given["image"] = arrays.read(given["image"], value_range=given["value_range"])
    count = len(given["image"].pictures)
    prompts = conditioning.texts(prior, "prompt", prompt, count)
    negatives = conditioning.texts(prior, "negative_prompt", negative_prompt, count)
    scales = each("scale", scale, count, WEIGHT)
    rows = [Prompt(*row) for row in zip(prompts, negatives, scales, strict=True)]
    _check_each(rows, lambda row: conditioning.check_prompt(row, "scale"))
    conditioning.warn(prior, [*prompts, *negatives])
    conds = [conditioning.prompt_cond(prior, row) for row in rows]
    return _sdedit_call(prior, conds, 0.6, **given)


def _sdedit_call(
    prior: Prior,
    conds: Sequence[Any],
    usual: float,
    image: Any,
    mask: Any,
    strength_map: Any,
    t0: float | str | None,
    preset: str,
    strength: float | None,
    target_l2: float | None,
    target_lpips: float | None,
    lpips: Distance | None,
    noise: Recorded | None,
    **given: Any,
) -> Call:
    """SDEdit of some rows, guided where a condition is a CFGCond."""
    _check_output(given)
    default_cache()
    items, many = _items(prior, image, mask, given, strength_map)
    maps = [item.guide.strength_map for item in items]
    settings.check_strength_maps(preset, maps, given["hold"])
    prior, way = settings.preset_process(prior, preset), ""
    others = {name: given[name] for name in ("sigma", "snr_db", "step")}
    goal = target.given(target_l2, target_lpips, lpips)
    if goal is not None:
        settings.check_takes_t0(preset, given["grid"], goal.field)
        targets = {"target_l2": target_l2, "target_lpips": target_lpips}
        settings.check_one_strength({**targets, "t0": t0, **others, "strength": strength})
    if isinstance(t0, str):
        beside = {**others, "strength": strength, "strength_map": strength_map}
        way, t0 = _way(t0, preset, given["grid"], beside), None
    t0 = _t0(prior, usual, preset, t0, others, given["grid"])
    names = ("steps", "rule", "grid", "corrector", "hold", "repeats", "final", "noise_by")
    s = settings.sampling({name: given[name] for name in names}, preset, t0, strength, "")
    guided = any(isinstance(c, CFGCond) for c in conds)
    resolved = settings.resolve(registry.guided(prior) if guided else prior, s, t0)
    recorded = _recorded(noise, resolved, items, many, given)
    samples = _samples(given)
    keys = _keys(items, samples, given)

    def made(items: Sequence[TaskInput], strengths: Sequence[float]) -> Call:
        requests = [
            sdedit.Request(np.float32(own), resolved.given(item.guide), c, z)
            for own, item, c, z in zip(strengths, items, conds, recorded, strict=True)
            for _ in samples
        ]

        def result(rows: list[Any]) -> Any:
            for i, row in enumerate(rows):
                warn_short(row, f"steps {resolved.plan.n}", f"picture {i // len(samples)}")
            shown = [_shown(row.image, item, given) for row, item in _paired(rows, items, samples)]
            return _arranged(shown, many, given)

        pipeline = SDEditPipeline(resolved.plan)
        return Call(pipeline, prior.params, requests, keys, result, **_machine(given))

    call = made(items, [resolved.t0] * len(items))
    if way:
        auto_strength.calibration(prior)
        machine, names = _machine(given), [item.id or "image" for item in items]
        return call._replace(
            find=lambda cancel: made(
                *auto_strength.applied(prior, items, names, conds, way, cancel=cancel, **machine)
            )
        )
    if goal is None:
        return call
    rows = [item for item in items for _ in samples]
    return call._replace(find=lambda cancel: _at_distance(call, rows, goal, given, cancel))


def _at_distance(
    call: Call, items: Sequence[TaskInput], goal: Target, given: Mapping[str, Any], cancel: Any
) -> Call:
    """A call with the strengths at which its results have a distance from their guides."""
    found = target.find(
        call.pipeline, call.params, call.requests, call.keys, goal, items,
        feather=given["feather"], batch=call.batch, devices=call.devices, cancel=cancel,
    )  # fmt: skip
    target.check_found(found, [item.id for item in items], goal)
    shown = [f"t0 {one.t0:.7g} has distance {one.distance:.4g}" for one in found]
    print(f"strength  {'; '.join(shown)}")
    pairs = zip(call.requests, found, strict=True)
    return call._replace(
        requests=[request._replace(t0=np.float32(one.t0)) for request, one in pairs]
    )


def invert_call(
    prior: Prior,
    image: Any,
    source_prompt: Any,
    preset: str,
    steps: Any,
    skip: Any,
    t0: Any,
    source_scale: Any,
    clip_skip: Any,
    **given: Any,
) -> Call:
    """The call of `invert`."""
    _check_prior(prior)
    prior = conditioning.with_clip_skip(prior, clip_skip)
    default_cache()
    numbers = {"steps": steps, "skip": skip, "t0": t0, "source_scale": source_scale}
    resolved = ledits_settings.resolve(prior, preset, numbers)
    items, many = _items(prior, image, None, given)
    sources = conditioning.texts(prior, "source_prompt", source_prompt, len(items))
    prompts = [Prompts(source) for source in sources]
    ledits_settings.check_used(prompts, [n for n in numbers if numbers[n] is not None])
    guided = ledits_settings.guides(resolved.recipe, prompts)
    requests = [
        _ledits_request(resolved, item, own, guided, None, 0)
        for item, own in zip(items, prompts, strict=True)
    ]
    keys = _keys(items, [0], given)

    def result(rows: list[Any]) -> Maps:
        made = [
            Maps(found.start, recorded["invert"], _belonging(preset, resolved, item))
            for (found, recorded), item in zip(rows, items, strict=True)
        ]
        if not many:
            return made[0]
        return Maps(*(np.stack(part) for part in list(zip(*made, strict=True))[:2]),
                    [m.of for m in made])  # fmt: skip

    pipeline = resolved.pipeline(0, guided, run=("invert",))
    return Call(pipeline, prior.params, requests, keys, result, **_machine(given), keep_maps=True)


def ledits_call(
    prior: Prior,
    image: Any,
    concepts: Any,
    prompt: Any,
    source_prompt: Any,
    negative_prompt: Any,
    preset: str,
    mask: Any,
    inverted: Maps | None,
    slots: int | None,
    details: bool,
    maps: str,
    clip_skip: Any,
    **given: Any,
) -> Call:
    """The call of `ledits`."""
    _check_prior(prior)
    prior = conditioning.with_clip_skip(prior, clip_skip)
    _check_output(given)
    one_of("maps", maps, KEEPS)
    if inverted is not None and (maps == "keys" or given["samples"] is not None):
        raise ValueError('inverted: its maps are replayed once; leave out maps="keys" and samples')
    default_cache()
    names = (*ledits_settings.OWN, *ledits_settings.SCALES, *ledits_settings.NUMBERS)
    numbers = {name: given[name] for name in names}
    resolved = ledits_settings.resolve(prior, preset, numbers, maps)
    items, many = _items(prior, image, None, given)
    prompts = _prompts(prior, len(items), source_prompt, prompt, negative_prompt, concepts)
    masks = _concept_masks(mask, items, len(prompts[0].concepts))
    _check_each(prompts, lambda own: ledits_settings.check_prompts(resolved.recipe, own))
    _check_each(prompts, lambda own: ledits_settings.check_change(resolved.recipe, own))
    ledits_settings.check_used(prompts, [n for n in names if given[n] is not None])
    slots, masks = _slots(slots, len(prompts[0].concepts), masks)
    samples, found = _samples(given), _inverted(inverted, resolved, preset, items, many)
    guided = ledits_settings.guides(resolved.recipe, prompts)
    requests = [
        _ledits_request(resolved, item, own, guided, drawn, slots, start)
        for item, own, drawn, start in zip(items, prompts, masks, found, strict=True)
        for _ in samples
    ]
    keys = _keys(items, samples, given)
    run = (*["invert"] * (inverted is None), "edit", *["reconstruct"] * bool(details))

    def result(rows: list[Result]) -> Any:
        return _ledits_result(_paired(rows, items, samples), details, many, given)

    pipeline = resolved.pipeline(slots, guided, run=run, masks=bool(details))
    return Call(pipeline, prior.params, requests, keys, result, **_machine(given))


# --- what the calls share -------------------------------------------------------------------------


def _check_prior(prior: Any) -> None:
    if not isinstance(prior, Prior):
        raise TypeError(
            f"prior must be a Prior of load_prior, gaussian or mixture, got {brief(prior)}"
        )
    registry.check_channels(prior.shape[-1], "prior: channels of its pictures")


def _check_each(rows: Sequence[Any], check: Callable[[Any], None]) -> None:
    """Check the row of each picture; of several, an error names the picture."""
    for i, row in enumerate(rows):
        try:
            check(row)
        except ValueError as error:
            raise ValueError(f"picture {i}: {error}" if len(rows) > 1 else str(error)) from None


def _check_output(given: Mapping[str, Any]) -> None:
    one_of("output", given["output"], OUTPUTS)
    check_opaque(given["opaque"], given["output"])


def _items(
    prior: Prior, image: Any, mask: Any, given: Mapping[str, Any], strength_map: Any = None
) -> tuple[list[TaskInput], bool]:
    """The pictures with their masks, fitted to the size of the edit; and whether it is a batch."""
    batch = arrays.read(image, value_range=given["value_range"])
    one_of("fit", given["fit"], images.FITS)
    if batch.items:
        items = _made_items(prior, batch.items, {"mask": mask, "strength_map": strength_map}, given)
        return items, batch.many
    size = prior.edit_size(given["size"])
    sizes = [p.rgb.shape[:2] for p in batch.pictures]
    drawn = arrays.masks(mask, sizes, batch.many)
    maps = arrays.masks(strength_map, sizes, batch.many, "strength_map")
    ids = batch.ids
    if given["id"] is not None:
        ids = each("id", given["id"], len(batch.pictures), WORD)
    rows = zip(batch.pictures, drawn, maps, ids, strict=True)
    opaque = given.get("opaque", False)
    items = [arrays.item(*row, size, given["fit"], opaque) for row in rows]
    output = given.get("output", "prior")
    items = [check_visible(one.in_channels(prior.shape[-1]), output) for one in items]
    return items, batch.many


def _made_items(
    prior: Prior, items: Sequence[TaskInput], beside: Mapping[str, Any], given: Mapping[str, Any]
) -> list[TaskInput]:
    """Inputs that tasks have made, in the channels of the prior.

    Raises:
        ValueError: a mask or strength map beside them, or a size that the prior cannot edit.
    """
    beside = {**beside, "id": given["id"], "size": given["size"]}
    if extra := [name for name, value in beside.items() if value is not None]:
        raise ValueError(f"{extra[0]}: the input of a task has its own; leave it out")
    for item in items:
        prior.edit_size(item.fitted.shape[:2])
    output = given.get("output", "prior")
    return [check_visible(item.in_channels(prior.shape[-1]), output) for item in items]


def _t0(
    prior: Prior,
    usual: float,
    preset: str,
    t0: float | None,
    others: Mapping[str, float | None],
    grid: Any,
) -> float:
    """The strength in whichever unit is given; `usual` where none is."""
    found = {"t0": t0, **others}
    found = {name: value for name, value in found.items() if value is not None}
    if settings.takes_share(preset) and found:
        name = next(iter(found))
        raise ValueError(f'{name}: preset "{preset}" takes strength instead, got {found[name]}')
    if found:
        settings.check_moves(preset, grid, next(iter(found)))
    return units.to_t0(prior.process, **(found or {"t0": usual}))


def _way(t0: str, preset: str, grid: Any, beside: Mapping[str, Any]) -> str:
    """How strengths are found, one of auto_strength.WAYS.

    Args:
        beside: other ways to give a strength; a strength map goes with "auto".

    Raises:
        ValueError: another word, another strength beside it, or a preset or grid without t0.
    """
    way = WORDS[one_of("t0", t0, WORDS)]
    settings.check_takes_t0(preset, grid, f't0="{t0}"')
    if way == "guide":
        beside = {name: value for name, value in beside.items() if name != "strength_map"}
    settings.check_one_strength({"t0": t0, **beside})
    return way


def _samples(given: Mapping[str, Any]) -> list[int]:
    """The sample numbers of each picture."""
    return [int(given["sample"]) + i for i in range(given["samples"] or 1)]


def _keys(items: Sequence[TaskInput], samples: Sequence[int], given: Mapping[str, Any]) -> list:
    seeds = _seeds(given["seed"], len(items))
    return [
        image_key(seed, item.id, sample)
        for item, seed in zip(items, seeds, strict=True)
        for sample in samples
    ]


def _seeds(given: Any, count: int) -> list[int]:
    """A seed for each picture. -1 draws one, and prints it; a single -1 draws one for all."""
    many = isinstance(given, list | tuple | np.ndarray)
    seeds = each("seed", given, count, SEED)
    found = [drawn_seed(seed) for seed in seeds] if many else [drawn_seed(seeds[0])] * count
    if found != seeds:
        print(f"seed      {found if many else found[0]}, drawn")
    return found


def _machine(given: Mapping[str, Any]) -> dict[str, int]:
    return {name: int(given[name]) for name in ("batch", "devices")}


def _recorded(
    noise: Recorded | None,
    resolved: settings.Resolved,
    items: Sequence[TaskInput],
    many: bool,
    given: Mapping[str, Any],
) -> list[Recorded | None]:
    """Recorded noise of each picture, of the shapes that the plan needs.

    Raises:
        ValueError: other shapes, or samples beside it.
    """
    if noise is None:
        return [None] * len(items)
    if given["samples"] is not None:
        raise ValueError("noise: recorded noise makes one result; leave out samples")
    if given["noise_by"] is not None:
        raise ValueError("noise_by: recorded noise goes by the step; leave out noise_by")
    if not isinstance(noise, tuple) or len(noise) != len(Recorded._fields):
        raise TypeError(f"noise must be a Recorded, got {brief(noise)}")
    parts = [None if a is None else finite(a, "noise") for a in Recorded(*noise)]
    plan, rows = resolved.plan, (len(items),) if many else ()
    state = ledits_settings.state_shape(resolved.prior, items[0].guide.image.shape)
    start, steps = (*rows, plan.repeats, *state), (*rows, plan.repeats, plan.n)
    found = [None if a is None else a.shape for a in parts]
    calls = len(rows) + 2
    right = found[0] == start and (found[1] or ())[:calls] == steps
    if not right or found[1][calls + 1 :] != state:
        raise ValueError(
            f"noise: start must be {start} and steps {(*steps, 'calls', *state)}, got {found[:2]}"
        )
    each_row = range(len(items))
    return [Recorded(*(a if a is None or not many else a[i] for a in parts)) for i in each_row]


def _paired(rows: list[Any], items: Sequence[TaskInput], samples: Sequence[int]) -> list[tuple]:
    return list(zip(rows, [item for item in items for _ in samples], strict=True))


def _shown(image: np.ndarray, item: TaskInput, given: Mapping[str, Any]) -> np.ndarray:
    """The finished picture of one row."""
    made = finished(np.asarray(image), item, given["output"], given["feather"])
    return given_out(made.picture, item)


def _arranged(shown: list[Any], many: bool, given: Mapping[str, Any]) -> Any:
    """The results of all rows in the form that the call gives: with axes for pictures, samples."""
    samples = given["samples"]
    if given.get("as_pil") and shown[0].dtype == np.uint8:
        greys = shown[0].shape[-1] == 1
        shown = [Image.fromarray(picture[..., 0] if greys else picture) for picture in shown]
    if samples is not None:
        shown = [_stacked(shown[i : i + samples]) for i in range(0, len(shown), samples)]
    return _stacked(shown) if many else shown[0]


def _stacked(rows: list[Any]) -> Any:
    """One array where the shapes agree, else a list."""
    plain = all(isinstance(row, np.ndarray) for row in rows)
    return np.stack(rows) if plain and len({row.shape for row in rows}) == 1 else rows


# --- LEDITS ---------------------------------------------------------------------------------------


def _prompts(
    prior: Prior, count: int, source: Any, prompt: Any, negative: Any, concepts: Any
) -> list[Prompts]:
    """The prompts of each photo; the concepts are the same for all."""
    names = {"source_prompt": source, "prompt": prompt, "negative_prompt": negative}
    texts = [conditioning.texts(prior, name, value, count) for name, value in names.items()]
    found = [Prompts(*row, parse(concepts)) for row in zip(*texts, strict=True)]
    conditioning.warn(prior, [text for one in found for text in one.texts])
    return found


def _concept_masks(mask: Any, items: Sequence[TaskInput], count: int) -> list[list[Any] | None]:
    """Of each photo the masks [H, W, 1] of the edit's size, or None, for each concept.

    Args:
        mask: one array for all concepts, or a list with one or None for each concept; for a batch
            also a list of such lists, one for each photo.

    Raises:
        ValueError: masks without concepts, or another number of lists than photos.
    """
    if mask is not None and not count:
        raise ValueError("mask: there are no concepts that it could bound")
    nested = isinstance(mask, list | tuple) and any(isinstance(m, list | tuple) for m in mask)
    if nested and len(mask) != len(items):
        photos = counted(len(items), "photo")
        raise ValueError(f"mask: one list for each of {photos}, got {len(mask)}")
    each_photo = list(mask) if nested else [mask] * len(items)
    return [_masks_of(m, item, count) for m, item in zip(each_photo, items, strict=True)]


def _slots(
    slots: int | None, count: int, masks: list[list[Any] | None]
) -> tuple[int, list[list[Any] | None]]:
    """Rows of the concepts, and the masks of each photo; all photos have masks or none has.

    With `slots` all have them: calls with and without masks are then one program.
    """
    drawn = slots is not None or any(mask is not None for mask in masks)
    rows = count if slots is None else max(int(slots), count)
    return rows, [(mask or []) if drawn else None for mask in masks]


def _masks_of(mask: Any, item: TaskInput, count: int) -> list[Any] | None:
    if mask is None:
        return None
    size, place = item.original.shape[:2], item.placement
    every = list(mask) if isinstance(mask, list | tuple) else [mask] * count
    return [
        None if m is None else ledits_settings.fitted_mask(arrays.mask_of(m, size), place, "mask")
        for m in every
    ]


def _ledits_request(
    resolved: ledits_settings.Resolved,
    item: TaskInput,
    prompts: Prompts,
    guided: bool,
    masks: list[Any] | None,
    slots: int,
    inverted: Inverted | None = None,
) -> Request:
    ledits_settings.check_maps(resolved.prior, resolved.recipe, item.guide.image.shape)
    made = ledits_settings.request(
        resolved.prior, resolved.recipe, prompts, item.guide.image, resolved.embed,
        guided=guided, slots=slots, masks=masks,
    )  # fmt: skip
    return made._replace(t0=np.float32(made.t0), maps=inverted)


def _belonging(preset: str, resolved: ledits_settings.Resolved, item: TaskInput) -> dict[str, Any]:
    made = resolved.recipe
    numbers = {"steps": made.n, "skip": made.skip, "t0": float(made.t0)}
    prior = resolved.prior.metadata.get("sha256", "")[:16]
    photo = provenance.digest(item.fitted)[:16]
    return {"preset": preset, **numbers, "prior": prior, "photo": photo}


def _inverted(
    maps: Maps | None,
    resolved: ledits_settings.Resolved,
    preset: str,
    items: Sequence[TaskInput],
    many: bool,
) -> list[Inverted | None]:
    """The inversion of each photo, checked; None where none is given.

    Raises:
        ValueError: the maps are of other photos, another prior or another preset.
    """
    if maps is None:
        return [None] * len(items)
    if not isinstance(maps, Maps):
        raise TypeError(f"inverted must be the Maps of invert, got {type(maps).__name__}")
    listed = isinstance(maps.of, list)
    if listed != many or (many and len(maps.of) != len(items)):
        count = len(maps.of) if listed else 1
        photos = counted(count, "photo")
        raise ValueError(f"inverted: the maps are of {photos}, the call has {len(items)}")
    checked = maps._replace(x=finite(maps.x, "inverted.x"), zs=finite(maps.zs, "inverted.zs"))
    if not all(isinstance(of, Mapping) for of in (maps.of if listed else [maps.of])):
        raise TypeError(f"inverted.of must be that of invert, got {brief(maps.of)}")
    if many and {len(checked.x), len(checked.zs)} != {len(items)}:
        raise ValueError(f"inverted: one row of maps for each of {len(items)} photos")
    rows = list(zip(*checked, strict=True)) if many else [tuple(checked)]
    shape = ledits_settings.state_shape(resolved.prior, items[0].guide.image.shape)
    for (x, zs, of), item in zip(rows, items, strict=True):
        wanted, found = _belonging(preset, resolved, item), dict(of)
        if other := [name for name in wanted if found.get(name) != wanted[name]]:
            wrong = ", ".join(f"{n} {found.get(n)} (here {wanted[n]})" for n in other)
            raise ValueError(f"inverted: the maps were made with {wrong}")
        if tuple(x.shape) != shape or tuple(zs.shape[1:]) != shape:
            found = f"{tuple(x.shape)} and {tuple(zs.shape)}"
            raise ValueError(f"inverted: the maps are {found}, the states {shape}")
    return [Inverted(x, zs) for x, zs, _ in rows]


def _ledits_result(
    pairs: list[tuple[Result, TaskInput]], details: bool, many: bool, given: Mapping[str, Any]
) -> Any:
    if not details:
        return _arranged([_shown(row.image, item, given) for row, item in pairs], many, given)
    made = [_details(row, item, given) for row, item in pairs]
    return Ledits(*(_arranged(list(part), many, given) for part in zip(*made, strict=True)))


def _details(row: Result, item: TaskInput, given: Mapping[str, Any]) -> tuple:
    """The edit, the reconstruction and the masks of one row."""
    masks, (height, width) = np.asarray(row.masks)[..., 0], item.fitted.shape[:2]
    big = masks.repeat(height // masks.shape[1], 1).repeat(width // masks.shape[2], 2)
    return _shown(row.image, item, given), _shown(row.reconstruction, item, given), big

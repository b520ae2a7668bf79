"""The Python API: load a prior, edit one picture or a batch.

Pictures are uint8 [H, W, 3], floats [H, W, 3] in `value_range`, PIL images or paths; a batch is
[B, H, W, 3] or a list of them. A fourth channel is alpha. Grey ones may have one channel. A prior
of grey pictures reads the luminance, and its results have one channel. Masks are white (1, 255)
where the edit may change pixels.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sdedit_jax.edits.sdedit import Recorded
from sdedit_jax.files.wording import brief
from sdedit_jax.pipeline import cache, calls, from_arrays
from sdedit_jax.pipeline.arguments import INT32, bound, named
from sdedit_jax.pipeline.base import Done, Event
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.from_arrays import Ledits, Maps
from sdedit_jax.pipeline.target import Distance
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import included
from sdedit_jax.weights import convert as weights_convert
from sdedit_jax.weights import load

__all__ = ["Done", "Ledits", "Maps", "convert", "edit", "example", "invert", "ledits", "load_prior"]
__all__ += ["stream", "text_edit", "use_cache"]

Pictures = np.ndarray | Image.Image | str | Path | Sequence[Any] | Any
"""One picture or a batch, see the module."""
Texts = str | np.ndarray | Sequence[Any] | Any
"""One text for all pictures or one for each: strings, or embeddings [M, K] as arrays."""

load_prior = named(load.load_prior)
convert = named(weights_convert.convert)
example = named(included.example)
use_cache = named(cache.use_cache)


@named
def edit(
    prior: Prior,
    image: Pictures,
    mask: Any = None,
    t0: float | str | None = None,
    steps: int | None = None,
    seed: int | Sequence[int] = 0,
    id: str | Sequence[str] | None = None,
    *,
    sigma: float | None = None,
    snr_db: float | None = None,
    step: float | None = None,
    strength: float | None = None,
    strength_map: Any = None,
    target_l2: float | None = None,
    target_lpips: float | None = None,
    lpips: Distance | None = None,
    preset: str = "",
    sample: int = 0,
    samples: int | None = None,
    cond: int | str | Sequence[int | str] | None = None,
    against: int | str | None = None,
    scale: float = 1.0,
    fit: str = "crop",
    size: tuple[int, int] | None = None,
    output: str = "prior",
    feather: int = 0,
    opaque: bool = False,
    value_range: Any = "auto",
    noise: Recorded | None = None,
    rule: Any = None,
    grid: Any = None,
    corrector: Any = None,
    hold: str | None = None,
    repeats: int | None = None,
    final: str | None = None,
    noise_by: str | None = None,
    batch: int = 16,
    devices: int = 0,
    as_pil: bool = False,
    cancel: Cancel | None = None,
) -> Any:
    """Edit pictures: noise them to t0, run the reverse SDE of the prior, paste what is kept.

    Args:
        prior: of `load_prior`, `gaussian` or `mixture`.
        image: the guide, or a batch; fitted to the size of the edit. The TaskInput of a task
            has its own mask, id and size.
        mask: [H, W] or [H, W, 1] like the image: bool, floats in [0, 1] or uint8, white = may
            change, grey = that share of the change stays; one for all or one for each. None:
            everything may.
        t0: strength in [0, 1], a noise level of the prior's process; 0.5 where none is given.
            "auto": the strength is found for each picture, and printed: the lowest noise level at
            which the prior does not tell the guide from its own pictures. "map": for each pixel;
            what is like the prior's pictures is kept. Both need a calibrated prior
            (--mode=calibrate).
        sigma, snr_db, step: the strength in another unit instead (see `strength.to_t0`).
        strength: of the presets of diffusers: the share of the steps that is run, instead of t0.
        strength_map: given as mask is: the share of t0 with which each pixel is edited, white =
            all of it; where it is black the picture is kept. None: t0 everywhere.
        target_l2: instead of a strength, the distance that each result shall have from its guide:
            RMS on [0, 1] values at the size of the edit, where it may change. t0 is found by trials
            with the noise of the result, and printed. A distance that no t0 gives is refused.
        target_lpips: as target_l2, with the distance LPIPS; above 0.
        lpips: measures it: (results, guides, mask) -> [B], of uint8 [B, H, W, 3] and float32
            [B, H, W] (None: everything may change), as `evaluation.recognition.lpips` makes it
            from weights that you have.
        steps: number of steps, all of which are run; None: 12, or the preset's. With the rule
            "adaptive" it is the bound of the attempts; None: 1000.
        preset: "" or one of pipeline.settings.PRESETS.
        seed, id, sample: the noise depends on these alone; seeds and ids one for all or one for
            each. Seeds are in [0, 2**64); -1 draws one and prints it. id None: the stem of a path,
            else "".
        samples: results for each picture, with the samples 0, 1 ..; None: one.
        cond: class of a class-conditional prior, by number or name, one for all or one for each.
        against, scale: classifier-free guidance from the class `against` ("null": the null label)
            to cond: scale 0 is `against` alone, 1 cond alone, above 1 leads away from `against`.
        fit: how a picture of another size is fitted: "crop", "pad", "stretch", or "mask": a window
            around what may change, as "crop" where that is everything.
        size: (H, W) of the edit, multiples of the network's stride; None: the prior's.
        output: "prior": results at the size of the edit; "original": at the picture's own, pasted,
            with its alpha channel if it has one.
        feather: pixels of soft seam, inside the region that may change.
        opaque: transparent parts become opaque where the edit may change pixels.
        value_range: (low, high) of float pictures, their black and white; "auto": (-1, 1), with a
            warning where no value is below 0.
        noise: recorded noise in the place of the seed's, with a leading axis B for a batch.
        rule, grid, corrector: parts as strings such as "ancestral(eta=0.5)", or as values.
        hold, repeats, final, noise_by: other fields of pipeline.settings.Sampling.
        batch: pictures at a time. devices: local devices to use; 0: all.
        as_pil: PIL images out. cancel: a token that stops the edit after the current chunk.

    Returns:
        uint8 [h, w, 3] ([h, w, 4] at the own size of a picture with alpha); [B, h, w, 3] for a
        batch (a list where sizes differ), with an axis `samples` before h if it is given. Where
        mask or strength_map is 0 the fitted image is kept bit for bit.
        Calls that differ in images, masks, strength, maps, seeds, ids, cond or scale compile
        nothing new.

    Raises:
        TypeError: an argument of another type. ValueError: one out of its range.
        FloatingPointError: the model gave NaN. Cancelled: `cancel` was set.
    """
    given = dict(locals())
    return calls.run(from_arrays.edit_call(**given), given["cancel"])


@named
def text_edit(
    prior: Prior,
    image: Pictures,
    prompt: Texts,
    negative_prompt: Texts = "",
    scale: float | Sequence[float] = 7.5,
    mask: Any = None,
    t0: float | str | None = None,
    steps: int | None = None,
    seed: int | Sequence[int] = 0,
    id: str | Sequence[str] | None = None,
    *,
    sigma: float | None = None,
    snr_db: float | None = None,
    step: float | None = None,
    strength: float | None = None,
    strength_map: Any = None,
    target_l2: float | None = None,
    target_lpips: float | None = None,
    lpips: Distance | None = None,
    preset: str = "",
    sample: int = 0,
    samples: int | None = None,
    fit: str = "crop",
    size: tuple[int, int] | None = None,
    output: str = "prior",
    feather: int = 0,
    opaque: bool = False,
    value_range: Any = "auto",
    noise: Recorded | None = None,
    rule: Any = None,
    grid: Any = None,
    corrector: Any = None,
    hold: str | None = None,
    repeats: int | None = None,
    final: str | None = None,
    noise_by: str | None = None,
    clip_skip: int | None = None,
    batch: int = 16,
    devices: int = 0,
    as_pil: bool = False,
    cancel: Cancel | None = None,
) -> Any:
    """Edit pictures by a prompt: text-guided SDEdit with classifier-free guidance.

    Args:
        prior: one that reads prompts, of `load_prior`.
        prompt: the target, one for all or one for each, as text or as its embedding [M, K]; "":
            none.
        negative_prompt: guidance leads away from it; given as prompt is.
        scale: guidance scale: 0 is the negative prompt alone, 1 the prompt alone. It must be 1
            without prompts, and another number with a negative prompt.
        clip_skip: the last layers of the text encoder that are left out.
        t0: as in `edit`; 0.6 where none is given.

    Other arguments and the result are those of `edit`.

    Raises:
        TypeError: an argument of another type.
        ValueError: one out of its range, or a prior that reads no prompts.

    Warns:
        UserWarning: a prompt is too long; the message has the part that is not read.
    """
    given = dict(locals())
    return calls.run(from_arrays.text_call(**given), given["cancel"])


@named
def invert(
    prior: Prior,
    image: Pictures,
    source_prompt: Texts = "",
    preset: str = "ledits",
    seed: int | Sequence[int] = 0,
    id: str | Sequence[str] | None = None,
    *,
    fit: str = "crop",
    size: tuple[int, int] | None = None,
    value_range: Any = "auto",
    steps: int | None = None,
    skip: float | None = None,
    t0: float | None = None,
    source_scale: float | None = None,
    clip_skip: int | None = None,
    batch: int = 4,
    devices: int = 0,
    cancel: Cancel | None = None,
) -> Maps:
    """Invert photos: the noise maps with which the prior reconstructs them.

    They serve `ledits(..., inverted=...)` with the same preset, steps, skip and t0.

    Args:
        prior: one that reads prompts, of `load_prior`.
        image, seed, id, fit, size, value_range, batch, devices, cancel: as in `edit`.
        source_prompt: describes the photo; "": none. clip_skip: as in `text_edit`.
        preset: one of edits.ledits.PRESETS. steps, skip, t0, source_scale: None: the
            prior's own, or else the preset's.

    Raises:
        TypeError: an argument of another type.
        ValueError: one out of its range, or a prior that reads no prompts.
    """
    given = dict(locals())
    return calls.run(from_arrays.invert_call(**given), given["cancel"])


@named
def ledits(
    prior: Prior,
    image: Pictures,
    concepts: str | Sequence[str] = "",
    prompt: Texts = "",
    source_prompt: Texts = "",
    negative_prompt: Texts = "",
    preset: str = "ledits",
    mask: Any = None,
    seed: int | Sequence[int] = 0,
    id: str | Sequence[str] | None = None,
    *,
    inverted: Maps | None = None,
    samples: int | None = None,
    sample: int = 0,
    slots: int | None = None,
    details: bool = False,
    fit: str = "crop",
    size: tuple[int, int] | None = None,
    output: str = "prior",
    feather: int = 0,
    opaque: bool = False,
    value_range: Any = "auto",
    maps: str = "device",
    steps: int | None = None,
    skip: float | None = None,
    t0: float | None = None,
    source_scale: float | None = None,
    target_scale: float | None = None,
    intersect_to: float | None = None,
    scale: float | None = None,
    warmup: float | None = None,
    threshold: float | None = None,
    cooldown: float | None = None,
    weight: float | None = None,
    momentum: float | None = None,
    beta: float | None = None,
    clip_skip: int | None = None,
    batch: int = 4,
    devices: int = 0,
    as_pil: bool = False,
    cancel: Cancel | None = None,
) -> Any:
    """Edit photos by prompts: inverted, and replayed under concepts, another prompt, or both.

    Args:
        prior: one that reads prompts, of `load_prior`.
        image, seed, id, samples, sample, fit, size, output, feather, opaque, value_range: as in
            `edit`.
        concepts: what is added (+) and removed (-), with its scale: "+green:7,-red:5", or a list of
            such texts; see `text.concept_parser.parse`. "": none.
        prompt: the target, for large changes; LEDITS++ takes none.
        source_prompt: describes the photo. negative_prompt: guidance leads away from it.
        clip_skip: as in `text_edit`; prompts may be embeddings there and here.
        preset: one of edits.ledits.PRESETS.
        mask: where concepts act: [H, W] like the image for all concepts, or a list with one mask or
            None for each concept; white (1, 255) = acts. None: everywhere.
        inverted: of `invert` with these photos, preset, steps, skip and t0, instead of inverting
            again; source_prompt, source_scale, seed, id and samples are not used then.
        slots: rows of the concepts, the last ones padding that changes nothing: calls with any
            number of concepts up to it are one program. None: as many as there are.
        details: a `Ledits` with the reconstruction and the masks of the concepts.
        maps: "device", "host" or "keys": where the noise maps stay.
        steps, skip, t0, source_scale, target_scale, intersect_to: None: the prior's own, or else
            the preset's.
        scale, warmup, threshold, cooldown, weight, momentum, beta: of concepts without their own.

    Returns:
        as `edit`. Calls that differ in images, prompts, any number but steps, skip and
        intersect_to, masks, seeds or ids compile nothing new.

    Raises:
        TypeError: an argument of another type.
        ValueError: one out of its range, or a prior that reads no prompts.
        FloatingPointError: the model gave NaN. Cancelled: `cancel` was set.

    Warns:
        UserWarning: a prompt is too long; the message has the part that is not read.
    """
    given = dict(locals())
    return calls.run(from_arrays.ledits_call(**given), given["cancel"])


def stream(
    function: Callable[..., Any],
    *args: Any,
    preview_every: int = 0,
    cancel: Cancel | None = None,
    **kwargs: Any,
) -> Iterator[Event | Done]:
    """The progress of a call: an Event after each chunk of steps, then Done with the result.

    for event in sj.stream(sj.edit, prior, image, t0=0.5): ...

    Closing the iterator, or setting `cancel` from another thread, stops the call after the current
    chunk; a cancelled call ends without Done.

    Args:
        function: `edit`, `text_edit`, `invert` or `ledits`, with its arguments.
        preview_every: chunks from one preview to the next; 0: none. A preview is the predicted
            clean picture, [B, H, W, C] in [-1, 1].

    Raises:
        TypeError: another function, or what the function raises.
    """
    made = {
        edit: from_arrays.edit_call,
        text_edit: from_arrays.text_call,
        invert: from_arrays.invert_call,
        ledits: from_arrays.ledits_call,
    }
    if not any(function is one for one in made):
        raise TypeError(
            f"function must be edit, text_edit, invert or ledits, got {brief(function)}"
        )
    INT32.check(preview_every, "preview_every")
    given = bound(function, args, {**kwargs, "cancel": cancel})
    return calls.stream(made[function](**given), preview_every, cancel)

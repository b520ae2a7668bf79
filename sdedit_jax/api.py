"""The Python face: load a prior, edit a picture that is an array."""

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import build, editor, images, prompts
from sdedit_jax.build import Sampling
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Request
from sdedit_jax.guidance import Guided
from sdedit_jax.guide import Guide
from sdedit_jax.load import load_prior
from sdedit_jax.prior import Prior
from sdedit_jax.strength import check_t0

__all__ = ["edit", "load_prior", "text_edit"]


class Bare(NamedTuple):
    """What of a prior a compiled edit depends on."""

    process: Any
    predict: Any
    codec: Any
    see: Any
    scheduler: tuple


def edit(
    prior: Prior,
    image: np.ndarray,
    mask: np.ndarray | None = None,
    t0: float = 0.5,
    steps: int = 20,
    seed: int = 0,
    id: str = "",
    *,
    sample: int = 0,
    cond: int | None = None,
    against: int | str | None = None,
    scale: float = 1.0,
    fit: str = "crop",
    **sampling: Any,
) -> np.ndarray:
    """Edit one picture: noise it to t0, run the reverse SDE of the prior, paste what is kept.

    Args:
        prior: of `load_prior`, `gaussian` or `mixture`.
        image: guide, uint8 [H, W, 3] or floats [H, W, 3] in [-1, 1]; fitted to the prior's size.
        mask: [H, W] or [H, W, 1]: bool, floats in [0, 1] or uint8; white (1, 255) = may change.
            None: everything may.
        t0: strength in [0, 1], a noise level of the prior's process (see `strength.to_t0`).
        steps: number of steps, all of which are run.
        seed, id, sample: the noise depends on these alone.
        cond: label of a class-conditional prior.
        against, scale: classifier-free guidance from the label `against` ("null": the one that
            means no class) to cond: scale 0 is `against` alone, 1 cond alone, above 1 leads away.
        fit: how a picture of another size comes to the prior's: "crop", "pad" or "stretch".
        **sampling: other fields of `build.Sampling`, such as rule, grid, repeats.

    Returns:
        uint8 [h, w, 3] at the prior's size. Where mask is 0 it equals the fitted image bit for bit.
        Calls that differ in image, mask, t0, seed, id, sample, cond, against or scale compile
        nothing new.

    Raises:
        ValueError: an argument out of its range. FloatingPointError: the model gave NaN.
    """
    check_t0(t0)
    label = build.condition(prior, cond, against, scale)
    s = build.settled(prior, build.sampling({"steps": steps, **sampling}))
    t0, key = build.beginning(prior, s, t0), editor.image_key(seed, id, sample)
    return _run(prior, image, mask, t0, label, s, key, fit, 0)


def text_edit(
    prior: Prior,
    image: np.ndarray,
    prompt: str,
    negative_prompt: str = "",
    scale: float = 7.5,
    mask: np.ndarray | None = None,
    t0: float = 0.6,
    steps: int | None = None,
    seed: int = 0,
    id: str = "",
    *,
    sample: int = 0,
    preset: str = "",
    strength: float | None = None,
    fit: str = "crop",
    feather: int = 0,
    **sampling: Any,
) -> np.ndarray:
    """Edit one picture by words: text-guided SDEdit with classifier-free guidance.

    Args:
        prior: one that reads texts, of `load_prior`.
        image, mask, seed, id, sample, fit: as in `edit`.
        prompt: what the picture shall show; "" says nothing.
        negative_prompt: what guidance leads away from.
        scale: of the guidance: 0 is the negative prompt alone, 1 the prompt alone.
        t0: strength in [0, 1], a noise level of the prior's process.
        steps: number of steps; None: 20, or the preset's.
        preset: "" or one of build.PRESETS. Those of diffusers take `strength` in the place of t0:
            the share of the steps that is run, 0.8 if none is given.
        feather: pixels of soft seam, inside the region that may change.
        **sampling: other fields of `build.Sampling`, such as rule, grid, repeats.

    Returns:
        uint8 [h, w, 3] at the prior's size. Where mask is 0 it equals the fitted image bit for bit.
        Calls that differ in image, texts, scale, mask, t0, seed, id or sample compile nothing new.

    Raises:
        ValueError: an argument out of its range, or a prior that reads no texts.
        FloatingPointError: the model gave NaN.

    Warns:
        UserWarning: a text is too long; the message says what of it is not read.
    """
    cond = prompts.condition(prior, prompts.Words(prompt, negative_prompt, scale))
    for text in (prompt, negative_prompt):
        if told := prompts.cut(prior, text):
            warnings.warn(told, stacklevel=2)
    check_t0(t0)
    prior = build.preset_process(prior, preset)
    asked = build.sampling({"steps": steps, **sampling}, preset, t0, strength)
    s = build.settled(prior, asked)
    t0, key = build.beginning(prior, s, t0), editor.image_key(seed, id, sample)
    return _run(prior, image, mask, t0, cond, s, key, fit, feather)


def _run(
    prior: Prior,
    image: np.ndarray,
    mask: np.ndarray | None,
    t0: float,
    cond: Any,
    s: Sampling,
    key: Any,
    fit: str,
    feather: int,
) -> np.ndarray:
    """One edit of a picture, fitted, run and pasted."""
    fitted, placement = images.fit(pixels(image), prior.shape[0], fit)
    kept = mask_of(mask, np.shape(image)[:2])
    small = images.fit_mask(kept, placement) if mask is not None else np.ones(fitted.shape[:2])
    small = images.in_levels(small)  # as the program's masks
    guide = Guide(images.to_unit(fitted), small[..., None])
    request = Request(np.float32(t0), guide, cond)
    rows = jax.tree.map(lambda a: jnp.asarray(a)[None], (request, key))
    told = tuple(sorted(prior.card.get("scheduler", {}).items()))
    bare = Bare(prior.process, prior.predict, prior.codec, prior.see, told)
    compiled = _compiled(bare, tuple(fitted.shape), s, isinstance(cond, Guided))
    result = compiled(prior.params, *rows).image[0]
    if not np.isfinite(result).all():
        raise FloatingPointError("the prior gave values that are not finite")
    return images.paste(images.from_unit(result), fitted, (small > 0).astype(np.float32), feather)


@functools.lru_cache(maxsize=16)
def _compiled(bare: Bare, shape: tuple, s: Sampling, guided: bool) -> Any:
    """A jitted edit of one row; one per prior and settings, traced once per picture size."""
    card = {"scheduler": dict(bare.scheduler)}
    prior = Prior(bare.process, bare.predict, None, shape, bare.codec, card, see=bare.see)
    plan = build.plan(build.guided(prior) if guided else prior, s)
    return jax.jit(jax.vmap(sdedit.edit(plan), in_axes=(None, 0, 0), axis_name="batch"))


def pixels(image: np.ndarray) -> np.ndarray:
    """A picture of the user's, uint8 or floats in [-1, 1], as uint8 [H, W, 3]."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"image must be [H, W, 3], got shape {image.shape}")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise ValueError(f"image must be uint8 or floats in [-1, 1], got {image.dtype}")
    if not (np.isfinite(image).all() and np.abs(image).max(initial=0) <= 1):
        raise ValueError("image: floats must be in [-1, 1]; give uint8 for values 0 .. 255")
    return images.from_unit(image.astype(np.float32))


def mask_of(mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
    """A mask of the user's as float32 [H, W] in [0, 1]; None: 1 everywhere."""
    if mask is None:
        return np.ones(size, np.float32)
    mask = np.asarray(mask)
    flat = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
    if flat.shape != tuple(size):
        raise ValueError(f"mask must be {tuple(size)} like the image, got shape {mask.shape}")
    if mask.dtype == np.uint8 and flat.max() == 1:
        raise ValueError("mask: in uint8 white is 255, got values up to 1; give bool or 0 .. 255")
    flat = flat.astype(np.float32) / (255 if mask.dtype == np.uint8 else 1)
    if not (np.isfinite(flat).all() and 0 <= flat.min() and flat.max() <= 1):
        raise ValueError("mask must be in [0, 1], or uint8; white = may change")
    return flat

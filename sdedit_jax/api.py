"""The Python face: load a prior, edit a picture that is an array."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import build, editor, images, strength
from sdedit_jax.build import Sampling, load_prior
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Request
from sdedit_jax.guidance import Guided
from sdedit_jax.guide import Guide
from sdedit_jax.prior import Prior

__all__ = ["edit", "load_prior"]


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
    strength.check_t0(t0)
    label = build.condition(prior, cond, against, scale)
    size = prior.shape[0]
    fitted, placement = images.fit(_pixels(image), size, fit)
    kept = _mask(mask, np.shape(image)[:2])
    small = images.fit_mask(kept, placement) if mask is not None else np.ones(fitted.shape[:2])
    small = np.round(small * 255).astype(np.float32) / 255  # as the program's masks
    guide = Guide(images.to_unit(fitted), small[..., None])
    request = Request(np.float32(t0), guide, label)
    key = editor.image_key(seed, id, sample)
    rows = jax.tree.map(lambda a: jnp.asarray(a)[None], (request, key))
    compiled = _compiled(
        prior.process,
        prior.predict,
        prior.codec,
        tuple(fitted.shape),
        build.settled(prior, build.sampling({"steps": steps, **sampling})),
        isinstance(label, Guided),
    )
    result = compiled(prior.params, *rows).image[0]
    if not np.isfinite(result).all():
        raise FloatingPointError("the prior gave values that are not finite")
    return images.paste(images.from_unit(result), fitted, (small > 0).astype(np.float32))


@functools.lru_cache(maxsize=16)
def _compiled(
    process: Any, predict: Any, codec: Any, shape: tuple, s: Sampling, guided: bool
) -> Any:
    """A jitted edit of one row; one per prior and settings, traced once per picture size."""
    prior = Prior(process, predict, None, shape, codec)
    plan = build.plan(build.guided(prior) if guided else prior, s)
    return jax.jit(jax.vmap(sdedit.edit(plan), in_axes=(None, 0, 0), axis_name="batch"))


def _pixels(image: np.ndarray) -> np.ndarray:
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


def _mask(mask: np.ndarray | None, size: tuple[int, int]) -> np.ndarray:
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

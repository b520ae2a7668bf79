"""Photo + mask: the masked hole is filled by a simple rule and then edited."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import common
from sdedit_jax.tasks.fill import fill_mean, fill_smooth

FILLS = ("mean", "smooth", "noise", "original")


@dataclass(frozen=True)
class Options:
    """mask: mask file, white = may change, or a folder with files named as the inputs.

    invert: black = may change. fill: what the hole holds before noising; "mean" of the kept
    pixels around it, "smooth" (harmonic, from the hole's rim), "noise" with the mean and spread
    of the kept pixels (drawn from the input's name), "original".
    background: colour behind transparent parts and in the margin of fit "pad".
    """

    mask: str = ""
    invert: bool = False
    fill: str = "smooth"
    background: str = ""


def make(path: str, options: Mapping[str, object], size: int, fit: str) -> common.TaskInput:
    """The photo `path` with its hole filled as a guide; the mask is the mask file.

    Raises:
        ValueError: no mask is named, or it leaves nothing to change, or nothing to fill from.
    """
    chosen = common.read_options(Options, options)
    common.one_of("fill", chosen.fill, FILLS)
    if not chosen.mask:
        raise ValueError("inpaint needs the task option mask: a mask file or a folder of masks")
    photo = common.read_flat(path, chosen.background)
    mask = common.read_mask_beside(chosen.mask, path, photo.shape[:2], chosen.invert)
    if not mask.any():
        raise ValueError(f"the mask of {path} is black everywhere; white marks what may change")
    placement = images.place(photo.shape[:2], size, fit)
    guide = _filled(photo, mask, chosen.fill)
    ready = common.assemble(path, guide, mask, photo, placement, chosen.background)
    return _with_noise(ready) if chosen.fill == "noise" else ready


def _filled(photo: np.ndarray, mask: np.ndarray, fill: str) -> np.ndarray:
    """The photo, uint8 [H, W, 3], with the fill blended in by the mask."""
    if fill == "original":
        return photo
    if not (mask == 0).any():
        raise ValueError(f"the mask covers the whole picture; fill {fill!r} needs kept pixels")
    rule = fill_smooth if fill == "smooth" else fill_mean
    return images.paste(rule(photo, mask > 0), photo, mask)


def _with_noise(ready: common.TaskInput) -> common.TaskInput:
    """Noise in the hole, made at the prior's size because fitting would average it away."""
    kept = ready.fitted[ready.mask == 0] if (ready.mask == 0).any() else ready.fitted.reshape(-1, 3)
    seed = int.from_bytes(hashlib.sha256(ready.id.encode()).digest()[:8])
    z = np.random.default_rng(seed).standard_normal(ready.fitted.shape)
    noise = np.clip(np.rint(kept.mean(0) + kept.std(0) * z), 0, 255).astype(np.uint8)
    fitted = images.paste(noise, ready.fitted, ready.mask)
    return common.finish(
        ready.id, fitted, ready.mask, ready.original, ready.placement, ready.original_mask
    )

"""Pictures and masks of Python callers: arrays, PIL images or paths, one or a batch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax import images
from sdedit_jax.tasks import common
from sdedit_jax.tasks.common import Size, TaskInput


class Batch(NamedTuple):
    """Pictures of a call.

    Attributes:
        pictures: uint8 [H, W, 3] each.
        ids: the stems of paths, "" for arrays and PIL images.
        many: whether a batch was given, and a batch is wanted.
    """

    pictures: list[np.ndarray]
    ids: list[str]
    many: bool


def read(image: Any, field: str = "image") -> Batch:
    """One picture or a batch.

    Args:
        image: [H, W, 3] or [B, H, W, 3] (uint8, or floats in [-1, 1]), a PIL image, a path, or a
            list of these; a Batch is returned. Grey arrays have one channel, or are [H, W].
        field: its name in messages.

    Raises:
        TypeError: something else. ValueError: another shape, or values out of range.
    """
    if isinstance(image, Batch):
        return image
    if isinstance(image, list | tuple):
        if not image:
            raise ValueError(f"{field} must be a picture or a list of pictures, got an empty list")
        found = [_one(each, f"{field}[{i}]") for i, each in enumerate(image)]
        return Batch([p for p, _ in found], [id for _, id in found], True)
    if not isinstance(image, str | Path | Image.Image) and np.ndim(image) == 4:
        rows = np.asarray(image)
        if not len(rows):
            raise ValueError(f"{field} must hold at least one picture, got shape {rows.shape}")
        return Batch([pixels(row, field) for row in rows], [""] * len(rows), True)
    picture, id = _one(image, field)
    return Batch([picture], [id], False)


def _one(image: Any, field: str) -> tuple[np.ndarray, str]:
    if isinstance(image, str | Path):
        return images.flatten(images.read(image)), Path(image).stem
    if isinstance(image, Image.Image):
        return images.flatten(images.from_pil(image)), ""
    return pixels(image, field), ""


def pixels(image: Any, field: str = "image") -> np.ndarray:
    """A picture, uint8 or floats in [-1, 1], as uint8 [H, W, 3]; greys [H, W] or [H, W, 1] too."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    if image.dtype == object or image.dtype.kind in "USM":
        raise TypeError(f"{field} must be an array, a PIL image or a path, got {image.dtype}")
    if image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"{field} must be [H, W, 3], got shape {image.shape}")
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise ValueError(f"{field} must be uint8 or floats in [-1, 1], got {image.dtype}")
    if not (np.isfinite(image).all() and np.abs(image).max(initial=0) <= 1):
        raise ValueError(f"{field}: floats must be in [-1, 1]; give uint8 for values 0 .. 255")
    return images.from_unit(image.astype(np.float32))


def masks(mask: Any, sizes: Sequence[Size], many: bool) -> list[np.ndarray | None]:
    """One mask for all pictures, or one for each: float32 [H, W] in [0, 1], or None.

    Args:
        mask: None, [H, W] or [H, W, 1], a PIL image, a path; or a list of these, or [B, H, W] or
            [B, H, W, 1], for a batch. White (1, 255) = may change.
        sizes: of the pictures.
    """
    if mask is None or isinstance(mask, str | Path | Image.Image):
        each = [mask] * len(sizes)
    elif many and (isinstance(mask, list | tuple) or _is_batch(np.shape(mask), sizes)):
        each = list(mask)
    else:
        each = [mask] * len(sizes)
    if len(each) != len(sizes):
        raise ValueError(f"mask: one for all or one for each of {len(sizes)}, got {len(each)}")
    return [None if m is None else mask_of(m, size) for m, size in zip(each, sizes, strict=True)]


def _is_batch(shape: tuple[int, ...], sizes: Sequence[Size]) -> bool:
    one = len(shape) == 2 or (len(shape) == 3 and shape == (*sizes[0], 1))
    return not one and len(shape) > 2 and shape[0] == len(sizes)


def mask_of(mask: Any, size: Size, field: str = "mask") -> np.ndarray:
    """A mask as float32 [H, W] in [0, 1]; see images.from_levels for uint8.

    Raises:
        ValueError: another shape, values out of range, or no value above 0.
    """
    if isinstance(mask, str | Path):
        flat = images.read_mask(mask, size)
        images.check_mask(flat, f"{field} {mask}")
        return flat
    mask = np.asarray(mask.convert("L") if isinstance(mask, Image.Image) else mask)
    flat = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
    if flat.shape != tuple(size):
        raise ValueError(f"{field} must be {tuple(size)} like the image, got shape {mask.shape}")
    levels = mask.dtype == np.uint8
    flat = images.from_levels(flat, field) if levels else flat.astype(np.float32)
    if not (np.isfinite(flat).all() and 0 <= flat.min() and flat.max() <= 1):
        raise ValueError(f"{field} must be in [0, 1], or uint8; white = may change")
    images.check_mask(flat, field)
    return flat


def item(picture: np.ndarray, mask: np.ndarray | None, id: str, size: Size, fit: str) -> TaskInput:
    """The task input of a picture that is its own guide."""
    placement = images.place(picture.shape[:2], size, fit)
    wide = np.ones(picture.shape[:2], np.float32) if mask is None else mask
    small = images.in_levels(images.fit_mask(wide, placement, "mask"))  # as the program's masks
    fitted = images.fit_rgb(picture, placement)
    return common.finish(id, fitted, small, picture, placement, wide)

"""Pictures and masks of Python callers: arrays, PIL images or paths, one or a batch."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from PIL import Image

from sdedit_jax import images
from sdedit_jax.caution import warn
from sdedit_jax.files import arrays
from sdedit_jax.files.wording import brief
from sdedit_jax.tasks import common
from sdedit_jax.tasks.common import Size, TaskInput

Span = tuple[float, float]
"""The values of black and white."""


class Batch(NamedTuple):
    """Pictures of a call.

    Attributes:
        pictures: as read.
        ids: the stems of paths, "" for arrays and PIL images.
        many: whether a batch was given, and a batch is wanted.
        items: the inputs, where tasks have made them.
    """

    pictures: list[images.Picture]
    ids: list[str]
    many: bool
    items: tuple[TaskInput, ...] = ()


def read(image: Any, field: str = "image", value_range: Any = "auto") -> Batch:
    """One picture or a batch.

    Args:
        image: [H, W, C] or [B, H, W, C] (uint8, or floats; C 3, or 4 with alpha), a PIL image, a
            path, or a list of these; a Batch is returned. Grey arrays have one channel, or are
            [H, W]. Or a TaskInput, or a list of them.
        field: its name in messages.
        value_range: (low, high) of floats: black and white. "auto" is (-1, 1).

    Raises:
        TypeError: something else. ValueError: another shape, or values out of range.

    Warns:
        UserWarning: floats, "auto", and no value is below 0.
    """
    if isinstance(image, Batch):
        return image
    span = check_range(value_range)
    if isinstance(image, TaskInput):
        return _made([image], False)
    if isinstance(image, list | tuple):
        if image and all(isinstance(one, TaskInput) for one in image):
            return _made(image, True)
        if not image:
            raise ValueError(f"{field} must be a picture or a list of pictures, got an empty list")
        found = [_one(each, f"{field}[{i}]", span) for i, each in enumerate(image)]
        return Batch([p for p, _ in found], [id for _, id in found], True)
    if not isinstance(image, str | Path | Image.Image) and array(image, field).ndim == 4:
        rows = array(image, field)
        if not len(rows):
            raise ValueError(f"{field} must hold at least one picture, got shape {rows.shape}")
        return Batch([pixels(row, field, span) for row in rows], [""] * len(rows), True)
    picture, id = _one(image, field, span)
    return Batch([picture], [id], False)


def _made(items: Sequence[TaskInput], many: bool) -> Batch:
    return Batch([i.photo.source for i in items], [i.id for i in items], many, tuple(items))


def check_range(value_range: Any) -> Span | None:
    """(low, high), or None for "auto".

    Raises:
        ValueError: neither "auto" nor two finite numbers, the lower one first.
    """
    if isinstance(value_range, str) and value_range == "auto":
        return None
    try:
        low, high = (float(value) for value in value_range)
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f'value_range must be "auto" or (low, high) with low < high, got {brief(value_range)}'
        )
    return low, high


def _one(image: Any, field: str, span: Span | None) -> tuple[images.Picture, str]:
    if isinstance(image, str | Path):
        return images.read(image), Path(image).stem
    if isinstance(image, Image.Image):
        return images.from_pil(image, field), ""
    return pixels(image, field, span), ""


def pixels(image: Any, field: str = "image", span: Span | None = None) -> images.Picture:
    """The picture of an array, uint8 or floats; see `read`."""
    image = array(image, field)
    if jnp.issubdtype(image.dtype, jnp.floating):
        image = image.astype(np.float64 if image.dtype == np.float64 else np.float32)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[-1] == 1:
        image = np.repeat(image, 3, axis=-1)
    if image.ndim != 3 or image.shape[-1] not in (3, 4) or 0 in image.shape:
        raise ValueError(f"{field} must be [H, W, 3], or [H, W, 4] with alpha, got {image.shape}")
    if image.dtype != np.uint8:
        image = _levels(image, field, span)
    rgb = np.ascontiguousarray(image[..., :3])
    return images.Picture(rgb, image[..., 3] if image.shape[-1] == 4 else None)


def array(value: Any, field: str) -> np.ndarray:
    """A value as an array of real numbers, see files.arrays.array."""
    return arrays.array(value, field, "an array, a PIL image or a path")


def _levels(image: np.ndarray, field: str, span: Span | None) -> np.ndarray:
    """Floats as levels, uint8 of the same shape."""
    low, high = span or (-1.0, 1.0)
    if image.dtype.kind != "f":
        raise ValueError(
            f"{field} must be uint8 or floats in [{low:g}, {high:g}], got {image.dtype}"
        )
    if not (np.isfinite(image).all() and low <= image.min() and image.max() <= high):
        raise ValueError(
            f"{field}: floats must be in [{low:g}, {high:g}]; give value_range=(low, high) for"
            " others, or uint8 for values 0 .. 255"
        )
    if span is None and image.min() >= 0:
        warn(
            f"{field}: no value is below 0, and floats are read as [-1, 1], so 0 is middle grey;"
            " give value_range=(0, 1) if 0 is black, or (-1, 1) if it is not"
        )
    return images.from_unit((2 * image.astype(np.float64) - low - high) / (high - low))


def masks(
    mask: Any, sizes: Sequence[Size], many: bool, field: str = "mask"
) -> list[np.ndarray | None]:
    """One mask for all pictures, or one for each: float32 [H, W] in [0, 1], or None.

    Args:
        mask: None, [H, W] or [H, W, 1], a PIL image, a path; or a list of these, or [B, H, W] or
            [B, H, W, 1], for a batch. White (1, 255) = may change. An array of three axes is one
            mask if its last axis is 1 and the others have the proportions of each picture.
        sizes: of the pictures.
        field: its name in messages; see `mask_of`.

    Raises:
        ValueError: another number of masks than of pictures, or see `mask_of`.
    """
    if mask is None or isinstance(mask, str | Path | Image.Image):
        each = [mask] * len(sizes)
    elif many and (isinstance(mask, list | tuple) or not _is_one(array(mask, field).shape, sizes)):
        each = list(mask)
    else:
        each = [mask] * len(sizes)
    if len(each) != len(sizes):
        raise ValueError(f"{field}: one for all or one for each of {len(sizes)}, got {len(each)}")
    pairs = zip(each, sizes, strict=True)
    return [None if m is None else mask_of(m, size, field) for m, size in pairs]


def _is_one(shape: tuple[int, ...], sizes: Sequence[Size]) -> bool:
    """Whether an array of this shape is one mask for all pictures."""
    if len(shape) != 3:
        return len(shape) < 3
    fits = all(images.proportional(shape[:2], size) for size in sizes)
    return shape[-1] == 1 and (fits or shape[0] != len(sizes))


def mask_of(mask: Any, size: Size, field: str = "mask") -> np.ndarray:
    """A mask as float32 [H, W] in [0, 1]; see images.from_levels for uint8.

    Raises:
        ValueError: another shape, values out of range, or no value above 0.
    """
    if isinstance(mask, str | Path):
        flat = images.read_mask(mask, size, name=field)
        _check_free(flat, field, f" {mask}")
        return flat
    if isinstance(mask, Image.Image):
        grey = images.mask_levels(images.from_pil(mask, field), field)
        mask = images.pure_ends(grey, mask.format, field)
    mask = array(mask, field)
    flat = mask[..., 0] if mask.ndim == 3 and mask.shape[-1] == 1 else mask
    if flat.ndim != 2 or 0 in flat.shape:
        raise ValueError(f"{field} must be {tuple(size)} like the image, got shape {mask.shape}")
    same = images.agrees(field, flat.shape, size)
    levels = mask.dtype == np.uint8
    flat = images.from_levels(flat) if levels else flat.astype(np.float32)
    if not (np.isfinite(flat).all() and 0 <= flat.min() and flat.max() <= 1):
        white = "the full strength" if field == "strength_map" else "may change"
        raise ValueError(f"{field} must be in [0, 1], or uint8; white = {white}")
    _check_free(flat, field)
    return flat if same else images.resize_mask(flat, size)


def _check_free(mask: np.ndarray, field: str, file: str = "") -> None:
    """Raise ValueError unless a mask or a strength map lets a pixel change."""
    check = common.check_shares if field == "strength_map" else images.check_mask
    check(mask, field + file)


def item(
    picture: images.Picture,
    mask: np.ndarray | None,
    strength_map: np.ndarray | None,
    id: str,
    size: Size,
    fit: str,
    opaque: bool,
) -> TaskInput:
    """The task input of a picture that is its own guide."""
    flat = images.flatten(picture)
    photo = common.Photo(flat, picture, opaque=opaque, strength_map=strength_map)
    mask = common.bounded(mask, strength_map)
    placement = common.place("", photo, size, fit, mask)
    made = common.assemble("", flat, mask, photo, placement, detail=mask is not None)
    return made._replace(id=id)

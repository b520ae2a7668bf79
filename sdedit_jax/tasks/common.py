"""Shared code of the tasks: types, options, finding and reading pictures, fitting."""

import dataclasses
import string
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from sdedit_jax import images
from sdedit_jax.images.guide import Guide

T = TypeVar("T")
Color = tuple[int, int, int]
Size = tuple[int, int]


class TaskInput(NamedTuple):
    """One input, ready to edit, with what is needed to paste the edit into it.

    The pictures have three channels. For a prior of grey pictures these are equal, and the guide
    has one channel.

    Attributes:
        id: the stem of the input's file.
        guide: where the edit starts.
        fitted: the guide as uint8 [h, w, 3], (h, w) the size of the edit.
        mask: float32 [h, w].
        original: the input picture, uint8 [H, W, 3].
        placement: how the input is fitted.
        original_mask: float32 [H, W], where the edit may change the input's own pixels.
    """

    id: str
    guide: Guide
    fitted: np.ndarray
    mask: np.ndarray
    original: np.ndarray
    placement: images.Placement
    original_mask: np.ndarray

    @property
    def channels(self) -> int:
        """Channels of the prior's pictures: 1 (grey) or 3."""
        return self.guide.image.shape[-1]

    def in_channels(self, channels: int) -> "TaskInput":
        """The input for a prior of pictures with 1 channel, by its luminance, or with 3."""
        if channels == 3:
            return self
        fitted, original = images.in_grey(self.fitted), images.in_grey(self.original)
        guide = self.guide._replace(image=images.to_unit(fitted[..., :1]))
        return self._replace(guide=guide, fitted=fitted, original=original)


def read_options(kind: type[T], values: Mapping[str, object]) -> T:
    """Fill the dataclass `kind` from a mapping; missing fields keep their defaults.

    Raises:
        ValueError: an unknown name, or a value of the wrong type.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise ValueError(f"task options {unknown} are unknown; known are {sorted(defaults)}")
    return kind(**{name: _typed(name, values[name], defaults[name]) for name in values})


def one_source(task: str, given: Mapping[str, object], *, needed: bool = False) -> None:
    """Check options that exclude each other: at most one is set, or exactly one if `needed`.

    Raises:
        ValueError: several are set, or none although one is needed.
    """
    names, found = " and ".join(given), {name: value for name, value in given.items() if value}
    if len(found) > 1:
        values = ", ".join(f"{name} {value!r}" for name, value in found.items())
        raise ValueError(
            f"{task} takes one of the task options {names}, got {values}; an empty value clears"
            f" one, as in options.{list(found)[-1]}="
        )
    if needed and not found:
        raise ValueError(f"{task} needs one of the task options {names}")


def _typed(name: str, value: object, default: object) -> object:
    """The value, converted to the default's type; None gives the default, a list a tuple."""
    if value is None:
        return default
    if isinstance(default, tuple) and isinstance(value, list | tuple) and len(value) == 1:
        value = value[0]  # the command line passes "a,b" as a tuple of one string
    if isinstance(default, tuple) and isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(default, tuple) and isinstance(value, list | tuple):
        strange = [part for part in value if not isinstance(part, str)]
        if strange:
            raise ValueError(
                f"task option {name} must be strings, got {strange[0]!r}; quote strings that look"
                f" like numbers, as in {name}=\"'#112233','#445566'\""
            )
        return tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, str) and isinstance(value, Path):
        return str(value)
    if type(value) is not type(default):
        kind = type(default).__name__
        raise ValueError(f"task option {name} must be of type {kind}, got {value!r}")
    return value


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is allowed."""
    if value not in allowed:
        raise ValueError(f"task option {name} must be one of {list(allowed)}, got {value!r}")


def background_of(text: str) -> Color | None:
    """The colour of the option `background`; "" is None."""
    return images.color(text) if text else None


def read_flat(path: str | Path, background: str = "") -> np.ndarray:
    """Read a picture as uint8 [H, W, 3], composited over `background` ("" is white)."""
    return images.flatten(images.read(path), images.color(background or "#ffffff"))


def read_beside(where: str, path: str | Path, name: str, size: tuple[int, int]) -> images.Picture:
    """Read the picture that belongs to the input `path` and must have its size."""
    file = images.paired(where, path, name)
    picture = images.read(file)
    images.same_size(f"{name} {file}", picture.rgb.shape[:2], size)
    return picture


def read_mask_beside(
    where: str, path: str | Path, size: tuple[int, int], invert: bool
) -> np.ndarray:
    """Read the mask that belongs to the input `path`: float32 [H, W].

    Args:
        where: a mask file or a folder of masks. "MAP#COLOUR" is the region of one colour in a
            segmentation map, or in each of a folder of maps.
        path: the input.
        size: (height, width) of the input.
        invert: black may change instead of white.

    Raises:
        ValueError: the mask cannot be read, has another size, or is black everywhere.
    """
    maps, sign, text = where.rpartition("#")
    if not sign or "/" in text or Path(where).exists():
        mask = images.read_mask(images.paired(where, path, "mask"), size, invert)
    else:
        is_code = all(digit in string.hexdigits for digit in text)
        region = images.color(sign + text if is_code else text)
        mask = images.read_region(images.paired(maps, path, "mask"), region, size, invert)
    images.check_mask(mask, f"the mask {where}")
    return mask


def grow(mask: np.ndarray, width: float, placement: images.Placement) -> np.ndarray:
    """Grow a mask at the input's size by `width` pixels at the size of the edit."""
    if width < 0:
        raise ValueError(f"task option grow or seam must be at least 0 pixels, got {width}")
    return images.grow(mask, int(width * max(placement.scale, 1)))


def assemble(
    path: str | Path,
    guide: np.ndarray,
    mask: np.ndarray | None,
    original: np.ndarray,
    placement: images.Placement,
    background: str = "",
) -> TaskInput:
    """Fit guide and mask by one placement.

    Args:
        path: of the input; its stem becomes the id.
        guide: uint8 [H, W, 3], at the input's size.
        mask: float32 [H, W] at the input's size; None is 1 everywhere.
        original: the input picture, uint8 [H, W, 3].
        placement: of the input in the edit.
        background: colour of the margin of fit "pad"; "" repeats the edge.
    """
    mask = np.ones(original.shape[:2], np.float32) if mask is None else mask.astype(np.float32)
    small = images.fit_mask(mask, placement, f"mask of {path}")
    fitted = images.fit_rgb(guide, placement, background_of(background))
    return finish(Path(path).stem, fitted, small, original, placement, mask)


def finish(
    id: str,
    fitted: np.ndarray,
    mask: np.ndarray,
    original: np.ndarray,
    placement: images.Placement,
    original_mask: np.ndarray,
) -> TaskInput:
    """The TaskInput of a fitted guide uint8 [h, w, 3] and mask float32 [h, w]."""
    guide = Guide(images.to_unit(fitted), mask[..., None])
    return TaskInput(id, guide, fitted, mask, original, placement, original_mask)

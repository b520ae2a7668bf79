"""Shared code of the tasks: types, options, finding and reading pictures, fitting."""

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from sdedit_jax import images
from sdedit_jax.caution import warn
from sdedit_jax.files.paths import user_path
from sdedit_jax.files.schema import PLAIN
from sdedit_jax.images.guide import Guide
from sdedit_jax.text import spelling

T = TypeVar("T")
Color = tuple[int, int, int]
Size = tuple[int, int]
Growth = tuple[tuple[int, int], tuple[int, int]]
NO_GROWTH = ((0, 0), (0, 0))


class Photo(NamedTuple):
    """An input picture.

    Attributes:
        rgb: uint8 [H, W, 3], composited over the background.
        source: the picture as it was read.
        background: colour behind transparent parts.
        margin: colour of the margin of fit "pad"; None repeats the edge.
        opaque: whether an edit makes transparent parts opaque where it may change pixels.
        detail: whether an edit that is enlarged keeps the detail of the guide.
        strength_map: float32 [H, W] in [0, 1], see Guide; None: 1 everywhere.
    """

    rgb: np.ndarray
    source: images.Picture
    background: Color = images.WHITE
    margin: Color | None = None
    opaque: bool = False
    detail: bool = True
    strength_map: np.ndarray | None = None

    @property
    def size(self) -> Size:
        """(H, W)."""
        return self.rgb.shape[:2]


class TaskInput(NamedTuple):
    """One input, ready to edit, with what is needed to paste the edit into it.

    The pictures have three channels. For a prior of grey pictures these are equal, and the guide
    has one channel.

    Attributes:
        id: the stem of the input's file.
        guide: where the edit starts, with a mask of 0 and 1: the edit runs where `mask` is above 0.
        fitted: the guide as uint8 [h, w, 3], (h, w) the size of the edit.
        kept: the picture that stays where the mask is 0, uint8 [h, w, 3]; there `fitted` equals it.
        mask: float32 [h, w], the share of the change that stays.
        photo: the input picture.
        placement: how the input is fitted.
        original_mask: float32 [H, W], `mask` at the input's size.
        detail: the guide at the input's size, levels [H, W, 3], whose detail an enlarged edit
            keeps, or None.
    """

    id: str
    guide: Guide
    fitted: np.ndarray
    kept: np.ndarray
    mask: np.ndarray
    photo: Photo
    placement: images.Placement
    original_mask: np.ndarray
    detail: np.ndarray | None = None

    @property
    def original(self) -> np.ndarray:
        """The input picture, uint8 [H, W, 3]."""
        return self.photo.rgb

    @property
    def channels(self) -> int:
        """Channels of the prior's pictures: 1 (grey) or 3."""
        return self.guide.image.shape[-1]

    def in_channels(self, channels: int) -> "TaskInput":
        """The input for a prior of pictures with 1 channel, by its luminance, or with 3."""
        if channels == 3:
            return self
        fitted, source = images.in_grey(self.fitted), self.photo.source
        source = source._replace(rgb=images.in_grey(source.rgb))
        return self._replace(
            guide=self.guide._replace(image=images.to_unit(fitted[..., :1])),
            fitted=fitted,
            kept=images.in_grey(self.kept),
            photo=self.photo._replace(rgb=images.in_grey(self.photo.rgb), source=source),
            detail=None if self.detail is None else images.in_grey(self.detail),
        )


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of every task.

    Attributes:
        background: colour behind transparent parts and in the margin of fit "pad". "" is white
            behind transparent parts, and repeats the edge in the margin.
        opaque: with `output=original`, transparent parts become opaque where the edit may change
            pixels; else a result has the input's alpha channel.
        detail: with `output=original`, the detail of the guide stays in the result. Set it to False
            where the edit moves shapes: the old outlines would stay.
        mask_suffix: a file whose stem is an input's with this suffix is the input's mask.
        strength_map: a grey picture, or a folder of pictures with the inputs' stems: each pixel is
            edited with its share of the strength, white with all of it; black is kept. "": none.
    """

    background: str = ""
    opaque: bool = False
    detail: bool = True
    mask_suffix: str = images.MASK_SUFFIX
    strength_map: str = ""


@dataclasses.dataclass(frozen=True)
class MaskOptions(Options):
    """Options of the tasks that read a mask.

    Attributes:
        mask: mask file (white may change), or a folder of files with the inputs' stems, with or
            without `mask_suffix`; "": the mask beside the input, if there is one.
        invert: black may change instead of white.
        mask_channel: what the mask is read from: "luminance", "alpha", or "auto", see
            images.mask_levels.
    """

    mask: str = ""
    invert: bool = False
    mask_channel: str = "auto"


def read_options(kind: type[T], values: Mapping[str, object]) -> T:
    """Fill the dataclass `kind` from a mapping; missing fields keep their defaults.

    Raises:
        ValueError: an unknown name, or a value of the wrong type.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise ValueError(
            f"task options {unknown} are unknown; known are {sorted(defaults)}"
            f"{spelling.hint(unknown[0], defaults)}"
        )
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
    if isinstance(default, tuple):
        return _texts(name, value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, str) and isinstance(value, Path):
        return str(value)
    PLAIN[type(default)].check(value, f"task option {name}")
    return value


def _texts(name: str, value: object) -> tuple[str, ...]:
    """The texts of a list: separated by commas, with or without quotes and brackets.

    The command line passes "a,b" as a tuple of one string. Commas in brackets, as in
    "rgb(255, 0, 0)", separate nothing.
    """
    every = list(value) if isinstance(value, list | tuple) else [value]
    if strange := [part for part in every if not isinstance(part, str)]:
        raise ValueError(
            f"task option {name} must be texts, got {strange[0]!r}; put quotes around each, as in"
            f" {name}=\"'#112233','#445566'\""
        )
    between = r"[,;](?![^(]*\))"
    parts = (part.strip(" '\"") for text in every for part in re.split(between, _bare(text)))
    return tuple(part for part in parts if part)


def _bare(text: str) -> str:
    """A text without brackets around it."""
    text = text.strip()
    return text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is allowed."""
    spelling.one_of(f"task option {name}", value, allowed)


def read_photo(path: str | Path, chosen: Options, grown: Growth = NO_GROWTH) -> Photo:
    """Read an input picture, and its strength map.

    Args:
        grown: pixels by which the picture will grow, (above, below), (left, right); the strength
            map has the grown size.
    """
    source, background = images.read(path, "input"), images.color(chosen.background or "#ffffff")
    flat = images.flatten(source, background)
    margin = background if chosen.background else None
    height, width = (a + sum(b) for a, b in zip(flat.shape[:2], grown, strict=True))
    strength_map = read_strength_map(chosen.strength_map, path, (height, width))
    return Photo(flat, source, background, margin, chosen.opaque, chosen.detail, strength_map)


def read_flat(path: str | Path, background: str = "") -> np.ndarray:
    """Read a picture as uint8 [H, W, 3], composited over `background` ("" is white)."""
    return images.flatten(images.read(path), images.color(background or "#ffffff"))


def read_layer(where: str, path: str | Path, name: str, size: Size) -> images.Picture:
    """Read the layer that belongs to the input `path`, resized to its size.

    Raises:
        ValueError: no alpha channel, or other proportions.
    """
    file = images.paired(where, path, name)
    layer = images.read(file, name)
    if layer.alpha is None:
        raise ValueError(f"{name} {file}: the picture has no alpha channel")
    same = images.agrees(f"{name} {file}", layer.rgb.shape[:2], size)
    return layer if same else images.resize_layer(layer, size)


def read_mask(chosen: MaskOptions, path: str | Path, size: Size) -> np.ndarray | None:
    """Read the mask of the input `path`: float32 [H, W]; None where there is none.

    Args:
        chosen: its `mask` is a mask file or a folder of masks. "MAP#COLOUR" is the region of one
            colour in a segmentation map, or in each of a folder of maps. "" is the mask beside the
            input.
        path: the input.
        size: (height, width) of the input.

    Raises:
        ValueError: the mask cannot be read, has other proportions, or is black everywhere.
    """
    where, suffix = chosen.mask, chosen.mask_suffix
    if not where:
        beside = images.mask_beside(path, suffix)
        if beside is None:
            return None
        where = str(beside)
    maps, sign, text = where.rpartition("#")
    if not sign or "/" in text or os.path.exists(user_path(where)):
        file = images.paired(where, path, "mask", suffix)
        mask = images.read_mask(file, size, chosen.invert, chosen.mask_channel)
    else:
        region = images.color(text)
        file = images.paired(maps, path, "mask", suffix)
        mask = images.read_region(file, region, size, chosen.invert)
    images.check_mask(mask, f"the mask {where}")
    return mask


def read_strength_map(where: str, path: str | Path, size: Size) -> np.ndarray | None:
    """Read the strength map of the input `path`: float32 [H, W] in levels; None without one.

    Args:
        where: a file, or a folder of files with the inputs' stems; "": none.

    Raises:
        ValueError: it cannot be read, has other proportions, or is black everywhere.
    """
    if not where:
        return None
    file = images.paired(where, path, "strength_map")
    shares = images.in_levels(images.read_mask(file, size, name="strength_map"))
    check_shares(shares, f"the strength map {file}")
    return shares


def check_shares(shares: np.ndarray, name: str = "strength_map") -> None:
    """Raise ValueError unless a strength map lets a pixel change."""
    if not shares.any():
        raise ValueError(f"{name} is black everywhere; white marks the full strength")


def bounded(mask: np.ndarray | None, shares: np.ndarray | None) -> np.ndarray | None:
    """The mask [H, W], 0 where the strength map is 0 too; None where neither keeps anything."""
    if shares is None or (shares > 0).all():
        return mask
    free = (shares > 0).astype(np.float32)
    return free if mask is None else mask * free


def place(
    path: str | Path,
    photo: Photo,
    size: Size,
    fit: str,
    mask: np.ndarray | None = None,
    grown: float = 0,
) -> images.Placement:
    """The placement of an input.

    Args:
        mask: [H, W], above 0 where the edit may change pixels, as far as the strength map lets it;
            None is 1 everywhere. It matters to fit "mask". Where it grows later, the strength map
            does not make the window smaller.
        grown: width by which the mask is grown later, in pixels at the size of the edit.

    Warns:
        UserWarning: the fit shows less than a quarter of the input, or fit "mask" leaves out pixels
            that may change.
    """
    free = None
    if fit == "mask":  # a mask grows before the strength map bounds it
        grows = grown > 0 and mask is not None
        free = mask if grows else bounded(mask, photo.strength_map)
    region = None if free is None else images.region_of(free, grown)
    placement = images.place(photo.size, size, fit, region)
    _warn_of_rest(path, placement, None if region is None else free)
    return placement


def _warn_of_rest(path: str | Path, placement: images.Placement, free: np.ndarray | None) -> None:
    """Warn where a fit leaves out most of a picture, or any pixel that may change.

    Args:
        free: [H, W], above 0 where pixels may change, if the window was chosen by them.
    """
    shown, least, what = images.share(placement), images.LEAST_SHARE, "its"
    if free is not None:
        inside = np.count_nonzero(images.in_window(free, placement))
        shown, least, what = inside / np.count_nonzero(free), 1, "what may change in its"
    if shown < least:
        warn(
            f"{path or 'image'}: fit {placement.rule!r} shows {shown:.1%} of {what}"
            f" {images.size_text(placement.source)} pixels (height x width) at"
            f" {images.size_text(placement.size)}; 'pad' shows all"
        )


def grow(mask: np.ndarray, width: float, placement: images.Placement) -> np.ndarray:
    """Grow a mask at the input's size by `width` pixels at the size of the edit."""
    if width < 0:
        raise ValueError(f"task option grow or seam must be at least 0 pixels, got {width}")
    return images.grow(mask, int(width * max(placement.scale, 1)))


def assemble(
    path: str | Path,
    picture: np.ndarray,
    mask: np.ndarray | None,
    photo: Photo,
    placement: images.Placement,
    *,
    detail: bool = True,
    painted: np.ndarray | None = None,
    kept: np.ndarray | None = None,
) -> TaskInput:
    """Fit guide and mask by one placement.

    Where the mask is 0 the guide is the photo.

    Args:
        path: of the input; its stem becomes the id.
        picture: the guide at the input's size, uint8 [H, W, 3].
        mask: float32 [H, W] at the input's size; None is 1 everywhere.
        photo: the input picture.
        placement: of the input in the edit.
        detail: whether an edit that is enlarged to the input's size keeps the guide's detail.
        painted: bool [H, W], pixels whose detail is not kept, because they are strokes.
        kept: what stays where the mask is 0, uint8 [H, W, 3]; None: the photo.
    """
    mask = bounded(mask, photo.strength_map)
    ones = np.broadcast_to(np.float32(1), photo.size)  # a view of one number
    wide = ones if mask is None else mask.astype(np.float32)
    if not wide.any():
        both = "mask keeps" if photo.strength_map is None else "mask and strength map keep"
        raise ValueError(f"{path or 'image'}: its {both} everything: nothing may change")
    small = images.fit_mask(wide, placement, f"mask of {path}" if path else "mask")
    below, margin = photo.rgb if kept is None else kept, photo.margin
    large = picture if mask is None else np.where(wide[..., None] > 0, picture, below)
    fitted = images.fit_rgb(large, placement, margin)
    stays = fitted if large is below or mask is None else images.fit_rgb(below, placement, margin)
    if painted is not None:
        rim = images.grow(painted, math.ceil(placement.scale))
        large = np.where(rim[..., None], images.enlarged(fitted, large, placement), large)
    guide, fitted = _guide(fitted, stays, small, _fitted_shares(photo, small, placement))
    return TaskInput(
        id=Path(path).stem,
        guide=guide,
        fitted=fitted,
        kept=stays,
        mask=images.in_levels(small),  # as a PNG stores it
        photo=photo,
        placement=placement,
        original_mask=wide,
        detail=large if detail and photo.detail else None,
    )


def with_guide(item: TaskInput, fitted: np.ndarray) -> TaskInput:
    """The input with another guide, uint8 [h, w, 3], where the mask is above 0."""
    guide, fitted = _guide(fitted, item.kept, item.mask, item.guide.strength_map)
    return item._replace(guide=guide, fitted=fitted)


def with_strength_map(item: TaskInput, shares: np.ndarray) -> TaskInput:
    """The input with a strength map, float32 [h, w]; its mask is 0 where the map is."""
    free = (shares > 0).astype(np.float32)
    mask = item.mask * free
    guide, fitted = _guide(item.fitted, item.kept, mask, (shares * (mask > 0))[..., None])
    wide = images.unfit_mask(free, item.placement)
    return item._replace(
        guide=guide._replace(image=guide.image[..., : item.channels]),
        fitted=fitted,
        mask=mask,
        original_mask=item.original_mask * (wide > 0),
    )


def _fitted_shares(
    photo: Photo, mask: np.ndarray, placement: images.Placement
) -> np.ndarray | None:
    """The strength map at the size of the edit, float32 [h, w, 1], 0 where the mask is 0.

    A pixel has the mean of the shares above 0 that it covers: the mask has the extent of black. A
    map in levels stays in levels, as a PNG stores it.
    """
    shares = photo.strength_map
    if shares is None:
        return None
    free = images.fit_mask((shares > 0).astype(np.float32), placement, "strength_map")
    small = images.fit_mask(shares, placement, "strength_map") / np.where(free > 0, free, 1)
    small = np.clip(small, shares[shares > 0].min(), shares.max())
    if np.array_equal(images.in_levels(shares), shares):
        small = images.in_levels(small)
    return np.where(mask > 0, small, 0)[..., None].astype(np.float32)


def _guide(
    fitted: np.ndarray, kept: np.ndarray, mask: np.ndarray, shares: np.ndarray | None
) -> tuple[Guide, np.ndarray]:
    """The guide, as a Guide and as uint8 [h, w, 3], which is `kept` where the mask is 0."""
    free = (mask > 0)[..., None]
    fitted = np.where(free, fitted, kept)
    return Guide(images.to_unit(fitted), free.astype(np.float32), shares), fitted

"""Fitting a picture of any size to the size of the edit, and pasting the edit into it.

Sizes are (height, width) in pixels. There are four rules. `crop` keeps the largest centred window
of the target's proportions. `pad` keeps everything and fills the margin. `stretch` keeps everything
and changes the proportions. `mask` keeps a window of the target's proportions around the pixels
that may change. Each rule resizes one rectangle of the input (window) to one rectangle of the
result (target). Both have whole pixels, so one placement serves pictures and masks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax.caution import warn
from sdedit_jax.files.wording import brief
from sdedit_jax.images.pixels import Picture, paste, size_text
from sdedit_jax.images.region import Box, Region, Size, window_around

UNMASKED_FITS = ("crop", "pad", "stretch")
"""Rules that depend on sizes alone."""
FITS = (*UNMASKED_FITS, "mask")
MOST_PIXELS = 4096 * 4096
"""Pixels of an edit."""


class Placement(NamedTuple):
    """How a picture is fitted.

    Attributes:
        rule: one of FITS.
        size: (height, width) of the fitted picture.
        source: (height, width) of the input.
        window: the part of the input that is kept, as (top, left, height, width).
        target: where the window is placed in the fitted picture, in the same form.
    """

    rule: str
    size: Size
    source: Size
    window: Box
    target: Box

    @property
    def scale(self) -> float:
        """Input pixels per fitted pixel, the larger of the two directions."""
        return max(self.window[2] / self.target[2], self.window[3] / self.target[3])


def check_size(size: Sequence[int], stride: int = 1, field: str = "size") -> Size:
    """The size as a tuple of two ints, checked.

    Args:
        size: (height, width) in pixels.
        stride: both must be multiples of it, as the network of a prior requires.
        field: name of the argument, for the message.

    Raises:
        ValueError: not two whole numbers, not positive multiples of the stride, or more pixels than
            MOST_PIXELS.
    """
    pair = tuple(size) if isinstance(size, list | tuple) else ()
    whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in pair)
    if len(pair) == 2 and whole and all(n > 0 and n % stride == 0 for n in pair):
        if pair[0] * pair[1] > MOST_PIXELS:
            raise ValueError(f"{field} must have at most {MOST_PIXELS} pixels, got {brief(size)}")
        return int(pair[0]), int(pair[1])
    numbers = "positive whole numbers" if stride == 1 else f"positive multiples of {stride}"
    found = size_text(pair) if whole and pair and max(pair) < MOST_PIXELS else brief(size)
    raise ValueError(f"{field} must be height and width, two {numbers}, got {found}")


def place(source: Size, size: Size, rule: str, region: Region | None = None) -> Placement:
    """The placement of a picture of (height, width) `source` at (height, width) `size`.

    Args:
        rule: one of FITS.
        region: the pixels that may change, for "mask"; without one "mask" is "crop".
    """
    if rule not in FITS:
        raise ValueError(f"fit must be one of {list(FITS)}, got {rule!r}")
    size = check_size(size)
    window, target = (0, 0, *source), (0, 0, *size)
    if rule in ("crop", "mask"):
        window = _centred(_inside(source, size), source)
    if rule == "mask" and region is not None:
        window = window_around(region, source, size, window[2:])
    if rule == "pad":
        target = _centred(_inside(size, source), size)
    return Placement(rule, size, (source[0], source[1]), window, target)


def _inside(outer: Size, proportions: Size) -> Size:
    """The largest (height, width) of these proportions inside `outer`, at least 1 x 1."""
    (height, width), (h, w) = outer, proportions
    side, length = (height, h) if height * w <= width * h else (width, w)
    return max(1, round(side * h / length)), max(1, round(side * w / length))


def _centred(inner: Size, outer: Size) -> Box:
    top, left = ((a - b) // 2 for a, b in zip(outer, inner, strict=True))
    return (top, left, *inner)


def fit(
    rgb: np.ndarray,
    size: Size,
    rule: str = "crop",
    background: tuple[int, int, int] | None = None,
) -> tuple[np.ndarray, Placement]:
    """Fit a picture to a size; a picture that has this size stays as it is.

    Args:
        rgb: uint8 [H, W, 3].
        size: (height, width) of the result.
        rule: one of FITS; "mask" is "crop" here.
        background: colour of the margin of "pad"; None repeats the picture's edge.

    Returns:
        uint8 [height, width, 3], and the placement.
    """
    placement = place(rgb.shape[:2], size, rule)
    return fit_rgb(rgb, placement, background), placement


def thumbnail(rgb: np.ndarray, longest: int) -> np.ndarray:
    """The picture, or where a side exceeds `longest` pixels, shrunk in proportion."""
    if max(rgb.shape[:2]) <= longest:
        return rgb
    return resize(rgb, _inside((longest, longest), rgb.shape[:2]))


def to_cell(picture: np.ndarray, longest: int) -> np.ndarray:
    """A picture for a sheet whose cells have about `longest` pixels on the longer side.

    Larger pictures are shrunk in proportion. Pixels of smaller ones are repeated by the largest
    whole factor that fits.
    """
    factor = max(1, longest // max(picture.shape[:2]))
    return np.repeat(np.repeat(thumbnail(picture, longest), factor, axis=0), factor, axis=1)


def fit_rgb(
    rgb: np.ndarray, placement: Placement, background: tuple[int, int, int] | None = None
) -> np.ndarray:
    """Fit a picture of the input's size by a known placement (Lanczos): uint8 [h, w, 3]."""
    _check_source(rgb, placement)
    shown = resize(_cut(rgb, placement.window), placement.target[2:])
    if background is None:
        return np.pad(shown, (*_margins(placement), (0, 0)), "edge")
    out = np.empty((*placement.size, 3), np.uint8)
    out[:] = background
    _cut(out, placement.target)[:] = shown
    return out


def fit_mask(mask: np.ndarray, placement: Placement, name: str = "mask") -> np.ndarray:
    """Fit a mask [H, W] in [0, 1] by the picture's placement: float32 [h, w].

    Shrinking averages over boxes, so edges become fractions. Enlarging repeats pixels. Values stay
    exactly 0 or 1 where the whole box is. The margin of "pad" repeats the mask's edge.

    Args:
        name: of the mask, for the message.

    Raises:
        ValueError: fitting removes the whole mask.
    """
    _check_source(mask, placement)
    shown = resize_mask(_cut(mask, placement.window), placement.target[2:])
    if mask.any() and shown.max() < 0.5 / 255:
        raise ValueError(
            f"{name}: fit {placement.rule!r} leaves nothing of it at"
            f" {size_text(placement.size)} pixels"
        )
    return np.pad(shown, _margins(placement), "edge").astype(np.float32)


def unfit_mask(mask: np.ndarray, placement: Placement) -> np.ndarray:
    """A fitted mask [h, w] at the input's size, 0 outside of the window: float32 [H, W]."""
    out = np.zeros(placement.source, np.float32)
    shown = resize_mask(_cut(mask, placement.target), placement.window[2:])
    _cut(out, placement.window)[:] = shown
    return out


def unfit(
    result: np.ndarray,
    original: np.ndarray,
    mask: np.ndarray,
    placement: Placement,
    feather: int = 0,
    detail: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Resize an edit to the input's size and paste it into the input.

    Outside the mask, and outside the placement's window, the input's pixels are kept bit for bit.
    A fraction of the mask is the share of the change that stays. With `detail` the change is
    enlarged, not the picture: large + enlarged(result - small) is pasted, so that the detail of the
    guide that the edit did not see stays.

    Args:
        result: uint8 [h, w, 3], of the placement's size.
        original: the input, uint8 [H, W, 3].
        mask: [H, W] in [0, 1] at the input's size.
        placement: from `fit`.
        feather: width of the ramp inside the mask and the window, in pixels of the input.
        detail: the guide at the input's size, levels [H, W, 3] (large), and fitted, uint8 [h, w, 3]
            (small); None: the edit is enlarged.
    """
    _check_source(original, placement)
    if result.shape[:2] != placement.size:
        raise ValueError(f"result must have size {placement.size}, got {result.shape[:2]}")
    mask = in_window(mask, placement)  # so that a feather softens the window's edge too
    if detail is None:
        return paste(enlarged(result, original, placement), original, mask, feather)
    large, small = detail
    edited, size = original.astype(np.float32), placement.window[2:]
    change = _cut(result.astype(np.float32) - small, placement.target)
    _cut(edited, placement.window)[:] = _cut(large, placement.window) + _resize(change, size)
    return paste(edited, original, mask, feather)


def enlarged(fitted: np.ndarray, original: np.ndarray, placement: Placement) -> np.ndarray:
    """A fitted picture at the input's size, with the input around it: float levels [H, W, 3]."""
    out, shown = original.astype(np.float32), _cut(fitted, placement.target).astype(np.float32)
    _cut(out, placement.window)[:] = _resize(shown, placement.window[2:])
    return out


def in_window(mask: np.ndarray, placement: Placement) -> np.ndarray:
    """A mask [H, W] of the input, 0 outside of the window that the fit shows."""
    out = np.zeros_like(mask)
    _cut(out, placement.window)[:] = _cut(mask, placement.window)
    return out


LEAST_SHARE = 0.25
"""Fits that show less of a picture than this share give a warning."""


def share(placement: Placement) -> float:
    """The share of the input's pixels that the fit shows."""
    return np.prod(placement.window[2:]) / np.prod(placement.source)


def _cut(array: np.ndarray, box: Box) -> np.ndarray:
    top, left, height, width = box
    return array[top : top + height, left : left + width]


def _margins(placement: Placement) -> tuple[tuple[int, int], tuple[int, int]]:
    top, left, height, width = placement.target
    rows, columns = placement.size
    return (top, rows - top - height), (left, columns - left - width)


def agrees(name: str, found: Size, wanted: Size) -> bool:
    """Whether a mask or layer has the picture's size; False: it must be resized.

    Args:
        name: of the mask or layer, for messages.
        found: its (height, width). wanted: the picture's.

    Raises:
        ValueError: the proportions differ by more than 1 %.

    Warns:
        UserWarning: it must be resized.
    """
    if tuple(found) == tuple(wanted):
        return True
    sizes = f"{size_text(found)} pixels (height x width), the picture has {size_text(wanted)}"
    if not proportional(found, wanted):
        raise ValueError(f"{name} has {sizes}; both must have the same proportions")
    warn(f"{name} has {sizes}; it is resized")
    return False


def proportional(found: Size, wanted: Size) -> bool:
    """Whether two sizes have the same proportions, within 1 % or the rounding of their sides."""
    if not all(found):
        return False
    ratio = found[0] * wanted[1] / (found[1] * wanted[0])
    # sides that were scaled together and rounded differ by up to half a pixel each
    away = abs(found[0] / wanted[0] - found[1] / wanted[1])
    rounded = away < 0.5 / wanted[0] + 0.5 / wanted[1]
    return 0.99 <= ratio <= 1.01 or rounded


def resize_mask(mask: np.ndarray, size: Size) -> np.ndarray:
    """A mask [H, W] in [0, 1] at another size: box means where it shrinks.

    Where it grows, pixels are repeated, or interpolated if some are grey. Values stay exactly 0 or
    1 where the whole box is.
    """
    grows = size[0] >= mask.shape[0] and size[1] >= mask.shape[1]
    grey = ((mask > 0) & (mask < 1)).any()
    kernel = Image.Resampling.BILINEAR if grows and grey else Image.Resampling.BOX
    image = Image.fromarray(np.ascontiguousarray(mask, "float32"))
    shown = np.asarray(image.resize(size[::-1], kernel))
    return np.where(shown < 1e-5, 0, np.where(shown > 1 - 1e-5, 1, shown)).astype(np.float32)


def mask_at(mask: np.ndarray, size: Size, name: str) -> np.ndarray:
    """A mask [H, W] in [0, 1] at a picture's size; see `agrees` for errors and warnings."""
    return mask if agrees(name, mask.shape, size) else resize_mask(mask, size)


def resize_layer(layer: Picture, size: Size) -> Picture:
    """A layer with alpha at another size; a layer without alpha gets 255.

    Colours are weighted by alpha, so hidden ones do not bleed into the rim. The kernel has no
    overshoot, so alpha stays 0 around the layer.
    """
    alpha = np.full(layer.rgb.shape[:2], 255, np.uint8) if layer.alpha is None else layer.alpha
    image = Image.fromarray(np.dstack([layer.rgb, alpha]))
    rgba = np.array(image.resize(size[::-1], Image.Resampling.HAMMING))
    return Picture(rgba[..., :3], rgba[..., 3])


def _resize(levels: np.ndarray, size: Size) -> np.ndarray:
    """Float levels [h, w, C] at another size (Lanczos)."""
    if levels.shape[:2] == tuple(size):
        return levels
    channels = [Image.fromarray(np.ascontiguousarray(c)) for c in np.moveaxis(levels, -1, 0)]
    kernel = Image.Resampling.LANCZOS
    return np.stack([np.asarray(c.resize(size[::-1], kernel)) for c in channels], axis=-1)


def resize(rgb: np.ndarray, size: Size) -> np.ndarray:
    """uint8 [H, W, 3] at another size (Lanczos)."""
    image = Image.fromarray(np.ascontiguousarray(rgb))
    # a gap of 3 first reduces huge pictures by whole factors, without a visible difference
    small = image.resize(size[::-1], Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(small)


def _check_source(array: np.ndarray, placement: Placement) -> None:
    if array.shape[:2] != placement.source:
        raise ValueError(f"placement is for {placement.source}, got an array {array.shape}")

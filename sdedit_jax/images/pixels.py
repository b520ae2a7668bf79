"""Pixel arithmetic: units, colours, alpha, morphology of masks, pasting with exact kept pixels."""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageColor

from sdedit_jax.caution import warn
from sdedit_jax.files.arrays import array
from sdedit_jax.files.values import Text
from sdedit_jax.files.wording import brief

WHITE = (255, 255, 255)
STRIP = 2**20
"""Pixels that are composited at a time."""
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


class Picture(NamedTuple):
    """A picture as read.

    Attributes:
        rgb: uint8 [H, W, 3]. alpha: uint8 [H, W], or None.
        profile: its ICC profile for RGB, or None. dpi: pixels per inch (x, y), or None.
        lost: what else the file has and a result cannot have, in words.
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    dpi: tuple[float, float] | None = None
    lost: tuple[str, ...] = ()

    @property
    def pixels(self) -> np.ndarray:
        """uint8 [H, W, 3], or [H, W, 4] with alpha."""
        return self.rgb if self.alpha is None else np.dstack([self.rgb, self.alpha])


def size_text(size: Sequence[int]) -> str:
    """A size (height, width), or a shape, in messages: "HEIGHTxWIDTH"."""
    return "x".join(map(str, size))


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """uint8 levels 0..255 to float32 in [-1, 1]; `from_unit` inverts it exactly."""
    return np.asarray(pixels, np.float32) / np.float32(127.5) - np.float32(1)


def from_unit(image: np.ndarray) -> np.ndarray:
    """Values in [-1, 1] (others are clipped) to the nearest uint8 level.

    Raises:
        ValueError: some values are not finite.
    """
    image = np.asarray(image, np.float32)
    bad = int(image.size - np.count_nonzero(np.isfinite(image)))
    if bad:
        raise ValueError(f"image: {bad} of {image.size} values are not finite (NaN or infinity)")
    return np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)


def from_levels(grey: np.ndarray, invert: bool = False) -> np.ndarray:
    """The levels of a mask, uint8 [H, W], as float32 [H, W] in [0, 1].

    A mask of the levels 0 and 1 is a label map: 1 is white.

    Args:
        grey: the levels.
        invert: black is what may change.
    """
    most = 1 if grey.max(initial=0) == 1 else 255
    levels = most - grey if invert else grey
    return levels.astype(np.float32) / np.float32(most)


def check_mask(mask: np.ndarray, name: str) -> None:
    """Check that a mask in [0, 1] allows a change.

    Raises:
        ValueError: it is 0 everywhere, or so close to it that no level of a pixel can change.

    Warns:
        UserWarning: less than half of any change stays.
    """
    most = round(float(mask.max(initial=0)) * 255)
    if not most:
        raise ValueError(f"{name} is black everywhere; white marks what may change")
    if most < 128:
        warn(
            f"{name}: its brightest level is {most} of 255, so {most / 255:.0%} of the change stays"
            " at most; make it white (255) where the edit may change"
        )


def in_levels(mask: np.ndarray) -> np.ndarray:
    """A mask in steps of 1/255, as a PNG stores it; values above 0 stay above 0."""
    mask = np.asarray(mask, np.float32)
    return np.maximum(np.round(mask * 255), mask > 0).astype(np.float32) / 255


def to_levels(mask: np.ndarray) -> np.ndarray:
    """A mask [H, W] in [0, 1] as a picture uint8 [H, W]."""
    return np.round(mask * 255).astype(np.uint8)


def color(text: str, field: str = "color") -> tuple[int, int, int]:
    """A colour by hexadecimal code ("#c81e1e", "c81e1e", "#c22") or CSS name, as three levels.

    Raises:
        TypeError: no text. ValueError: no colour; the message starts with `field`.
    """
    Text(lines=True, words="#rrggbb or a CSS name").check(text, field)
    text = text.strip()
    code = re.fullmatch("[0-9a-fA-F]+", text)
    try:
        return ImageColor.getrgb(f"#{text}" if code else text)[:3]
    except ValueError as error:
        raise ValueError(f"{field} must be #rrggbb or a CSS name, got {brief(text)}") from error


def luminance(rgb: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] to uint8 [H, W] by the ITU-R 601 weights; greys are kept exactly."""
    return np.array(Image.fromarray(rgb).convert("L"))


def in_grey(rgb: np.ndarray) -> np.ndarray:
    """Levels [H, W, 3] to their luminance in three equal channels; uint8 greys are kept exactly."""
    grey = luminance(rgb) if rgb.dtype == np.uint8 else rgb @ LUMINANCE
    return np.repeat(grey[..., None], 3, axis=-1)


def flatten(picture: Picture, background: tuple[int, int, int] = WHITE) -> np.ndarray:
    """The picture composited over a plain background: uint8 [H, W, 3]."""
    if picture.alpha is None:
        return picture.rgb
    plain = np.broadcast_to(np.array(background, np.uint8), picture.rgb.shape)
    return over(picture.rgb, picture.alpha, plain)


def over(rgb: np.ndarray, alpha: np.ndarray, below: np.ndarray) -> np.ndarray:
    """uint8 `rgb` over `below` with alpha uint8 [H, W]; exact where alpha is 0 or 255."""
    out, step = np.empty(rgb.shape, np.uint8), max(STRIP // max(rgb.shape[1], 1), 1)
    for top in range(0, len(rgb), step):
        rows = slice(top, top + step)
        a = alpha[rows, :, None].astype(np.int32)
        out[rows] = (rgb[rows] * a + below[rows] * (255 - a) + 127) // 255
    return out


def change_under(
    picture: Picture, below: tuple[int, int, int], change: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """The colours of a picture after a change of what it shows over a background.

    They solve over(rgb, alpha, below) = over(picture, below) + change, and are clipped. Where alpha
    is 0 they are the picture's.

    Args:
        picture: with alpha.
        below: colour of the background.
        change: levels [H, W, 3].
        alpha: the new alpha, uint8 [H, W].

    Returns:
        uint8 [H, W, 3].
    """
    before = picture.alpha[..., None].astype(np.float64)
    after = np.where(alpha > 0, alpha, 255)[..., None].astype(np.float64)
    background = np.array(below, np.float64)
    rgb = (before * picture.rgb + (after - before) * background + 255 * change) / after
    rgb = np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    return np.where((alpha > 0)[..., None], rgb, picture.rgb)


def uncertainty(results: Any) -> np.ndarray:
    """The spread of the samples of an edit at each pixel, float32 [h, w], in [0, 1] units.

    It is the standard deviation over the samples (with n - 1), and the RMS of that over the
    channels. An alpha channel is left out.

    Args:
        results: uint8 [samples, h, w, C], as an edit with `samples` gives them, or a list of such
            pictures; [B, samples, h, w, C] gives [B, h, w].

    Raises:
        ValueError: another shape or type, or fewer than two samples.
    """
    levels = array(results, "results")
    if levels.dtype != np.uint8 or levels.ndim not in (4, 5):
        shape = f"{levels.dtype} {levels.shape}"
        raise ValueError(f"results must be uint8 [samples, h, w, C], got {shape}")
    if levels.shape[-4] < 2:
        raise ValueError(f"results must have at least 2 samples, got {levels.shape[-4]}")
    colors = levels[..., :3] if levels.shape[-1] == 4 else levels
    variance = np.var(colors.astype(np.float32) / 255, axis=-4, ddof=1)
    return np.sqrt(variance.mean(axis=-1))


def grow(mask: np.ndarray, radius: int) -> np.ndarray:
    """The largest value within `radius` pixels (square window), [H, W] -> [H, W]."""
    return _window(_window(mask, radius, 0, np.maximum), radius, 1, np.maximum)


def shrink(mask: np.ndarray, radius: int) -> np.ndarray:
    """The smallest value within `radius` pixels; the border is repeated outwards."""
    return _window(_window(mask, radius, 0, np.minimum), radius, 1, np.minimum)


def _window(values: np.ndarray, radius: int, axis: int, pick: Callable) -> np.ndarray:
    """Sliding maximum or minimum along one axis in log2(radius) passes."""
    radius = min(radius, values.shape[axis])
    width, sides = 2 * radius + 1, [(0, 0)] * values.ndim
    sides[axis] = (radius, radius)
    out, seen = np.pad(values, sides, "edge"), 1

    def pairs(apart: int) -> np.ndarray:
        first, second = [slice(None)] * out.ndim, [slice(None)] * out.ndim
        first[axis], second[axis] = slice(out.shape[axis] - apart), slice(apart, None)
        return pick(out[tuple(first)], out[tuple(second)])

    while 2 * seen <= width:
        out, seen = pairs(seen), 2 * seen
    return pairs(width - seen)


def feathered(mask: np.ndarray, feather: int) -> np.ndarray:
    """The mask with a ramp of `feather` pixels inside its editable region; zeros stay zero.

    A pixel at chessboard distance d from the nearest kept pixel gets min(d / (feather + 1), 1).
    """
    if feather < 0:
        raise ValueError(f"feather must be at least 0 pixels, got {feather}")
    mask = np.asarray(mask, np.float32)
    weight, total = mask, mask
    for done in range(feather):
        before, weight = weight, shrink(weight, 1)
        if np.array_equal(weight, before):  # further steps add the same again
            total = total + np.float32(feather - done) * weight
            break
        total = total + weight
    return total / np.float32(feather + 1)


def paste(result: np.ndarray, photo: np.ndarray, mask: np.ndarray, feather: int = 0) -> np.ndarray:
    """Paste an edit into a photo: photo + weight (result - photo), rounded.

    Pixels with mask 0 are the photo's, bit for bit. A fraction is the share of the change that
    stays. Pixels with mask 1 beyond the feather are the result's, bit for bit where it is uint8.

    Args:
        result: [H, W, 3], uint8 or float levels.
        photo: uint8 [H, W, 3].
        mask: [H, W] in [0, 1], 1 where the edit may change pixels.
        feather: width in pixels of the ramp inside the editable region.
    """
    if result.shape != photo.shape or mask.shape != photo.shape[:2]:
        shapes = f"{result.shape}, {photo.shape} and {mask.shape}"
        raise ValueError(f"result, photo and mask must have one size, got {shapes}")
    below = photo.astype(np.float32)
    above = np.clip(result.astype(np.float32), 0, 255)
    step = feathered(mask, feather)[..., None] * (above - below)
    return np.clip(np.rint(below + step), 0, 255).astype(np.uint8)

"""How pictures are brought to a network's size; results depend on it strongly. For Inception:

    clean         Pillow's bicubic filter, wide enough for the scale, on float32 (clean-fid)
    pytorch       bilinear between the nearest pixels, centres aligned (pytorch-fid)
    tensorflow    bilinear between the nearest pixels, first pixels aligned (TensorFlow 1,
                  torch-fidelity)
    none          pictures as they are

CLIP has one way (`clip`).

References:
    Parmar et al., On aliased resizing and surprising subtleties in GAN evaluation (2104.11222).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from sdedit_jax.nets.clip_vision import MEAN, STD
from sdedit_jax.nets.inception import SIDE


@dataclass(frozen=True)
class Policy:
    """A way to make Inception's input.

    Attributes:
        resize: uint8 [B,H,W,3] -> float32 [B,299,299,3] (none: [B,H,W,3]) in [0, 255].
        centre, half: the input is (x - centre) / half.
        program: whose published numbers it follows; "" none.
        text: a description.
    """

    name: str
    resize: Callable[[np.ndarray], np.ndarray]
    centre: float
    half: float
    program: str
    text: str

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [B,H,W,3] -> Inception's input, float32 in about [-1, 1]."""
        return (self.resize(pictures) - np.float32(self.centre)) / np.float32(self.half)


def policy(name: str) -> Policy:
    """The policy of a name.

    Raises:
        ValueError: another name.
    """
    if name not in POLICIES:
        raise ValueError(f"resize must be one of {list(POLICIES)}, got {name!r}")
    return POLICIES[name]


def clean(pictures: np.ndarray, side: int = SIDE) -> np.ndarray:
    """uint8 [B,H,W,3] -> float32 [B,side,side,3] in [0, 255]: bicubic, each channel in float32.

    The filter is widened where the picture shrinks, so that nothing aliases. Values beyond
    [0, 255] are clipped and not rounded.
    """
    wide = np.asarray(pictures, np.float32)
    found = np.empty((len(wide), side, side, 3), np.float32)
    for i, c in np.ndindex(len(wide), 3):
        channel = Image.fromarray(np.ascontiguousarray(wide[i, :, :, c]))
        found[i, :, :, c] = np.asarray(channel.resize((side, side), Image.Resampling.BICUBIC))
    return found.clip(0, 255)


def pytorch(pictures: np.ndarray, side: int = SIDE) -> np.ndarray:
    """uint8 [B,H,W,3] -> float32 [B,side,side,3] in [0, 255]: torch's "bilinear" without antialias.

    Output pixel i is read at max((i + 1/2) n / side - 1/2, 0).
    """
    return _bilinear(pictures, side, 0.5)


def tensorflow(pictures: np.ndarray, side: int = SIDE) -> np.ndarray:
    """uint8 [B,H,W,3] -> float32 [B,side,side,3] in [0, 255]: bilinear as in TensorFlow 1.

    Output pixel i is read at i n / side, so the picture moves by up to half a pixel.
    """
    return _bilinear(pictures, side, 0.0)


def none(pictures: np.ndarray) -> np.ndarray:
    """uint8 [B,H,W,3] -> float32 [B,H,W,3]."""
    return np.asarray(pictures, np.float32)


def clip(pictures: np.ndarray, side: int) -> np.ndarray:
    """uint8 [B,H,W,3] -> CLIP's input [B,side,side,3].

    The shorter side is resized to `side` by Pillow's bicubic filter on uint8, the centre is cut,
    and colours are normalised by CLIP's mean and spread.
    """
    h, w = pictures.shape[1:3]
    height, width = (side if n == min(h, w) else side * n // min(h, w) for n in (h, w))
    top, left = (height - side) // 2, (width - side) // 2
    found = np.empty((len(pictures), side, side, 3), np.float32)
    for i, picture in enumerate(pictures):
        fitted = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
        found[i] = np.asarray(fitted)[top : top + side, left : left + side]
    return (found / np.float32(255) - MEAN) / STD


def _bilinear(pictures: np.ndarray, side: int, offset: float) -> np.ndarray:
    x = np.asarray(pictures, np.float32)
    for axis in (2, 1):
        low, high, share = _places(x.shape[axis], side, offset)
        first, second = x.take(low, axis), x.take(high, axis)
        x = first + (second - first) * np.expand_dims(share, [a for a in range(4) if a != axis])
    return x


def _places(size: int, side: int, offset: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two pixels that each output pixel lies between, and the share of the second."""
    scale, shift = np.float32(size / side), np.float32(offset)
    at = np.maximum((np.arange(side, dtype=np.float32) + shift) * scale - shift, np.float32(0))
    low = np.minimum(at.astype(np.int64), size - 1)
    return low, np.minimum(low + 1, size - 1), at - low.astype(np.float32)


POLICIES = {
    each.name: each
    for each in (
        Policy(
            "clean",
            clean,
            128,
            128,
            "clean-fid",
            "Pillow bicubic in float32 to 299x299, then (x - 128) / 128, as clean-fid",
        ),
        Policy(
            "pytorch",
            pytorch,
            127.5,
            127.5,
            "pytorch-fid",
            "bilinear without antialiasing to 299x299, then x / 127.5 - 1, as pytorch-fid",
        ),
        Policy(
            "tensorflow",
            tensorflow,
            128,
            128,
            "torch-fidelity",
            "bilinear as in TensorFlow 1 to 299x299, then (x - 128) / 128, as torch-fidelity",
        ),
        Policy("none", none, 128, 128, "", "none; (x - 128) / 128"),
    )
}
"""The policies by name."""

"""What is measured on pictures: fruit and ground, colours, distances, order. Pictures are uint8.

No weights and no JAX: every number can be worked out by hand from the pixels.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

WHITE = 235
"""From this value on, in its darkest channel, a pixel can be ground; the photos' own is 255."""
MARGIN = 3
"""Pixels around the fruit that are neither fruit nor ground: edges are soft."""
SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001)
"""Of the first three scales of multi-scale SSIM (Wang et al. 2003), brought to sum 1."""


# --- where ----------------------------------------------------------------------------------------


def fruit_of(photo: np.ndarray) -> np.ndarray:
    """The fruit, bool [H, W]: what the ground of a photo [H, W, 3] does not reach from the corner.

    Highlights inside the fruit are fruit, however white.
    """
    light = np.pad(photo.min(axis=-1) >= WHITE, 1, constant_values=True)
    filled = Image.fromarray(np.where(light, 255, 0).astype(np.uint8)).copy()  # writable
    ImageDraw.floodfill(filled, (0, 0), 128)
    return (np.asarray(filled) != 128)[1:-1, 1:-1]


def ground_of(fruit: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """The ground, bool [H, W]: more than `margin` pixels (along rows and columns) off the fruit."""
    near = np.pad(fruit, margin)
    h, w = fruit.shape
    shifts = range(2 * margin + 1)
    return ~np.any([near[i : i + h, j : j + w] for i in shifts for j in shifts], axis=0)


# --- colours --------------------------------------------------------------------------------------


def lab(picture: np.ndarray) -> np.ndarray:
    """sRGB uint8 [..., 3] as CIE L*a*b* [..., 3] under D65."""
    c = picture / 255.0
    linear = np.where(c > 0.04045, ((c + 0.055) / 1.055) ** 2.4, c / 12.92)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    x = linear @ to_xyz.T / to_xyz.sum(axis=1)  # white is the sum of the primaries
    f = np.where(x > (6 / 29) ** 3, np.cbrt(x), x / (3 * (6 / 29) ** 2) + 4 / 29)
    parts = (116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2]))
    return np.stack(parts, axis=-1)


def mean_lab(picture: np.ndarray, fruit: np.ndarray) -> np.ndarray:
    """The mean L*, a*, b* of the fruit's pixels: [3]."""
    return lab(picture[fruit]).mean(axis=0)


def toward(colour: str, at: np.ndarray) -> float:
    """How far a mean colour (L*, a*, b*) lies toward a colour, in units of Lab.

    green: -a*. red: a*. yellow: (b* - a*) / sqrt 2, the way from red fruits to yellow ones. black:
    -L*.

    Raises:
        ValueError: no such colour.
    """
    l, a, b = map(float, at)
    axes = {"green": -a, "red": a, "yellow": (b - a) / 2**0.5, "black": -l}
    if colour not in axes:
        raise ValueError(f"colour must be one of {list(axes)}, got {colour!r}")
    return axes[colour]


def colour_name(at: np.ndarray) -> str:
    """The name of a mean colour: what the captions of such fruits say, pink being red.

    L* < 14.5: black. Else by the hue angle h = atan2(b*, a*): h < -45 or h >= 103 green, >= 65
    yellow, >= 42 orange, else red, and dark red where L* < 24. The limits stand between the colours
    of the captions.
    """
    l, a, b = map(float, at)
    h = np.degrees(np.arctan2(b, a))
    if l < 14.5:
        return "black"
    if h >= 103 or h < -45:
        return "green"
    if h >= 42:
        return "yellow" if h >= 65 else "orange"
    return "dark red" if l < 24 else "red"


def reached(change: str, at: np.ndarray) -> bool:
    """Whether a fruit of the mean colour `at` is what a change like "+green" or "-red" asks for.

    "-red" asks for a name that has no "red" in it.
    """
    sign, colour = change[0], change[1:]
    return (colour in colour_name(at)) == (sign == "+")


# --- distances ------------------------------------------------------------------------------------


def rms(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float:
    """The root of the mean squared difference on [0, 1] values, in bool [H, W] or everywhere."""
    away = (a.astype(np.float64) - b) / 255
    return float(np.sqrt(np.mean(np.square(away if where is None else away[where]))))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """-20 log10 of the rms difference, in dB; infinite for equal pictures."""
    away = rms(a, b)
    return float("inf") if away == 0 else -20 * float(np.log10(away))


def ms_ssim_distance(a: np.ndarray, b: np.ndarray, scales: int = 3) -> float:
    """1 - multi-scale SSIM of the luma of two pictures; 0 for equal ones, 1 for unlike structure.

    Wang, Simoncelli and Bovik 2003: Gaussian windows of std 1.5 (7 x 7, inside the picture), halves
    by means of 2 x 2, contrast and structure at each scale, luminance at the last; negative means
    count as 0. No network, so it is no LPIPS: it sees structure and knows nothing of objects.
    """
    weights = np.asarray(SSIM_WEIGHTS[:scales]) / sum(SSIM_WEIGHTS[:scales])
    x, y = (p.astype(np.float64) @ (0.299, 0.587, 0.114) / 255 for p in (a, b))
    product = 1.0
    for scale, weight in enumerate(weights):
        light, structure = _ssim_parts(x, y)
        value = np.mean(light * structure) if scale == scales - 1 else np.mean(structure)
        product *= max(value, 0.0) ** weight
        x, y = _halved(x), _halved(y)
    return float(1 - product)


def _ssim_parts(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luminance and contrast-structure of SSIM on [0, 1] values, at every place of the window."""
    c1, c2 = 0.01**2, 0.03**2
    mx, my = _windowed(x), _windowed(y)
    vx, vy = _windowed(x * x) - mx**2, _windowed(y * y) - my**2
    both = _windowed(x * y) - mx * my
    light = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return light, (2 * both + c2) / (vx + vy + c2)


def _windowed(x: np.ndarray, std: float = 1.5, reach: int = 3) -> np.ndarray:
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / std) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        x = np.apply_along_axis(np.convolve, axis, x, kernel, "valid")
    return x


def _halved(x: np.ndarray) -> np.ndarray:
    h, w = (side // 2 * 2 for side in x.shape)
    return x[:h, :w].reshape(h // 2, 2, w // 2, 2).mean(axis=(1, 3))


# --- over photos ----------------------------------------------------------------------------------


def mean_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of n values, and its standard error, std / sqrt n with n - 1 in the variance."""
    v = np.asarray(values, float)
    return float(v.mean()), float(v.std(ddof=1) / np.sqrt(len(v))) if len(v) > 1 else float("nan")


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """The rank correlation of two rows of numbers; ties share their mean rank; 0 if one is flat."""
    rx, ry = (_ranks(np.asarray(v, float)) for v in (x, y))
    rx, ry = rx - rx.mean(), ry - ry.mean()
    size = np.sqrt((rx**2).sum() * (ry**2).sum())
    return float((rx * ry).sum() / size) if size else 0.0


def _ranks(v: np.ndarray) -> np.ndarray:
    return (v[:, None] > v[None]).sum(axis=1) + ((v[:, None] == v[None]).sum(axis=1) - 1) / 2


def strength_at(strengths: Sequence[float], away: Sequence[float], wanted: float) -> float:
    """The strength at which an edit is as far away as wanted, on straight lines between those
    measured.

    Distances that fall with the strength count as the largest before them; beyond the ends it is
    the first or the last strength.
    """
    rising = np.maximum.accumulate(np.asarray(away, float))
    rising = rising + 1e-9 * np.arange(len(rising))
    return float(np.interp(wanted, rising, strengths))

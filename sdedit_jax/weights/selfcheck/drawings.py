"""Two drawn pictures of any size, the test pictures of the self-check.

Together they show what all kinds of photos share: smooth shading, edges, fine texture, dark and
bright regions, a warm object on a pale ground and a green land under a blue sky.
"""

from collections.abc import Sequence

import numpy as np

Plane = np.ndarray
"""[H, W] float, a quantity at each pixel."""
Color = Sequence[float]
"""Red, green, blue in [0, 1]."""


def draw(shape: tuple[int, int, int]) -> np.ndarray:
    """The drawings [2, H, W, C] in [-1, 1]; with C != 3 each channel is the mean of the colours."""
    height, width, channels = shape
    pictures = np.stack([still_life(height, width), landscape(height, width)])
    if channels != 3:
        pictures = np.repeat(pictures.mean(axis=-1, keepdims=True), channels, axis=-1)
    return (2 * pictures - 1).astype(np.float32)


def still_life(height: int, width: int) -> np.ndarray:
    """A red fruit with highlight, stem and shadow on a pale ground, [H, W, 3] in [0, 1]."""
    x, y = places(height, width)
    picture = np.ones((height, width, 3)) * (0.97 - 0.05 * y[..., None])
    picture = over(picture, 0.6 * soft((x - 0.08) / 0.85, (y - 0.72) / 0.16), (0.3, 0.27, 0.27))
    u, v = (x + 0.02) / 0.72, (y - 0.05) / 0.7
    depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    light = np.clip(-0.45 * u - 0.55 * v + 0.7 * depth, 0, 1)
    skin = mix(
        0.5 + 0.5 * u + 0.25 * texture(height, width, 1), (0.86, 0.27, 0.13), (0.7, 0.1, 0.12)
    )
    skin = skin * (0.18 + 0.82 * light)[..., None] + 0.75 * light[..., None] ** 30
    inside = np.clip((1 - np.hypot(u, v)) * 0.35 * height, 0, 1)
    picture = over(picture, inside, skin)
    stem = edge(0.035 - np.abs(x - 0.12 * (y + 0.5) ** 2 - 0.02), height) * edge(-0.5 - y, height)
    stem = stem * edge(y + 0.9, height)
    return np.clip(over(picture, stem, (0.28, 0.18, 0.1)), 0, 1)


def landscape(height: int, width: int) -> np.ndarray:
    """A brown house in a green land under a blue sky, [H, W, 3] in [0, 1]."""
    x, y = places(height, width)
    picture = mix((y + 1) / 1.2, (0.2, 0.42, 0.78), (0.8, 0.88, 0.94))
    cloud = soft((x + 0.4) / 0.5, (y + 0.6) / 0.18) * np.clip(0.8 + texture(height, width, 2), 0, 1)
    picture = over(picture, cloud, (0.97, 0.97, 0.97))
    hill = y - 0.1 - 0.14 * np.sin(2.6 * x + 0.7)
    grass = mix(0.5 + 0.6 * texture(height, width, 3) - 0.3 * y, (0.1, 0.2, 0.05), (0.4, 0.5, 0.16))
    picture = over(picture, edge(hill, height), grass)
    wall = box(x, y, (-0.1, 0.62), (-0.12, 0.45), height)
    stone = mix(0.5 + 0.5 * texture(height, width, 4), (0.5, 0.34, 0.22), (0.68, 0.5, 0.36))
    picture = over(picture, wall, stone)
    roof = edge(-0.1 - y, height) * edge(y + 0.52 - 0.85 * np.abs(x - 0.26), height)
    picture = over(picture, roof, (0.5, 0.17, 0.1))
    for left in (0.02, 0.34):
        picture = over(
            picture, box(x, y, (left, left + 0.15), (0.02, 0.22), height), (0.04, 0.04, 0.05)
        )
    return np.clip(picture, 0, 1)


def places(height: int, width: int) -> tuple[Plane, Plane]:
    """x rightwards and y downwards, each in (-1, 1)."""
    y, x = np.meshgrid(*((2 * np.arange(n) + 1) / n - 1 for n in (height, width)), indexing="ij")
    return x, y


def edge(inside: Plane, height: int) -> Plane:
    """1 where `inside` (a distance) is positive, 0 where negative, with a ramp of one pixel."""
    return np.clip(inside * height / 2 + 0.5, 0, 1)


def box(x: Plane, y: Plane, across: Sequence[float], down: Sequence[float], height: int) -> Plane:
    """An upright rectangle."""
    inside = np.minimum(
        np.minimum(x - across[0], across[1] - x), np.minimum(y - down[0], down[1] - y)
    )
    return edge(inside, height)


def soft(u: Plane, v: Plane) -> Plane:
    """A blurred ellipse."""
    return np.exp(-((u**2 + v**2) ** 2))


def over(picture: np.ndarray, cover: Plane, color: Color | np.ndarray) -> np.ndarray:
    """The colour laid over the picture where `cover` is 1."""
    return picture + cover[..., None] * (np.asarray(color) - picture)


def mix(part: Plane, low: Color, high: Color) -> np.ndarray:
    """From the first colour at 0 to the second at 1."""
    return np.asarray(low) + np.clip(part, 0, 1)[..., None] * (np.asarray(high) - np.asarray(low))


def texture(height: int, width: int, seed: int) -> Plane:
    """Noise of the spectrum of photos (amplitude 1 / frequency), of mean 0 and std about 0.3."""
    z = np.random.default_rng(seed).standard_normal((height, width))
    rows, columns = (np.fft.fftfreq(n, 1 / n) for n in (height, width))
    frequency = np.hypot(rows[:, None], columns[None, :])
    frequency[0, 0] = np.inf
    noise = np.fft.ifft2(np.fft.fft2(z) / frequency).real
    return 0.3 * noise / max(noise.std(), 1e-6)

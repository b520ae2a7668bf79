"""Guides of the experiment: simulated strokes and scribbles of held-out photos."""

from typing import NamedTuple

import numpy as np

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import auto_strength
from sdedit_jax.pipeline.auto_strength import Found
from sdedit_jax.tasks.simulate import scribbled, simulate
from sdedit_jax.training.data import source

STROKES = {
    "3 colours, wide": (3, 13),
    "3 colours": (3, 0),
    "6": (6, 0),
    "16": (16, 0),
    "50": (50, 0),
}
"""Name -> colours, and window of the median filter (0: the paper's)."""


class Scribble(NamedTuple):
    """A photo with scribbles, uint8 [H, W, 3], and where they are, bool [H, W]."""

    picture: np.ndarray
    mask: np.ndarray


def spread(photos: np.ndarray, count: int) -> list[np.ndarray]:
    """Evenly spaced photos; all where there are fewer."""
    rows = np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)
    return [photos[i] for i in rows]


def held_out(data: str, side: int, count: int) -> list[np.ndarray]:
    """Held-out photos, uint8 [side, side, 3]."""
    return spread(source(data, "test", size=side).images, count)


def strokes(photos: list[np.ndarray], name: str) -> list[np.ndarray]:
    """Simulated strokes; "mixed": each photo has one of STROKES, in turn."""
    names = list(STROKES) if name == "mixed" else [name]
    return [simulate(photo, *STROKES[names[i % len(names)]]) for i, photo in enumerate(photos)]


def scribbles(photos: list[np.ndarray]) -> list[Scribble]:
    """Photos with scribbles of random colours."""
    rng = np.random.default_rng(0)
    return [Scribble(*scribbled(photo, rng)) for photo in photos]


def found(prior: sj.Prior, picture: np.ndarray, way: str = "guide") -> Found:
    """The automatic strength of a picture, or its strength map."""
    guide = Guide(images.to_unit(picture), np.ones((*picture.shape[:2], 1), np.float32))
    return auto_strength.find(prior, [guide], [None], way)[0]

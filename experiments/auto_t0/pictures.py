"""Guides of the experiment: simulated strokes and scribbles of held-out photos.

python experiments/auto_t0/pictures.py --data=flowers128.zip --workdir=FOLDER

writes the first scribbles as PNG files, and a photo without any.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.data.pictures import source
from sdedit_jax.images.guide import Guide
from sdedit_jax.modes.files import spread
from sdedit_jax.pipeline import auto_strength
from sdedit_jax.pipeline.auto_strength import Found
from sdedit_jax.tasks.simulate import scribbled, simulate

STROKES = {
    "3 colours, wide": (3, 13),
    "3 colours": (3, 0),
    "6": (6, 0),
    "16": (16, 0),
    "50": (50, 0),
}
"""Name -> colours, and window of the median filter (0: the paper's)."""


def main() -> None:
    """Write scribbles."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="zip or folder with train/ and test/")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--count", type=int, default=4)
    args = parser.parse_args()
    photos = held_out(args.data, 64, 32)
    args.workdir.mkdir(parents=True, exist_ok=True)
    images.write_png(args.workdir / "photo.png", photos[0])
    for k, made in enumerate(scribbles(photos)[: args.count]):
        images.write_png(args.workdir / f"scribble_{k}.png", made.picture)


class Scribble(NamedTuple):
    """A photo with scribbles, uint8 [H, W, 3], and where they are, bool [H, W]."""

    picture: np.ndarray
    mask: np.ndarray


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


if __name__ == "__main__":
    main()

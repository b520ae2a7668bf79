"""Photos with what was computed of them once, and the file of results they are measured into."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import measure
import numpy as np
import results
import runs

COLUMNS = ("change, Lab", "success, %", "rms, %", "MS-SSIM distance, %", "ground, %")


class Bench:
    """Photos on a prior, and the file of results.

    Attributes:
        images, fruits: uint8 [H, W, 3] and bool [H, W] of each photo. states: latents [n, h, w, c].
        keys: of each photo's noise. key: what rows of this prior and these photos have.
    """

    def __init__(self, o: runs.Opened, photos: Sequence[runs.Photo], out: Path) -> None:
        self.o, self.photos, self.out = o, photos, out
        self.key = {"prior": o.digest, "photos": len(photos)}
        self.images = [photo.image for photo in photos]
        self.fruits = [measure.fruit_of(image) for image in self.images]
        self.states = runs.latents(o, photos)
        self.keys = runs.keys(photos)

    def rows(self) -> list[results.Row]:
        """The rows of this prior and as many photos."""
        return results.ordered(results.fitting(results.read(self.out), **self.key))

    def measure(
        self, key: Mapping[str, Any], edit: Callable[[], np.ndarray], **more: Any
    ) -> results.Row:
        """The row of an edit; `edit` gives its latents, and is called where the row is lacking.
        What else is given stands in the row."""

        def make() -> results.Row:
            made = runs.pictures(self.o, edit())
            return {**more, **results.of_pictures(self.images, made, self.fruits)}

        return results.once(self.out, {**self.key, **key}, make)


def red_ones(data: str) -> list[runs.Photo]:
    """The held-out photos whose captions say red, where the fruit's mean colour is red too."""
    found = [photo for photo in runs.held_out(data) if photo.colour == "red"]
    fruits = [measure.fruit_of(photo.image) for photo in found]
    at = [measure.mean_lab(photo.image, f) for photo, f in zip(found, fruits, strict=True)]
    return [photo for photo, a in zip(found, at, strict=True) if measure.colour_name(a) == "red"]


def cells(row: results.Row, plain: results.Row, change: str) -> list[str]:
    """What a table says of an edit: COLUMNS, mean and standard error over the photos."""
    sign = -1 if change[0] == "-" else 1
    values = (
        sign * results.changes(row, plain, change[1:]),
        100 * np.array(results.success(row, change)),
        *(100 * np.array(row[name]) for name in ("rms", "ms_ssim", "ground")),
    )
    return [results.mean_and_error(value) for value in values]


def parser(doc: str, out: str, photos: int) -> argparse.ArgumentParser:
    """The flags of an experiment on photos; `out` is its results' name beside this file."""
    made = argparse.ArgumentParser(description=doc.split("\n")[0])
    made.add_argument("--data", required=True, help="zip or folder with captions.csv and test/")
    made.add_argument("--prior", default="checkpoints/fruits64-text")
    made.add_argument("--photos", type=int, default=photos)
    made.add_argument("--out", type=Path, default=Path(__file__).parent / out)
    return made

"""What the flower prior is worth, and whether its samples are copies of photos.

python experiments/flowers/report.py --prior=FOLDER --data=flowers128.zip

Prints the denoising error on held-out and on training photos, with and without their class, beside
the best blur; writes samples and the training photo nearest to each.
"""

import argparse
import itertools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.data.pictures import Source, source
from sdedit_jax.training.batches import batch_of
from sdedit_jax.training.loss import denoising_error
from sdedit_jax.training.retake import View, retake

LEVELS = (0.1, 0.3, 1.0, 3.0)
BLUR = (0.078, 0.144, 0.235, 0.329)
"""Of the best Gaussian blur on the held-out photos, by experiments/prior/report.py."""
SAMPLES = 16
HALF = 32
"""Side at which pictures are compared."""
ANGLES = tuple(float(angle) for angle in range(0, 360, 8))
SCALES = (0.8, 0.9, 1.0, 1.12, 1.25)
SHIFTS = (-2, -1, 0, 1, 2)
"""Pixels at that side."""


def main() -> None:
    """Print the tables and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="checkpoints/flowers64")
    parser.add_argument("--data", required=True, help="zip or folder with train/ and test/")
    parser.add_argument("--out", type=Path, default=Path("nearest.png"))
    parser.add_argument("--steps", type=int, default=40, help="of a sample")
    args = parser.parse_args()
    prior = sj.load_prior(args.prior)
    side = prior.shape[0]
    known, held_out = (source(args.data, s, "folder", size=side) for s in ("train", "test"))
    print_errors(errors(prior, known, held_out))
    drawn = [sample(prior, k, args.steps) for k in range(SAMPLES)]
    found = nearest(drawn, known.images)
    print_distances(found, nearest(spread(held_out, SAMPLES), known.images))
    images.write_png(args.out, sheet(drawn, found, known.images), overwrite=True)


def errors(prior: sj.Prior, known: Source, held_out: Source) -> dict[str, list[float]]:
    """RMSE of x0 at each level; as many training photos as there are held-out ones."""
    error = denoising_error(prior.process, prior.predict, LEVELS)
    table = {}
    for name, data in (("held-out", held_out), ("training", known)):
        rows = np.linspace(0, len(data) - 1, len(held_out)).astype(int)
        x0, labels = batch_of(data, rows)
        for kind, label in (("no class", None), ("class", labels)):
            found = error(prior.params, x0, label, jax.random.key(0))
            table[f"{name}, {kind}"] = [float(e) for e in found]
    return table


def print_errors(table: dict[str, list[float]]) -> None:
    """Print the errors, a row for each level, with the share of the blur's error."""
    print("RMSE of x0 in [-1, 1] units")
    print("| sigma | best blur | " + " | ".join(table) + " | held-out, no class / blur |")
    print("|---|" + "---|" * (len(table) + 2))
    for i, (level, blur) in enumerate(zip(LEVELS, BLUR, strict=True)):
        row = " | ".join(f"{column[i]:.4f}" for column in table.values())
        share = table["held-out, no class"][i] / blur
        print(f"| {level:g} | {blur:.3f} | {row} | {share:.3f} |")


def sample(prior: sj.Prior, k: int, steps: int) -> np.ndarray:
    """An unconditional sample, uint8 [H, W, 3]."""
    return sj.edit(prior, np.full(prior.shape, 128, np.uint8), t0=1.0, steps=steps, sample=k)


class Nearest(NamedTuple):
    """A training photo, and how it is like a picture.

    Attributes:
        number: of the photo.
        turned: the picture, turned to fit the photo, uint8 [H, W, 3].
        distance: root mean square in [-1, 1] units, at half the size, within a disc.
    """

    number: int
    turned: np.ndarray
    distance: float


def nearest(pictures: list[np.ndarray], photos: np.ndarray) -> list[Nearest]:
    """The nearest of photos uint8 [N, H, W, 3] to each picture, over what training does to photos.

    The picture is mirrored, turned (every 8 degrees) and scaled (0.8 to 1.25), the photo shifted
    (up to 4 pixels); compared is the disc that all of these cover.
    """
    rows = shifted(np.stack([half(photo) for photo in photos]))
    return [_nearest(picture, rows, len(photos)) for picture in pictures]


def shifted(photos: np.ndarray) -> jax.Array:
    """All shifts of photos [N, h, w, 3], a disc of each as a row: [25 N, D]."""
    moves = [(down, right) for down in SHIFTS for right in SHIFTS]
    return jnp.concatenate([np.roll(photos, move, (1, 2))[:, disc()] for move in moves]).reshape(
        len(moves) * len(photos), -1
    )


def _nearest(picture: np.ndarray, rows: jax.Array, count: int) -> Nearest:
    kinds = itertools.product((False, True), ANGLES, SCALES)
    views = [View(flip=flip, angle=angle, scale=scale) for flip, angle, scale in kinds]
    turned = [retake(picture, view, picture.shape[0]) for view in views]
    columns = np.stack([half(t)[disc()].reshape(-1) for t in turned])
    square = np.asarray(_squares(rows, columns))
    row, column = np.unravel_index(np.argmin(square), square.shape)
    distance = float(np.sqrt(max(square[row, column], 0) / rows.shape[1]))
    return Nearest(int(row) % count, turned[column], distance)


@jax.jit
def _squares(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Squared distances [N, M] of rows [N, D] and [M, D]."""
    cross = jnp.dot(rows, columns.T, precision="highest")
    return jnp.sum(rows**2, 1)[:, None] + jnp.sum(columns**2, 1)[None] - 2 * cross


def half(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [H/2, W/2, 3] in [-1, 1]."""
    return images.to_unit(images.fit(picture, (HALF, HALF))[0])


def disc() -> np.ndarray:
    """bool [h, w]: what no turn or shift brings in from outside."""
    y, x = np.mgrid[:HALF, :HALF] - (HALF - 1) / 2
    return np.hypot(x, y) <= min(HALF / 2 * min(SCALES), HALF / 2 - max(SHIFTS))


def print_distances(samples: list[Nearest], photos: list[Nearest]) -> None:
    """Print how near samples and held-out photos are to the training photos."""
    print("distance to the nearest training photo (RMS, [-1, 1] units; a copy has 0)")
    print("| | least | median | greatest |\n|---|---|---|---|")
    for name, found in (("samples", samples), ("held-out photos", photos)):
        d = [f.distance for f in found]
        print(f"| {name} | {min(d):.3f} | {np.median(d):.3f} | {max(d):.3f} |")


def sheet(drawn: list[np.ndarray], found: list[Nearest], photos: np.ndarray) -> np.ndarray:
    """Samples, the same turned to fit, and the nearest photos, in two blocks of three rows, 2x."""
    rows, names = [], []
    for start in range(0, len(drawn), 8):
        part = slice(start, start + 8)
        rows += [drawn[part], [f.turned for f in found[part]]]
        rows += [[photos[f.number] for f in found[part]]]
        names += ["sample", "turned", "photo"]
    return images.contact_sheet(rows, names, scale=2)


def spread(data: Source, count: int) -> list[np.ndarray]:
    """Evenly spaced pictures."""
    return [data.images[i] for i in np.linspace(0, len(data) - 1, count).astype(int)]


if __name__ == "__main__":
    main()

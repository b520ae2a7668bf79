"""The pictures of the flower prior in docs/pictures.

python experiments/flowers/pictures.py --prior=checkpoints/flowers64

flowers_classes.png: one painting as each of the five classes, over the scale of the guidance.
flowers_photos.png: held-out photos with a scribble, a pasted flower and a torn-out quarter.
flowers_samples.png: unconditional samples below held-out photos.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.tasks.fill import filled

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT / "examples" / "flowers" / "photos"
SAMPLES = 4


def main() -> None:
    """Write the three sheets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default=str(ROOT / "checkpoints" / "flowers64"))
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    args = parser.parse_args()
    prior = sj.load_prior(args.prior)
    for name, sheet in (("classes", classes), ("photos", photo_edits), ("samples", samples)):
        images.write_png(args.out / f"flowers_{name}.png", sheet(prior), overwrite=True)


def classes(prior: sj.Prior) -> np.ndarray:
    """A row for each scale of the guidance, a column for each class."""
    painting = ROOT / "examples" / "flowers" / "sunflower.png"
    names = prior.metadata["data"]["labels"]
    guide = images.fit(images.flatten(images.read(painting)), prior.shape[:2])[0]
    rows = [
        [guide] + [sj.edit(prior, guide, t0=0.6, cond=name, **guided) for name in names]
        for guided in ({}, {"against": "null", "scale": 3.0})
    ]
    return images.contact_sheet(rows, ["scale 1", "scale 3"], ["painting", *names], scale=2)


def photo_edits(prior: sj.Prior) -> np.ndarray:
    """A row for each task: photo, guide, mask, samples."""
    rows = []
    for make, t0 in ((scribble, 0.4), (composite, 0.4), (torn, 0.6)):
        photo, guide, mask = make()
        made = sj.edit(prior, guide, mask, t0=t0, samples=SAMPLES)
        rows.append([photo, guide, np.uint8(255 * mask), *made])
    columns = ["photo", "guide", "mask", *map(str, range(SAMPLES))]
    return images.contact_sheet(rows, ["scribble", "composite", "inpaint"], columns, scale=2)


def scribble() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A daisy on which red petals are painted: photo, guide, mask [H, W] in [0, 1]."""
    photo = photo_of("daisy", 1)
    painted = Image.fromarray(photo)
    mask = Image.new("L", painted.size)
    for picture, color in ((painted, (200, 30, 60)), (mask, 255)):
        draw = ImageDraw.Draw(picture)
        for line in ([(32, 20), (30, 6)], [(40, 24), (52, 12)], [(22, 24), (12, 14)]):
            draw.line(line, fill=color, width=8)
    return photo, np.asarray(painted), np.asarray(mask) / 255


def composite() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A small daisy pasted into the corner of a photo of a dandelion."""
    photo = photo_of("dandelion", 2)
    side = 26
    patch = Image.fromarray(photo_of("daisy", 0)).resize((side, side), Image.Resampling.LANCZOS)
    y, x = np.mgrid[:64, :64]
    mask = ((y - 48) ** 2 + (x - 48) ** 2 <= (side / 2 - 1) ** 2).astype(float)
    pasted = photo.copy()
    pasted[35 : 35 + side, 35 : 35 + side] = np.asarray(patch)
    seam = images.grow(mask > 0, 2).astype(float)
    return photo, np.where(mask[..., None] > 0, pasted, photo).astype(np.uint8), seam


def torn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo whose lower right quarter is missing."""
    photo = photo_of("sunflower", 8)
    mask = np.zeros(photo.shape[:2])
    mask[32:, 32:] = 1
    return photo, filled(photo, mask, "smooth"), mask


def photo_of(name: str, number: int) -> np.ndarray:
    """A held-out photo of a class, uint8 [64, 64, 3]."""
    return images.flatten(images.read(sorted(PHOTOS.glob(f"{name}_*.webp"))[number]))


def samples(prior: sj.Prior) -> np.ndarray:
    """A row of held-out photos above two rows of samples, of 40 steps each."""
    photos = [images.flatten(images.read(file)) for file in sorted(PHOTOS.glob("*.webp"))[::9]][:8]
    grey = np.full(prior.shape, 128, np.uint8)
    made = sj.edit(prior, grey, t0=1.0, steps=40, samples=16)
    rows = [photos, list(made[:8]), list(made[8:])]
    return images.contact_sheet(rows, ["photos", "samples", ""], scale=2)


if __name__ == "__main__":
    main()

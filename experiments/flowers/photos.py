"""Writes the held-out photos to examples/flowers/photos, with their credits and classes.

python experiments/flowers/photos.py --data=PATH of flowers128.zip, unpacked

Lossless: WebP's usual compression halves the colours' resolution, an error (0.05 in [-1, 1] units)
as large as those that are measured on these photos.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from sdedit_jax import images

SIDE = 64
CHANGES = "changes: cropped, reduced to 64 x 64, stored as WebP."


def main() -> None:
    """Write photos, CREDITS.tsv and captions.csv."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, type=Path, help="folder with test/CLASS/NAME.webp")
    parser.add_argument("--out", type=Path, default=Path("examples/flowers/photos"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = sorted(args.data.glob("test/*/*.webp"))
    for file in files:
        photo = images.fit(images.flatten(images.read(file)), (SIDE, SIDE))[0]
        small = Image.fromarray(np.asarray(photo))
        small.save(args.out / file.name, lossless=True, quality=100, method=6)
    credits_ = (args.data / "CREDITS.tsv").read_text(encoding="utf-8").splitlines()
    lines = [head(), *(renamed(line) for line in credits_ if line.startswith("test/"))]
    (args.out / "CREDITS.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    classes = [f"{file.name},{file.parent.name}" for file in files]
    (args.out / "captions.csv").write_text("\n".join(["path,caption", *classes]) + "\n")


def head() -> str:
    """What stands above the list."""
    return (
        "Flowers, 64 x 64 pixels, from the flower_photos collection (TensorFlow).\n"
        "Every photograph is licensed under Creative Commons Attribution 2.0"
        f" (https://creativecommons.org/licenses/by/2.0/);\n{CHANGES}\n"
        "Columns: file, original file, photographer, source page."
    )


def renamed(line: str) -> str:
    """A line of the credits with the bare name of the file."""
    path, *rest = line.split("\t")
    return "\t".join([Path(path).name, *rest])


if __name__ == "__main__":
    main()

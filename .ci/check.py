"""Look at the results of an edit: python .ci/check.py OUT INPUTS [--samples=4]."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main() -> int:
    """Print what was found; exit code 1 with the first thing that is wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--samples", type=int, default=4)
    args = parser.parse_args()
    try:
        names = sorted(f.stem for f in args.inputs.iterdir() if f.is_file())
        record = json.loads((args.out / "record.json").read_text())
        size = tuple(record["prior"]["size"])
        for name in names:
            check_input(args.out, name, size, args.samples)
        check_record(record, names, args.samples)
        sheet = np.asarray(Image.open(args.out / "sheet.png"))
        need(sheet.shape[0] >= len(names) * size[0], "sheet.png is too small for its pictures")
    except (ValueError, OSError, KeyError) as error:
        print(f"check failed: {error!r}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(names)} x {args.samples} pictures {size}, sheet and record are sane")
    return 0


def check_input(out: Path, name: str, size: tuple[int, ...], samples: int) -> None:
    """The pictures of one input: sizes, kept pixels, recipes, and that the samples differ."""
    guide = np.asarray(Image.open(out / f"{name}_guide.png"))
    mask = np.asarray(Image.open(out / f"{name}_mask.png"))
    need(guide.shape == size and mask.shape == size[:2], f"{name}: guide or mask of wrong size")
    seen = set()
    for k in range(samples):
        image = Image.open(out / f"{name}_{k}.png")
        pixels = np.asarray(image)
        need(pixels.shape == size and pixels.dtype == np.uint8, f"{name}_{k}: {pixels.shape}")
        need((pixels[mask == 0] == guide[mask == 0]).all(), f"{name}_{k}: kept pixels changed")
        need((pixels != guide).any(), f"{name}_{k}: nothing changed")
        recipe = json.loads(image.text["sdedit_jax"])
        need(recipe["id"] == name and recipe["sample"] == k, f"{name}_{k}: wrong recipe")
        need("Steps: " in image.text["parameters"], f"{name}_{k}: no parameters line")
        seen.add(pixels.tobytes())
    need(len(seen) == samples, f"{name}: some samples are the same picture")


def check_record(record: dict, names: list[str], samples: int) -> None:
    """The record: an entry for each picture, with distances that can be."""
    entries = record["pictures"]
    need(len(entries) == len(names) * samples, f"record.json tells of {len(entries)} pictures")
    for entry in entries:
        need(entry["max_change_outside_mask"] == 0, f"{entry['file']}: changed outside its mask")
        need(0 < entry["rms"] < 1 and entry["l2"] > 0, f"{entry['file']}: rms {entry['rms']}")
    need(len(record["prior"]["sha256"]) == 64, "record.json has no sha256 of the prior")
    need(record["evaluations"] == record["sampler"]["steps"], "evaluations differ from the steps")


def need(held: bool, otherwise: str) -> None:
    """Raise ValueError(otherwise) unless it held."""
    if not held:
        raise ValueError(otherwise)


if __name__ == "__main__":
    sys.exit(main())

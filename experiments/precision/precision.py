"""What bfloat16 changes in the results: the same edits in float32 and in bfloat16.

    python experiments/precision/precision.py [--data PRIOR=PHOTOS[:SPLIT] ...] [--edits=128]
    python experiments/precision/precision.py --table

Guides are simulated strokes of held-out photos. Each is edited in float32, in bfloat16 with the
same noise, and in float32 with other noise, which is the yardstick. A line of results.jsonl is of
one prior and one t0; edits.png has a few of the pictures.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from measures import SETS, Features, Pictures, apart, compared, extractors
from tables import tables

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.data.pictures import source
from sdedit_jax.tasks.simulate import simulate

HERE = Path(__file__).parent
DATA = ("flowers64=examples/flowers/photos",)
GUIDES, COLORS, BATCH = 64, 6, 32
MASKED = 16
"""Edits with a mask."""
SHOWN, STRONGER = 8, 64
"""Columns of the sheet, and the factor of the differences there."""


class Inputs(NamedTuple):
    """Photos uint8 [G, H, W, 3], and the strokes that are simulated from them."""

    photos: Pictures
    guides: Pictures


def main() -> None:
    """Make the edits and measure them, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    text = "prior, and the zip or folder of its photos, with the split that is held out"
    parser.add_argument("--data", nargs="+", default=DATA, metavar="PRIOR=PHOTOS", help=text)
    parser.add_argument("--t0", type=float, nargs="+", default=[0.3, 0.45, 0.6])
    parser.add_argument("--edits", type=int, default=128, help="of each prior, t0 and set")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument(
        "--network", default="fruits64", help='prior of the network features; "": none'
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument("--table", action="store_true", help="print the results as tables")
    args = parser.parse_args()
    if not args.table:
        measure(args)
    rows = map(json.loads, (args.out / "results.jsonl").read_text(encoding="utf-8").splitlines())
    print("\n".join(tables(list(rows))))


def measure(args: argparse.Namespace) -> None:
    """Write results.jsonl, a line as soon as it is known, and edits.png."""
    features_of = extractors(args.network)
    args.out.mkdir(parents=True, exist_ok=True)
    labels, sheet = [], []
    with (args.out / "results.jsonl").open("w", encoding="utf-8") as file:
        for name, path in (given.split("=", 1) for given in args.data):
            for row, inputs, made in results(name, path, args, features_of):
                print(json.dumps(row), file=file, flush=True)
                sheet += panel(inputs.guides, made)
                labels += [f"{name}, t0 {row['t0']:g}: guide", *made, f"difference x {STRONGER}"]
    picture = images.contact_sheet(sheet, labels)
    images.write_png(args.out / "edits.png", picture, overwrite=True)


def results(
    name: str, path: str, args: argparse.Namespace, features_of: Mapping[str, Features]
) -> Iterator[tuple[dict[str, Any], Inputs, dict[str, Pictures]]]:
    """For each t0 a line of the results of a prior, its inputs and its edits."""
    priors = {mode: sj.load_prior(name, mode) for mode in ("float32", "bfloat16")}
    inputs = inputs_of(path, priors["float32"].shape[0], min(GUIDES, args.edits))
    for t0 in args.t0:
        made = {}
        for key, (mode, seed) in SETS.items():
            start = time.perf_counter()
            made[key] = edits(priors[mode], inputs.guides, args.edits, t0, args.steps, seed)
            print(f"{name}, t0 {t0:g}, {key}: {time.perf_counter() - start:.1f} s", file=sys.stderr)
        row = {"prior": name, "t0": t0, "edits": args.edits, "steps": args.steps, **machine()}
        row |= compared(inputs.photos, made, features_of)
        row["masked"] = masked(priors, inputs, t0, args.steps)
        yield row, inputs, made


# --- edits ----------------------------------------------------------------------------------------


def inputs_of(path: str, side: int, count: int) -> Inputs:
    """Photos spread over a data set, PHOTOS or PHOTOS:SPLIT, and their strokes."""
    place, _, split = path.partition(":")
    photos = source(place, split or None, size=side).images
    rows = np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)
    kept = np.stack([photos[row] for row in rows])
    return Inputs(kept, np.stack([simulate(photo, COLORS) for photo in kept]))


def edits(
    prior: sj.Prior, guides: Pictures, count: int, t0: float, steps: int, seed: int
) -> Pictures:
    """Edits of guides [G, H, W, 3]: the k-th is sample k // G of guide k mod G."""
    made = []
    for first in range(0, count, len(guides)):
        own = guides[: count - first]
        ids, sample = list(map(str, range(len(own)))), first // len(guides)
        made.append(
            sj.edit(
                prior, own, t0=t0, steps=steps, seed=seed, id=ids, sample=sample, batch=BATCH
            )
        )  # fmt: skip
    return np.concatenate(made)


def masked(priors: Mapping[str, sj.Prior], inputs: Inputs, t0: float, steps: int) -> dict[str, Any]:
    """Edits within a disc: how far they are from the photo outside of it, by compute mode."""
    photos, guides = inputs.photos[:MASKED], inputs.guides[:MASKED]
    mask = disc(photos.shape[1])
    painted = np.where(mask[..., None], guides, photos)
    made = {
        mode: sj.edit(prior, painted, mask, t0=t0, steps=steps, batch=MASKED)
        for mode, prior in priors.items()
    }
    outside = {mode: int(apart(own, photos)[:, ~mask].max()) for mode, own in made.items()}
    inside = float(apart(made["bfloat16"], made["float32"])[:, mask].mean())
    return {"edits": len(photos), "outside": outside, "inside": round(inside, 3)}


def disc(side: int) -> np.ndarray:
    """A disc of half the width, bool [side, side]."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.hypot(x, y) <= side / 4


def machine() -> dict[str, str]:
    """What the numbers were computed on."""
    return {"device": jax.devices()[0].device_kind, "jax": jax.__version__}


def panel(guides: Pictures, made: Mapping[str, Pictures]) -> list[list[np.ndarray]]:
    """Rows of a sheet: guides, the sets of edits, and the differences of bfloat16 to float32."""
    shown = np.linspace(0, len(guides) - 1, min(SHOWN, len(guides))).astype(int)
    stronger = np.minimum(STRONGER * apart(made["bfloat16"], made["float32"]), 255).astype(np.uint8)
    return [list(pictures[shown]) for pictures in (guides, *made.values(), stronger)]


if __name__ == "__main__":
    main()

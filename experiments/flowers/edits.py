"""KID of simulated-stroke edits of a prior against photos, beside the guides' own.

python experiments/flowers/edits.py --prior=FOLDER --data=flowers128.zip

Guides are simulated from the held-out photos (tasks/simulate.py), edits are guides x seeds; the
reference are the training photos, of which no guide was made. KID is over pairs of different
guides, with the error of leaving out each guide and each photo. Every number names its features:
colour_8x8 and gradients_8x8 (by hand, in units of the photos' standard deviations, both beside each
other as `hand`), and the network of the prior `--network`.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.data.pictures import Source, source
from sdedit_jax.evaluation import features
from sdedit_jax.evaluation.kid_groups import between_groups
from sdedit_jax.evaluation.network import prior_features
from sdedit_jax.tasks.simulate import simulate

Found = dict[str, dict[str, float]]
"""Value and error of KID, by the name of the features."""


def main() -> None:
    """Measure, and append a JSON line for each set of pictures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="checkpoints/flowers64")
    parser.add_argument("--network", default="checkpoints/fruits64", help="prior of the features")
    parser.add_argument("--data", required=True, help="zip or folder with train/ and test/")
    parser.add_argument("--colors", type=int, nargs="+", default=[3, 6, 16, 50])
    parser.add_argument("--t0", type=float, nargs="+", default=[0.2, 0.3, 0.45, 0.6])
    parser.add_argument("--samples", type=int, default=4, help="edits of each guide")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("edits.jsonl"))
    args = parser.parse_args()
    prior = sj.load_prior(args.prior)
    known, held_out = (source(args.data, s, size=prior.shape[0]) for s in ("train", "test"))
    measure = measure_against(known, sj.load_prior(args.network))
    write_kid(args.out, {"set": "photos"}, measure(held_out.images))
    ids = [str(k) for k in range(len(held_out))]
    of = np.repeat(np.arange(len(held_out)), args.samples)
    given = {"steps": args.steps, "id": ids, "samples": args.samples}
    for colors in args.colors:
        guides = np.stack([simulate(photo, colors) for photo in held_out.images])
        write_kid(args.out, {"set": "guides", "colors": colors}, measure(guides))
        for t0 in args.t0:
            made = sj.edit(prior, guides, t0=t0, **given).reshape(-1, *guides.shape[1:])
            about = {"set": "edits", "colors": colors, "t0": t0, "prior": Path(args.prior).name}
            write_kid(args.out, about, measure(made, of))


def measure_against(photos: Source, network: sj.Prior) -> Callable[..., Found]:
    """(uint8 [N, H, W, 3], guide of each [N], None: its own) -> KID by the name of the features."""
    sets = {
        "hand": features.hand_made,
        network.metadata["name"]: lambda x: prior_features(network, x),
    }
    reference = {name: make(images.to_unit(photos.images)) for name, make in sets.items()}

    def measure(pictures: np.ndarray, guides: np.ndarray | None = None) -> Found:
        of = np.arange(len(pictures)) if guides is None else guides
        alone = of.max() + 1 + np.arange(len(photos))
        found = {}
        for name, make in sets.items():
            base = reference[name]
            rows = [features.standardised(f, base) for f in (make(images.to_unit(pictures)), base)]
            apart = between_groups(*rows, of, alone)
            found[name] = {"value": round(apart.value, 4), "error": round(apart.error, 4)}
        return found

    return measure


def write_kid(out: Path, about: dict, found: Found) -> None:
    """Print, and append to the file."""
    line = json.dumps({**about, **found})
    print(line, flush=True)
    with out.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()

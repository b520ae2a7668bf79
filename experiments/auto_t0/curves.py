"""KID of edits by strength, for one strength of all guides and for the automatic ones.

python experiments/auto_t0/curves.py --prior=flowers64 --network=fruits64 --data=flowers128.zip

Writes a JSON line for each set of edits to results.jsonl, as choose.py does. Guides are simulated
from held-out photos; the reference are the training photos. "mixed" has guides of all kinds, in
turn.
"""

import argparse
import sys
from pathlib import Path

import choose
import numpy as np
import pictures

import sdedit_jax as sj
from sdedit_jax.data.pictures import Source, source
from sdedit_jax.modes.files import spread

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER.parent / "flowers"))
import edits  # noqa: E402


def main() -> None:
    """Measure the guides, edits of each strength, and edits of the automatic strengths."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="flowers64")
    parser.add_argument("--network", default="fruits64", help="prior of the features")
    parser.add_argument("--data", required=True, help="zip or folder with train/ and test/")
    parser.add_argument("--sets", nargs="+", default=["mixed"])
    parser.add_argument("--t0", type=float, nargs="+", default=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    parser.add_argument("--guides", type=int, default=64)
    parser.add_argument("--reference", type=int, default=800, help="training photos, at most")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--without", nargs="*", default=[], help="features that are left out")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.jsonl")
    args = parser.parse_args()
    prior = sj.load_prior(args.prior)
    known = spread(source(args.data, "train", size=prior.shape[0]).images, args.reference)
    every = edits.measure_against(Source(np.stack(known)), sj.load_prior(args.network))

    def measure(shown: np.ndarray) -> dict:
        return {name: own for name, own in every(shown).items() if name not in args.without}

    photos = pictures.held_out(args.data, prior.shape[0], args.guides)
    write_kid(args.out, prior, {"kid_of": "photos"}, measure(np.stack(photos)))
    for name in args.sets:
        guides = np.stack(pictures.strokes(photos, name))
        about = {"set": name, "steps": args.steps, "guides": len(guides)}
        write_kid(args.out, prior, {"kid_of": "guides", **about}, measure(guides))
        ids = [str(k) for k in range(len(guides))]
        for t0 in ["auto", *args.t0]:
            made = sj.edit(prior, guides, t0=t0, steps=args.steps, id=ids)
            write_kid(args.out, prior, {"kid_of": "edits", **about, "at": t0}, measure(made))


def write_kid(out: Path, prior: sj.Prior, about: dict, found: dict) -> None:
    """Print, and put into the file."""
    choose.write(out, prior, {**about, "kid": found})


if __name__ == "__main__":
    main()

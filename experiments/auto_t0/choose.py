"""Automatic strengths of held-out photos, of simulated strokes, and of scribbles on photos.

python experiments/auto_t0/choose.py --prior=flowers64 --data=flowers128.zip

Writes a JSON line for each set of guides to results.jsonl, in the place of an earlier one of the
same settings: the strengths t0 and their levels sigma, and for scribbles how well the map finds
them (intersection over union).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pictures

import sdedit_jax as sj
from sdedit_jax.diffusion.strength import noise_to_signal
from sdedit_jax.modes.files import spread

FOLDER = Path(__file__).parent
MEASURED = ("t0", "sigma", "iou", "kid")
"""Fields of a row that are results."""


def main() -> None:
    """Measure all sets."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="flowers64")
    parser.add_argument("--data", required=True, help="zip or folder with train/ and test/")
    parser.add_argument("--photos", type=int, default=96)
    parser.add_argument("--guides", type=int, default=32, help="of each kind of strokes")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.jsonl")
    args = parser.parse_args()
    prior = sj.load_prior(args.prior)
    photos = pictures.held_out(args.data, prior.shape[0], args.photos)
    few = spread(photos, args.guides)
    write_strengths(args.out, prior, "photos", photos)
    for name in pictures.STROKES:
        write_strengths(args.out, prior, name, pictures.strokes(few, name))
    write_scribbles(args.out, prior, pictures.scribbles(few))


def write_strengths(out: Path, prior: sj.Prior, name: str, guides: list[np.ndarray]) -> None:
    """The strengths of a set."""
    t0 = np.array([pictures.found(prior, guide).t0 for guide in guides])
    sigma = np.where(t0 > 0, noise_to_signal(prior.process, np.maximum(t0, 1e-6)), 0)
    write(out, prior, {"set": name, "t0": rounded(t0), "sigma": rounded(sigma)})


def write_scribbles(out: Path, prior: sj.Prior, guides: list[pictures.Scribble]) -> None:
    """How well maps find scribbles."""
    iou, t0 = [], []
    for picture, mask in guides:
        made = pictures.found(prior, picture, "map")
        marked = np.zeros_like(mask) if made.shares is None else made.shares > 0
        iou.append((marked & mask).sum() / (marked | mask).sum())
        t0.append(made.t0)
    write(out, prior, {"set": "scribbles", "iou": rounded(iou), "t0": rounded(t0)})


def rounded(values: np.ndarray) -> list[float]:
    """Numbers for JSON."""
    return [round(float(value), 4) for value in values]


def write(out: Path, prior: sj.Prior, row: dict) -> None:
    """Print, and put into the file, in the place of a row with the same settings."""
    row = {"prior": prior.metadata["name"], **row}
    print(json.dumps(row)[:200], flush=True)
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    rows = [json.loads(line) for line in lines]
    places = [i for i, one in enumerate(rows) if settings(one) == settings(row)] or [len(rows)]
    rows[places[0] : places[0] + 1] = [row]
    aside = out.with_suffix(".part")
    aside.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    aside.rename(out)


def settings(row: dict) -> dict:
    """What was measured, without the measurements."""
    return {name: value for name, value in row.items() if name not in MEASURED}


if __name__ == "__main__":
    main()

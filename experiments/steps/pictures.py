"""Stroke edits of a prior by several solvers and numbers of steps, kept as arrays.

python experiments/steps/pictures.py --prior=fruits64 --data=fruits64.zip --workdir=FOLDER SET ...

A set is SOLVER:GRID:N:SEED, for example "dpmpp_2m_sde:karras:20:3". Guides are simulated strokes of
held-out photos, each is edited with several samples. A sample of all guides is one file; what is
there already is not made again, so a stopped run goes on where it was.
"""

import argparse
import time
from pathlib import Path

import numpy as np

import sdedit_jax as sj
from sdedit_jax.data.pictures import source
from sdedit_jax.tasks.simulate import simulate

GUIDES = 64
SAMPLES = 4
COLORS = 6


def main() -> None:
    """Make the pictures of the sets that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="flowers64")
    parser.add_argument("--data", required=True, help="zip or folder with train/ and test/")
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--t0", type=float, default=0.5)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--every", type=int, default=1, help="2: every second guide alone")
    parser.add_argument("sets", nargs="+")
    args = parser.parse_args()
    prior = sj.load_prior(args.prior)
    numbers = range(0, GUIDES, args.every)
    guides = strokes(args.data, prior.shape[0])[:: args.every]
    for name in args.sets:
        solver, grid, n, seed = name.split(":")
        for sample in range(args.samples):
            file = args.workdir / Path(args.prior).name / name.replace(":", "_") / f"{sample}.npy"
            if file.exists():
                continue
            start = time.perf_counter()
            made = sj.edit(
                prior, guides, t0=args.t0, steps=int(n), rule=solver, grid=grid, seed=int(seed),
                sample=sample, id=[str(k) for k in numbers], batch=32,
            )  # fmt: skip
            save(file, made)
            print(f"{file} {time.perf_counter() - start:.1f} s", flush=True)


def strokes(data: str, side: int, count: int = GUIDES, colors: int = COLORS) -> np.ndarray:
    """Simulated strokes uint8 [count, side, side, 3] of held-out photos, spread over the set."""
    photos = source(data, "test", size=side).images
    rows = np.linspace(0, len(photos) - 1, count).astype(int)
    return np.stack([simulate(photos[row], colors) for row in rows])


def save(file: Path, array: np.ndarray) -> None:
    """Write aside and rename."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_suffix(".part")
    with aside.open("wb") as out:
        np.save(out, array)
    aside.rename(file)


if __name__ == "__main__":
    main()

"""LEDITS against LEDITS++ at equal numbers of steps, on held-out photos of red fruits.

    python experiments/ledits/compare.py --data=fruits64.zip [--photos=16]

One concept at several scales; edit success against the distance to the photo.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import results  # noqa: E402
import runs  # noqa: E402
from bench import COLUMNS, Bench, cells, parser, red_ones  # noqa: E402

from sdedit_jax.pipeline.cache import use_cache  # noqa: E402

STEPS = (20, 50, 100)
CASES = (
    ("ledits", None, (4, 8, 16)),
    ("leditspp", None, (5,)),
    ("leditspp", 0.5, (3, 6, 12)),
)
"""Preset, threshold of its masks (None: the preset's own, 0.95 and 0.9), scales. On latents of 16 x
16 the own masks of LEDITS++ leave hardly anything; half of the places is what it is compared at."""
CHANGE = "+green"


def main() -> None:
    """Measure what is lacking, print the table."""
    args = parser(__doc__, "compare.jsonl", 16).parse_args()
    use_cache("auto")
    o = runs.opened(args.prior)
    bench = Bench(o, runs.spread(red_ones(args.data), args.photos), args.out)
    bench.measure({"method": "autoencoder"}, lambda: bench.states)
    for steps in STEPS:
        ways = {preset: start(bench, preset, steps) for preset, _, _ in CASES}
        for preset, threshold, scales in CASES:
            edits(bench, preset, steps, ways[preset], threshold, scales)
    print(table(bench.rows()))


def start(bench: Bench, preset: str, steps: int) -> Callable[[str], np.ndarray]:
    """(concepts) -> latents, from one inversion without a source text, made when first wanted."""
    way = runs.ledits(bench.o, preset, steps=steps)
    asked = functools.partial(runs.requests, bench.o, way, bench.photos, bench.states)
    inverted = functools.cache(lambda: way.invert(asked(), bench.keys))
    return lambda concepts: way.replay(asked(concepts), inverted())


def edits(
    bench: Bench,
    preset: str,
    steps: int,
    edit: Callable[[str], np.ndarray],
    threshold: float | None,
    scales: Sequence[float],
) -> None:
    """The concept at each scale."""
    masked = "" if threshold is None else f":threshold={threshold}"
    for scale in scales:
        key = {"method": preset, "steps": steps, "change": CHANGE, "threshold": threshold}
        concept = f"{CHANGE}:{scale}{masked}"
        bench.measure({**key, "strength": scale}, lambda c=concept: edit(c))


def table(rows: Sequence[results.Row]) -> str:
    """A line for each preset, number of steps and scale."""
    plain = next(results.fitting(rows, method="autoencoder"))
    lines = [
        [row["method"], str(row["steps"]), str(row["threshold"] or "own"), str(row["strength"])]
        + cells(row, plain, CHANGE)
        for row in rows
        if "steps" in row
    ]
    return results.table(("preset", "steps", "threshold", "scale", *COLUMNS), lines)


if __name__ == "__main__":
    main()

"""How exactly a photo comes back from its inversion, by preset, number of steps and strength.

    python experiments/ledits/reconstruct.py --data=fruits64.zip [--photos=8]

The photo is inverted without a source text and replayed under a concept of scale 0: the program of
an edit, which here must change nothing.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import measure  # noqa: E402
import results  # noqa: E402
import runs  # noqa: E402
from bench import Bench, parser  # noqa: E402

from sdedit_jax.pipeline.cache import use_cache  # noqa: E402

CASES: tuple[tuple[str, dict[str, Any], tuple[float | None, ...]], ...] = (
    ("ledits", {"steps": 20}, (0.3, 0.64, 0.9)),
    ("ledits", {"steps": 50}, (0.64,)),
    ("ledits", {"steps": 100}, (0.64,)),
    ("leditspp", {"steps": 20}, (0.5, 0.85)),
    ("leditspp", {"steps": 50}, (0.85,)),
    ("leditspp", {"steps": 100}, (0.85,)),
    ("ledits-app", {"steps": 100, "skip": 36}, (None,)),
    ("ledits-app", {"steps": 100, "skip": 60}, (None,)),
    ("ledits-app", {"steps": 50, "skip": 18}, (None,)),
    ("leditspp-diffusers", {"steps": 30, "skip": 0.15}, (None,)),
    ("leditspp-original", {"steps": 50, "skip": 0.1}, (None,)),
)
"""Preset, its numbers, and the t0 that need no program of their own. ddpm-inversion-paper comes
back as ledits-app does."""


def main() -> None:
    """Measure what is lacking, print the table."""
    args = parser(__doc__, "reconstruct.jsonl", 8).parse_args()
    use_cache("auto")
    o = runs.opened(args.prior)
    bench = Bench(o, runs.spread(runs.held_out(args.data), args.photos), args.out)
    for preset, numbers, t0s in CASES:
        way = runs.ledits(o, preset, **numbers)
        for t0 in t0s:
            key = {**bench.key, "preset": preset, **numbers, "t0": t0}
            results.once(args.out, key, lambda way=way, t0=t0: there_and_back(bench, way, t0))
    print(table(bench.rows()))


def there_and_back(bench: Bench, way: runs.Ledits, t0: float | None) -> results.Row:
    """Errors of the latents and of the pictures, for each photo; the evaluations of one photo."""
    asked = runs.requests(bench.o, way, bench.photos, bench.states, "+green:0", t0=t0)
    inverted = way.invert(asked, bench.keys)
    states = way.replay(asked, inverted)
    through = runs.pictures(bench.o, bench.states)
    away, axes = states - bench.states, (1, 2, 3)
    relative = np.sqrt((away**2).sum(axes) / (bench.states**2).sum(axes))
    largest = np.abs(away).max(axes) / np.abs(bench.states).max(axes)
    made = list(zip(runs.pictures(bench.o, states), through, bench.images, strict=True))
    return {
        "run": way.steps,
        "relative": relative,
        "largest": largest,
        "psnr": [measure.psnr(picture, photo) for picture, _, photo in made],
        "psnr_autoencoder": [measure.psnr(coded, photo) for _, coded, photo in made],
        "grey_levels": [int(np.abs(p.astype(int) - coded).max()) for p, coded, _ in made],
    }


def table(rows: Sequence[results.Row]) -> str:
    """A line for each case, means over the photos."""
    lines = []
    for row in rows:
        begins = f"t0 {row['t0']}" if row["t0"] else f"skip {row['skip']:g}"
        numbers = (f"{np.mean(row['relative']):.1e}", f"{np.max(row['largest']):.1e}")
        ratios = [f"{np.mean(row[name]):.2f}" for name in ("psnr", "psnr_autoencoder")]
        same = str(max(row["grey_levels"]))
        lines.append(
            [row["preset"], str(row["steps"]), begins, str(row["run"]), *numbers, *ratios, same]
        )
    columns = (
        "preset", "steps", "begins", "steps run", "latent error, rms", "latent error, largest",
        "PSNR, dB", "PSNR of the autoencoder, dB", "grey levels from the autoencoder, at most",
    )  # fmt: skip
    return results.table(columns, lines)


if __name__ == "__main__":
    main()

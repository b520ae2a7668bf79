"""Seconds of inversion and edit, compilation apart; random latents, so no photos are needed.

    python experiments/ledits/runtime.py [--runs=3]

Compiled programs are not kept: every compilation is measured.
"""

import argparse
import functools
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parents[1]), str(FOLDER)]

import results  # noqa: E402
import runs  # noqa: E402

from sdedit_jax.edits.inversion import Inverted  # noqa: E402
from sdedit_jax.pipeline import executor  # noqa: E402
from sdedit_jax.pipeline.base import Finished, Pipeline  # noqa: E402

CASES = (("ledits", 50), ("leditspp", 20))
"""Presets at their own numbers of steps."""
BATCHES = (1, 8)


def main() -> None:
    """Measure what is lacking, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="checkpoints/fruits64-text")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is given")
    parser.add_argument("--out", type=Path, default=FOLDER / "runtime.jsonl")
    args = parser.parse_args()
    o = runs.opened(args.prior)
    for preset, steps in CASES:
        for rows in BATCHES:
            key = {"preset": preset, "steps": steps, "batch": rows}
            make = functools.partial(seconds, o, args.runs, **key)
            results.once(args.out, {"prior": o.digest, **key}, make)
    print(table(list(results.fitting(results.read(args.out), prior=o.digest))))


def seconds(o: runs.Opened, times: int, preset: str, steps: int, batch: int) -> results.Row:
    """Compilation, inversion and edit with one concept, of one batch: wall and CPU seconds."""
    way = runs.ledits(o, preset, steps=steps)
    states = np.random.default_rng(0).standard_normal((batch, *o.space.shape), np.float32)
    photos = [runs.Photo(states[i], "", str(i)) for i in range(batch)]
    requests, keys = runs.requests(o, way, photos, states, "+green:7"), runs.keys(photos)
    there, row_there = timed(o, way.pipeline(0, "invert"), times, requests, keys)
    maps = Inverted(there.result.start, there.maps["invert"])
    row_edit = timed(o, way.pipeline(1, "edit"), times, requests._replace(maps=maps), keys)[1]
    return {"device": jax.devices()[0].device_kind, "inversion": row_there, "edit": row_edit}


def timed(
    o: runs.Opened, pipeline: Pipeline, times: int, requests: Any, keys: Any
) -> tuple[Finished, results.Row]:
    """The end of a run; [wall, CPU] seconds of the first run above the median, and that median."""
    call = functools.partial(runs.once, o, pipeline, requests, keys, True)
    executor.PROGRAMS.clear()
    made = [results.clock(call) for _ in range(times + 1)]
    middle = [statistics.median(call[i] for call in made[1:]) for i in (1, 2)]
    compilation = [made[0][i + 1] - middle[i] for i in (0, 1)]
    return made[-1][0], {"compile": compilation, "call": middle}


def table(rows: Sequence[results.Row]) -> str:
    """Seconds of the wall (and of the CPU): compilations of a batch, calls for each photo."""

    def said(pair: Sequence[float], share: int = 1) -> str:
        wall, cpu = (f"{value / share:.3g}" for value in pair)
        return f"{wall} ({cpu})"

    lines = [
        [row["preset"], str(row["steps"]), str(row["batch"])]
        + [said(row[part]["compile"]) for part in ("inversion", "edit")]
        + [said(row[part]["call"], row["batch"]) for part in ("inversion", "edit")]
        for row in rows
    ]
    columns = (
        "preset", "steps", "photos at a time", "compile inversion", "compile edit",
        "inversion of a photo", "edit of a photo",
    )  # fmt: skip
    return results.table(columns, lines)


if __name__ == "__main__":
    main()

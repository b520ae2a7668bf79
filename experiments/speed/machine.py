"""What the measurements of this folder share: cores, timing in turns, lines of results."""

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Seconds = dict[str, float]
"""Name of what was timed -> wall seconds."""

LEAST = 0.1
"""Seconds of each measurement; shorter calls are repeated."""


def limit_threads(count: int) -> None:
    """Bind this process to `count` cores, 0: all of them.

    XLA and torch take as many threads as they may use, so this comes before their import.
    """
    if count and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def cores() -> int | None:
    """The cores that this process may use; None where the system does not know."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def facts(compute: str) -> dict[str, Any]:
    """Where and how a measurement is made."""
    import jax

    where = {"device": jax.devices()[0].device_kind, "cores": cores(), "compute": compute}
    return where | {"jax": jax.__version__, "load": round(os.getloadavg()[0], 2)}


def clock(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call, its arrays included, and what it gave."""
    import jax

    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - start, result


def repeats(seconds: float) -> int:
    """How many calls of this length are timed together, so that they take LEAST seconds."""
    return max(1, math.ceil(LEAST / max(seconds, 1e-6)))


def steady(name: str, run: Callable[[], Any]) -> Callable[[], Seconds]:
    """A measurement of one call of `run`: the mean over as many calls as take LEAST seconds.

    Two calls come before, which are not counted. A CPU waits for each call, since it may run two of
    them at once. Other devices wait for the last one.
    """
    import jax

    clock(run)
    calls = repeats(clock(run)[0])
    wait = jax.block_until_ready if jax.default_backend() == "cpu" else lambda found: found

    def many() -> Any:
        for _ in range(calls):
            found = wait(run())
        return found

    return lambda: {name: clock(many)[0] / calls}


def in_turns(measures: Sequence[Callable[[], Seconds]], turns: int) -> list[Seconds]:
    """What each measurement gave, turn by turn, so that a change of the load meets all of them."""
    return [{k: s for one in measures for k, s in one().items()} for _ in range(turns)]


def medians(turns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each entry over the turns."""
    return {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}


def write(file: Path, row: Mapping[str, Any]) -> None:
    """Append a line to the results, and print it."""
    with file.open("a") as out:
        out.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def rows(file: Path) -> list[dict[str, Any]]:
    """The lines of the results."""
    return [json.loads(line) for line in file.read_text().splitlines()]

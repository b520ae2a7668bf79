"""python -m fuzz [KIND,KIND.. [SEED]]: run cases, list failures, and write a report of them."""

import argparse
import collections
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["SDEDIT_CACHE"] = ""
sys.path[:0] = [str(Path(__file__).parent.parent.parent), str(Path(__file__).parent.parent)]

from fuzz import execute, kinds, report, stock  # noqa: E402


def main():
    flags = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    flags.add_argument("kinds", nargs="?", default="", help="of the cases; all without it")
    flags.add_argument("seed", nargs="?", type=int, help="of one case, whose files are kept")
    flags.add_argument("--cases", type=int, default=3000)
    flags.add_argument("--first", type=int, default=0, help="the first seed of each kind")
    flags.add_argument("--stock", default=os.environ.get("FUZZ_STOCK", ""), help="kept files")
    flags.add_argument("--report", default="", help="a Markdown file of the failures")
    flags.add_argument("--lines", default="", help="a file with a line of JSON for each case")
    flags.add_argument("--workers", type=int, default=2, help="cases at a time")
    given = flags.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz_") as room:
        sound = stock.made(given.stock or Path(room) / "stock")
        kinds.warm()
        if given.seed is not None:
            return one(given.kinds, given.seed, sound)
        return many(given, sound, Path(room) / "cases")


def one(kind, seed, sound):
    """Run one case, and show everything about it."""
    room = Path(tempfile.mkdtemp(prefix="fuzz_case_"))
    (found,) = execute.run_all([(kind, seed)], sound, room, keep=True)
    for name, value in found._asdict().items():
        print(f"{name:10} {value}")
    print(f"files      {room}")
    return int(bool(found.sort))


def many(given, sound, room):
    """Run cases of some kinds or all; 1 if a rule is broken."""
    jobs = kinds.spread(given.cases, given.first, [k for k in given.kinds.split(",") if k])
    found, start, shown = [], time.monotonic(), 0.0
    for outcome in execute.run_all(jobs, sound, room, given.workers):
        found.append(outcome)
        report.append_line(given.lines, outcome)
        if outcome.sort:
            print(report.line(outcome), flush=True)
        if given.report and time.monotonic() - shown > 60:
            report.write(given.report, found)
            shown = time.monotonic()
    if given.report:
        report.write(given.report, found)
    sorts = collections.Counter(one.sort or "passed" for one in found)
    print(f"{len(found)} cases in {time.monotonic() - start:.0f} s: {dict(sorts)}")
    return int(any(one.sort for one in found))


if __name__ == "__main__":
    sys.exit(main())

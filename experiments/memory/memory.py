"""Resident memory of one process over many step counts, many loads of a prior, many pictures.

python experiments/memory/memory.py                    all three, each in a process of its own
python experiments/memory/memory.py --part=pictures
"""

import argparse
import contextlib
import gc
import io
import os
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
PRIOR = "fruits64"
STEPS, LOADS, PICTURES, BATCH, ROWS = 50, 20, 1000, 20, 10


def resident():
    """MB of this process in memory, after the garbage is collected."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def steps():
    """After each edit with 1 to 50 steps; each number is a program of its own."""
    import sdedit_jax as sj

    sj.use_cache(None)
    prior, picture = sj.load_prior(PRIOR), np.full((64, 64, 3), 128, np.uint8)
    for n in range(1, STEPS + 1):
        sj.edit(prior, picture, t0=0.5, steps=n)
        yield n


def loads():
    """After each load of the same prior, and an edit with it."""
    import sdedit_jax as sj

    sj.use_cache(None)
    picture = np.full((64, 64, 3), 128, np.uint8)
    for n in range(1, LOADS + 1):
        sj.edit(sj.load_prior(PRIOR), picture, t0=0.5, steps=2)
        yield n


def pictures():
    """After each batch of one run with 1,000 inputs, and at the end of the run."""
    from sdedit_jax import images, modes
    from sdedit_jax.pipeline import executor
    from sdedit_jax.pipeline.base import Finished

    config = import_module("configs.strokes").get_config()
    config.update({"prior": PRIOR, "samples": 1, "batch": BATCH, "cache": "", "t0": 0.5})
    config.sampler.steps, events, seen = 1, executor.run, []
    rng = np.random.default_rng(0)

    def run(*args, **options):
        for event in events(*args, **options):
            if isinstance(event, Finished):
                seen.append((len(seen) * BATCH + BATCH, resident()))
            yield event

    with tempfile.TemporaryDirectory() as home:
        for k in range(PICTURES):
            picture = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            images.write_png(Path(home) / f"{k:04d}.png", picture)
        config.input, executor.run = home, run
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            modes.run(config, Path(home) / "out")
    yield from seen
    yield PICTURES + 1


PARTS = {"steps": steps, "loads": loads, "pictures": pictures}


def measure(part):
    """Print a row for some of the steps of a part: their number, and MB."""
    found = []
    for n in PARTS[part]():
        found.append(n if isinstance(n, tuple) else (n, resident()))
    chosen = np.unique(np.linspace(0, len(found) - 1, ROWS).astype(int))
    print(f"\n| {part} | MB |\n|---|---|")
    for n, megabytes in (found[k] for k in chosen):
        print(f"| {n} | {megabytes:.0f} |")
    half = found[len(found) // 2 :]
    grown = (half[-1][1] - half[0][1]) / max(half[-1][0] - half[0][0], 1)
    print(f"\nsecond half: {grown:+.3f} MB for each")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS)
    part = parser.parse_args().part
    if part:
        return measure(part)
    print(f"{os.cpu_count()} cores", flush=True)
    for each in PARTS:
        subprocess.run([sys.executable, __file__, f"--part={each}"], check=True)


if __name__ == "__main__":
    main()

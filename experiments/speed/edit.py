"""Compile time, seconds per edit and peak memory of the included prior; wall time of the program.

    python experiments/speed/edit.py [--threads=2] [--runs=3]

Every measurement is a process of its own. The first starts with an empty folder for compiled
programs (cold), the others find it filled (warm).
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import cores, limit_threads

ROOT = Path(__file__).resolve().parents[2]
GUIDES, SAMPLES = 4, 4


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="checkpoints/fruits64")
    parser.add_argument("--compute", default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3, help="of each warm measurement")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)  # the cache folder
    args = parser.parse_args()
    limit_threads(args.threads)
    os.chdir(ROOT)
    if args.child:
        print(json.dumps(edit_once(args.prior, args.compute, args.child)))
        return
    with tempfile.TemporaryDirectory() as folder:
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        print(f"{cores()} core(s) usable, load {load} at the start")
        print_library([child(args, folder) for _ in range(1 + args.runs)])
        print_program([program(args, Path(folder), i) for i in range(1 + args.runs)])


def child(args: argparse.Namespace, folder: str) -> dict:
    """One measurement in a fresh process."""
    flags = [f"--prior={args.prior}", f"--compute={args.compute}", f"--threads={args.threads}"]
    command = [sys.executable, __file__, *flags, f"--child={folder}/library"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def environment() -> dict[str, str]:
    """This process's environment, with the repository first on the path of imports."""
    return os.environ | {"PYTHONPATH": str(ROOT)}


def edit_once(prior_folder: str, compute: str, cache: str) -> dict:
    """Compile and run the default edit of GUIDES x SAMPLES pictures."""
    import jax

    from sdedit_jax.pipeline import executor
    from sdedit_jax.pipeline.base import Finished
    from sdedit_jax.pipeline.cache import use_cache
    from sdedit_jax.weights import load

    use_cache(cache)
    prior, rows = load.load_prior(prior_folder, compute), GUIDES * SAMPLES
    pipeline, request, keys = default_edit(prior, rows)

    def run() -> Finished:
        return executor.finish(
            executor.run(pipeline, prior.params, request, keys, devices=1, listen=False)
        )

    done = [run() for _ in range(3)]
    seconds = [one.seconds for one in done]
    return {
        "device": jax.devices()[0].device_kind,
        "compile": done[0].compile_seconds,
        "first": seconds[0] / rows,
        "edit": statistics.median(seconds[1:]) / rows,
        "steps": pipeline.plan.nfe,
        "evaluations": rows * pipeline.plan.nfe / statistics.median(seconds[1:]),
        "memory": peak_memory(jax.devices()[0]) / 2**20,
    }


def default_edit(prior: Any, rows: int, steps: int | None = None) -> tuple[Any, Any, Any]:
    """The pipeline, request and keys of the default edit at strength 0.5, with random guides.

    Args:
        rows: pictures. steps: None: the default.
    """
    import jax
    import numpy as np

    from sdedit_jax.edits.sdedit import Request
    from sdedit_jax.images.guide import Guide
    from sdedit_jax.pipeline import settings
    from sdedit_jax.pipeline.sdedit import SDEditPipeline

    plan = settings.resolve(prior, settings.sampling({"steps": steps}), 0.5).plan
    image = np.random.default_rng(0).uniform(-1, 1, (rows, *prior.shape)).astype(np.float32)
    guide = Guide(image, np.ones((rows, *prior.shape[:2], 1), np.float32))
    request = Request(np.full(rows, 0.5, np.float32), guide)
    return SDEditPipeline(plan), request, jax.random.split(jax.random.key(0), rows)


def peak_memory(device: object) -> int:
    """Peak bytes: of the device where it keeps count, else of the whole process."""
    memory = device.memory_stats() or {}
    kilo = 1 if sys.platform == "darwin" else 1024
    return (
        memory.get("peak_bytes_in_use") or kilo * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )


def program(args: argparse.Namespace, folder: Path, number: int) -> float:
    """Wall seconds of main.py from start to end, at its default: 4 guides x 4 samples."""
    command = [sys.executable, "main.py", "--config=configs/strokes.py"]
    command += [f"--workdir={folder}/out{number}", f"--config.cache={folder}/program"]
    command += [f"--config.prior={args.prior}", f"--config.compute={args.compute}"]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - start


def print_library(results: list[dict]) -> None:
    """The table of compile time, edit and memory; the first result is the cold one."""
    cold, warm = results[0], results[1:]
    middle = {
        name: statistics.median(r[name] for r in warm) for name in warm[0] if name != "device"
    }
    print(
        f"device {cold['device']}, {GUIDES} guides x {SAMPLES} samples, "
        f"{cold['steps']} evaluations each"
    )
    print(f"| | cold | warm, median of {len(warm)} |\n|---|---|---|")
    for name, label, unit in (
        ("compile", "compile", "s"),
        ("first", "first batch, each edit", "s"),
        ("edit", "later batches, each edit", "s"),
        ("evaluations", "evaluations of the network", "images/s"),
        ("memory", "peak memory", "MiB"),
    ):
        print(f"| {label} | {cold[name]:.3g} {unit} | {middle[name]:.3g} {unit} |")


def print_program(seconds: list[float]) -> None:
    """The row of the whole program."""
    warm, label = statistics.median(seconds[1:]), f"main.py, {GUIDES * SAMPLES} pictures"
    print(f"| {label}, start to end | {seconds[0]:.3g} s | {warm:.3g} s |")


if __name__ == "__main__":
    main()

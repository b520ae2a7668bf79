"""Edits per second on 1, 2, 4 .. devices, beside what the model of cost.py predicts from one.

    python experiments/scale/devices.py [--counts=1,2,4] [--out=devices.jsonl]
    python experiments/scale/devices.py --table [--out=devices.jsonl]

Each number of devices has a process of its own. On a CPU the devices are virtual, and a process has
as many cores as devices, or all there are. The last process has one device with the threads of all
cores. The first one measures batches of several sizes and steps on one device with one core, to
which the model is fitted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import report

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STEPS = (4, 16)
Row = dict[str, Any]


def main() -> None:
    """Measure in processes, or what is left to one of them; print the tables."""
    args = arguments()
    if args.child:
        pin(args.cores)
        print(json.dumps({"ask": ask, "batches": batches, "job": job}[args.child](args)))
        return
    if not args.table:
        args.out.write_text("".join(json.dumps(row) + "\n" for row in measure(args)))
    report.print_tables([json.loads(line) for line in args.out.read_text().splitlines()])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--table", action="store_true", help="print the tables of --out alone")
    parser.add_argument("--counts", type=numbers, default=(), help="of devices, beside 1")
    parser.add_argument("--prior", default="checkpoints/fruits64")
    parser.add_argument("--compute", default="float32")
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="pictures on a device at a time")
    parser.add_argument("--sizes", type=numbers, default=(1, 8), help="batches of the fit")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--runs", type=int, default=3, help="of which the median counts")
    parser.add_argument("--out", type=Path, default=HERE / "devices.jsonl")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers, separated by commas."""
    return tuple(map(int, text.split(",")))


# --- the processes --------------------------------------------------------------------------------


def measure(args: argparse.Namespace) -> list[Row]:
    """The rows of all processes, one after the other."""
    load = round(os.getloadavg()[0], 2)
    there = child("ask", 1, cpu=True)[0]
    cpu = there["platform"] == "cpu"
    counts = args.counts or ((1, 2, 4) if cpu else powers(there["devices"]))
    rows = child("batches", 1, cpu)
    for count in sorted({1, *counts}):
        rows += child("job", count, cpu)
    if cpu:  # one device with the threads of all cores
        cores = usable()
        rows += child("job", 1, cpu, f"--cores={cores}", f"--batch={args.batch * cores}")
    return [{**row, "load": load} for row in rows]


def powers(most: int) -> tuple[int, ...]:
    """The powers of two up to `most`, and `most`."""
    return tuple(sorted({most, *(2**k for k in range(most.bit_length()))}))


def child(name: str, devices: int, cpu: bool, *more: str) -> list[Row]:
    """What one process measures; `more` replaces options."""
    line = [sys.executable, __file__, *sys.argv[1:], f"--child={name}", f"--devices={devices}"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    if cpu:
        env |= {"JAX_NUM_CPU_DEVICES": str(devices)}
        line += [f"--cores={devices}"]
    done = subprocess.run([*line, *more], capture_output=True, text=True, env=env, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def pin(cores: int) -> None:
    """Let this process use so many cores: XLA takes as many threads as it may use."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def usable() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def about(args: argparse.Namespace) -> Row:
    """The machine and the settings of a row."""
    import jax

    first = jax.local_devices()[0]
    made = {"device": first.device_kind, "platform": first.platform, "devices": args.devices}
    return {**made, "cores": usable(), "prior": args.prior, "compute": args.compute}


def ask(args: argparse.Namespace) -> list[Row]:
    """The platform, and its devices."""
    import jax

    return [{"platform": jax.default_backend(), "devices": jax.local_device_count()}]


def batches(args: argparse.Namespace) -> list[Row]:
    """Seconds of batches on one device, for each size and number of steps."""
    rows = []
    for size in args.sizes:
        for steps in STEPS:
            edit, evaluations = editor(args, size, steps)
            done = [edit() for _ in range(1 + args.runs)][1:]  # the first one compiles
            seconds = statistics.median(one.seconds for one in done)
            more = {"batch": size, "evaluations": evaluations, "seconds": seconds}
            rows.append({"kind": "batch", **about(args), **more})
    return rows


def job(args: argparse.Namespace) -> list[Row]:
    """Seconds of all pictures: compiled, edited, and written as PNG."""
    edit, evaluations = editor(args, args.devices * args.batch, args.steps)
    compiled = edit().compile_seconds
    passes = [once(edit, args) for _ in range(args.runs)]
    seconds, write, cpu = (statistics.median(column) for column in zip(*passes, strict=True))
    more = {"batch": args.batch, "evaluations": evaluations, "pictures": args.pictures}
    more |= {"compile": compiled, "write": write, "seconds": compiled + seconds}
    more |= {"busy": cpu / seconds / usable()}
    return [{"kind": "job", **about(args), **more, "edits_per_second": args.pictures / seconds}]


def once(edit: Callable[[], Any], args: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds of all pictures without compiling, those of writing them, and those of all cores."""
    from sdedit_jax import images

    rows, writing = args.devices * args.batch, 0.0
    begun, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for first in range(0, args.pictures, rows):
            made = edit().result.image[: args.pictures - first]
            start = time.perf_counter()
            for i, image in enumerate(made, first):
                images.write_png(Path(folder) / f"{i}.png", images.from_unit(image))
            writing += time.perf_counter() - start
    return time.perf_counter() - begun, writing, time.process_time() - used


def editor(args: argparse.Namespace, rows: int, steps: int) -> tuple[Callable[[], Any], int]:
    """(a function that edits `rows` pictures from the host's memory, evaluations of each)."""
    import jax
    import numpy as np

    from sdedit_jax.edits.sdedit import Request
    from sdedit_jax.images.guide import Guide
    from sdedit_jax.pipeline import executor, settings
    from sdedit_jax.pipeline.sdedit import SDEditPipeline
    from sdedit_jax.weights import load

    prior = load.load_prior(args.prior, args.compute)
    plan = settings.resolve(prior, settings.sampling({"steps": steps}), 0.5).plan
    image = np.random.default_rng(0).uniform(-1, 1, (rows, *prior.shape)).astype(np.float32)
    guide = Guide(image, np.ones((rows, *prior.shape[:2], 1), np.float32))
    request, keys = Request(np.full(rows, 0.5, np.float32), guide), jax.random.key(0)
    given = (SDEditPipeline(plan), prior.params, request, jax.random.split(keys, rows))
    options = {"devices": args.devices, "rows": rows, "listen": False}
    return lambda: executor.finish(executor.run(*given, **options)), plan.nfe


if __name__ == "__main__":
    main()

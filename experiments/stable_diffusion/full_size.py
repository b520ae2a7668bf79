"""Stable Diffusion 1.5 at its full size, beside diffusers: memory of loading, and the same numbers.

    python experiments/stable_diffusion/full_size.py --peer-python=PATH --tokenizer=FOLDER
        [--dtype=float32|float16] [--size=full|tiny] [--work=FOLDER]
    python experiments/stable_diffusion/full_size.py --table

PATH is the python of an environment with diffusers (see README.md), FOLDER holds vocab.json and
merges.txt of CLIP. Each step is a process of its own, so that peak memories are its own. The files
take up to 13 GB in --work and are deleted afterwards.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1])]

FACTOR = 3.0
"""Memory of loading over the size of the file, at most."""
TOLERANCE = 2e-5
"""Largest difference over the largest absolute value, at most."""
CHECKED = ("text", "eps", "encoded", "decoded")
WHAT = ("text encoder", "U-Net", "VAE encoder", "VAE decoder")


def main() -> int:
    """Measure, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add_peer(parser)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32",
                        help="of the files' weights; the networks run in float32")  # fmt: skip
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--table", action="store_true", help="print the results as a table")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(STEPS[args.step](args)))
        return 0
    if args.table:
        print("\n".join(table(args.out)))
        return 0
    check_peer(parser, args)
    keep_cores(args.threads)
    row = measure(args)
    with args.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    failed = failures(row)
    print("\n".join([json.dumps(row), *failed, "FAILED" if failed else "passed"]))
    return int(bool(failed))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One line of the results."""
    threads = f"--threads={args.threads}"
    with folder_for(args) as work:
        log = work / "done.json"
        row = {"size": args.size, "dtype": args.dtype, "cores": args.threads, "steps": []}
        row = json.loads(log.read_text()) if log.exists() else row
        steps: dict[str, Callable[[], dict[str, Any]]] = {
            "write": lambda: write(args, work, args.dtype),
            "convert": lambda: own("convert", args, work),
            "load": lambda: own("load", args, work),
            "peer": lambda: peer(args, "evaluate", work, f"--out={work}/peer.npz", threads),
            "evaluate": lambda: own("evaluate", args, work),
        }
        for step in [step for step in steps if step not in row["steps"]]:
            row |= steps[step]()
            row["steps"].append(step)
            log.write_text(json.dumps(row))
    return row


def failures(row: dict[str, Any]) -> list[str]:
    """What is not as it must be; the memory of small models is that of the libraries."""
    sizes = {step: row[f"{step}_mib"] / row["file_mib"] for step in ("convert", "load")}
    result = [f"{step}: {value:.2f} times the file" for step, value in sizes.items()
            if value > FACTOR and row["size"] == "full"]  # fmt: skip
    wrong = {name: row["errors"][name] for name in CHECKED}
    return result + [f"{name}: error {v:.1e}" for name, v in wrong.items() if not v <= TOLERANCE]


# --- the steps, each in a process of its own ------------------------------------------------------


def convert_step(args: argparse.Namespace) -> dict[str, Any]:
    """The import alone, weights stored in the dtype of the files."""
    import sdedit_jax as sj

    before = peak_memory()
    source, folder = args.work / "peer", args.work / "prior"
    seconds, _ = clock(lambda: sj.convert(source, folder, dtype=args.dtype, check=False))
    return {"imports_mib": before, "convert_s": round(seconds, 2), "convert_mib": peak_memory()}


def load_step(args: argparse.Namespace) -> dict[str, Any]:
    """The prior loaded."""
    import jax

    import sdedit_jax as sj

    seconds, prior = clock(lambda: sj.load_prior(args.work / "prior"))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(prior.params))
    result = {"load_s": round(seconds, 2), "load_mib": peak_memory(), "parameters": parameters}
    return result | {"device": jax.devices()[0].device_kind}


def evaluate_step(args: argparse.Namespace) -> dict[str, Any]:
    """Every network once in float32, on what the peer had: errors and seconds."""
    import jax
    import numpy as np

    import sdedit_jax as sj
    from sdedit_jax import devices

    given = dict(np.load(args.work / "peer.npz"))
    picture = lambda name: np.moveaxis(given[name][0], 0, -1)  # noqa: E731
    prior = sj.load_prior(args.work / "prior")
    steps, scale = 1000, prior.metadata["config"]["vae"]["scaling_factor"]
    t = np.float32((given["step"] + 1) / steps)
    runs: dict[str, tuple[Callable[..., Any], Any]] = {
        "text": (prior.text.encode, given["ids"][0].astype(np.int32)),
        "eps": (lambda p, x: prior.predict(p, x, t, given["text"][0]).eps, picture("x")),
        "encoded": (lambda p, x: prior.codec.encode(p, x) / scale, picture("image")),
        "decoded": (lambda p, x: prior.codec.decode(p, scale * x), picture("x")),
    }
    ids = prior.text.tokenize(read_prompt()).ids
    result: dict[str, Any] = {"same_tokens": bool((np.asarray(ids) == given["ids"][0]).all())}
    result |= {"errors": {}, "std": {}, "compile_s": {}, "run_s": {}}
    for name, (run, x) in runs.items():
        wanted = given[name][0] if name == "text" else picture(name)
        lowered = jax.jit(run).lower(prior.params, x)
        compile_s, made = clock(lambda lowered=lowered: devices.compiled(lowered))
        run_s, found = clock(lambda made=made, x=x: np.asarray(made(prior.params, x)))
        result["errors"][name] = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        result["std"][name] = round(float(wanted.std()), 3)
        result["compile_s"][name], result["run_s"][name] = round(compile_s, 1), round(run_s, 2)
    return result | {"evaluate_mib": peak_memory()}


STEPS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "convert": convert_step,
    "load": load_step,
    "evaluate": evaluate_step,
}


def read_prompt() -> str:
    """The text of peer.py, which cannot be imported without diffusers."""
    lines = (HERE / "peer.py").read_text().splitlines()
    return json.loads(next(line for line in lines if line.startswith("PROMPT = "))[9:])


def clock(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call, and what it gave."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def peak_memory() -> int:
    """Peak MiB of this process, mapped files included."""
    kilo = 1 if sys.platform == "darwin" else 1024
    return round(kilo * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def keep_cores(threads: int) -> None:
    """XLA takes as many threads as it may use; the processes started from here too."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


# --- processes ------------------------------------------------------------------------------------


def add_peer(parser: argparse.ArgumentParser) -> None:
    """The arguments that every measurement beside diffusers has."""
    parser.add_argument("--peer-python", default="", help="python of diffusers' environment")
    parser.add_argument("--tokenizer", type=Path, default=None, help="folder of CLIP's vocabulary")
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--work", type=Path, default=None, help="folder for the files")
    parser.add_argument("--keep", type=Path, default=None,
                        help="a folder of its own instead: kept, and gone on with")  # fmt: skip


def check_peer(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program where a path is not given or leads nowhere."""
    if not shutil.which(args.peer_python):
        parser.error(f"--peer-python must be a python with diffusers, got {args.peer_python!r}")
    if args.tokenizer is None or not (args.tokenizer / "vocab.json").is_file():
        parser.error(f"--tokenizer must be a folder with vocab.json, got {args.tokenizer}")


@contextmanager
def folder_for(args: argparse.Namespace) -> Iterator[Path]:
    """A folder in --work that is deleted in the end, or kept with what is done (--keep)."""
    if args.keep is not None:
        args.keep.mkdir(parents=True, exist_ok=True)
        yield args.keep
        return
    folder = Path(tempfile.mkdtemp(prefix="stable_diffusion_", dir=args.work))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write(args: argparse.Namespace, work: Path, dtype: str) -> dict[str, Any]:
    """The peer's folder of random weights, work/peer."""
    tokenizer = f"--tokenizer={args.tokenizer}"
    return peer(args, "write", work, tokenizer, f"--size={args.size}", f"--dtype={dtype}")


def peer(args: argparse.Namespace, step: str, work: Path, *more: str) -> dict[str, Any]:
    """The results of a step of peer.py."""
    return run_step(args.peer_python, str(HERE / "peer.py"), step, str(work / "peer"), *more)


def own(step: str, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """The results of a step of ours."""
    given = f"--step={step}", f"--work={work}", f"--dtype={args.dtype}"
    return run_step(sys.executable, __file__, *given)


def run_step(*command: str) -> dict[str, Any]:
    """The JSON object in the last line of a program's output; its failure ends ours."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr.strip()[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"{Path(command[1]).name} {command[2]}: {result}", file=sys.stderr, flush=True)
    return result


# --- the table ------------------------------------------------------------------------------------


def table(path: Path) -> list[str]:
    """Lines of two markdown tables, of the last full-size result of each dtype."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    last = {row["dtype"]: row for row in rows if row["size"] == "full" and "dtype" in row}
    lines = ["| weights | file, MiB | step | seconds | peak, MiB | peak / file |", "|" + "---|" * 6]
    for dtype, row in last.items():
        for step in [step for step in STEPS if f"{step}_mib" in row]:
            seconds = row.get(f"{step}_s", "")
            peak, size = row[f"{step}_mib"], row["file_mib"]
            lines.append(
                f"| {dtype} | {size:,} | {step} | {seconds} | {peak:,} | {peak / size:.2f} |"
            )
    lines += ["", "| weights | network | error | ours, s | diffusers, s |", "|" + "---|" * 5]
    for dtype, row in [(dtype, row) for dtype, row in last.items() if "errors" in row]:
        both = row["run_s"]["encoded"] + row["run_s"]["decoded"]
        for name, what in zip(CHECKED, WHAT, strict=True):
            ours = row["run_s"][name]
            theirs = row.get({"text": "peer_text_s", "eps": "peer_unet_s"}.get(name, ""), "")
            if name == "decoded":
                ours, theirs = f"{ours} (both: {both:.1f})", f"both: {row['peer_vae_s']}"
            lines.append(f"| {dtype} | {what} | {row['errors'][name]:.1e} | {ours} | {theirs} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())

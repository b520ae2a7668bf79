"""Every released configuration at its full size: a random file of it is imported and run once.

    python experiments/full_size/full_size.py [--only=NAME,NAME] [--out=results.jsonl]
    python experiments/full_size/full_size.py --table [--out=results.jsonl]

Names are those of the catalogue; what stands in the results already is not run again. Each step
(write, convert, evaluate) is a process of its own, so that peak memories are its own. The files
take up to 4.5 GB each in --work and are deleted afterwards. Needs torch.
"""

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

OTHERS = (
    "score_sde/ve/church_ncsnpp_continuous",
    "score_sde/ve/cifar10_ncsnpp",
    "sdedit/celeba_hq",
    "sdedit/bedroom",
    "sdedit/church_outdoor",
    "google/ddpm-celebahq-256",
    "google/ncsnpp-ffhq-1024",
    "edm/edm-ffhq-64x64-uncond-vp",
    "guided_diffusion/64x64_diffusion",
    "guided_diffusion/128x128_diffusion",
    "guided_diffusion/256x256_diffusion",
    "guided_diffusion/512x512_diffusion",
)
"""What is run beside the 16 files of score_sde_pytorch."""

STEPS = ("write", "convert", "evaluate")
COLUMNS = {
    "parameters": "parameters",
    "file_mib": "file, MiB",
    "convert_s": "import, s",
    "convert_mib": "its peak, MiB",
    "compile_s": "compile, s",
    "evaluate_s": "one evaluation, s",
    "evaluate_mib": "its peak, MiB",
}


def main() -> int:
    """Measure what is asked for, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.jsonl")
    parser.add_argument("--work", type=Path, default=None, help="folder for the files")
    parser.add_argument("--table", action="store_true", help="print the results as a table")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(STEP[args.step](args.only, args.work)))
        return 0
    if args.table:
        print("\n".join(table(results(args.out))))
        return 0
    done = {row["name"] for row in results(args.out) if "error" not in row}
    failed = 0
    for name in [n for n in (args.only.split(",") if args.only else cases()) if n not in done]:
        row = measure(name, args.work)
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        failed += "error" in row
    return int(failed > 0)


def cases() -> list[str]:
    """The names that are run, the small networks first."""
    from files import layout

    from sdedit_jax.weights import catalogue

    sixteen = [n for n in catalogue.names("score_sde") if n.startswith("score_sde_pytorch/")]
    return sorted([*sixteen, *OTHERS], key=lambda name: layout(name)["parameters"])


def measure(name: str, work: Path | None) -> dict[str, Any]:
    """One line of the results; {"name", "error"} where a step failed."""
    row: dict[str, Any] = {"name": name}
    folder = Path(tempfile.mkdtemp(prefix="full_size_", dir=work))
    try:
        for step in STEPS:
            command = [sys.executable, __file__, f"--step={step}", f"--only={name}"]
            done = subprocess.run([*command, f"--work={folder}"], capture_output=True, text=True)
            if done.returncode:
                return row | {"error": f"{step}: {done.stderr.strip()[-500:]}"}
            row |= json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)
    return row


# --- the steps, each in a process of its own ------------------------------------------------------


def write_step(name: str, folder: Path) -> dict[str, Any]:
    """Write the random file."""
    import files

    from sdedit_jax.weights import catalogue

    path = files.write(catalogue.card(name), folder / "file")
    parts = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    (folder / "path.txt").write_text(str(path))
    size = round(sum(p.stat().st_size for p in parts) / 2**20)
    return {"layout_parameters": files.layout(name)["parameters"], "file_mib": size}


def convert_step(name: str, folder: Path) -> dict[str, Any]:
    """Import it; the denoise test is left out, for random weights fail it."""
    import jax
    import orbax.checkpoint  # noqa: F401
    import torch  # noqa: F401

    import sdedit_jax as sj

    jax.devices()
    path = (folder / "path.txt").read_text()
    before = peak_memory()  # of the libraries, which are imported late
    seconds, _ = clock(lambda: sj.convert(path, folder / "prior", card=name, check=False))
    return {"convert_s": round(seconds, 2), "convert_mib": peak_memory(), "imports_mib": before}


def evaluate_step(name: str, folder: Path) -> dict[str, Any]:
    """Load the prior and predict once, at full size, in float32."""
    import jax
    import numpy as np

    from sdedit_jax import devices, registry
    from sdedit_jax.weights import load

    load_s, prior = clock(lambda: load.load_prior(folder / "prior"))
    known = registry.classes(prior)
    cond = 0 if known is not None and known.count else None
    x = np.random.default_rng(0).standard_normal(prior.shape, np.float32)
    predict = jax.jit(lambda params, x, t: prior.predict(params, x, t, cond).eps)
    compile_s, run = clock(
        lambda: devices.compiled(predict.lower(prior.params, x, np.float32(0.5)))
    )
    call = lambda: jax.block_until_ready(run(prior.params, x, np.float32(0.5)))  # noqa: E731
    first_s, eps = clock(call)
    again_s = clock(call)[0] if first_s < 20 else math.inf
    if eps.shape != prior.shape or not np.isfinite(eps).all():
        raise SystemExit(f"{name}: the network gave {eps.shape}, finite {np.isfinite(eps).all()}")
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(prior.params)),
        "size": list(prior.shape),
        "load_s": round(load_s, 2),
        "compile_s": round(compile_s, 2),
        "evaluate_s": round(min(first_s, again_s), 3),
        "evaluate_mib": peak_memory(),
        "output_std": float(np.std(eps)),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


STEP: dict[str, Callable[[str, Path], dict[str, Any]]] = {
    "write": write_step,
    "convert": convert_step,
    "evaluate": evaluate_step,
}


def clock(run: Callable[[], Any]) -> tuple[float, Any]:
    """Wall seconds of a call, and what it gave."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def peak_memory() -> int:
    """Peak MiB: of the device where it keeps count, else of this process, mapped files included."""
    import jax

    memory = jax.devices()[0].memory_stats() or {}
    kilo = 1 if sys.platform == "darwin" else 1024
    process = kilo * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round((memory.get("peak_bytes_in_use") or process) / 2**20)


# --- the results ----------------------------------------------------------------------------------


def results(path: Path) -> list[dict[str, Any]]:
    """The lines of the results, none if there is no file yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Lines of a markdown table, the last result of each name."""
    last = {row["name"]: row for row in rows}
    lines = ["| configuration | size | " + " | ".join(COLUMNS.values()) + " |"]
    lines += ["|" + "---|" * (len(COLUMNS) + 2)]
    for name, row in last.items():
        if "error" in row:
            lines.append(f"| {name} | failed: {row['error'].splitlines()[-1][:80]} |")
            continue
        values = [f"{row[c]:,}" if c != "evaluate_s" else f"{row[c]:.3g}" for c in COLUMNS]
        lines.append(f"| {name} | {row['size'][0]} | {' | '.join(values)} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())

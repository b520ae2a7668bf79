"""Edits at the size of Stable Diffusion 1.5, random weights, beside diffusers.

    python experiments/stable_diffusion/speed.py --peer-python=PATH --tokenizer=FOLDER
        [--compute=bfloat16] [--only=sdedit,leditspp,ledits] [--steps=20] [--runs=3]
        [--size=full|tiny] [--work=FOLDER] [--threads=0]

Seconds of one edit of one photo, medians of --runs after one that is not counted. SDEdit with a
prompt runs 4 of 5 steps, beside img2img of diffusers. LEDITS++ inverts in --steps and edits in as
many; LEDITS is its demo's, 64 of 100 steps each way. diffusers has no LEDITS: beside its replay
stands semantic guidance of as many steps. Ours and diffusers' run one after the other, each in a
process of its own, on the GPU if there is one.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

import full_size  # noqa: E402

PROMPT, CONCEPT = "a photo of a green apple", "+green apple"
SDEDIT = {"preset": "diffusers", "steps": 5, "strength": 0.8, "scale": 7.5}
LEDITS = {"steps": 100, "skip": 36}
EDITS = ("sdedit", "leditspp", "ledits")
ROWS = (
    ("SDEdit with a prompt, an edit", "sdedit_edit"),
    ("LEDITS++, inversion", "leditspp_invert"),
    ("LEDITS++, replay", "leditspp_edit"),
    ("LEDITS, inversion", "ledits_invert"),
    ("LEDITS, replay (diffusers: semantic guidance)", "ledits_edit"),
)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    full_size.add_peer(parser)
    parser.add_argument("--compute", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--only", default=",".join(EDITS), help="edits, separated by commas")
    parser.add_argument("--steps", type=int, default=20, help="of LEDITS++, each way")
    parser.add_argument("--threads", type=int, default=0, help="cores of a CPU; 0: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ours:
        print(json.dumps(ours(args)))
        return
    full_size.check_peer(parser, args)
    if args.threads:
        full_size.keep_cores(args.threads)
    numbers = f"--steps={args.steps}", f"--runs={args.runs}", f"--only={args.only}"
    with full_size.folder_for(args) as work:
        row = {"size": args.size, "compute": args.compute, "steps": args.steps, "runs": args.runs}
        if not (work / "peer").exists():
            row |= full_size.write(args, work, "float16")
        own = "--ours", f"--work={work}", f"--compute={args.compute}"
        row |= full_size.run_step(sys.executable, __file__, *own, *numbers)
        row |= full_size.peer(args, "time", work, f"--dtype={args.compute}", *numbers)
    with args.out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print("\n".join(table(row)))


def ours(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of our parts; the first call of each, with its compilation, apart."""
    import jax
    import numpy as np

    import sdedit_jax as sj

    if not (args.work / "prior").exists():
        sj.convert(args.work / "peer", args.work / "prior", dtype="float16", check=False)
    prior = sj.load_prior(args.work / "prior", args.compute)
    image = np.random.default_rng(0).integers(0, 256, prior.shape, np.uint8)
    result = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    edits: dict[str, dict[str, Callable[..., Any]]] = {
        "sdedit": {"edit": lambda: sj.text_edit(prior, image, PROMPT, **SDEDIT)},
        "leditspp": parts(
            prior, image, {"preset": "leditspp-diffusers", "steps": args.steps, "skip": 0.0}
        ),
        "ledits": parts(prior, image, {"preset": "ledits-app", **LEDITS}),
    }
    for name in args.only.split(","):
        seconds = timed(edits[name], args.runs)
        result |= {f"{name}_{what}": value for what, value in seconds.items()}
    on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return result | {"mib": round(on_device / 2**20) if on_device else full_size.peak_memory()}


def parts(prior: Any, image: Any, preset: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """The inversion of a photo, and the edit with its maps; each is done when it returns."""
    import jax

    import sdedit_jax as sj

    maps: list[Any] = []

    def invert() -> None:
        maps[:] = [jax.block_until_ready(sj.invert(prior, image, **preset))]

    edit = lambda: sj.ledits(prior, image, CONCEPT, inverted=maps[0], **preset)  # noqa: E731
    return {"invert": invert, "edit": edit}


def timed(parts: dict[str, Callable[[], Any]], runs: int) -> dict[str, float]:
    """First and median seconds of each part, in turns."""
    took: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(1 + runs):
        for name, run in parts.items():
            took[name].append(full_size.clock(run)[0])
    result = {}
    for name, seconds in took.items():
        result[f"{name}_first_s"] = round(seconds[0], 2)
        result[f"{name}_s"] = round(statistics.median(seconds[1:]), 3)
    return result


def table(row: dict[str, Any]) -> list[str]:
    """Lines of a markdown table."""
    lines = [f"{row['device']}, jax {row['jax']}; {row['peer_device']}, {row['peer']}", ""]
    lines += ["| | ours, s | first call, s | diffusers, s |", "|" + "---|" * 4]
    for what, name in ROWS:
        if f"{name}_s" in row:
            first, theirs = row[f"{name}_first_s"], row.get(f"peer_{name}_s", "")
            lines.append(f"| {what} | {row[f'{name}_s']} | {first} | {theirs} |")
    if "leditspp_edit_s" in row:
        both = row["leditspp_invert_s"] + row["leditspp_edit_s"]
        theirs = row["peer_leditspp_invert_s"] + row["peer_leditspp_edit_s"]
        lines.append(f"| LEDITS++, an edit | {both:.3f} | | {theirs:.3f} |")
    return lines


if __name__ == "__main__":
    main()

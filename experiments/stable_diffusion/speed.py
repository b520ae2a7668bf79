"""LEDITS and LEDITS++ at the size of Stable Diffusion 1.5, random weights, beside diffusers.

    python experiments/stable_diffusion/speed.py --peer-python=PATH --tokenizer=FOLDER
        [--compute=bfloat16] [--steps=20] [--runs=3] [--size=full|tiny] [--work=FOLDER]

Seconds of one edit of one photo, medians of --runs after one that is not counted. LEDITS++ inverts
in --steps and edits in as many; LEDITS is its demo's, 64 of 100 steps each way. diffusers has no
LEDITS: beside its replay stands semantic guidance of as many steps. Ours and diffusers' run one
after the other, each in a process of its own, on the GPU if there is one.
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

CONCEPT = "+green apple"
LEDITS = {"steps": 100, "skip": 36}
ROWS = (
    ("LEDITS++, inversion", "leditspp_invert_s"),
    ("LEDITS++, replay", "leditspp_edit_s"),
    ("LEDITS, inversion", "sega_invert_s"),
    ("LEDITS, replay (diffusers: semantic guidance)", "sega_edit_s"),
)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    full_size.add_peer(parser)
    parser.add_argument("--compute", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--steps", type=int, default=20, help="of LEDITS++, each way")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ours:
        print(json.dumps(ours(args)))
        return
    full_size.check_peer(parser, args)
    numbers = f"--steps={args.steps}", f"--runs={args.runs}"
    with full_size.folder_for(args) as work:
        row = {"size": args.size, "compute": args.compute, "steps": args.steps, "runs": args.runs}
        if not (work / "peer").exists():
            row |= full_size.write(args, work, "float16")
        row |= full_size.tell(sys.executable, __file__, "--ours", f"--work={work}",
                              f"--compute={args.compute}", *numbers)  # fmt: skip
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
    told = {"device": jax.devices()[0].device_kind, "jax": jax.__version__}
    presets: dict[str, dict[str, Any]] = {
        "leditspp": {"preset": "leditspp-diffusers", "steps": args.steps, "skip": 0.0},
        "sega": {"preset": "ledits-app", **LEDITS},
    }
    for name, preset in presets.items():
        seconds = timed(*parts(prior, image, preset), args.runs)
        told |= {f"{name}_{what}": value for what, value in seconds.items()}
    on_device = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return told | {"mib": round(on_device / 2**20) if on_device else full_size.peak_memory()}


def parts(prior: Any, image: Any, preset: dict[str, Any]) -> tuple[Callable[..., Any], ...]:
    """(invert: () -> maps, edit: (maps) -> picture), each done when it returns."""
    import jax

    import sdedit_jax as sj

    invert = lambda: jax.block_until_ready(sj.invert(prior, image, **preset))  # noqa: E731
    return invert, lambda maps: sj.ledits(prior, image, CONCEPT, inverted=maps, **preset)


def timed(invert: Callable[[], Any], edit: Callable[[Any], Any], runs: int) -> dict[str, float]:
    """First and median seconds of both parts, in turns."""
    there, back = [], []
    for _ in range(1 + runs):
        seconds, maps = full_size.clock(invert)
        there.append(seconds)
        back.append(full_size.clock(lambda maps=maps: edit(maps))[0])
    told = {}
    for what, took in (("invert", there), ("edit", back)):
        told[f"{what}_first_s"] = round(took[0], 2)
        told[f"{what}_s"] = round(statistics.median(took[1:]), 3)
    return told


def table(row: dict[str, Any]) -> list[str]:
    """Lines of a markdown table."""
    lines = [f"{row['device']}, jax {row['jax']}; {row['peer_device']}, {row['peer']}", ""]
    lines += ["| | ours, s | first call, s | diffusers, s |", "|" + "---|" * 4]
    for what, name in ROWS:
        first, theirs = row[f"{name.removesuffix('_s')}_first_s"], row.get(f"peer_{name}", "")
        lines.append(f"| {what} | {row[name]} | {first} | {theirs} |")
    both = row["leditspp_invert_s"] + row["leditspp_edit_s"]
    theirs = row["peer_leditspp_invert_s"] + row["peer_leditspp_edit_s"]
    return [*lines, f"| LEDITS++, an edit | {both:.3f} | | {theirs:.3f} |"]


if __name__ == "__main__":
    main()

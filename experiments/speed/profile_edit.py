"""Where the time of an edit goes, and how fast its network is beside the machine's peaks.

    python experiments/speed/profile_edit.py [--prior=fruits64] [--batch=16] [--steps=12]
        [--threads=2] [--compute=float32] [--runs=5] [--out=profile.jsonl]
    python experiments/speed/profile_edit.py --plot [--out=profile.jsonl]

--prior is a name or folder of a prior in pixels, or "church": NCSN++ for LSUN church at 256 x 256
with random weights. All is measured in one process in turns, after calls that are not counted.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE), str(HERE.parent / "full_size")]

import machine  # noqa: E402

CHURCH, CARD = "church", "score_sde/ve/church_ncsnpp_continuous"


def main() -> None:
    """Measure a case and append its line to the results, or draw them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prior", default="fruits64")
    parser.add_argument("--batch", type=int, default=0, help="0: 16, and 1 of church")
    parser.add_argument("--steps", type=int, default=0, help="0: the default, and 2 of church")
    parser.add_argument("--threads", type=int, default=2, help="cores of a CPU; 0: all")
    parser.add_argument("--compute", default="float32", choices=("float32", "tf32", "bfloat16"))
    parser.add_argument("--runs", type=int, default=5, help="turns")
    parser.add_argument("--out", type=Path, default=HERE / "profile.jsonl")
    parser.add_argument("--plot", action="store_true", help="draw the results beside them")
    args = parser.parse_args()
    if args.plot:
        from profile_plot import draw

        draw(machine.rows(args.out)).savefig(args.out.with_suffix(".png"), dpi=110)
        return
    machine.limit_threads(args.threads)
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    small = args.prior == CHURCH
    batch, steps = args.batch or (1 if small else 16), args.steps or (2 if small else None)
    row = profile(prior_of(args.prior, args.compute), batch, steps, args.compute, args.runs)
    machine.write(args.out, {"prior": args.prior, **row})
    print("\n".join(table(row)))


def prior_of(name: str, compute: str) -> Any:
    """The prior of a name or folder, or the one of random weights."""
    from sdedit_jax.weights import load

    prior = church(compute) if name == CHURCH else load.load_prior(name, compute)
    if prior.latent:
        raise SystemExit(f"--prior: a prior in pixels is needed, {name} is in latents")
    return prior


def church(compute: str) -> Any:
    """NCSN++ for LSUN church at its published size, with fresh weights."""
    import files
    import numpy as np

    from sdedit_jax import registry
    from sdedit_jax.weights import catalogue, families
    from sdedit_jax.weights.source import Source

    card, tensors = catalogue.card(CARD), files.layout(CARD)["tensors"]
    shapes = {name: np.broadcast_to(np.float32(0), shape) for name, shape in tensors.items()}
    family = families.family_of(source := Source(Path(CARD), shapes, "flax"), card.family)
    metadata = family.describe(source, card.given)
    prior = registry.prior_of(metadata, compute, CHURCH)
    return prior.replace(params=registry.initial_params(metadata, 0))


def profile(prior: Any, batch: int, steps: int | None, compute: str, runs: int) -> dict[str, Any]:
    """The line of one edit of a batch.

    Args:
        batch: pictures; the next power of two is run. steps: None: the default.
    """
    import edit
    import edit_parts
    import peaks

    from sdedit_jax.pipeline import executor

    rows = executor.padded(batch, 1)
    pipeline, request, keys = edit.default_edit(prior, rows, steps)
    params, form = prior.params, edit_parts.Form(pipeline, request)
    row = machine.facts(compute) | {"rows": rows, "steps": pipeline.plan.n, "runs": runs}
    whole, row["first"] = edit_parts.first(form, params, keys)
    network = edit_parts.evaluation(pipeline, params, request)
    found = peaks.convolutions(network.fn, *network.args)
    convs = [peaks.convolution(c, compute) for c in [*peaks.levels(found), peaks.large()]]
    products = [*convs, *(peaks.product(side, compute) for side in peaks.sides())]
    reduced = edit_parts.without(form)
    measures = [
        machine.steady("edit", lambda: edit_parts.run(form, params, keys)),
        machine.steady("evaluation", lambda: network.program(*network.args)),
        *(edit_parts.stages(name, one, params, keys) for name, one in reduced.items()),
        *(machine.steady(one.name, one.run) for one in products),
    ]
    turns = machine.in_turns(measures, runs)
    seconds = machine.medians(turns)
    row["edit"], row["evaluation"] = seconds["edit"], seconds["evaluation"]
    found_parts = [edit_parts.parts(turn, pipeline.plan.nfe) for turn in turns]
    row["parts"] = machine.medians(found_parts)
    free = edit_parts.staged(reduced["no network"], params, keys)
    row["work"] = edit_parts.work(form, whole, free, network)
    row["memory"] = edit_parts.memory(whole.programs["advance"])
    flop = {"evaluation": row["work"]["evaluation"]["flop"], "edit": row["work"]["edit"]["flop"]}
    flop |= {one.name: one.flop for one in products}
    row["gflops"] = {name: count / seconds[name] / 1e9 for name, count in flop.items()}
    row["convolutions"] = {one.label: times for one, times in found.items()}
    return row


# --- the table ------------------------------------------------------------------------------------


def table(row: Mapping[str, Any]) -> list[str]:
    """Lines of a markdown table of the parts, then one of the rates."""
    parts = dict(row["parts"])
    rest = parts.pop("rest")
    parts |= {"sum of these": sum(parts.values()), "rest": rest, "edit": row["edit"]}
    lines = ["| part | seconds | share |", "|---|---|---|"]
    for name, seconds in parts.items():
        lines.append(f"| {name} | {seconds:.4g} | {seconds / row['edit']:.1%} |")
    lines += ["", "| | GFLOP/s |", "|---|---|"]
    return lines + [f"| {name} | {rate:.1f} |" for name, rate in row["gflops"].items()]


if __name__ == "__main__":
    main()

"""Time of one evaluation of each network, beside the original in its PyTorch forms.

    python experiments/speed/networks.py --checkouts=FOLDER [--only=NAME,NAME] [--threads=2]
        [--batches=1,4] [--forms=eager,channels_last,compile] [--runs=3] [--out=networks.jsonl]
    python experiments/speed/networks.py --table [--out=networks.jsonl]

Both networks get the same random weights, by the conversion that priors use, and the same input.
They run in one process in turns, so that a change of the machine's load meets both. Each network
is a process of its own. Needs torch, and diffusers for its networks.
"""

import argparse
import contextlib
import ctypes
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

import machine  # noqa: E402

FORMS = ("eager", "channels_last", "compile")
RATES = ("network", "compute", "batch", "pictures/s", "GFLOP/s", "of the matrix peak")
WITHOUT_BATCHES = ("SD 1.5 U-Net", "SD 1.5 VAE encoder", "SD 1.5 VAE decoder")
"""Networks that run one picture at a time."""


class Run(NamedTuple):
    """Of one call: wall seconds, CPU seconds of all threads, and MiB above those before it."""

    wall: float
    cpu: float
    memory: float


def main() -> int:
    """Measure each network, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkouts", type=Path, default=Path("peers"))
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--batches", default="1,4")
    parser.add_argument("--forms", default=",".join(FORMS), help='"" for ours alone')
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="cores of a CPU; 0: all")
    parser.add_argument("--compute", default="float32")
    parser.add_argument("--out", type=Path, default=HERE / "networks.jsonl")
    parser.add_argument("--table", action="store_true", help="print the results as a table")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.table:
        print("\n".join(table(args.out)))
        return 0
    machine.limit_threads(args.threads)  # before the first import of jax and torch
    if args.child:
        measure(args)
        return 0
    from originals import ORIGINALS

    done = 0
    for name in args.only.split(",") if args.only else ORIGINALS:
        command = [sys.executable, __file__, *sys.argv[1:], f"--child={name}"]
        done |= subprocess.run(command).returncode
    return done


def measure(args: argparse.Namespace) -> None:
    """Append a line to the results for each batch and form of one network."""
    import jax
    import originals
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    name = args.child
    made = originals.make(name, args.checkouts)
    device = jax.devices()[0]
    where = {"device": device.device_kind, "cores": args.threads, "compute": args.compute}
    where |= {"jax": jax.__version__, "torch": torch.__version__}
    where["matrix"] = matrix_rate(args.compute)
    ours = our_network(made, args.compute)
    for batch in [1] if name in WITHOUT_BATCHES else map(int, args.batches.split(",")):
        torch.manual_seed(batch)
        inputs = made.inputs(batch)
        mine = compiled(ours, inputs)
        row = {"name": name, "batch": batch, **mine.facts, "load": os.getloadavg()[0], **where}
        for form in filter(None, args.forms.split(",")):
            theirs = in_form(made, form, inputs, args.compute)
            row |= {"form": form, **compared(mine.run, theirs, args.runs)}
            machine.write(args.out, row)
        if not args.forms:
            runs = [timed(mine.run) for _ in range(args.runs + 1)][1:]
            machine.write(args.out, row | {"form": "", "ours": middle(runs)})


def matrix_rate(compute: str) -> float:
    """GFLOP/s of the fastest product of two square matrices, the peak of the machine."""
    import peaks

    products = [peaks.product(side, compute) for side in peaks.sides()]
    turns = machine.in_turns([machine.steady(one.name, one.run) for one in products], 3)
    seconds = machine.medians(turns)
    return round(max(one.flop / seconds[one.name] for one in products) / 1e9, 1)


def compared(mine: Callable, theirs: Callable, runs: int) -> dict[str, Any]:
    """Medians of runs in turns, and the largest difference; the first of each is not counted."""
    start = time.perf_counter()
    reference = theirs()
    first = time.perf_counter() - start
    found = mine()
    pairs = [(timed(mine), timed(theirs)) for _ in range(runs)]
    return {
        "ours": middle([pair[0] for pair in pairs]),
        "theirs": middle([pair[1] for pair in pairs]),
        "their_first": round(first, 2),
        "difference": float(np.abs(found - reference).max() / np.abs(reference).max()),
    }


def middle(runs: list[Run]) -> dict[str, float]:
    """The median of each field, and the range of the wall times."""
    columns = zip(Run._fields, zip(*runs, strict=True), strict=True)
    found = {field: round(statistics.median(column), 3) for field, column in columns}
    walls = [run.wall for run in runs]
    return found | {"least": round(min(walls), 3), "most": round(max(walls), 3)}


def timed(run: Callable[[], Any]) -> Run:
    """One call. CPU seconds hardly depend on other programs."""
    before = reset_peak()
    start, start_cpu = time.perf_counter(), time.process_time()
    run()
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    return Run(wall, cpu, status("VmHWM") - before)


def reset_peak() -> float:
    """Forget the peak of this process's memory; what it uses now, in MiB (Linux; else 0)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # or freed memory would count as used
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0.0
    return status("VmRSS")


def status(field: str) -> float:
    """A field of this process's memory, in MiB; 0 where the system has no /proc."""
    file = Path("/proc/self/status")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((int(one.split()[1]) / 1024 for one in lines if one.startswith(field)), 0.0)


# --- ours -----------------------------------------------------------------------------------------


class Compiled(NamedTuple):
    """A network for one batch: a call without arguments, and facts of its program."""

    run: Callable[[], np.ndarray]
    facts: dict[str, Any]


def our_network(made: Any, compute: str) -> tuple[Callable, Any]:
    """(our network with the original's weights, as a function of its inputs; the parameters)."""
    import jax

    from sdedit_jax.nets.functional import network
    from sdedit_jax.registry.priors import NETS, PARTS
    from sdedit_jax.weights import catalogue, conversion, families
    from sdedit_jax.weights.source import Source

    tensors = {name: value.detach().numpy() for name, value in made.net.state_dict().items()}
    source, given = Source(Path("random weights"), tensors), made.given
    if "config" in given:
        part = "vae" if "method" in given else "unet"
        net = network(PARTS["stable_diffusion"][part], own_fields(given["config"]), compute)
        params = conversion.fill(net.shapes, source)
    else:
        if "card" in given:
            given = catalogue.card(given["card"]).given
        else:
            source, given = source._replace(config=given), {}
        family = families.family_of(source, given.get("family", ""))
        card = family.describe(source, given)
        net = network(NETS[card["network"]], card["config"], compute)
        names = family.names(source, card, net.shapes)
        params = conversion.fill(net.shapes, source, names, family.unused(source, card))
    method = made.given.get("method", "__call__")

    def apply(params: Any, x: Any, *rest: Any) -> Any:
        out = net.apply(params, x, *rest[:1], method=method, **({"y": rest[1]} if rest[1:] else {}))
        return out[0] if isinstance(out, tuple) else out

    return apply, jax.device_put(params)


def own_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without the fields of the program that wrote it."""
    return {name: value for name, value in config.items() if name[0] != "_"}


def compiled(ours: tuple[Callable, Any], inputs: tuple) -> Compiled:
    """Our network compiled for these inputs, whose pictures are turned to [B, H, W, C]."""
    import jax
    import peaks

    from sdedit_jax import devices

    apply, params = ours
    x, *rest = [value.numpy() for value in inputs]
    given = (jax.device_put(x.transpose(0, 2, 3, 1).copy()), *map(jax.device_put, rest))
    start = time.perf_counter()
    program = devices.compiled(jax.jit(apply).lower(params, *given))
    seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    gflop = peaks.direct_flop(apply, params, *given) / 1e9
    facts = {"compile": round(seconds, 1), "gflop": round(gflop, 1)}
    facts["temporary"] = round(getattr(memory, "temp_size_in_bytes", 0) / 2**20)
    facts["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(params))
    return Compiled(lambda: np.moveaxis(np.asarray(program(params, *given)), -1, 1), facts)


# --- theirs ---------------------------------------------------------------------------------------


def in_form(made: Any, form: str, inputs: tuple, compute: str) -> Callable[[], np.ndarray]:
    """The original's evaluation: as it is, with channels last, or compiled by torch."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.channels_last if form == "channels_last" else torch.contiguous_format
    net = made.net.to(device, memory_format=kind)
    x, *rest = [value.to(device) for value in inputs]
    x = x.contiguous(memory_format=kind)
    call = torch.compile(made.call) if form == "compile" else made.call
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = compute != "float32"

    def run() -> np.ndarray:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, compute == "bfloat16"):
            return call(net, x, *rest).float().cpu().numpy()

    return run


# --- the table ------------------------------------------------------------------------------------


def table(file: Path) -> list[str]:
    """Two tables, of times and of rates.

    A row for each network, compute mode and batch: the last measurement of each form.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in machine.rows(file):
        key = row["name"], row["compute"], str(row["batch"])
        found.setdefault(key, {})[row["form"]] = row
    head = [
        "network",
        "compute",
        "batch",
        "ours, s",
        *FORMS,
        "ours / best",
        "memory, MiB",
        "best's",
        "compile, s",
    ]
    times = [bars(head), bars(["---"] * len(head)), *(bars(cells(k, v)) for k, v in found.items())]
    rates = [
        bars(rate_cells(k, v)) for k, v in found.items() if any("matrix" in r for r in v.values())
    ]
    return [*times, "", bars(RATES), bars(["---"] * len(RATES)), *rates] if rates else times


def bars(cells: list[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"


def cells(key: tuple[str, ...], forms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The cells of one network and batch; each form's ratio is of runs in turns."""
    both = {form: row for form, row in forms.items() if "theirs" in row}
    ratios = {form: row["ours"]["wall"] / row["theirs"]["wall"] for form, row in both.items()}
    best = max(ratios, key=ratios.get, default="")
    ours = statistics.median(row["ours"]["wall"] for row in forms.values())
    memory = statistics.median(row["ours"]["memory"] for row in forms.values())
    walls = [f"{forms[form]['theirs']['wall']:.2f}" if form in ratios else "" for form in FORMS]
    last = next(reversed(forms.values()))
    own = [f"{ratios[best]:.2f}", f"{memory:,.0f}"] if best else ["", f"{memory:,.0f}"]
    theirs = f"{forms[best]['theirs']['memory']:,.0f}" if best else ""
    return [*key, f"{ours:.2f}", *walls, *own, theirs, f"{last['compile']:.0f}"]


def rate_cells(key: tuple[str, ...], forms: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The cells of RATES, from the median of the rows with the rate of matrices."""
    measured = [row for row in forms.values() if "matrix" in row]
    wall = statistics.median(row["ours"]["wall"] for row in measured)
    matrix = statistics.median(row["matrix"] for row in measured)
    rate = measured[-1]["gflop"] / wall
    return [*key, f"{int(key[2]) / wall:.3g}", f"{rate:,.0f}", f"{rate / matrix:.0%}"]


if __name__ == "__main__":
    sys.exit(main())

"""Shared by the experiments on the paper: evaluations, tables and plots.

An experiment is a list of settings. Each is one run of --mode=evaluate in a folder of its own, and
finishes what an earlier run left. results.jsonl has a line for each.
"""

import argparse
import functools
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import sdedit_jax as sj

HERE = Path(__file__).parent


class Setting(NamedTuple):
    """A run of an evaluation.

    Attributes:
        name: of its folder. config: a config of configs/. changes: "a.b" -> value.
        facts: what stands in the table.
    """

    name: str
    config: str
    changes: Mapping[str, Any]
    facts: Mapping[str, Any]


def arguments(doc: str) -> argparse.Namespace:
    """The arguments of an experiment."""
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    text = "folder for the evaluations; without one, results.jsonl is drawn"
    parser.add_argument("--workdir", type=Path, help=text)
    parser.add_argument("--prior", default="flowers64")
    parser.add_argument("--input", default="", help="data set; by default the shipped photos")
    parser.add_argument("--samples", type=int, default=8, help="edits of each picture")
    parser.add_argument("--limit", type=int, default=0, help="pictures; 0: all")
    return parser.parse_args()


def run(settings: Sequence[Setting], args: argparse.Namespace, experiment: str) -> list[dict]:
    """The results of each setting; writes results.jsonl of the experiment, or reads it."""
    file = HERE / experiment / "results.jsonl"
    if args.workdir is None:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found = [{**one.facts, **results(one, args)} for one in settings]
    lines = [json.dumps(one) + "\n" for one in found]
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(lines), encoding="utf-8")
    return found


def results(one: Setting, args: argparse.Namespace) -> dict[str, Any]:
    """The measures and the distances of sets of one evaluation."""
    config = importlib.import_module(f"sdedit_jax.configs.{one.config}").get_config()
    common = {"prior": args.prior, "samples": args.samples, "limit": args.limit}
    if args.input:
        common["input"] = args.input
    for name, value in {**common, **one.changes}.items():
        *parts, last = name.split(".")
        functools.reduce(lambda part, field: part[field], parts, config)[last] = value
    folder = args.workdir / one.name
    if sj.run(config, folder, "evaluate"):
        raise SystemExit(f"{folder}: some edits failed, see results.json")
    return short(json.loads((folder / "results.json").read_text(encoding="utf-8")))


def short(body: Mapping[str, Any]) -> dict[str, Any]:
    """Of results.json: (mean, error) of each measure, (KID, error) of each set."""
    sets = {
        f"{features}_{name}": [one["kid_apart"]["value"], one["kid_apart"]["error"]]
        for features, own in body["sets"].items()
        for name, one in own.items()
        if isinstance(one, dict) and "kid_apart" in one
    }
    measures = {name: [one["mean"], one["error"]] for name, one in body["measures"].items()}
    return {"edits": body["edits"]["made"], "measures": measures, "sets": sets}


def pair(values: Sequence[float] | None, digits: int = 3) -> str:
    """A number with its standard error."""
    if values is None:
        return ""
    return f"{values[0]:.{digits}f} ± {values[1]:.{digits}f}"


Column = tuple[str, Callable[[Mapping[str, Any]], str]]


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(title for title, _ in columns) + " |"]
    lines.append("|---" + "|---:" * (len(columns) - 1) + "|")
    lines += ["| " + " | ".join(cell(row) for _, cell in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def measure(name: str, digits: int = 3) -> Callable[[Mapping[str, Any]], str]:
    """The cell of a measure."""
    return lambda row: pair(row["measures"].get(name), digits)


def distance(name: str, digits: int = 3) -> Callable[[Mapping[str, Any]], str]:
    """The cell of a distance of sets."""
    return lambda row: pair(row["sets"].get(name), digits)


def fact(name: str) -> Callable[[Mapping[str, Any]], str]:
    """The cell of a setting."""
    return lambda row: f"{row[name]:g}" if isinstance(row[name], float) else str(row[name])


def figure(panels: int, width: float = 4.2, height: float = 3.6) -> tuple[Any, np.ndarray]:
    """A figure with panels beside each other."""
    from sdedit_jax.images import plots

    made = plots.figure(width * panels, height)
    return made, np.atleast_1d(made.subplots(1, panels))


def save(figure: Any, experiment: str, name: str) -> None:
    """Write a figure to the folder of an experiment."""
    from sdedit_jax.images import plots, write_png

    write_png(HERE / experiment / name, plots.pixels(figure), {}, overwrite=True)


def series(axes: Any, x: Sequence[float], values: Sequence[Sequence[float]], label: str) -> None:
    """A line with standard errors."""
    means, errors = zip(*values, strict=True)
    axes.errorbar(x, means, yerr=errors, marker="o", ms=3.5, capsize=2.5, lw=1.4, label=label)


def points(rows: Sequence[Mapping[str, Any]], label: str, experiment: str) -> None:
    """A plot of L2 and of both KIDs of some settings, with standard errors.

    Args:
        label: the field of a row with its name.
    """
    names = [str(row[label]) for row in rows]
    parts = {
        "L2 to the guide": [row["measures"]["guide_l2"] for row in rows],
        "KID, hand": [row["sets"]["hand_edits"] for row in rows],
        "KID, network": [row["sets"]["fruits64_edits"] for row in rows],
    }
    made, axes = figure(len(parts), 3.2, 0.9 + 0.45 * len(rows))
    for i, (one, (title, values)) in enumerate(zip(axes, parts.items(), strict=True)):
        means, errors = zip(*values, strict=True)
        one.errorbar(means, range(len(rows)), xerr=errors, fmt="o", capsize=3)
        one.set(xlabel=title, xlim=(0, None), ylim=(len(rows) - 0.5, -0.5))
        one.set_yticks(range(len(rows)), names if i == 0 else [""] * len(rows))
        one.grid(alpha=0.3)
    save(made, experiment, f"{experiment}.png")


def show(text: str, experiment: str) -> None:
    """Print a table under the name of its experiment."""
    print(f"{experiment}\n\n{text}")

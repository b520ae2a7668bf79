"""The files of --mode=autotune: the record, the table, the plot and a config with the choice."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images
from sdedit_jax.evaluation import features
from sdedit_jax.evaluation.candidates import (
    NONE_AT_FLOOR,
    Candidate,
    Measured,
    at_floor,
    pareto,
)
from sdedit_jax.images import plots
from sdedit_jax.modes.files import Target, plain
from sdedit_jax.text.spelling import counted

FILES = ("autotune.json", "autotune.md", "autotune.png", "tuned.py")


class Results(NamedTuple):
    """What is measured so far.

    Attributes:
        config: of the run. edits: of a set. candidates: all that were to be measured.
        floor: the distance between two references. found: the candidates that are measured.
        chosen: one of them, at the end.
    """

    config: ConfigDict
    edits: int
    candidates: Sequence[Candidate]
    floor: Measured
    found: tuple[Measured, ...] = ()
    chosen: Measured | None = None

    @property
    def rest(self) -> list[Candidate]:
        """The candidates that are not measured."""
        known = {m.candidate for m in self.found}
        return [one for one in self.candidates if one not in known]


def write(target: Target, results: Results) -> None:
    """The files of FILES; the record may be there already, see `record`."""
    folder, overwrite = target.folder, target.overwrite
    path = record(target, results)
    images.write_bytes(folder / FILES[1], table(results).encode(), overwrite)
    target.png(FILES[2], plot(results))
    config = folder / FILES[3]
    text = program(results.config, results.chosen.candidate)
    images.write_bytes(config, text.encode(), overwrite)
    print(f"record {path}\nconfig {config}; run it with --config={config}")


def record(target: Target, results: Results) -> Any:
    """The record of what is measured so far, in the place of an earlier one; its path."""
    body = {
        "config": plain(results.config),
        "edits": results.edits,
        "features": sorted(features.HAND_MADE),
        "floor": results.floor.row,
        "candidates": [m.row for m in results.found],
        "not_measured": [one._asdict() for one in results.rest],
    }
    if results.chosen is not None:
        body["floor_reached"] = at_floor(results.chosen, results.floor)
        body["chosen"] = results.chosen.candidate._asdict()
    return target._replace(overwrite=True).json(FILES[0], body)


def line(one: Measured) -> str:
    """A measured candidate, for the screen."""
    rule, grid, steps = one.candidate
    return (
        f"{rule}, {grid}, {counted(steps, 'step')}: {one.evaluations:g} evaluations,"
        f" {one.seconds:.3f} s, distance {one.distance:.4f} +- {one.error:.4f}"
    )


def table(results: Results) -> str:
    """The table as Markdown; the candidates of the Pareto front are bold."""
    front = pareto(results.found)
    head = ["solver", "grid", "steps", "evaluations", "seconds", "distance", "standard error"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for m in sorted(results.found, key=lambda m: (m.evaluations, m.distance)):
        bold = "**" if m in front else ""
        mark = " (chosen)" if m is results.chosen else ""
        rule, grid, steps = m.candidate
        cells = [f"{bold}{rule}{bold}{mark}", grid, steps, f"{m.evaluations:g}", f"{m.seconds:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {m.distance:.4f} | {m.error:.4f} |")
    lines += ["", f"Noise floor: {line(results.floor)}."]
    if not at_floor(results.chosen, results.floor):
        lines += [f"{NONE_AT_FLOOR.capitalize()}."]
    if results.rest:
        names = ", ".join(f"{one.rule} {one.grid} {one.steps}" for one in results.rest)
        lines += [f"Not measured: {names}."]
    return "\n".join(lines) + "\n"


def plot(results: Results) -> np.ndarray:
    """Distance against evaluations as a picture uint8 [H, W, 3]."""
    found, chosen = results.found, results.chosen
    figure = plots.figure(8.5)
    axes = figure.subplots()
    for rule, grid in dict.fromkeys((m.candidate.rule, m.candidate.grid) for m in found):
        own = [m for m in found if m.candidate[:2] == (rule, grid)]
        x, y, e = zip(*((m.evaluations, m.distance, m.error) for m in own), strict=True)
        axes.errorbar(x, y, e, marker="o", ms=4, capsize=2, label=f"{rule}, {grid}")
    axes.axhline(max(results.floor.distance, 0.0), color="0.5", ls="--", label="noise floor")
    axes.plot(chosen.evaluations, chosen.distance, "k*", ms=14, label="chosen")
    axes.set(xlabel="network evaluations of an edit", ylabel="energy distance to the reference")
    axes.set(xscale="log")
    ticks = sorted({m.evaluations for m in found})
    axes.set_xticks(ticks, [f"{n:g}" for n in ticks], minor=False)
    axes.minorticks_off()
    figure.legend(fontsize="small", loc="outside right upper")
    return plots.pixels(figure)


def program(config: ConfigDict, chosen: Candidate) -> str:
    """A config file: the config of the run with the chosen sampler."""
    from sdedit_jax.configs import base

    values = plain(config)
    values["sampler"] |= chosen._asdict()
    for own in ("budget", "autotune"):
        del values[own]
    changed = differing(values, plain(base.get_config()))
    lines = ",\n".join(f"    {name!r}: {value!r}" for name, value in changed.items())
    return (
        '"""Written by --mode=autotune: its config with the sampler that it chose."""\n'
        "\nfrom ml_collections import ConfigDict\n\nfrom sdedit_jax.configs import base\n\n"
        f"CHANGED = {{\n{lines},\n}}\n\n\n"
        "def get_config() -> ConfigDict:\n    config = base.get_config()\n"
        "    with config.unlocked():\n        config.update(CHANGED)\n    return config\n"
    )


def differing(values: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from the default ones, in nested parts too."""
    found = {}
    for name, value in values.items():
        usual = default.get(name)
        if isinstance(value, dict) and isinstance(usual, dict):
            value, usual = differing(value, usual), {}
        if value != usual:
            found[name] = value
    return found

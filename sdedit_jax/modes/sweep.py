"""--mode=sweep: strength (SDEdit) or scale (LEDITS) against seed, one sheet for each input."""

from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images
from sdedit_jax.modes import kinds, summary_files
from sdedit_jax.modes.edit import Edits, finished_already, left, make, record, report
from sdedit_jax.modes.files import (
    Target,
    list_inputs,
    needed,
    refuse_own_folder,
    sheet,
)
from sdedit_jax.modes.inputs import Input
from sdedit_jax.modes.jobs import Done
from sdedit_jax.modes.report import of_edits
from sdedit_jax.modes.session import (
    Job,
    Kind,
    check_sheet,
    check_work,
    leads,
    read_inputs,
    side_of_cells,
)
from sdedit_jax.pipeline.outputs import on_background

END = "_sweep"
"""What the name of a sheet adds to that of its input."""


def sweep(config: ConfigDict, target: Target) -> int:
    """Every input at every value of `sweep.t0` or `sweep.scale`, with every seed of `sweep.seeds`.

    Writes <name>_t<t0>_s<seed>.png (LEDITS: <name>_scale<scale>_s<seed>.png), <name>_sweep.png, the
    further files of each input, record.json, and report.html with `report`. All cells run in one
    compiled program.
    """
    if "sweep" not in config:
        raise ValueError("config: this one has no sweep; see --list for those that edit pictures")
    if config.uncertainty:
        raise ValueError("uncertainty: a sweep has no samples; give --mode=edit")
    kinds.module_of(config).check_sweep(config)
    refuse_own_folder(config, target.folder)
    listing = list_inputs(config)
    kind = kinds.open_kind(config, listing.inputs)
    field, letter = kind.sweep
    _check_values(config, field)
    values, seeds = config.sweep[field], config.sweep.seeds
    count = {"input": len(listing.inputs), f"sweep.{field}": len(values)}
    check_work(kind, {**count, "sweep.seeds": len(seeds)})
    check_sheet(kind, {"sweep.seeds": len(seeds), f"sweep.{field}": len(values)})
    inputs, bad = read_inputs(kind, listing)
    jobs = [
        Job(one, f"_{letter}{value:g}_s{seed}", seed, 0, value)
        for one in inputs
        for value in values
        for seed in seeds
    ]
    earlier = left(kind, jobs, target, [END], needed(config, listing.inputs), with_strengths=True)
    edits = Edits(kind, inputs, jobs, bad, earlier)
    return report(bad) if finished_already(edits, target, [END]) else finish(edits, target)


def finish(edits: Edits, target: Target) -> int:
    """Make the cells and write everything about them; the exit code."""
    kind, run = edits.kind, summary_files.run_of(edits.kind, edits.jobs)
    end = summary_files.ending(target, run)
    done, failed, code = make(kind, edits.jobs, target, edits.earlier)
    for one in edits.inputs:
        own = [d for d in done if d.job.input.name == one.name]
        if own:
            part = {images.PART: END.removeprefix("_")}
            target.own.png(f"{one.name}{END}.png", sweep_sheet(kind, one, own), part)
    if done:
        if kind.config.report:
            print(f"report {of_edits(kind, done, target.own, f'report{end}.html')}")
        record(kind, done, target.own, f"record{end}.json", run)
    return report(edits.bad + failed, code)


def sweep_sheet(kind: Kind, one: Input, done: Sequence[Done]) -> np.ndarray:
    """Rows are seeds, columns are values with their mean distance, after the input."""
    config = kind.config
    values, seeds = config.sweep[kind.sweep[0]], config.sweep.seeds
    at = {(d.job.value, d.job.seed): d.made.output for d in done}
    lead = leads(kind, one, done[0].made)
    labels = [
        kind.label(value, [d.entry for d in done if d.job.value == value]) for value in values
    ]

    def cell(value: float, seed: int) -> np.ndarray | None:
        found = at.get((value, seed))
        return None if found is None else on_background(found.picture, one.background)

    rows = (
        [*lead.items(), *zip(labels, (cell(value, seed) for value in values), strict=True)]
        for seed in seeds
    )
    return sheet(rows, [f"seed {seed}" for seed in seeds], side_of_cells(kind, [one]))


def _check_values(config: ConfigDict, field: str) -> None:
    if not config.sweep[field] or not config.sweep.seeds:
        raise ValueError(f"sweep.{field} and sweep.seeds must not be empty")
    for name, form in ((field, "{:g}"), ("seeds", "{}")):
        values = [form.format(value) for value in config.sweep[name]]
        if len(set(values)) < len(values):
            raise ValueError(f"sweep.{name} must be distinct, got {tuple(config.sweep[name])}")

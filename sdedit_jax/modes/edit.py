"""--mode=edit: pictures in; edited pictures, guides, a contact sheet and a record out."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance
from sdedit_jax.modes import kinds, signals, uncertainty
from sdedit_jax.modes.files import (
    Target,
    list_inputs,
    needed,
    plain,
    refuse_existing,
    refuse_own_folder,
    sheet,
)
from sdedit_jax.modes.jobs import Done, Failed, run
from sdedit_jax.modes.report import of_edits
from sdedit_jax.modes.session import Input, Job, Kind, check_sheet, check_work, header, read_inputs
from sdedit_jax.modes.uncertainty import Spread
from sdedit_jax.pipeline.base import Cancelled
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.outputs import given_out, on_background
from sdedit_jax.priors.prior import describe
from sdedit_jax.text.spelling import counted


def edit(config: ConfigDict, target: Target) -> int:
    """Edit every input `samples` times.

    Writes <name><cut>.png for each sample, the guide and mask (SDEdit) or the reconstruction, photo
    and masks (LEDITS) of each input, sheet.png and record.json; with `report` report.html.

    Returns:
        1 if an input could not be read or a result not be made, 143 or 130 after SIGTERM or SIGINT,
        else 0. What is finished is kept.
    """
    return finish(begun(config, target), target)


class Edits(NamedTuple):
    """The edits of a run, checked and not yet made.

    Attributes:
        kind, inputs, jobs: what is edited, and how. bad: a line for each input that was left out.
    """

    kind: Kind
    inputs: list[Input]
    jobs: list[Job]
    bad: list[str]


def begun(
    config: ConfigDict, target: Target, check: Callable[[ConfigDict], None] | None = None
) -> Edits:
    """Every input, `samples` times.

    Args:
        check: a further check of the config, before the prior is loaded.

    Raises:
        ValueError: a mistake in the config, or results that exist.
    """
    if "input" not in config:
        raise ValueError("config: this one edits no pictures; see --list, or give another --mode")
    if check is not None:
        check(config)
    refuse_own_folder(config, target.folder)
    listing = list_inputs(config)
    kind = kinds.open_kind(config, listing.inputs)
    count = {"input": len(listing.inputs), "samples": config.samples}
    check_work(kind, count)
    check_sheet(kind, count)
    inputs, bad = read_inputs(kind, listing)
    jobs = [Job(one, cut, config.seed, k) for one in inputs for k, cut in enumerate(kind.cuts)]
    ends = [uncertainty.END] * config.uncertainty
    files = planned(kind, jobs, target, ends)
    refuse_existing(files, target.overwrite, needed(config, listing.inputs))
    return Edits(kind, inputs, jobs, bad)


def finish(edits: Edits, target: Target) -> int:
    """Make the edits and write everything about them; the exit code."""
    kind, sheet_name = edits.kind, target.free("sheet.png")
    done, failed, code = make(kind, edits.jobs, target)
    if done:
        spread, more = None, {}
        if kind.config.uncertainty:
            spread = uncertainty.spread(edits.inputs, done)
            more["uncertainty"] = uncertainty.write(spread, target)
        path = target.png(sheet_name, contact_sheet(kind, edits.inputs, done, spread))
        print(f"sheet {path}, record {record(kind, done, target, more)}")
        if kind.config.report:
            print(f"report {of_edits(kind, done, target, spread)}")
    return report(edits.bad + failed, code)


def planned(kind: Kind, jobs: Sequence[Job], target: Target, ends: Sequence[str] = ()) -> list:
    """The files that jobs will write, and one with each of `ends` for an input."""
    inputs = list({id(job.input): job.input for job in jobs}.values())
    names = [job.name for job in jobs]
    names += [one.name + end for one in inputs for end in (*kind.beside(one), *ends)]
    return [target.folder / f"{name}.png" for name in names]


def make(kind: Kind, jobs: Sequence[Job], target: Target) -> tuple[list[Done], list[str], int]:
    """Run the jobs and write each result as it comes, further files with an input's first result.

    The kind finds their strengths first, where it is asked to.

    Returns:
        the results, one line for each job that failed, and the exit code of a signal or 0.
    """
    done, failed, begun = [], [], set()
    rows = min(kind.config.batch, max(len(jobs), 1))
    print("\n".join(header(kind, rows)))
    with signals.catch() as caught:
        for result in results(kind, jobs, caught.stop):
            if isinstance(result, Failed):
                failed.append(f"{result.job.name}: {result.reason}")
                continue
            name = result.job.input.name
            if name not in begun:
                for end, picture in result.made.beside.items():
                    item = result.job.input.item
                    shown = given_out(picture, item)
                    part = {images.PART: end.removeprefix("_")}
                    target.png(f"{name}{end}.png", shown, part, item.photo.source)
                begun.add(name)
            write(result, target)
            done.append(result)
    if caught.name:
        print(f"error: {caught.name}; finished results are kept", file=sys.stderr)
    return done, failed, caught.exit_code


def results(kind: Kind, jobs: Sequence[Job], cancel: Cancel) -> Iterator[Done | Failed]:
    """The results of jobs, with the strengths that the kind finds for them first."""
    try:
        jobs = kind.with_strengths(jobs, cancel) if jobs else []
    except Cancelled:
        return
    print("\n".join(kind.lines([job for job in jobs if not job.failed])))
    yield from run(kind, jobs, cancel)


def write(done: Done, target: Target) -> None:
    """One result with its recipe, and a line about it."""
    text = provenance.chunks(done.recipe)
    item = done.job.input.item
    picture = given_out(done.made.output.picture, item)
    path = target.png(f"{done.job.name}.png", picture, text, item.photo.source)
    print(f"{path}  {done.made.line}  {done.entry['seconds']:.2f} s")


def contact_sheet(
    kind: Kind, inputs: Sequence[Input], done: Sequence[Done], spread: Spread | None = None
) -> np.ndarray:
    """A row for each input: the input itself, guide, mask, results and their uncertainty."""
    count, rows, labels = kind.config.samples, [], {}
    for one in inputs:
        own = [d for d in done if d.job.input.name == one.name]
        at = {d.job.sample: on_background(d.made.output.picture, one.item) for d in own}
        labels = kind.leads(*((own[0].job.input, own[0].made) if own else (one, None)))
        maps = [spread.picture(one.name)] if spread else []
        rows.append([*labels.values(), *(at.get(k) for k in range(count)), *maps])
    columns = [*labels, *(f"sample {k}" for k in range(count))]
    columns += [spread.column] if spread else []
    return sheet(rows, [one.name for one in inputs], columns, kind.config.sheet_scale)


def record(
    kind: Kind, done: Sequence[Done], target: Target, more: Mapping[str, Any] | None = None
) -> Any:
    """Write record.json: what ran, on what, and what came out.

    Args:
        more: further fields.
    """
    shapes: Mapping[str, Any] = done[0].recipe["place"]["shapes"]
    shared, own = provenance.split([d.recipe for d in done])
    body = {
        "config": plain(kind.config),
        "prior": kind.prior.metadata,
        "process": describe(kind.prior.process),
        **kind.record(shapes),
        "environment": done[0].recipe["environment"],
        "recipe": {k: v for k, v in shared.items() if k not in provenance.SHARED},
        **(more or {}),
        "pictures": [d.entry | {"recipe": rest} for d, rest in zip(done, own, strict=True)],
    }
    return target.json(target.free("record.json"), body)


def report(bad: Sequence[str], code: int = 0) -> int:
    """Print what failed; the exit code."""
    if bad:
        print(f"error: {counted(len(bad), 'picture')} could not be made:", file=sys.stderr)
        for line in bad:
            print(f"  {line}", file=sys.stderr)
    return code or (1 if bad else 0)

"""--mode=edit: pictures in; edited pictures, guides, a contact sheet and a record out."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance, signals
from sdedit_jax.files.wording import one_line
from sdedit_jax.modes import kinds, resume, summary_files, uncertainty
from sdedit_jax.modes.files import (
    Target,
    list_inputs,
    needed,
    plain,
    refuse_existing,
    refuse_own_folder,
    sheet,
)
from sdedit_jax.modes.inputs import Input
from sdedit_jax.modes.jobs import Done, Failed, run, with_strengths
from sdedit_jax.modes.report import of_edits
from sdedit_jax.modes.resume import Earlier
from sdedit_jax.modes.session import (
    Job,
    Kind,
    check_sheet,
    check_work,
    header,
    leads,
    read_inputs,
    side_of_cells,
)
from sdedit_jax.modes.uncertainty import Spread
from sdedit_jax.pipeline.base import Cancelled
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.pipeline.outputs import Stored, given_out, on_background
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
        earlier: the results of an interrupted run.
    """

    kind: Kind
    inputs: list[Input]
    jobs: list[Job]
    bad: list[str]
    earlier: Earlier


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
    ends, own = [uncertainty.END] * config.uncertainty, needed(config, listing.inputs)
    ready = check is None and not kind.finds_strengths
    return Edits(kind, inputs, jobs, bad, left(kind, jobs, target, ends, own, ready))


def left(
    kind: Kind,
    jobs: Sequence[Job],
    target: Target,
    ends: Sequence[str],
    inputs: Sequence[Path],
    with_strengths: bool,
) -> Earlier:
    """The results of an interrupted run, where it goes on; else existing results are refused.

    Args:
        ends: what files that are written at the end add to an input's name.
        inputs: files that are never replaced.
        with_strengths: whether the jobs have their strengths.

    Raises:
        ValueError: results exist, or those of another run.
    """
    refuse_existing(planned(kind, jobs, target, ends), target.own.overwrite, inputs, True)
    return resume.results(kind, jobs, target, ends, with_strengths) if target.resume else {}


def finish(edits: Edits, target: Target) -> int:
    """Make the edits and write everything about them; the exit code."""
    kind, jobs = edits.kind, edits.jobs
    if finished_already(edits, target, [uncertainty.END] * kind.config.uncertainty):
        return report(edits.bad)
    run, own = summary_files.run_of(kind, jobs), target.own
    end = summary_files.ending(target, run)
    done, failed, code = make(kind, jobs, target, edits.earlier)
    if done:
        spread, more = None, {}
        if kind.config.uncertainty:
            spread, more["uncertainty"] = uncertainty.write(edits.inputs, done, own)
        shown = contact_sheet(kind, edits.inputs, done, spread)
        path = own.png(f"sheet{end}.png", shown, {images.PART: "sheet", summary_files.RUN: run})
        if kind.config.report:
            print(f"report {of_edits(kind, done, own, f'report{end}.html', spread)}")
        # last: a record that covers all results shows that the run is finished
        print(f"sheet {path}, record {record(kind, done, own, f'record{end}.json', run, more)}")
    return report(edits.bad + failed, code)


def finished_already(edits: Edits, target: Target, ends: Sequence[str]) -> bool:
    """Whether an interrupted run had finished; a line is printed then.

    Args:
        ends: what files that are written at the end add to an input's name.
    """
    kind, jobs = edits.kind, edits.jobs
    if not target.resume or len(edits.earlier) < len(jobs):
        return False
    found = summary_files.complete(target, summary_files.run_of(kind, jobs), jobs, ends)
    if found:
        print(f"finished  {counted(len(jobs), 'result')} in {target.folder}, nothing is left to do")
    return found


def planned(kind: Kind, jobs: Sequence[Job], target: Target, ends: Sequence[str] = ()) -> list:
    """The files that jobs will write, and one with each of `ends` for an input."""
    inputs = list({id(job.input): job.input for job in jobs}.values())
    names = [job.name for job in jobs]
    names += [one.name + end for one in inputs for end in (*one.beside, *ends)]
    return [target.folder / f"{name}.png" for name in names]


def make(
    kind: Kind, jobs: Sequence[Job], target: Target, earlier: Earlier | None = None
) -> tuple[list[Done], list[str], int]:
    """Run the jobs and write each result as it comes, further files with an input's first result.

    The kind finds their strengths first, where it is asked to.

    Args:
        earlier: results that are there.

    Returns:
        all results, one line for each job that failed, and the exit code of a signal or 0.
    """
    rows = min(kind.config.batch, max(len(jobs), 1))
    print("\n".join(header(kind, rows)))
    done: dict[str, Done] = {}
    failed, begun = [], set()
    with signals.catch() as caught:
        jobs = strengths(kind, jobs, caught.stop)
        if earlier:
            done.update(resume.again(kind, jobs, earlier, target))
            print(f"kept      {counted(len(done), 'result')} of {len(jobs)}")
        for result in run(kind, jobs, caught.stop, frozenset(done)):
            if isinstance(result, Failed):
                failed.append(f"{result.job.name}: {result.reason}")
                continue
            if result.job.input.name not in begun:
                write_beside(result, target)
                begun.add(result.job.input.name)
            write(result, target)
            done[result.job.name] = stored(kind, result, target, next(iter(done.values()), None))
    if caught.name:
        print(f"error: {caught.name}; finished results are kept", file=sys.stderr)
    return [done[job.name] for job in jobs if job.name in done], failed, caught.exit_code


def stored(kind: Kind, done: Done, target: Target, first: Done | None) -> Done:
    """A result whose pictures are in its files, so that a run of many needs little memory.

    Args:
        first: a result of the same run; what its recipe has too is kept once.
    """
    made, folder = done.made, target.folder
    beside = {end: Stored(folder / f"{done.job.input.name}{end}.png") for end in made.beside}
    output = Stored(folder / f"{done.job.name}.png")
    same = first.recipe if first else {}
    recipe = {
        name: same[name] if name in same and same[name] == value else value
        for name, value in done.recipe.items()
    }
    return done._replace(made=made._replace(output=output, beside=beside), recipe=recipe)


def strengths(kind: Kind, jobs: Sequence[Job], cancel: Cancel) -> Sequence[Job]:
    """The jobs with the strengths that the kind finds for them; none where it is stopped."""
    try:
        jobs = with_strengths(kind, jobs, cancel)
    except Cancelled:
        return []
    print("\n".join(kind.lines([job for job in jobs if not job.failed])))
    return jobs


def write_beside(done: Done, target: Target) -> None:
    """The further files of a result's input."""
    item = done.job.input.item
    for end, picture in done.made.beside.items():
        part = {images.PART: end.removeprefix("_")}
        shown = given_out(picture, item)
        target.own.png(f"{done.job.input.name}{end}.png", shown, part, item.photo.source)


def write(done: Done, target: Target) -> None:
    """One result with its recipe, and a line about it; a finished one stays as it is."""
    name, item = f"{done.job.name}.png", done.job.input.item
    if target.resume and (target.folder / name).exists():
        return
    text = provenance.chunks(done.recipe, done.entry)
    picture = given_out(done.made.output.picture, item)
    path = target.png(name, picture, text, item.photo.source)
    print(f"{path}  {done.made.line}  {done.entry['seconds']:.2f} s")


def contact_sheet(
    kind: Kind, inputs: Sequence[Input], done: Sequence[Done], spread: Spread | None = None
) -> np.ndarray:
    """A row for each input: the input itself, guide, mask, results and their uncertainty."""

    def row(one: Input) -> list[tuple[str, np.ndarray | None]]:
        own = [d for d in done if d.job.input.name == one.name]
        at = {d.job.sample: on_background(d.made.output.picture, one.background) for d in own}
        before = leads(kind, *((own[0].job.input, own[0].made) if own else (one, None)))
        samples = ((f"sample {k}", at.get(k)) for k in range(kind.config.samples))
        maps = [(spread.column, spread.picture(one.name))] if spread else []
        return [*before.items(), *samples, *maps]

    return sheet(map(row, inputs), [one.name for one in inputs], side_of_cells(kind, inputs))


def record(
    kind: Kind,
    done: Sequence[Done],
    target: Target,
    name: str,
    run: str,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write record.json: what ran, on what, and what came out.

    Args:
        name: of the file. run: names the run. more: further fields.
    """
    shapes: Mapping[str, Any] = done[0].recipe["place"]["shapes"]
    shared, own = provenance.split([d.recipe for d in done])
    body = {
        "run": run,
        "config": plain(kind.config),
        "prior": kind.prior.metadata,
        "process": describe(kind.prior.process),
        **kind.record(shapes),
        "environment": done[0].recipe["environment"],
        "recipe": {k: v for k, v in shared.items() if k not in provenance.SHARED},
        **(more or {}),
        "pictures": [d.entry | {"recipe": rest} for d, rest in zip(done, own, strict=True)],
    }
    return target.json(name, body)


def report(bad: Sequence[str], code: int = 0) -> int:
    """Print what failed; the exit code."""
    if bad:
        print(f"error: {counted(len(bad), 'picture')} could not be made:", file=sys.stderr)
        for line in bad:
            print(f"  {one_line(line)}", file=sys.stderr)
    return code or (1 if bad else 0)

"""--mode=search: the strength by eye, by answers on the terminal, and then the edits with it."""

import sys
from collections.abc import Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images
from sdedit_jax.diffusion.strength import check_t0
from sdedit_jax.edits.by_eye import ANSWERS, DONE, Bracket
from sdedit_jax.files.wording import one_line
from sdedit_jax.modes import kinds
from sdedit_jax.modes.edit import Edits, begun, finish
from sdedit_jax.modes.files import Target, sheet
from sdedit_jax.modes.jobs import Failed, run
from sdedit_jax.modes.session import Job, Kind, leads, side_of_cells
from sdedit_jax.pipeline.outputs import on_background

Shown = Mapping[str, np.ndarray]
"""The name of a job -> its picture, as a cell of a sheet."""


def search(config: ConfigDict, target: Target) -> int:
    """Show edits of three strengths, and narrow these by the answers less, more and done.

    Writes search_1.png, search_2.png .. with the candidates. After "done" the middle one is the
    strength, and all is written as by --mode=edit. The answers are lines of the standard input.

    Raises:
        ValueError: the input ends before "done".
    """
    edits = begun(config, target, kinds.module_of(config).check_search)
    if not edits.jobs:
        return finish(edits, target)
    taken = {f"{job.name}.png" for job in edits.jobs}
    if (found := strength_of(edits)) is not None:
        print(f"strength  t0 {found:g}, of the interrupted run")
        jobs = [job._replace(value=found) for job in edits.jobs]
        return finish(edits._replace(jobs=jobs), target)
    bracket, answer, known, number = Bracket(), "", {}, 0
    side = side_of_cells(edits.kind, edits.inputs)
    while answer != DONE:
        number += 1
        for t0 in bracket.candidates:
            if t0 not in known:
                known[t0] = cells(edits.kind, edits.jobs, t0, side)
        shown = sheet_of(edits.kind, edits.jobs, {t: known[t] for t in bracket.candidates}, side)
        while (name := f"search_{number}.png") in taken:
            number += 1
        path = target.png(target.free(name), shown)
        less, now, more = bracket.candidates
        print(f"sheet     {path}: t0 {now:g}; less leads to {less:g}, more to {more:g}")
        answer = asked()
        bracket = bracket.after(answer)
    print(f"strength  t0 {bracket.t0:g} by eye")
    jobs = [job._replace(value=bracket.t0) for job in edits.jobs]
    return finish(edits._replace(jobs=jobs), target)


def strength_of(edits: Edits) -> float | None:
    """The strength of the results of an interrupted run; None without one.

    Raises:
        ValueError: it is no strength.
    """
    values = (done.recipe["value"] for done in edits.earlier.values())
    return next(map(check_t0, values), None)


def cells(kind: Kind, jobs: Sequence[Job], t0: float, side: int) -> Shown:
    """The results of the jobs at a strength; a line is printed about each job that fails.

    Args:
        side: pixels of the longest side of a cell.

    Raises:
        FloatingPointError: all fail.
    """
    found, failed = {}, []
    for done in run(kind, [job._replace(value=t0) for job in jobs]):
        if isinstance(done, Failed):
            failed.append(f"{done.job.name}: {done.reason}")
        else:
            picture = on_background(done.made.output.picture, done.job.input.background)
            found[done.job.name] = images.to_cell(picture, side)
    if not found:
        raise FloatingPointError(f"search: no edit of t0 {t0:g} could be made; {failed[0]}")
    for line in failed:
        print(f"error     {one_line(line)}", file=sys.stderr)
    return found


def sheet_of(
    kind: Kind, jobs: Sequence[Job], shown: Mapping[float, Shown], side: int
) -> np.ndarray:
    """A row for each job, a column for each strength, after the input and its guide."""

    def row(job: Job) -> list[tuple[str, np.ndarray | None]]:
        own = ((f"t0 {t0:g}", known.get(job.name)) for t0, known in shown.items())
        return [*leads(kind, job.input, None).items(), *own]

    return sheet(map(row, jobs), [job.name for job in jobs], side)


def asked() -> str:
    """The next answer of the standard input.

    Raises:
        ValueError: it ends.
    """
    while True:
        print(f"{', '.join(ANSWERS[:-1])} or {DONE}? ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            raise ValueError(
                f'search: the input ended before the answer "{DONE}"; no edit was made'
            )
        answer = line.strip().lower()
        if answer in ANSWERS:
            return answer
        print(f"answer must be one of {list(ANSWERS)}, got {answer!r}")

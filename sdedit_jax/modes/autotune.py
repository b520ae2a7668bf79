"""--mode=autotune: the best solver, number of steps and grid for a prior and pictures, measured.

Two independent sets of edits with many steps are the reference; the distance between them is the
noise floor. The distance is the energy distance on hand-made features, between edits of the same
input. The rule of the choice is in evaluation/candidates.py, the files in autotune_report.py.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import signals
from sdedit_jax.evaluation.candidates import (
    Candidate,
    Measured,
    choose,
    distance,
    features_of,
)
from sdedit_jax.modes import autotune_report as report
from sdedit_jax.modes import jobs as batches
from sdedit_jax.modes import kinds
from sdedit_jax.modes.autotune_candidates import (
    candidates_of,
    check,
    check_resolved,
    check_size,
    usual,
    with_candidate,
)
from sdedit_jax.modes.autotune_report import Results
from sdedit_jax.modes.files import Target, list_inputs, needed, refuse_existing, spread
from sdedit_jax.modes.inputs import Input
from sdedit_jax.modes.jobs import Done
from sdedit_jax.modes.sdedit import SDEditKind
from sdedit_jax.modes.session import Job, header, read_inputs
from sdedit_jax.pipeline.executor import Cancel
from sdedit_jax.text.spelling import counted

LEAST, MOST = 16, 256
"""Edits of a set: fewer say nothing, and more are not needed."""
EACH = 4
"""The least number of edits of an input."""
SHARE = 0.9
"""Of the budget that is planned; the rest is for reading, measuring and drawing."""


def autotune(config: ConfigDict, target: Target) -> int:
    """Measure candidates within `budget` seconds; write the table, the plot and a config that runs.

    The record is written after each candidate.

    Returns:
        0; 1 where an input could not be read; 143 or 130 after SIGTERM or SIGINT. The choice is
        then among the candidates that were measured.
    """
    end = time.perf_counter() + config.budget
    check(config)
    listing = list_inputs(config)
    kind = kinds.open_kind(config, listing.inputs)
    files = [target.folder / name for name in report.FILES]
    refuse_existing(files, target.overwrite, needed(config, listing.inputs))
    inputs, bad = read_inputs(kind, listing)
    check_size(kind)
    print("\n".join(header(kind, config.batch)))
    results = None
    with signals.catch() as caught, contextlib.suppress(Stopped):
        for results in measure(kind, inputs, end, caught.stop):
            report.record(target, results)
    if results is not None:
        chosen = choose(results.found, results.floor)
        print(f"chosen    {report.line(chosen)}")
        report.write(target, results._replace(chosen=chosen))
    if caught.name:
        kept = "the candidates measured so far are kept" if results else "no candidate was measured"
        print(f"error: {caught.name}; {kept}", file=sys.stderr)
    return caught.exit_code or (1 if bad else 0)


class Stopped(Exception):
    """A signal came; the edits in hand are discarded."""


class EditSet(NamedTuple):
    """Edits by one candidate: their features [N, D], and evaluations and seconds of an edit."""

    features: np.ndarray
    evaluations: float
    seconds: float


class Budget(NamedTuple):
    """What a candidate costs here.

    Attributes:
        kind, jobs: the edits, one for each input, at most MOST / EACH.
        evaluation: seconds of an evaluation of one picture in a batch.
        compile: seconds of a candidate's programs. end: the time when the budget is used up.
    """

    kind: SDEditKind
    jobs: Sequence[Job]
    evaluation: float
    compile: float
    end: float

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.perf_counter()

    def estimate(self, one: Candidate, count: int) -> float:
        """The seconds of a set of edits; of an adaptive solver, the most."""
        most = with_candidate(self.kind, one).resolved.plan.nfe
        return self.compile + most * count * self.evaluation


def measure(
    kind: SDEditKind, inputs: Sequence[Input], end: float, cancel: Cancel
) -> Iterator[Results]:
    """Measure the floor and then candidates, the cheapest first: the results after each one.

    Raises:
        ValueError: the budget ends before a candidate is measured.
        Stopped: `cancel` is set.
    """
    given, candidates = kind.config, candidates_of(kind.config)
    check_resolved(kind, candidates)
    budget = first_batch(kind, inputs, candidates[0], end, cancel)
    best = usual(given.autotune.reference)
    count = edits_within(budget, [best, best, *candidates])

    def edits(one: Candidate, seed: int) -> EditSet:
        return edits_of(kind, budget.jobs, one, count, seed, cancel)

    first, second = (edits(best, seed) for seed in (1, 2))
    whole, of = np.concatenate([first.features, second.features]), len(budget.jobs)
    apart = distance(first.features, second.features, whole, of)
    results = Results(given, count, candidates, Measured(best, *second[1:], *apart))
    print(f"floor     {apart[0]:.4f} +- {apart[1]:.4f}, between two references")
    for one in candidates:
        if budget.estimate(one, count) <= budget.left:
            made = edits(one, 3)
            own = Measured(one, *made[1:], *distance(made.features, whole, whole, of))
            results = results._replace(found=(*results.found, own))
            print(report.line(own))
            yield results
    if not results.found:
        raise ValueError(f"budget: {given.budget:g} s were used up before a candidate was measured")


def first_batch(
    kind: SDEditKind, inputs: Sequence[Input], one: Candidate, end: float, cancel: Cancel
) -> Budget:
    """The budget, by the time that one batch of a candidate takes."""
    some = [Job(item, "", kind.config.seed) for item in spread(inputs, MOST // EACH)]
    jobs, start = batches.with_strengths(kind, some), time.perf_counter()
    made = edits_of(kind, jobs, one, kind.config.batch, 0, cancel)
    whole = time.perf_counter() - start
    return Budget(
        kind, jobs, made.seconds / made.evaluations, whole - made.seconds * kind.config.batch, end
    )


def edits_of(
    kind: SDEditKind, jobs: Sequence[Job], one: Candidate, count: int, seed: int, cancel: Cancel
) -> EditSet:
    """`count` edits by a candidate, the inputs in turn.

    Raises:
        FloatingPointError: the model gave NaN.
        Stopped: `cancel` is set.
    """
    kind, places = with_candidate(kind, one), (divmod(k, len(jobs)) for k in range(count))
    rows = [jobs[i]._replace(seed=seed, sample=k, trials=None) for k, i in places]
    made = list(batches.run(kind, rows, cancel))
    if len(made) < count:
        raise Stopped
    failed = [row.reason for row in made if not isinstance(row, Done)]
    if failed:
        raise FloatingPointError(failed[0])
    most = kind.resolved.plan.nfe
    used = np.mean([row.entry.get("evaluations", most) for row in made])
    seconds = np.median([row.entry["seconds"] for row in made])
    pictures = np.stack([row.made.output.fitted for row in made])
    return EditSet(features_of(pictures), round(float(used), 1), float(seconds))


def edits_within(budget: Budget, every: Sequence[Candidate]) -> int:
    """The largest sets of edits with which all fit into the seconds that are left.

    Where not even the smallest sets fit, the last candidates are left out.

    Args:
        every: the reference, twice, and the candidates.

    Raises:
        ValueError: the budget does not allow the reference and one candidate.
    """
    left, given = budget.left, budget.kind.config.budget

    def seconds(rows: Sequence[Candidate], count: int) -> float:
        return sum(budget.estimate(one, count) for one in rows)

    fewest = max(LEAST, EACH * len(budget.jobs))
    least = seconds(every[:3], fewest) / SHARE
    if least > left:
        raise ValueError(
            f"budget: {given:g} s are too few here; the reference and one candidate need about"
            f" {given - left + least:.0f} s"
        )
    counts = [n for n in range(fewest, MOST + 1, 16) if seconds(every, n) <= SHARE * left]
    count = max(counts, default=fewest)
    print(
        f"plan      {counted(len(every) - 2, 'candidate')}, {counted(count, 'edit')} each,"
        f" reference with {every[0].steps} steps, about {seconds(every, count):.0f} s"
    )
    return count

"""--mode=autotune: the best solver, number of steps and grid for a prior and pictures, measured.

Two independent sets of edits with many steps are the reference; the distance between them is the
noise floor. Chosen is the candidate of the fewest evaluations within two standard errors of that
floor. The distance is the energy distance on hand-made features, between edits of the same input.
"""

import dataclasses
import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, registry
from sdedit_jax.caution import warn
from sdedit_jax.diffusion.solvers import PLMS
from sdedit_jax.evaluation import features, kid
from sdedit_jax.images import plots
from sdedit_jax.modes import jobs as batches
from sdedit_jax.modes import kinds
from sdedit_jax.modes.files import (
    Target,
    list_inputs,
    needed,
    plain,
    refuse_existing,
    spread,
)
from sdedit_jax.modes.jobs import Done
from sdedit_jax.modes.sdedit import SDEditKind
from sdedit_jax.modes.session import Input, Job, header, read_inputs
from sdedit_jax.pipeline import settings
from sdedit_jax.registry import sampler_parts
from sdedit_jax.registry.sampler_parts import GRIDS, SOLVERS, Scheduler
from sdedit_jax.text.spelling import counted

FILES = ("autotune.json", "autotune.md", "autotune.png", "tuned.py")
LEAST, MOST = 16, 256
"""Edits of a set: fewer say nothing, and more are not needed."""
EACH = 4
"""The least number of edits of an input."""
NONE_AT_FLOOR = "no candidate reaches the noise floor, and the nearest one is chosen"
SHARE = 0.9
"""Of the budget that is planned; the rest is for reading, measuring and drawing."""


class Candidate(NamedTuple):
    """A solver, a grid and the number of steps."""

    rule: str
    grid: str
    steps: int


class Measured(NamedTuple):
    """A candidate, measured.

    Attributes:
        candidate: its settings.
        evaluations: network evaluations of an edit, the mean for an adaptive solver.
        seconds: of an edit, in a batch, without compilation.
        distance: energy distance to the reference. error: its standard error.
    """

    candidate: Candidate
    evaluations: float
    seconds: float
    distance: float
    error: float

    @property
    def row(self) -> dict[str, Any]:
        """The settings and the measurements, for JSON."""
        measured = self._asdict()
        return {**measured.pop("candidate")._asdict(), **measured}


class Plan(NamedTuple):
    """What the budget allows.

    Attributes:
        jobs: the edits of a set. reference: steps of the reference. seconds: estimated, of all.
    """

    jobs: int
    reference: int
    seconds: float


def autotune(config: ConfigDict, target: Target) -> int:
    """Measure candidates within `budget` seconds; write the table, the plot and a config that runs.

    Returns:
        0, or 1 where an input could not be read.
    """
    begun = time.perf_counter()
    check(config)
    listing = list_inputs(config)
    kind = kinds.open_kind(config, listing.inputs)
    files = [target.folder / name for name in FILES]
    refuse_existing(files, target.overwrite, needed(config, listing.inputs))
    inputs, bad = read_inputs(kind, listing)
    check_size(kind)
    print("\n".join(header(kind, config.batch)))
    candidates = candidates_of(config)
    check_resolved(kind, candidates)
    trial = Trial(kind, inputs, candidates[0])
    left = config.budget - (time.perf_counter() - begun)
    plan = planned(trial, candidates, config.autotune.reference, left)
    print(
        f"plan      {counted(len(candidates), 'candidate')}, {counted(plan.jobs, 'edit')} each,"
        f" reference with {plan.reference} steps, about {plan.seconds:.0f} s"
    )
    best = usual(plan.reference)
    sets = [features_of(trial.edits(best, plan.jobs, seed)) for seed in (1, 2)]
    whole, count = np.concatenate(sets), len(trial.jobs)
    floor = Measured(best, *trial.cost(best), *distance(*sets, whole, count))
    print(f"floor     {floor.distance:.4f} +- {floor.error:.4f}, between two references")
    found, skipped = [], []
    for one in candidates:
        if time.perf_counter() - begun + trial.estimate(one, plan.jobs) > config.budget:
            skipped.append(one)
            continue
        made = features_of(trial.edits(one, plan.jobs, 3))
        found.append(Measured(one, *trial.cost(one), *distance(made, whole, whole, count)))
        print(line(found[-1]))
    if not found:
        raise ValueError(
            f"budget: {config.budget:g} s were used up before a candidate was measured"
        )
    chosen = choose(found, floor)
    print(f"chosen    {line(chosen)}")
    write(target, config, found, skipped, floor, chosen, plan)
    return 1 if bad else 0


def check(config: ConfigDict) -> None:
    """Check the fields of the mode.

    Raises:
        ValueError: an edit of another kind, a preset, or a field out of its range.
    """
    if "autotune" not in config or config.get("method", "sdedit") != "sdedit":
        raise ValueError("autotune: is for configs of SDEdit; this config has no such sampler")
    if config.preset:
        raise ValueError(f"preset: {config.preset!r} fixes the sampler that autotune finds")
    if not config.budget > 0:
        raise ValueError(f"budget must be above 0 seconds, got {config.budget:g}")
    check_candidates(config)
    if config.autotune.reference <= max(config.autotune.steps):
        raise ValueError(
            f"autotune.reference must be above {max(config.autotune.steps)}, the largest of"
            f" autotune.steps, got {config.autotune.reference}"
        )


def check_candidates(config: ConfigDict) -> None:
    """Check the types, names and ranges of the candidates and the steps of the reference.

    Raises:
        ValueError: naming the field, one of autotune.rules, grids, steps and reference.
    """
    given = config.autotune
    for name in ("rules", "grids", "steps"):
        if not given[name]:
            raise ValueError(f"autotune.{name} must not be empty")
        if len(set(given[name])) < len(given[name]):
            raise ValueError(f"autotune.{name} must be distinct, got {tuple(given[name])}")
    for rule in given.rules:
        registry.check_kind(rule, str, "autotune.rules")
        if isinstance(sampler_parts.parse(rule, SOLVERS, "autotune.rules"), PLMS):
            raise ValueError(f"autotune.rules: {rule!r} is for grids of diffusers, without t0")
    for grid in given.grids:
        registry.check_kind(grid, str, "autotune.grids")
        if isinstance(sampler_parts.parse(grid, GRIDS, "autotune.grids"), Scheduler):
            raise ValueError(f"autotune.grids: {grid!r} has no t0; give grids that have one")
    for name, values in {"steps": given.steps, "reference": [given.reference]}.items():
        for value in values:
            registry.check_kind(value, int, f"autotune.{name}")
            if value < 1:
                raise ValueError(f"autotune.{name} must be at least 1, got {value}")


def check_size(kind: SDEditKind) -> None:
    """Raise ValueError for a size of the edit that the features cannot measure."""
    if any(side % 8 for side in kind.size):
        raise ValueError(f"size: autotune needs multiples of 8 pixels, got {kind.size}")


def check_resolved(kind: SDEditKind, candidates: Sequence[Candidate]) -> None:
    """Raise ValueError for a candidate that the prior cannot run."""
    for one in candidates:
        try:
            with_candidate(kind, one)
        except ValueError as error:
            raise ValueError(f"autotune.rules: {one.rule!r}: {error}") from None


def with_candidate(kind: SDEditKind, one: Candidate) -> SDEditKind:
    """The edit with the solver, grid and number of steps of a candidate."""
    resolved = kind.resolved
    values = dataclasses.asdict(resolved.sampling) | one._asdict()
    sampling = settings.sampling(values, prefix="autotune: ")
    own = settings.resolve(resolved.prior, sampling, resolved.t0)
    return dataclasses.replace(kind, resolved=own)


def candidates_of(config: ConfigDict) -> list[Candidate]:
    """All combinations, the cheapest first: the budget may cut off the last ones."""
    given = config.autotune
    parts = itertools.product(sorted(given.steps), given.grids, given.rules)
    return [Candidate(rule, grid, steps) for steps, grid, rule in parts]


def usual(steps: int) -> Candidate:
    """The default solver and grid."""
    return Candidate(settings.Sampling.rule, settings.Sampling.grid, steps)


# --- edits ----------------------------------------------------------------------------------------


class Trial:
    """Edits of the inputs with any candidate, and what they took; `first` is run at once.

    Attributes:
        kind: the edit of the config. jobs: one for each input, at most MOST / EACH.
        seconds: of an evaluation of one picture in a batch; compile: of a candidate's programs.
    """

    def __init__(self, kind: SDEditKind, inputs: Sequence[Input], first: Candidate) -> None:
        some = [Job(one, "", kind.config.seed) for one in spread(inputs, MOST // EACH)]
        self.kind, self.jobs, self.taken = kind, kind.with_strengths(some), {}
        start = time.perf_counter()
        self.edits(first, kind.config.batch, 0)
        evaluations, seconds = self.cost(first)
        whole = time.perf_counter() - start
        self.seconds = seconds / evaluations
        self.compile = whole - seconds * kind.config.batch

    def edits(self, one: Candidate, count: int, seed: int) -> np.ndarray:
        """`count` edits uint8 [count, H, W, 3], the inputs in turn.

        Raises:
            FloatingPointError: the model gave NaN.
        """
        places = (divmod(k, len(self.jobs)) for k in range(count))
        rows = [self.jobs[i]._replace(seed=seed, sample=k, trials=None) for k, i in places]
        made = list(batches.run(with_candidate(self.kind, one), rows))
        failed = [row.reason for row in made if not isinstance(row, Done)]
        if failed:
            raise FloatingPointError(failed[0])
        most = with_candidate(self.kind, one).resolved.plan.nfe
        used = float(np.mean([row.entry.get("evaluations", most) for row in made]))
        seconds = float(np.median([row.entry["seconds"] for row in made]))
        self.taken[one] = round(used, 1), seconds
        return np.stack([row.made.output.fitted for row in made])

    def cost(self, one: Candidate) -> tuple[float, float]:
        """Evaluations and seconds of an edit that was made."""
        return self.taken[one]

    def estimate(self, one: Candidate, count: int) -> float:
        """The seconds of a set of edits; of an adaptive solver, the most."""
        return (
            self.compile + with_candidate(self.kind, one).resolved.plan.nfe * count * self.seconds
        )


def planned(trial: Trial, candidates: Sequence[Candidate], reference: int, left: float) -> Plan:
    """The largest sets of edits with which all candidates fit into the seconds that are left.

    Where not even the smallest sets fit, the last candidates are left out.

    Raises:
        ValueError: the budget does not allow the reference and one candidate.
    """
    config, best = trial.kind.config, usual(reference)
    every = [best, best, *candidates]

    def seconds(rows: Sequence[Candidate], count: int) -> float:
        return sum(trial.estimate(one, count) for one in rows)

    fewest = max(LEAST, EACH * len(trial.jobs))
    least = seconds(every[:3], fewest) / SHARE
    if least > left:
        raise ValueError(
            f"budget: {config.budget:g} s are too few here; the reference and one candidate need"
            f" about {config.budget - left + least:.0f} s"
        )
    counts = [n for n in range(fewest, MOST + 1, 16) if seconds(every, n) <= SHARE * left]
    count = max(counts, default=fewest)
    return Plan(count, reference, seconds(every, count))


# --- distances ------------------------------------------------------------------------------------


def features_of(pictures: np.ndarray) -> np.ndarray:
    """Hand-made features [N, D] of uint8 [N, H, W, 3]."""
    return features.hand_made(images.to_unit(pictures))


def distance(
    x: np.ndarray, y: np.ndarray, reference: np.ndarray, inputs: int
) -> tuple[float, float]:
    """The mean over the inputs of the unbiased energy distance of their edits; standard error.

    Args:
        x, y: features of edits, of the inputs in turn. reference: in whose units they are taken.
    """
    x, y = (features.standardised(rows, reference) for rows in (x, y))
    of_x, of_y = (np.arange(len(rows)) % len(x) % inputs for rows in (x, y))
    return kid.grouped(x, y, of_x, of_y)


def at_floor(one: Measured, floor: Measured) -> bool:
    """Whether a distance is within two of its standard errors of the floor, which is 0 at least."""
    return one.distance - max(floor.distance, 0.0) <= 2 * one.error


def choose(found: Sequence[Measured], floor: Measured) -> Measured:
    """The candidate of the fewest evaluations within two standard errors of the floor.

    Among those of as many evaluations it is the nearest one. Where none is within, it is the
    nearest of all.

    Warns:
        UserWarning: none is within, or all are: the budget is too small to tell them apart.
    """
    good = [m for m in found if at_floor(m, floor)]
    if not good:
        warn(f"autotune: {NONE_AT_FLOOR}; give more steps (autotune.steps) or other solvers")
        return min(found, key=lambda m: m.distance)
    if len(good) == len(found) > 1:
        warn(
            "budget: no candidate can be told from the noise floor; with more seconds more edits"
            " are compared"
        )
    return min(good, key=lambda m: (m.evaluations, m.distance))


def pareto(found: Sequence[Measured]) -> list[Measured]:
    """Those that no other one beats in evaluations and distance, by evaluations."""
    best, front = float("inf"), []
    for one in sorted(found, key=lambda m: (m.evaluations, m.distance)):
        if one.distance < best:
            best = one.distance
            front.append(one)
    return front


# --- results --------------------------------------------------------------------------------------


def line(one: Measured) -> str:
    """A measured candidate, for the screen."""
    rule, grid, steps = one.candidate
    return (
        f"{rule}, {grid}, {counted(steps, 'step')}: {one.evaluations:g} evaluations,"
        f" {one.seconds:.3f} s, distance {one.distance:.4f} +- {one.error:.4f}"
    )


def write(
    target: Target,
    config: ConfigDict,
    found: Sequence[Measured],
    skipped: Sequence[Candidate],
    floor: Measured,
    chosen: Measured,
    plan: Plan,
) -> None:
    """The files of FILES."""
    body = {
        "config": plain(config),
        "edits": plan.jobs,
        "features": sorted(features.HAND_MADE),
        "floor": floor.row,
        "candidates": [m.row for m in found],
        "not_measured": [one._asdict() for one in skipped],
        "floor_reached": at_floor(chosen, floor),
        "chosen": chosen.candidate._asdict(),
    }
    record = target.json(FILES[0], body)
    text = table(found, skipped, floor, chosen)
    images.write_bytes(target.folder / FILES[1], text.encode(), target.overwrite)
    target.png(FILES[2], plot(found, floor, chosen))
    path = target.folder / FILES[3]
    images.write_bytes(path, program(config, chosen.candidate).encode(), target.overwrite)
    print(f"record {record}\nconfig {path}; run it with --config={path}")


def table(
    found: Sequence[Measured], skipped: Sequence[Candidate], floor: Measured, chosen: Measured
) -> str:
    """The table as Markdown; the candidates of the Pareto front are bold."""
    front = pareto(found)
    head = ["solver", "grid", "steps", "evaluations", "seconds", "distance", "standard error"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for m in sorted(found, key=lambda m: (m.evaluations, m.distance)):
        bold = "**" if m in front else ""
        mark = " (chosen)" if m is chosen else ""
        rule, grid, steps = m.candidate
        cells = [f"{bold}{rule}{bold}{mark}", grid, steps, f"{m.evaluations:g}", f"{m.seconds:.3f}"]
        lines.append(f"| {' | '.join(map(str, cells))} | {m.distance:.4f} | {m.error:.4f} |")
    lines += ["", f"Noise floor: {line(floor)}."]
    if not at_floor(chosen, floor):
        lines += [f"{NONE_AT_FLOOR.capitalize()}."]
    if skipped:
        names = ", ".join(f"{one.rule} {one.grid} {one.steps}" for one in skipped)
        lines += [f"Not measured within the budget: {names}."]
    return "\n".join(lines) + "\n"


def plot(found: Sequence[Measured], floor: Measured, chosen: Measured) -> np.ndarray:
    """Distance against evaluations as a picture uint8 [H, W, 3]."""
    figure = plots.figure(8.5)
    axes = figure.subplots()
    for rule, grid in dict.fromkeys((m.candidate.rule, m.candidate.grid) for m in found):
        own = [m for m in found if m.candidate[:2] == (rule, grid)]
        x, y, e = zip(*((m.evaluations, m.distance, m.error) for m in own), strict=True)
        axes.errorbar(x, y, e, marker="o", ms=4, capsize=2, label=f"{rule}, {grid}")
    axes.axhline(max(floor.distance, 0.0), color="0.5", ls="--", label="noise floor")
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

"""The candidates of --mode=autotune: from the config, checked before any edit."""

import dataclasses
import itertools
from collections.abc import Sequence

from ml_collections import ConfigDict

from sdedit_jax.diffusion.solvers import PLMS
from sdedit_jax.evaluation.candidates import Candidate
from sdedit_jax.modes.sdedit import SDEditKind
from sdedit_jax.pipeline import settings
from sdedit_jax.registry import sampler_parts
from sdedit_jax.registry.sampler_parts import GRIDS, SOLVERS, Scheduler


def check(config: ConfigDict) -> None:
    """Check the fields of the mode.

    Raises:
        ValueError: an edit of another kind, a preset, or a field out of its range.
    """
    if "autotune" not in config or config.get("method", "sdedit") != "sdedit":
        raise ValueError("autotune: is for configs of SDEdit; this config has no such sampler")
    if config.preset:
        raise ValueError(f"preset: {config.preset!r} fixes the sampler that autotune finds")
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
        if isinstance(sampler_parts.parse(rule, SOLVERS, "autotune.rules"), PLMS):
            raise ValueError(f"autotune.rules: {rule!r} is for grids of diffusers, without t0")
    for grid in given.grids:
        if isinstance(sampler_parts.parse(grid, GRIDS, "autotune.grids"), Scheduler):
            raise ValueError(f"autotune.grids: {grid!r} has no t0; give grids that have one")


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

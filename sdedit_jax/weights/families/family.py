"""The type of a checkpoint family: the checkpoints of one original program, in any file format."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sdedit_jax.files.wording import brief
from sdedit_jax.weights.source import Source

Card = dict[str, Any]
"""The metadata of a model in prior.json: network, config, process, prediction, size, range."""

Shapes = Mapping[str, Any]


class Family(NamedTuple):
    """What the conversion needs to know about the checkpoints of one original program.

    Attributes:
        name: as in architecture files and cards, e.g. "score_sde".
        recognise: Source -> whether its tensor names (and config) are this family's.
        describe: (source, given) -> Card. `given` is the original's configuration, in the layout
            that the family documents, from the catalogue or an architecture file; {} without one.
            Fields are inferred from the tensors where possible. A contradiction to `given`, or a
            field that is in neither, raises ValueError (see `missing`).
        names: (source, card, shapes) -> {our leaf path "a/b/kernel": name in source.tensors} for
            the leaves whose name differs from that of weights/conversion.py.
        unused: (source, card) -> {name in source.tensors: reason}, for tensors that are not
            weights: buffers, and tables that are computed here.
    """

    name: str
    recognise: Callable[[Source], bool]
    describe: Callable[[Source, Mapping[str, Any]], Card]
    names: Callable[[Source, Card, Shapes], Mapping[str, str]]
    unused: Callable[[Source, Card], Mapping[str, str]]


STEPS = 100_000
"""Noise levels of a table."""


def steps(value: Any, field: str) -> int:
    """A number of noise levels, from a file.

    Raises:
        ValueError: no whole number, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise ValueError(f"architecture: {field} must be a whole number, got {brief(value)}")
    if not 1 <= value <= STEPS:
        raise ValueError(f"architecture: {field} must be in [1, {STEPS}], got {brief(value)}")
    return int(value)


def number(value: Any, field: str) -> float:
    """A finite number, from a file; programs write 1e-4 into ymls as a text.

    Raises:
        ValueError: no number, or not finite.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"architecture: {field} must be a finite number, got {brief(value)}")
    return found


def rate(value: Any, field: str) -> float:
    """A number between 0 and 1, from a file.

    Raises:
        ValueError: no number, or out of range.
    """
    found = number(value, field)
    if not 0 < found < 1:
        raise ValueError(f"architecture: {field} must be in (0, 1), got {brief(value)}")
    return found


def part(values: Any, field: str) -> dict[str, Any]:
    """An object in a configuration; {} for null.

    Raises:
        ValueError: another value.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise ValueError(f"architecture: {field} must be an object, got {brief(values)}")
    return dict(values)


def missing(family: str, fields: list[str], known: str = "") -> ValueError:
    """The error for fields that are neither in the file nor given by the user."""
    hint = "give --config.card=NAME or --config.architecture=FILE.json"
    return ValueError(f"architecture: {family} files do not contain {fields}; {hint}{known}")

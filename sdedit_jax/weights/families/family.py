"""The type of a checkpoint family: one kind of original program, whatever file format it wrote."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sdedit_jax.weights.source import Source

Card = dict[str, Any]
"""The part of prior.json that describes a model: network, config, process, prediction, size,
range."""

Shapes = Mapping[str, Any]


class Family(NamedTuple):
    """What the importer must know about the checkpoints of one original program.

    Attributes:
        name: as in architecture files and cards, e.g. "score_sde".
        recognise: Source -> whether its tensor names (and config) are this family's.
        describe: (source, given) -> Card. `given` is the original's own configuration, in the
            layout that the family documents, from a catalogue card or an architecture file; {} if
            the user gave none. What the tensors tell is inferred and, where `given` says otherwise,
            refused; what neither tells raises ValueError with `missing`.
        names: (source, card, shapes) -> {our leaf path "a/b/kernel": name in source.tensors} for
            the leaves that the one rule (weights/rule.py) would look for under another name.
        unused: (source, card) -> {name in source.tensors: why it is no weight of ours} (buffers,
            tables that we compute).
        files: source -> {path within the prior's folder: file that is copied there}.
    """

    name: str
    recognise: Callable[[Source], bool]
    describe: Callable[[Source, Mapping[str, Any]], Card]
    names: Callable[[Source, Card, Shapes], Mapping[str, str]]
    unused: Callable[[Source, Card], Mapping[str, str]]
    files: Callable[[Source], Mapping[str, Path]] = lambda source: {}


def missing(family: str, fields: list[str], known: str = "") -> ValueError:
    """The error for what a file does not tell and the user did not give."""
    hint = "give --config.card=NAME or --config.architecture=FILE.json"
    return ValueError(f"architecture: {family} files do not tell {fields}; {hint}{known}")

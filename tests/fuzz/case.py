"""What a case is, and the kinds of cases by name."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """A run of the program, or a call of the Python API, with files that are laid down already.

    Attributes:
        argv: arguments of the program; they belong to `call` if that is given.
        names: an error must name one of these; (): any text will do.
        note: what is wrong with the input.
        writes: folders beside the usual ones in which the case may write.
        sound: whether nothing is wrong, so that the exit code must be 0.
        whole: whether it runs to its end whatever its seed.
        call: instead of the program.
    """

    argv: list[str]
    names: tuple[str, ...] = ()
    note: str = ""
    writes: tuple[str, ...] = ()
    sound: bool = False
    whole: bool = False
    call: Callable[[], object] | None = None


Make = Callable[["Random"], Case]
"""Lays down files in the current folder; the stock of sound files is in the folder `stock`."""
KINDS: dict[str, Make] = {}


def kind(make):
    """Register a kind of case under the name of its function."""
    assert list(inspect.signature(make).parameters) == ["rng"], make
    KINDS[make.__name__] = make
    return make


class Random:
    """numpy's generator with the few draws that cases need."""

    def __init__(self, name, seed):
        self.seed = seed
        self.bits = np.random.default_rng([*name.encode(), seed])

    def below(self, n):
        return int(self.bits.integers(n))

    def between(self, low, high):
        return low + self.below(high - low + 1)

    def chance(self, p):
        return self.bits.random() < p

    def choice(self, values):
        values = list(values)
        return values[self.below(len(values))]

    def bytes(self, n):
        return self.bits.bytes(n)


def program(mode, config, /, workdir="out", **fields):
    """Arguments of the program; "a__b" stands for the field a.b."""
    argv = [f"--config={config}"] + [f"--mode={mode}"] * (mode != "edit")
    argv += [f"--workdir={workdir}"] * bool(workdir)
    return argv + [f"--config.{n.replace('__', '.')}={v}" for n, v in fields.items()]


FEW = {"samples": 1, "batch": 1, "devices": 1, "cache": ""}
EXACT = FEW | {"prior": "stock/exact", "sampler__steps": 1}
PHOTO = "stock/photo.png"


def edit(config="strokes", /, mode="edit", **fields):
    """Arguments of a short edit with the exact prior."""
    return program(mode, config, **(EXACT | {"input": PHOTO} | fields))

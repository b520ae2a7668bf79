"""The memory of a device that an edit needs, by the compiler's own analysis. Nothing is run."""

from typing import Any, NamedTuple

import jax
from jax import Array

from sdedit_jax import devices
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.base import Pipeline

MEASURED = (1, 2)
"""Rows of the programs that are compiled; what more rows need grows linearly."""


class Needs(NamedTuple):
    """Bytes that edits of one device need: `fixed` (parameters), and `each` for a row.

    Attributes:
        measured: rows -> bytes of the programs that were compiled.
    """

    fixed: int
    each: int
    measured: dict[int, int]

    def at(self, rows: int) -> int:
        """Bytes for a number of rows."""
        return self.fixed + rows * self.each

    def most(self, free: int) -> int:
        """The largest number of rows that fits into `free` bytes; 0: none does."""
        return max((free - self.fixed) // self.each, 0)


class Sizes:
    """Stands for a Runner: compiles the parts of a pipeline and returns shapes, without a run.

    Attributes:
        most: bytes of the largest part so far; None: the compiler tells nothing.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.runner = pipeline, executor.Runner(pipeline, 1, [0.0])
        self.most: int | None = 0

    def __call__(self, part: str, *args: Any, **static: Any) -> Any:
        program = self.runner.program(part, args, static)
        size = bytes_of(program)
        self.most = None if None in (size, self.most) else max(size, self.most)
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), program.out_info)


def bytes_of(program: Any) -> int | None:
    """Bytes of a device while a compiled program runs; None where the compiler tells nothing."""
    try:
        found = program.memory_analysis()
    except (NotImplementedError, jax.errors.JaxRuntimeError):  # of some devices
        return None
    if found is None:
        return None
    size = found.argument_size_in_bytes + found.output_size_in_bytes
    return size + found.temp_size_in_bytes - found.alias_size_in_bytes


def needs(pipeline: Pipeline, params: Any, request: Any, key: Array) -> Needs | None:
    """The memory that edits like one request need; None where the compiler tells nothing.

    Args:
        request: of one picture. key: of its noise.
    """
    found = {rows: of_rows(pipeline, params, request, key, rows) for rows in MEASURED}
    few, more = MEASURED
    if found[few] is None or found[more] is None:
        return None
    each = max((found[more] - found[few]) // (more - few), 1)
    return Needs(found[few] - few * each, each, found)


def of_rows(pipeline: Pipeline, params: Any, request: Any, key: Array, rows: int) -> int | None:
    """Bytes for an edit of some rows on one device: the largest part, and what is recorded."""
    sizes = Sizes(pipeline)
    batch = (devices.stack([request] * rows), jax.numpy.stack([key] * rows))
    given, keys = devices.spread(batch, 1)
    edit, kept, seen = executor.Edit(sizes, params, given, keys), 0, set()
    for chunk in executor.chunks(pipeline):
        if (kind := (chunk.stage, chunk.count, bool(chunk.index), bool(chunk.repeat))) not in seen:
            edit.advance(chunk, False)
            seen.add(kind)
        elif chunk.stage.records:
            edit.tape[chunk.stage.name].append(edit.tape[chunk.stage.name][-1])
    if not pipeline.keep_on_host:
        kept = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(edit.tape))
    sizes("finish", params, given, edit.request, edit.state)
    return None if sizes.most is None else sizes.most + kept

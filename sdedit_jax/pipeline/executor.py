"""The executor alone compiles an edit, caches its programs and places arrays on devices. It runs
chunks of steps, reports progress and stops.

An edit runs in chunks of steps that share one program. Between the parts of an edit the arrays stay
on the devices, and the carry is donated. What is compiled depends on the pipeline, the shapes and
the devices; strength, pictures, masks, conditions and keys are arguments.
"""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax import devices as parallel
from sdedit_jax.pipeline.base import (
    Cancelled,
    Event,
    Finished,
    Pipeline,
    Stage,
    total_evaluations,
)
from sdedit_jax.pipeline.recent import Recent

KEPT_PROGRAMS = 64
LARGE = 2**27
"""Bytes of parameters that several devices of a CPU do not copy."""
EARLY = 10
"""The most steps between two looks at whether a stage has ended early."""


class Cancel(Protocol):
    """A token that another thread may set, such as threading.Event."""

    def is_set(self) -> bool:
        """Whether to stop the edit after the current chunk."""


# part -> (axes that are mapped over rows, the argument that is donated)
PARTS: Mapping[str, tuple[tuple[int | None, ...], tuple[int, ...]]] = {
    "prepare": ((None, 0), ()),
    "init": ((None, 0, 0, 0, None), ()),
    "advance": ((None, 0, 0, 0, 0, None, None), (3,)),
    "show": ((None, 0), ()),
    "finish": ((None, 0, 0, 0), ()),
}


PROGRAMS = Recent(KEPT_PROGRAMS, release=jax.clear_caches)
"""Compiled parts of pipelines, by value. JAX's own caches hold each of them too, without end, so
they are emptied now and then; the programs that are kept here stay."""


class Runner(NamedTuple):
    """A pipeline on some devices; `seconds` has one entry, the time of compiling so far."""

    pipeline: Pipeline
    devices: int
    seconds: list[float]

    def __call__(self, part: str, *args: Any, **static: Any) -> Any:
        """A part of the pipeline on arguments that are spread over the devices."""
        return self.program(part, args, static)(*args)

    def program(self, part: str, args: tuple, static: Mapping[str, Any]) -> Any:
        """The compiled part for arguments, or for their shapes."""
        key = (self.pipeline, part, tuple(static.items()), self.devices, _signature(args))
        program, seconds = PROGRAMS.get(key, lambda: self.compile(part, args, static))
        self.seconds[0] += seconds
        return program

    def compile(self, part: str, args: tuple, static: Mapping[str, Any]) -> Any:
        """The compiled part for arguments of these shapes."""
        axes, donated = PARTS[part]
        axes = parallel.axes_of_leaves(axes, args)
        fn = functools.partial(getattr(self.pipeline, part), **static)
        rows = jax.vmap(lambda *given: fn(*given), axes, axis_name="batch")
        mapped = parallel.mapped(rows, axes, self.devices, donated)
        return parallel.compiled(mapped.lower(*args))


class Chunk(NamedTuple):
    """Some steps of a stage: the repeat, the chunk's number in it, its first step, its steps."""

    stage: Stage
    repeat: int
    index: int
    first: int
    count: int


class Edit:
    """A batch on its way through the stages; all arrays stay on the devices."""

    def __init__(self, runner: Runner, params: Any, given: Any, keys: Array) -> None:
        self.runner, self.params, self.given, self.keys = runner, params, given, keys
        self.request = runner("prepare", params, given)
        self.state, self.tape, self.evaluations = None, {}, 0

    def advance(self, chunk: Chunk, preview: bool) -> Any:
        """Run the steps; the predicted x0 for a preview, or None."""
        stage, index, repeat = chunk.stage, chunk.index, np.int32(chunk.repeat)
        if not index:
            self.state = self.runner(
                "init", self.params, self.request, self.keys, self.state, repeat, stage=stage.name
            )
        maps = self.tape[stage.replays][index] if stage.replays else None
        self.state, recorded, x0 = self.runner(
            "advance", self.params, self.request, self.keys, self.state, maps, repeat,
            np.int32(chunk.first), stage=stage.name, count=chunk.count, preview=preview,
        )  # fmt: skip
        if stage.records:
            host = self.runner.pipeline.keep_on_host
            kept = jax.device_get(recorded) if host else recorded
            self.tape.setdefault(stage.name, []).append(kept)
        self.evaluations += chunk.count * stage.evaluations
        return x0

    def idle(self, chunk: Chunk) -> bool:
        """Whether the stage has ended early in all rows, so that this chunk need not run."""
        if not chunk.index or not chunk.stage.early:
            return False
        # the host joins the flags: a reduction on the devices would be their only communication
        return bool(np.all(jax.device_get(self.runner.pipeline.idle(self.state))))

    def finish(self, size: int, keep_maps: bool) -> tuple[Any, dict[str, Any]]:
        """The results of the first `size` rows, and the recorded arrays if they are wanted."""
        result = self.runner("finish", self.params, self.given, self.request, self.state)
        tape = self.tape if keep_maps else {}
        return _host(result, size), {name: _joined(part, size) for name, part in tape.items()}


def run(
    pipeline: Pipeline,
    params: Any,
    request: Any,
    keys: Array,
    *,
    devices: int = 0,
    rows: int = 0,
    most: int = 0,
    chunk: int = 0,
    preview_every: int = 0,
    cancel: Cancel | None = None,
    listen: bool = True,
    keep_maps: bool = False,
) -> Iterator[Event | Finished]:
    """Edit a batch; yields an Event after each chunk of steps, and Finished at the end.

    Closing the generator, or setting `cancel`, stops the edit after the current chunk.

    Args:
        params: of the prior, on any devices; they are placed once.
        request: leaves [B, ...]. keys: [B].
        devices: local devices to use; 0: all, but no more than there are rows.
        rows: rows to run, the last ones padding; 0: the next power of two on each device.
        most: rows that this padding does not exceed; 0: no bound.
        chunk: steps at a time; 0: about a tenth of the stage, at most EARLY of one that may end
            early.
        preview_every: chunks from one preview to the next; 0: none.
        listen: whether to wait for each chunk and to yield its event.
        keep_maps: whether Finished has the recorded arrays.
    """
    if cancel is not None and cancel.is_set():
        return
    size, begun = keys.shape[0], time.perf_counter()
    n = devices_for(size, params, devices)
    runner, ran = Runner(pipeline, n, [0.0]), padded(size, n, rows, most)
    given, keys = parallel.spread(_filled((request, keys), size, ran), n)
    edit = Edit(runner, parallel.replicate(params, n), given, keys)
    for at, part in enumerate(chunks(pipeline, chunk), 1):
        if edit.idle(part):
            continue
        preview = bool(preview_every) and at % preview_every == 0
        x0 = edit.advance(part, preview)
        if not listen and cancel is None:
            continue
        jax.block_until_ready(edit.state)
        if listen:
            shown = _host(runner("show", edit.params, x0), size) if preview else None
            seconds = time.perf_counter() - begun - runner.seconds[0]
            yield _event(part, edit.evaluations, pipeline, seconds, shown)
        if cancel is not None and cancel.is_set():
            return
    result, maps = edit.finish(size, keep_maps)
    seconds = time.perf_counter() - begun - runner.seconds[0]
    yield Finished(result, maps, seconds, runner.seconds[0], ran)


def _event(part: Chunk, evaluations: int, pipeline: Pipeline, seconds: float, shown: Any) -> Event:
    stage, total = part.stage, total_evaluations(pipeline)
    step = part.repeat * stage.steps + part.first + part.count
    steps = stage.steps * stage.repeats
    return Event(stage.name, step, steps, evaluations, total, seconds, shown)


def finish(events: Iterator[Event | Finished]) -> Finished:
    """The end of an edit.

    Raises:
        Cancelled: it was stopped before.
    """
    last = None
    for last in events:
        if isinstance(last, Finished):
            return last
    at = f" after step {last.step} of {last.steps} ({last.stage})" if last else ""
    raise Cancelled(f"the edit was stopped{at}")


def allowed(params: Any, devices: int = 0) -> int:
    """The devices that edits with these parameters may use; 0: all.

    Devices of a CPU share its cores. With parameters of LARGE bytes one device keeps them all busy,
    and the others would only hold copies: 0 is then one device.
    """
    if devices or not parallel.on_cpu():
        return parallel.count(devices)
    large = sum(leaf.nbytes for leaf in jax.tree.leaves(params)) >= LARGE
    return 1 if large else parallel.count(0)


def devices_for(size: int, params: Any, devices: int = 0) -> int:
    """The devices that run a batch of this size; 0: all allowed, but no more than padded rows."""
    most = allowed(params, devices)
    return most if devices else min(most, _power_of_two(size))


def padded(size: int, devices: int, rows: int = 0, most: int = 0) -> int:
    """Rows that are run for a batch: `rows`, or the next power of two on each device.

    So batches of many sizes share few programs.

    Args:
        most: rows that padding alone does not exceed; 0: no bound.
    """
    each = -(-max(size, rows) // devices)
    if rows:
        return devices * each
    bound = -(-most // devices) if most else _power_of_two(each)
    return devices * max(min(_power_of_two(each), bound), each)


def _power_of_two(n: int) -> int:
    """The next power of two."""
    return 1 << (n - 1).bit_length()


def chunk_of(n: int) -> int:
    """Steps at a time of n: about a tenth, a divisor of n where one is near."""
    most = max(n // 10, 1)
    best = max(c for c in range(1, most + 1) if n % c == 0)
    return best if 2 * best > most else most


def chunks(pipeline: Pipeline, chunk: int = 0) -> Iterator[Chunk]:
    """The chunks of all stages in their order; see `run`."""
    for stage in pipeline.stages:
        own = min(chunk_of(stage.steps), EARLY) if stage.early else chunk_of(stage.steps)
        size = min(chunk or own, stage.steps)
        for repeat in range(stage.repeats):
            for index, first in enumerate(range(0, stage.steps, size)):
                yield Chunk(stage, repeat, index, first, min(size, stage.steps - first))


def _filled(batch: Any, size: int, rows: int) -> Any:
    """Leaves [size, ...] -> [rows, ...], the last row repeated."""
    index = np.minimum(np.arange(rows), size - 1)
    return batch if rows == size else jax.tree.map(lambda a: a[index], batch)


def _signature(args: tuple) -> tuple:
    leaves, tree = jax.tree.flatten(args)
    return tree, tuple((jnp.shape(a), _dtype(a)) for a in leaves)


def _dtype(a: Any) -> Any:
    """The dtype of a value; jnp.result_type takes long on the many arrays of a prior."""
    return a.dtype if isinstance(a, jax.Array) else jnp.result_type(a)


def _host(batch: Any, size: int) -> Any:
    """Rows [size, ...] as arrays of the host."""
    return parallel.gather(jax.tree.map(np.asarray, batch), size)


def _joined(chunks: list, size: int) -> Any:
    """Recorded chunks as one array [size, N, ...]."""
    return np.concatenate([_host(chunk, size) for chunk in chunks], axis=1)

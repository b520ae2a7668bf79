"""Calls: pictures with one pipeline, run in batches by the executor, and put into their results."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from sdedit_jax import devices as parallel
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.base import Cancelled, Done, Event, Finished, Pipeline


class Call(NamedTuple):
    """The rows of a call of the Python API.

    Attributes:
        pipeline, params: what runs, and the parameters of its prior.
        requests, keys: one each for every row.
        result: the results of the rows -> what the call returns.
        batch: rows at a time. devices: local devices to use; 0: all.
        keep_maps: whether the rows' results come with recorded arrays, as pairs.
        find: a token that cancels, or None -> the call with the strengths that are found; None:
            there is nothing to find.
    """

    pipeline: Pipeline
    params: Any
    requests: Sequence[Any]
    keys: Sequence[Any]
    result: Callable[[list[Any]], Any]
    batch: int = 16
    devices: int = 0
    keep_maps: bool = False
    find: Callable[[executor.Cancel | None], "Call"] | None = None


def run(call: Call, cancel: executor.Cancel | None = None) -> Any:
    """The result of a call.

    Raises:
        Cancelled: it was stopped.
    """
    rows, call = [], _with_strengths(call, cancel)
    for requests, keys in _batches(call):
        finished = executor.finish(_events(call, requests, keys, cancel=cancel, listen=False))
        rows += _rows(finished, len(keys), call.keep_maps)
    return call.result(rows)


def stream(
    call: Call, preview_every: int = 0, cancel: executor.Cancel | None = None
) -> Iterator[Event | Done]:
    """The events of a call, and Done with its result at the end; a cancelled call ends without."""
    try:
        call = _with_strengths(call, cancel)
    except Cancelled:
        return
    rows, batches = [], -(-len(call.keys) // call.batch)
    for number, (requests, keys) in enumerate(_batches(call), 1):
        last = None
        for last in _events(call, requests, keys, cancel=cancel, preview_every=preview_every):
            if isinstance(last, Event):
                yield last._replace(batch=number, batches=batches)
        if not isinstance(last, Finished):
            return
        rows += _rows(last, len(keys), call.keep_maps)
    yield Done(call.result(rows))


def _with_strengths(call: Call, cancel: executor.Cancel | None) -> Call:
    return call if call.find is None else call.find(cancel)


def _events(call: Call, requests: Any, keys: Any, **options: Any) -> Iterator[Event | Finished]:
    """One batch through the executor."""
    return executor.run(
        call.pipeline, call.params, requests, keys,
        devices=call.devices, most=call.batch, keep_maps=call.keep_maps, **options,
    )  # fmt: skip


def _batches(call: Call) -> Iterator[tuple[Any, Any]]:
    for first in range(0, len(call.keys), call.batch):
        some = slice(first, first + call.batch)
        yield parallel.stack(list(call.requests[some])), jnp.stack(list(call.keys[some]))


def _rows(finished: Finished, count: int, keep_maps: bool) -> list[Any]:
    found = (finished.result, finished.maps) if keep_maps else finished.result
    return [jax.tree.map(lambda a, i=i: a[i], found) for i in range(count)]

"""Reading, editing and writing at the same time, and where the time goes."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

import grain

Item = TypeVar("Item")
Read = TypeVar("Read")
Edited = TypeVar("Edited")

AHEAD = 2
"""Batches that are read ahead, and that wait to be written."""


class Stop(Protocol):
    """A token that a signal may set."""

    def is_set(self) -> bool:
        """Whether to stop after the current work."""


class Times(NamedTuple):
    """Seconds of the main thread, which feeds the devices.

    Attributes:
        editing: the devices work. reading, writing: the main thread waits for these.
    """

    editing: float = 0.0
    reading: float = 0.0
    writing: float = 0.0

    def __add__(self, other: "Times") -> "Times":  # type: ignore[override]
        return Times(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def whole(self) -> float:
        """All seconds."""
        return sum(self)


def run(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    edit: Callable[[Read], Edited | None],
    write: Callable[[Edited], None],
    stop: Stop,
    threads: int = 2,
) -> Iterator[Times]:
    """Read, edit and write items in their order; the times of each item.

    `read` runs in some threads ahead of the edits, `edit` in this one, `write` in one thread behind
    them. What one of them raises is raised here. `edit` returns None where it was stopped.
    """
    source, pending = _ahead(items, read, threads), deque[Future]()
    write = _until_it_fails(write)
    with ThreadPoolExecutor(1, "write") as writer:
        for got, waited in _timed(source):
            if stop.is_set():
                break
            begun = time.perf_counter()
            made = edit(got)
            edited = time.perf_counter()
            if made is None:
                break
            pending.append(writer.submit(write, made))
            while len(pending) > AHEAD:
                pending.popleft().result()
            yield Times(edited - begun, waited, time.perf_counter() - edited)
        begun = time.perf_counter()
        for future in pending:
            future.result()
        yield Times(writing=time.perf_counter() - begun)


def _until_it_fails(write: Callable[[Edited], None]) -> Callable[[Edited], None]:
    """A function that does nothing more once it has raised: what waits must not be written then."""
    broken: list[bool] = []

    def guarded(made: Edited) -> None:
        if broken:
            return
        try:
            write(made)
        except BaseException:
            broken.append(True)
            raise

    return guarded


def _ahead(items: Sequence[Item], read: Callable[[Item], Read], threads: int) -> Iterator[Read]:
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=AHEAD * threads)
    stream = grain.MapDataset.source(_Items(items)).map(lambda one: _Box(read(one[0])))
    return (box.value for box in stream.to_iter_dataset(options))


class _Items:
    """Items in a tuple each, so that Grain takes none of them apart."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[Any]:
        return (self.items[i],)


class _Box(NamedTuple):
    value: Any


def _timed(source: Iterator[Item]) -> Iterator[tuple[Item, float]]:
    while True:
        begun = time.perf_counter()
        one = next(source, _Items)
        if one is _Items:
            return
        yield one, time.perf_counter() - begun  # type: ignore[misc]

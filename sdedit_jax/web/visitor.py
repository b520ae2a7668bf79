"""What the page keeps of its visitors: the strip of finished results, and where each one is."""

import json
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.web.guides import Painted
from sdedit_jax.web.settings import Settings

MOST_KEPT = 24
"""Results in a strip."""
MOST_BYTES = 32 * 2**20
"""Of the results in a strip; the newest one is kept in any case."""
MOST_VISITORS = 64
"""Visitors whose strips are kept; that of the least recent one is forgotten."""


@dataclass(frozen=True)
class Kept:
    """A finished result.

    Attributes:
        settings, painted: what it was made of. result: what the component shows, see result.py.
    """

    settings: Settings
    painted: Painted
    result: dict[str, Any]

    @cached_property
    def bytes(self) -> int:
        """About what it takes in memory."""
        arrays = [one for one in self.painted if isinstance(one, np.ndarray)]
        return sum(one.nbytes for one in arrays) + len(json.dumps(self.result))


class Strip(NamedTuple):
    """The finished results of a visitor, and the number of the one that is shown, -1: none."""

    kept: tuple[Kept, ...] = ()
    at: int = -1

    def added(self, one: Kept) -> "Strip":
        """The strip with a new result at its end, which is shown."""
        kept = (*self.kept, one)[-MOST_KEPT:]
        while len(kept) > 1 and sum(each.bytes for each in kept) > MOST_BYTES:
            kept = kept[1:]
        return Strip(kept, len(kept) - 1)

    def moved(self, at: int) -> "Strip":
        """The strip with another result shown; one beyond an end is the one at the end."""
        return self._replace(at=min(max(at, 0), len(self.kept) - 1))


class Visitors:
    """The strips of the visitors, by the sessions of the server."""

    def __init__(self, most: int = MOST_VISITORS) -> None:
        self.most, self.strips, self.lock = most, OrderedDict(), threading.Lock()
        self.left: deque[str] = deque(maxlen=most)

    def strip(self, visitor: str) -> Strip:
        """The strip of a visitor."""
        with self.lock:
            return self.strips.get(visitor, Strip())

    def update(self, visitor: str, change: Callable[[Strip], Strip]) -> Strip:
        """Change the strip of a visitor, and keep it; no change of another thread is lost.

        An edit may end after its visitor has left: nothing is kept then.
        """
        with self.lock:
            strip = change(self.strips.get(visitor, Strip()))
            if visitor in self.left:
                return strip
            self.strips[visitor] = strip
            self.strips.move_to_end(visitor)
            while len(self.strips) > self.most:
                self.strips.popitem(last=False)
        return strip

    def forget(self, visitor: str) -> None:
        """Forget a visitor that has left."""
        with self.lock:
            self.strips.pop(visitor, None)
            self.left.append(visitor)

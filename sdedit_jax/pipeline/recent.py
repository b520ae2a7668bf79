"""Values that are kept while they are used: compiled programs, loaded priors, inversions."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any


class Recent:
    """Values by key; the least recently used ones are forgotten.

    Threads that need the same value wait for one of them to make it; other threads go on.

    Args:
        size: values that are kept; with `weigh` the sum of their weights.
        release: called after every `size` / 2 values that are forgotten, to free what else holds
            them.
        weigh: the weight of a value. least: values that are kept whatever they weigh.
    """

    def __init__(
        self,
        size: int,
        release: Callable[[], None] = lambda: None,
        weigh: Callable[[Any], int] = lambda value: 1,
        least: int = 1,
    ) -> None:
        self.size, self.kept, self.lock = size, OrderedDict(), threading.Lock()
        self.weigh, self.least, self.weights = weigh, least, dict[Any, int]()
        self.forgotten, self.release = 0, release
        self.making: dict[Any, threading.Lock] = {}

    def get(self, key: Any, make: Callable[[], Any]) -> tuple[Any, float]:
        """The value of a key, and the seconds that making it took now."""
        with self.lock:
            own = self.making.setdefault(key, threading.Lock())
        with own:
            if (found := self.find(key)) is not None:
                return found, 0.0
            start = time.perf_counter()
            made = make()
            self.keep(key, made)
            return made, time.perf_counter() - start

    def find(self, key: Any) -> Any:
        """The value of a key, or None."""
        with self.lock:
            if key in self.kept:
                self.kept.move_to_end(key)
            return self.kept.get(key)

    def keep(self, key: Any, value: Any) -> None:
        """Keep a value, which is not None."""
        with self.lock:
            self.kept[key], self.weights[key] = value, self.weigh(value)
            while sum(self.weights.values()) > self.size and len(self.kept) > self.least:
                oldest, _ = self.kept.popitem(last=False)
                self.weights.pop(oldest)
                self.making.pop(oldest, None)
                self.forgotten += 1
                if self.forgotten % max(self.size // 2, 1) == 0:
                    self.release()

    def clear(self) -> None:
        """Forget all values."""
        with self.lock:
            self.kept.clear()
            self.weights.clear()

"""The keys and values of an LMDB file.

The LMDB library trusts the numbers in a file: a damaged one ends the process. Here each number is
checked. The file has pages; page 0 and 1 have the same facts, and the newer one holds. Branch pages
lead to leaf pages, and these to keys with their values, of which large ones have their own pages.
"""

import os
import struct
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sdedit_jax.files import door

MAGIC = 0xBEEFC0DE
VERSION = 1
BRANCH, LEAF = 1, 2
"""Kinds of pages."""
LARGE = 1
"""Flag of a value that has its own pages."""
NONE = 2**64 - 1
"""The root of an empty file."""
DEEPEST = 32
"""Levels of pages."""
STARTS = (0, *(2**n for n in range(9, 17)))
"""Where the pages of facts may begin; the second one is at the size of a page."""
HEAD = 16
"""Bytes before the nodes of a page."""


class Lmdb:
    """An LMDB file of a 64-bit machine with little-endian numbers, one table, and no duplicates.

    Raises:
        ValueError: see door.check; or another file, or a damaged one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = door.open_file(path, "data")
        if not self._end():
            raise self._error("the file is empty")
        found = max(filter(None, map(self._facts, STARTS)), default=None)
        if found is None:
            raise self._error("it is no LMDB file, or both of its first pages are damaged")
        _, self.size, self.root = found

    def keys(self) -> Iterator[bytes]:
        """The keys in their order.

        Raises:
            ValueError: the file is damaged.
        """
        return self._keys(self.root, 0, set()) if self.root != NONE else iter(())

    def get(self, key: bytes) -> bytes | None:
        """The value of a key; None: there is none.

        Raises:
            ValueError: the file is damaged, or the value has more than `door.PICTURE` bytes.
        """
        number = self.root
        for _ in range(DEEPEST):
            if number == NONE:
                return None
            branch, names, below = self._nodes(number)
            i = bisect_right(names, key, lo=int(branch)) - 1  # a branch has no first name
            if not branch:
                found = i >= 0 and names[i] == key
                return self._value(number, *below[i]) if found else None
            number = below[max(i, 0)]
        raise self._error("its pages lie too deep")

    def _facts(self, start: int) -> tuple[int, int, int] | None:
        """(number of the change, size of a page, root) of a page of facts."""
        data = self._read(start + HEAD, 136)
        if len(data) < 136:
            return None
        magic, version = struct.unpack_from("<II", data)
        (size,) = struct.unpack_from("<I", data, 24)
        (table,) = struct.unpack_from("<H", data, 76)
        (root,) = struct.unpack_from("<Q", data, 112)
        (change,) = struct.unpack_from("<Q", data, 128)
        right = (magic, version) == (MAGIC, VERSION) and size in STARTS[1:]
        if not right or start not in (0, size):
            return None
        if table:
            raise self._error("its table has duplicates, or another order")
        return change, size, root

    def _keys(self, number: int, level: int, seen: set[int]) -> Iterator[bytes]:
        """The keys of a page and of those to which it leads."""
        if level > DEEPEST or number in seen:
            raise self._error(f"it has page {number} in two places, or too deep")
        seen.add(number)
        branch, names, below = self._nodes(number)
        if not branch:
            yield from names
            return
        for child in below:
            yield from self._keys(child, level + 1, seen)

    def _nodes(self, number: int) -> tuple[bool, list[bytes], list[Any]]:
        """Whether a page is a branch; its keys; the pages below, or what `_value` takes."""
        start = number * self.size
        page = self._read(start, self.size)
        if len(page) < self.size:
            raise self._error(f"page {number} is missing")
        kind, lower, upper = struct.unpack_from("<HHH", page, 10)
        if kind not in (BRANCH, LEAF) or not HEAD < lower <= upper <= self.size or lower % 2:
            raise self._error(f"page {number} is damaged")
        names, below, left = [], [], self.size
        for at in struct.unpack_from(f"<{(lower - HEAD) // 2}H", page, HEAD):
            low, high, flags, length = struct.unpack_from(
                "<HHHH", page[at : at + 8].ljust(8, b"\0")
            )
            name, left = page[at + 8 : at + 8 + length], left - 8 - length
            if at < upper or len(name) < length or left < 0:  # keys may lie on each other
                raise self._error(f"page {number} is damaged")
            names.append(name)
            size, place = low | high << 16, start + at + 8 + length
            below.append(size | flags << 32 if kind == BRANCH else (flags, place, size))
        return kind == BRANCH, names, below

    def _value(self, number: int, flags: int, place: int, size: int) -> bytes:
        """The value after its key, or on its own pages."""
        end = (number + 1) * self.size
        if flags == LARGE and place + 8 <= end:
            page = int.from_bytes(self._read(place, 8), "little")
            place, end = page * self.size + HEAD, self._end()
        elif flags:
            raise self._error(f"page {number} has values of an unknown kind")
        if place + size > end or size > door.PICTURE:
            raise self._error(f"a value on page {number} claims {size} bytes")
        return self._read(place, size)

    def _end(self) -> int:
        """Bytes of the file."""
        return os.fstat(self.file.fileno()).st_size

    def _read(self, start: int, size: int) -> bytes:
        """Bytes of the file, fewer at its end. Threads may share it, and it may change."""
        with door.reading(self.path, "data"):
            return os.pread(self.file.fileno(), size, start) if start < self._end() else b""

    def _error(self, reason: str) -> ValueError:
        return ValueError(f"data: cannot read {self.path}: {reason}")

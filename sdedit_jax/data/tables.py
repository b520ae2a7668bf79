"""Rows of JSON lines, and rows of text that take little memory."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from sdedit_jax.files import json_file


def json_rows(lines: Iterable[str], name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, object) of the lines of a JSONL file that are not blank.

    Raises:
        ValueError: a line holds no JSON object.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = json_file.parse_text(line, f"line {number} of {name}", "data")
        if not isinstance(row, dict):
            raise ValueError(f"data: line {number} of {name} must hold a JSON object")
        yield number, row


class Texts(Sequence[str]):
    """Texts in one block of bytes: about 60 bytes less each than in a list of strings."""

    def __init__(self, block: bytearray, ends: np.ndarray) -> None:
        """Text i is block[ends[i] : ends[i + 1]], UTF-8; ends: int64 [n + 1]."""
        self._block, self._ends = block, ends

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: int | slice) -> str | Sequence[str]:
        places = range(len(self))[i]
        if isinstance(places, int):
            part = self._block[self._ends[places] : self._ends[places + 1]]
            return part.decode("utf-8", "surrogatepass")
        if places.step == 1 and places:
            return Texts(self._block, self._ends[places.start : places.stop + 1])
        return [self[place] for place in places]


def texts(columns: Iterable[Sequence[str]], width: int) -> tuple[Texts, ...]:
    """`width` columns of texts from rows of as many."""
    blocks = [bytearray() for _ in range(width)]
    ends = [array("q", [0]) for _ in range(width)]
    for row in columns:
        for text, block, end in zip(row, blocks, ends, strict=True):
            block += text.encode("utf-8", "surrogatepass")
            end.append(len(block))
    return tuple(
        Texts(block, np.frombuffer(end, np.int64)) for block, end in zip(blocks, ends, strict=True)
    )

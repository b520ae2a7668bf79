"""Data sets for evaluation: rows by number, read from the disk at each access."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sdedit_jax.data.files import READABLE, to_picture
from sdedit_jax.data.tables import texts
from sdedit_jax.files import json_file
from sdedit_jax.files.paths import shown
from sdedit_jax.files.wording import brief
from sdedit_jax.images import Picture, Size, decode_mask

Files = Callable[[str], bytes]
"""The content of a file by its name."""


class Example(NamedTuple):
    """One row of a data set, read.

    Attributes:
        id: unique in the set; it depends neither on the order nor on other rows.
        picture: as read.
        mask: float32 [H, W] in [0, 1] at the size of the picture, 1 where the edit may change
            pixels; None: everywhere.
        guide: the picture from which the edit starts; None: `picture`.
        label: the class.
        prompt: the target prompt. negative_prompt: what to avoid.
        source_prompt: the prompt that describes `picture`.
        concepts: as text, see `text.concept_parser`.
    """

    id: str
    picture: Picture
    mask: np.ndarray | None = None
    guide: Picture | None = None
    label: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    source_prompt: str = ""
    concepts: str = ""


class Row(NamedTuple):
    """What a file-based set knows of a row without reading it: names of files, and texts."""

    picture: str
    mask: str = ""
    guide: str = ""
    label: str = ""
    prompt: str = ""
    negative_prompt: str = ""
    source_prompt: str = ""
    concepts: str = ""

    def reference(self) -> str:
        """The row as a JSON list, without the empty fields at its end."""
        fields = list(self)
        while not fields[-1]:
            fields.pop()
        return json.dumps(fields, ensure_ascii=False)


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """Rows by number. Each access reads the disk; several threads may read at once.

    Attributes:
        name: of the set, for messages and reports.
        ids: of the rows.
        references: the text from which each row is read, such as the names of its files.
        read: (id, reference) -> the row.
    """

    name: str
    ids: Sequence[str]
    references: Sequence[str]
    read: Callable[[str, str], Example]

    @cached_property
    def digest(self) -> str:
        """The sha256 of ids and references, in order; the contents of files do not count."""
        found = hashlib.sha256()
        for id, reference in zip(self.ids, self.references, strict=True):
            for text in (id, reference):
                data = text.encode("utf-8", "surrogatepass")
                found.update(len(data).to_bytes(8, "big") + data)
        return found.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Example:
        """Read row i.

        Raises:
            ValueError: a file of the row cannot be read; the message names the id.
            IndexError: there is no such row.
        """
        id = self.ids[i]
        try:
            return self.read(id, self.references[i])
        except ValueError as error:
            reason = str(error).removeprefix("data: ")
            raise ValueError(f"data: row {brief(id)} of {self.name}: {reason}") from error

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"DataSet({self.name!r}, {len(self)} rows)"

    def first(self, n: int) -> "DataSet":
        """The first n rows; all, if there are fewer.

        Raises:
            ValueError: n is less than 1.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}")
        return DataSet(self.name, self.ids[:n], self.references[:n], self.read)


@dataclass(frozen=True)
class FileReader:
    """Reads a row from its files.

    Attributes:
        files: name -> content.
        mask: (files, `Row.mask`, size of the picture) -> float32 [H, W] in [0, 1].
    """

    files: Files
    mask: Callable[[Files, str, Size], np.ndarray]

    def __call__(self, id: str, reference: str) -> Example:
        row = Row(*json.loads(reference))
        picture = to_picture(self.files(row.picture), row.picture)
        mask = self.mask(self.files, row.mask, picture.rgb.shape[:2]) if row.mask else None
        guide = to_picture(self.files(row.guide), row.guide) if row.guide else None
        return Example(id, picture, mask, guide, *row[3:])


def mask_file(files: Files, name: str, size: Size) -> np.ndarray:
    """A mask from a file; see `images.read_mask`."""
    return decode_mask(files(name), name, size, formats=READABLE)


def file_set(
    name: str,
    rows: Iterable[tuple[str, Row, str]],
    files: Files,
    mask: Callable[[Files, str, Size], np.ndarray] = mask_file,
) -> DataSet:
    """The set of rows that are read from files.

    Args:
        rows: (id, row, place) each; the place is for messages, such as "line 3".
        mask: see `FileReader`.

    Raises:
        ValueError: there are no rows, or an id occurs twice.
    """
    columns = ((id, row.reference(), place) for id, row, place in rows)
    ids, references, places = texts(columns, 3)
    check_ids(ids, places, name)
    return DataSet(name, ids, references, FileReader(files, mask))


def check_ids(ids: Sequence[str], places: Sequence[str], name: str) -> None:
    """Check the ids of a set.

    Args:
        places: of the rows, for messages. name: of the set.

    Raises:
        ValueError: there are none, one is not UTF-8, or one occurs twice.
    """
    if not ids:
        raise ValueError(f"data: {name} has no rows")
    strange = next(filter(json_file.SURROGATE.search, ids), None)
    if strange is not None:
        raise ValueError(f"data: the id {shown(strange)} of {name} is not UTF-8; rename the file")
    if twice := repeated(ids):
        first, second = (shown(places[row]) for row in twice)
        raise ValueError(f"data: {first} and {second} of {name} have the id {brief(ids[twice[0]])}")


def repeated(ids: Sequence[str]) -> tuple[int, int] | None:
    """The places of the first id that occurs a second time; None: all are distinct."""
    hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
    if len(np.unique(hashes)) == len(ids):
        return None
    seen: dict[str, int] = {}
    for place, id in enumerate(ids):
        if id in seen:
            return seen[id], place
        seen[id] = place
    return None

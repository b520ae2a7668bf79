"""Captions of training pictures, in the forms of other trainers.

    captions.csv      columns path and caption
    metadata.jsonl    a line {"file_name": .., "text": ..} for each picture (diffusers, datasets)
    metadata.csv      columns file_name and text (datasets)
    NAME.txt          beside NAME.png, or NAME.caption (kohya)

Paths in a table are relative to its folder. The first form that is there is read.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sdedit_jax.data.tables import json_rows
from sdedit_jax.files import door, json_file, table
from sdedit_jax.files.wording import brief

TABLES = ("captions.csv", "metadata.jsonl", "metadata.csv")
BESIDE = (".txt", ".caption")
PATHS = ("path", "file_name")
CAPTIONS = ("caption", "text")

Files = Callable[[str, int], bytes]
"""The content of a file by its name, with a limit of bytes."""


def read(files: Files, names: Sequence[str], pictures: Sequence[str], where: str) -> dict[str, str]:
    """The captions of pictures by their names; not all pictures need one.

    Args:
        names: of all files, pictures: of the pictures, with "/" between folders.
        where: the folder or zip, for messages.

    Raises:
        ValueError: there are no captions, or a line of a table is not whole.
    """
    for kind in TABLES:
        found = [name for name in names if posixpath.basename(name) == kind]
        if found:
            return {
                path: text for name in found for path, text in _rows(name, files(name, door.TEXT))
            }
    found = _beside(files, set(names), pictures)
    if not found:
        raise ValueError(
            f"data: labels='captions' needs one of {list(TABLES)}, or a .txt file beside each"
            f" picture, in {where}"
        )
    return found


def _rows(name: str, data: bytes) -> Iterator[tuple[str, str]]:
    """(picture, caption) of the lines of a table."""
    text, folder = json_file.decode(data, name, "data"), posixpath.dirname(name)
    lines = json_rows(text.split("\n"), name) if name.endswith("l") else _table(text, name)
    for line, row in lines:
        path = next((row[field] for field in PATHS if row.get(field)), None)
        caption = next((row[field] for field in CAPTIONS if row.get(field)), None)
        if not isinstance(path, str) or not isinstance(caption, str) or not caption.strip():
            raise ValueError(
                f"data: line {line} of {name} must hold a path and a caption, with quotes around"
                f" what has commas; got {brief([value for value in row.values() if value])}"
            )
        yield posixpath.normpath(posixpath.join(folder, path.replace("\\", "/"))), caption


def _table(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rows = table.rows(text, name, "data")
    _, header = next(rows, (0, []))
    if not set(PATHS) & set(header) or not set(CAPTIONS) & set(header):
        raise ValueError(
            f"data: {name} needs a column of {list(PATHS)} and one of {list(CAPTIONS)},"
            f" has {brief(header)}"
        )
    for line, cells in rows:
        more = cells[len(header) :]
        yield line, dict(zip(header, cells, strict=False)) if not more else {"": cells}


def _beside(files: Files, names: set[str], pictures: Sequence[str]) -> dict[str, str]:
    """The first line of the file beside each picture."""
    found = {}
    for picture in pictures:
        stem = posixpath.splitext(picture)[0]
        file = next((stem + ending for ending in BESIDE if stem + ending in names), None)
        if file is None:
            continue
        text = json_file.decode(files(file, door.LINE), file, "data")
        caption = next(filter(None, map(str.strip, text.splitlines())), None)
        if caption is None:
            raise ValueError(f"data: {file} holds no caption")
        found[picture] = caption
    return found

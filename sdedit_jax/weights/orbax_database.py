"""The database of an orbax folder (OCDBT): a manifest and trees of nodes, which name values.

A value is inside its node, or named by file, offset and length.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorstore as ts

from sdedit_jax.files import door, zstd_size
from sdedit_jax.files.wording import brief

MANIFEST = "manifest.ocdbt"
NODES = 100_000
"""Nodes of the trees, and their values."""
LARGEST = 2**27
"""Bytes of a node; orbax writes up to 10^8."""
HEAD, END = 14, 4
"""Bytes of a node before its content and after it."""
VERSION, PLAIN, ZSTD = 0, 0, 1
"""The last two bytes before the content: the format, and how the content is compressed."""
SMALL = 2**16
"""Bytes of a value that is no chunk of a tensor."""


def largest_value(folder: Path, sizes: Mapping[str, int]) -> int:
    """Bytes of the largest value, after a check of all nodes before they are read.

    Args:
        sizes: path in the folder -> bytes of the file.

    Raises:
        ValueError: a node or value that is too large, behind the end of a file, or in none of the
            files.
    """
    largest = 0
    for count, (key, place) in enumerate(_places(folder, sizes)):
        size = _range(place, sizes)[2]
        if count > NODES:
            raise ValueError(f"it has more than {NODES} nodes and values")
        if place.startswith("value:"):
            if size > SMALL and not key[-1:].isdigit():  # names of chunks end in digits
                raise ValueError(f"its value {brief(key)} has {size} bytes")
            largest = max(largest, size)
    return largest


def _places(folder: Path, sizes: Mapping[str, int]) -> Iterator[tuple[bytes, str]]:
    """(end of the key, place "KIND:FOLDER:FILE:OFFSET:LENGTH") of all nodes and values."""
    base = ts.KvStore.open({"driver": "file", "path": f"{folder}/"}).result()
    _check_node(folder / MANIFEST, 0, sizes[MANIFEST])
    manifest = ts.ocdbt.dump(base).result()
    if manifest["config"].get("manifest_kind", "single") != "single":
        raise ValueError(f"its {MANIFEST} is in several files")
    todo: list[Any] = [manifest]
    while todo:
        for key, place in _named(todo.pop()):
            yield key, place
            if not place.startswith("value:"):
                path, offset, size = _range(place, sizes)
                _check_node(folder / path, offset, size)
                todo.append(ts.ocdbt.dump(base, place).result())


def _named(node: Any, key: bytes = b"") -> Iterator[tuple[bytes, str]]:
    """The places in a node, at any depth, with the key of the entry around each."""
    if isinstance(node, Mapping):
        key = node.get("key", key)
        for name, value in node.items():
            if name in ("location", "indirect_value") and isinstance(value, str):
                yield key, value
            else:
                yield from _named(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value, key)


def _range(place: str, sizes: Mapping[str, int]) -> tuple[str, int, int]:
    """File, offset and length of a place.

    Raises:
        ValueError: it is not within a file of the folder.
    """
    parts = place.split(":")
    path = "".join(parts[1:-2])
    if len(parts) != 5 or path not in sizes:
        raise ValueError(f"it names {brief(place)}, which is no file in it")
    offset, size = int(parts[-2]), int(parts[-1])
    if offset + size > sizes[path]:
        raise ValueError(f"it names {brief(place)}, the file has {sizes[path]} bytes")
    return path, offset, size


def _check_node(path: Path, offset: int, size: int) -> None:
    """Raise ValueError for a node that is too large, or expands to too much."""
    data = b""
    if size <= LARGEST:
        with door.open_file(path, "prior") as file:
            file.seek(offset)
            data = file.read(size)
    version, compression = data[HEAD - 2 : HEAD] or (VERSION, PLAIN)
    if version != VERSION or compression not in (PLAIN, ZSTD):
        raise ValueError(f"a node in {path.name} has an unknown format")
    content = data[HEAD:-END]
    size = zstd_size.expanded(content) if compression == ZSTD else size
    if size > LARGEST:
        raise ValueError(f"a node in {path.name} has {size} bytes, at most {LARGEST} are allowed")

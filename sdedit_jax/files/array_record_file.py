"""ArrayRecord files before their library reads them: where the records are, and their sizes.

The records are in chunks of the format Riegeli/records, which are compressed each by itself. The
chunk in the last block says where that of the footer is, and the footer where the others are. The
library reserves what these state, and expands a chunk to what its header states and no further.
"""

import itertools
import os
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from sdedit_jax.files import door, zstd_size
from sdedit_jax.files.wording import reason

BLOCK, BLOCK_HEAD = 2**16, 24
"""Bytes between two headers of blocks, which are anywhere in a chunk, and of such a header."""
HEAD = struct.Struct("<8xQ8xB7sQ")
"""The header of a chunk: bytes of its data, type, records, bytes of the records."""
SIMPLE = ord("r")
"""The type of chunks that the library writes by default."""
RATIO, ANYWAY, MOST = 64, 2**28, door.PICTURE
"""Bytes of records for each byte of their chunk, bytes allowed anyway, and bytes never exceeded."""
FOOTER, CHUNKS = 2**26, 2_000_000
"""Bytes of a footer, and chunks that it may name."""
MOST_TAG = 2**7 - 1
"""The largest tag of a field; libraries differ in what larger ones mean."""


class Index(NamedTuple):
    """Where the records of a file are.

    Attributes:
        places: of the chunks, in their order, and of the footer behind them.
        group: records of each chunk; the last one may have fewer.
    """

    places: np.ndarray
    group: int


class _Chunk(NamedTuple):
    """A chunk: bytes of its data and where they begin, its records, and their bytes."""

    size: int
    place: int
    records: int
    expanded: int


def index(path: str | Path, field: str) -> Index:
    """Where the records of a file are.

    Raises:
        ValueError: it cannot be read, is no ArrayRecord file, or its footer is damaged.
    """
    with door.open_file(path, field) as file:
        try:
            return _index(file)
        except Exception as error:  # tensorstore raises many kinds for damaged data
            raise ValueError(f"{field}: cannot read {path}: {reason(error)}") from None


def check_record(path: str | Path, places: Index, number: int, field: str) -> None:
    """Check the chunk of a record.

    Args:
        places: the index of the file.

    Raises:
        ValueError: there is no such record, or its chunk expands to too much.
    """
    _check_chunks(path, places, slice(number // places.group, number // places.group + 1), field)


def check(path: str | Path, field: str, most: int) -> None:
    """Check all chunks of a file, whose records may have `most` bytes together.

    Raises:
        ValueError: see `index` and `check_record`; or the records have more bytes.
    """
    size = _check_chunks(path, index(path, field), slice(None), field)
    if size > most:
        raise ValueError(f"{field}: the records of {path} have {size} bytes, allowed are {most}")


def _check_chunks(path: str | Path, places: Index, chosen: slice, field: str) -> int:
    """Bytes of the records of some chunks."""
    pairs = list(itertools.pairwise(places.places.tolist()))[chosen]
    with door.open_file(path, field) as file:
        try:
            if chosen.stop is not None and not pairs:
                raise ValueError(f"it has no chunk {chosen.start}")
            return sum(_checked(file, *pair).expanded for pair in pairs)
        except (ValueError, OSError) as error:
            raise ValueError(f"{field}: cannot read {path}: {reason(error)}") from None


def _checked(file: BinaryIO, place: int, end: int) -> _Chunk:
    """The chunk between two places."""
    found = _chunk(file, place, end)
    most = min(max(RATIO * found.size, ANYWAY), MOST)
    if max(found.expanded, end - place) > most:
        raise ValueError(
            f"its chunk at {place} expands from {found.size} to {found.expanded} bytes, at most"
            f" {most} are allowed"
        )
    return found


def _index(file: BinaryIO) -> Index:
    last = file.seek(0, os.SEEK_END) - BLOCK
    if last < 0:
        raise ValueError(f"it is no ArrayRecord file, which has {BLOCK} bytes or more")
    footer = _number(_fields(_records(file, last, last + BLOCK)[0]), 1)
    if footer >= last:
        raise ValueError(f"its footer would be at {footer}, behind its last block")
    first, *rest = _records(file, footer, last)
    named = _fields(_fields(first).get(1))
    chunks = [_fields(one) for one in rest]
    places = [*(_number(one, 1) for one in chunks), footer]
    counts = [_number(one, 3) for one in chunks] or [1]
    if any(a >= b for a, b in itertools.pairwise(places)):
        raise ValueError("the chunks in its footer are not in their order")
    if {*counts[:-1]} - {counts[0]} or not 0 < counts[-1] <= counts[0]:
        raise ValueError("the chunks in its footer have not one number of records")
    if (_number(named, 2), _number(named, 3)) != (len(chunks), sum(counts) * bool(chunks)):
        raise ValueError("its footer has other numbers of chunks and records than it names")
    return Index(np.array(places, np.int64), counts[0])


# --- chunks ---------------------------------------------------------------------------------------


def _chunk(file: BinaryIO, place: int, end: int) -> _Chunk:
    """The chunk between two places, by its header."""
    head, data = _bytes(file, place, HEAD.size)
    size, kind, records, expanded = HEAD.unpack(head)
    count = int.from_bytes(records, "little")
    if kind != SIMPLE:
        raise ValueError(f"its chunk at {place} has the type {kind}, allowed is {SIMPLE}")
    if max(data + size, place + count) > end:
        raise ValueError(f"its chunk at {place} ends behind {end}")
    return _Chunk(size, data, count, expanded)


def _bytes(file: BinaryIO, place: int, size: int) -> tuple[bytes, int]:
    """Bytes from a place on, without headers of blocks between them, and the place after them."""
    found = bytearray()
    while len(found) < size:
        place += max(BLOCK_HEAD - place % BLOCK, 0)
        file.seek(place)
        part = file.read(min(size - len(found), BLOCK - place % BLOCK))
        if not part:
            raise ValueError("it is cut off")
        found += part
        place += len(part)
    return bytes(found), place


def _records(file: BinaryIO, place: int, end: int) -> list[bytes]:
    """The records of the chunk of a footer between two places; at least one."""
    chunk = _chunk(file, place, end)
    if max(chunk.expanded, end - place) > FOOTER or not 0 < chunk.records <= CHUNKS:
        raise ValueError(f"its footer has {chunk.records} records of {chunk.expanded} bytes")
    data, _ = _bytes(file, chunk.place, chunk.size)
    size, start = _varint(data, 1)
    lengths = _unpacked(data[:1], data[start : start + size])
    values, place = _unpacked(data[:1], data[start + size :]), 0
    found, begin = [], 0
    for _ in range(chunk.records):
        length, place = _varint(lengths, place)
        found.append(values[begin : begin + length])
        begin += length
    if begin != chunk.expanded or begin != len(values):
        raise ValueError("its footer has records of another size")
    return found


def _unpacked(kind: bytes, data: bytes) -> bytes:
    """Data that are compressed by zstandard, or not at all."""
    if kind == b"\0":
        return data
    if kind != b"z":
        raise ValueError(f"its footer is compressed by {kind!r}, allowed is b'z', zstandard")
    size, start = _varint(data, 0)
    if max(size, zstd_size.expanded(data[start:])) > 2 * FOOTER:
        raise ValueError(f"its footer expands to {size} bytes")
    return _expanded(data[start:], size) if size else b""


def _expanded(data: bytes, size: int) -> bytes:
    """Data of zstandard, which expand to so many bytes, by tensorstore."""
    import tensorstore as ts

    context, place = ts.Context(), {"driver": "memory"}
    ts.KvStore.open(place, context=context).result().write(b"0", data).result()
    array = {"shape": [size], "chunks": [size], "dtype": "|u1", "order": "C", "filters": None}
    array |= {"compressor": {"id": "zstd", "level": 1}, "fill_value": None, "zarr_format": 2}
    spec = {"driver": "zarr", "kvstore": place, "metadata": array, "assume_metadata": True}
    return ts.open(spec, context=context).result().read().result().tobytes()


# --- protocol buffers -----------------------------------------------------------------------------


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A whole number of 7 bits in each byte, and the place after it."""
    for i in range(place, min(place + 10, len(data))):
        if data[i] < 128:
            bits = enumerate(data[place : i + 1])
            return sum((byte & 127) << 7 * k for k, byte in bits) % 2**64, i + 1
    raise ValueError("a number in it is cut off")


def _fields(data: object) -> dict[int, int | bytes]:
    """The fields of a message by their numbers: whole numbers and bytes, each at most once."""
    if not isinstance(data, bytes):
        raise ValueError("its footer lacks a message")
    found: dict[int, int | bytes] = {}
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        value, place = _varint(data, place)
        if tag > MOST_TAG or tag % 8 not in (0, 2) or tag // 8 in found:
            raise ValueError("its footer has fields of another type, or twice")
        if tag % 8 == 2:
            if place + value > len(data):
                raise ValueError("its footer is cut off")
            value, place = data[place : place + value], place + value
        found[tag // 8] = value
    return found


def _number(fields: dict[int, int | bytes], name: int) -> int:
    """A field that is a whole number; 0 where it is missing."""
    value = fields.get(name, 0)
    if not isinstance(value, int):
        raise ValueError("its footer has a text in the place of a number")
    return value

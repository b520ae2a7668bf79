"""The size of zstandard data without their expansion (RFC 8878, section 3.1)."""

MAGIC, SKIPPED = 0xFD2FB528, 0x184D2A5
"""The first four bytes of a frame; all but four bits of those of a frame without content."""
BLOCK = 2**17
"""The largest content of a compressed block."""
DICTIONARY, CONTENT = (0, 1, 2, 4), (0, 2, 4, 8)
"""Bytes of two fields of a frame's header, by their flags."""
RAW, REPEATED, COMPRESSED = range(3)
"""Types of blocks: bytes as they are, one byte many times, compressed bytes."""


def expanded(data: bytes) -> int:
    """The most bytes to which data expand, by the headers of their blocks.

    Raises:
        ValueError: the data are no frames of zstandard, or cut off.
    """
    place = total = 0
    while place < len(data):
        if _number(data, place, 4) >> 4 == SKIPPED:
            place += 8 + _number(data, place + 4, 4)
        else:
            place, size = _frame(data, place)
            total += size
    if place > len(data):
        raise ValueError("zstandard data are cut off")
    return total


def _frame(data: bytes, place: int) -> tuple[int, int]:
    """The end of a frame, and the most bytes of its content."""
    if _number(data, place, 4) != MAGIC:
        raise ValueError("zstandard data are damaged")
    flags = _number(data, place + 4, 1)
    single, checked = flags >> 5 & 1, flags >> 2 & 1
    content = CONTENT[flags >> 6] or single
    place += 5 + (not single) + DICTIONARY[flags & 3] + content
    total, last = 0, 0
    while not last:
        block = _number(data, place, 3)
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        place += 3 + (1 if kind == REPEATED else size)
        total += BLOCK if kind == COMPRESSED else size
    return place + 4 * checked, total


def _number(data: bytes, place: int, size: int) -> int:
    """A whole number of some bytes, the lowest first."""
    if place + size > len(data):
        raise ValueError("zstandard data are cut off")
    return int.from_bytes(data[place : place + size], "little")

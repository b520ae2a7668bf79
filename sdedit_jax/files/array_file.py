"""Arrays in users' files, .npy and .npz: the claimed shape is checked before it is read."""

import io
import math
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from sdedit_jax.files import door, zip_file
from sdedit_jax.files.wording import reason

KINDS = "biuf"
"""Kinds of numbers: bool, int, uint, float."""
HEADER = 10_000
"""Characters of a header."""
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""Version -> reader of its header."""


def read(path: str | Path, field: str, most: int = door.ANY) -> np.ndarray:
    """The array in an .npy file.

    Raises:
        ValueError: see door.check; or a damaged file, or one of objects.
    """
    with door.open_file(path, field, most) as file:
        size = file.seek(0, io.SEEK_END)
        return _array(file, size, str(path), field)


def members(data: bytes, name: str, field: str, most: int) -> dict[str, np.ndarray]:
    """The arrays in the bytes of an .npz file, by name.

    Args:
        name: of the file, for messages. most: bytes of all arrays.

    Raises:
        ValueError: a damaged file, one of objects, or more bytes.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        archive.filename = name
    except Exception as error:  # zipfile raises many kinds for damaged files
        raise ValueError(f"{field}: cannot read {name}: {reason(error)}") from None
    found: dict[str, np.ndarray] = {}
    for member in archive.namelist():
        part = zip_file.read(archive, member, field, most)
        most -= len(part)
        array = _array(io.BytesIO(part), len(part), f"{member} in {name}", field)
        found[member.removesuffix(".npy")] = array
    return found


def _array(file: BinaryIO, size: int, name: str, field: str) -> np.ndarray:
    """The array in an open file of so many bytes."""
    file.seek(0)
    try:
        version = npy.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"its version is {version}, one of {list(HEADERS)} is allowed")
        shape, _, dtype = HEADERS[version](file, max_header_size=HEADER)
        count = math.prod(shape)
        if dtype.kind not in KINDS or min(shape, default=0) < 0:
            raise ValueError(f"it has the shape {shape} and the type {dtype}, no numbers")
        if count * dtype.itemsize != size - file.tell():
            raise ValueError(
                f"its header claims {count * dtype.itemsize} bytes, it has another size"
            )
        file.seek(0)
        return npy.read_array(file, allow_pickle=False, max_header_size=HEADER)
    except Exception as error:  # numpy raises many kinds for damaged files
        raise ValueError(f"{field}: cannot read {name}: {reason(error)}") from None

"""Zips from users: what a member claims is checked before and while it is read."""

import io
import zipfile
from pathlib import Path
from typing import BinaryIO

from sdedit_jax.files import door
from sdedit_jax.files.paths import shown

MEMBERS = 2_000_000
"""Members of a zip."""
DIRECTORY = 2**28
"""Bytes of the directory of a zip."""
RATIO = 1100
"""Bytes of a member for each byte in the file; deflate reaches 1032."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Compressions that can be read in pieces."""


class _Limited(io.BufferedReader):
    """A file whose directory is limited: zipfile reads it whole, and has an object for each member.

    Members are read in pieces, which are smaller.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        whole = size is None or size < 0
        if not whole and size > DIRECTORY:
            raise ValueError(f"its directory claims {size} bytes, at most {DIRECTORY} are allowed")
        data = super().read(DIRECTORY if whole else size)
        if len(data) > 46 * MEMBERS and data.count(zipfile.stringCentralDir) > MEMBERS:
            raise ValueError(f"it has more than {MEMBERS} members")
        return data


class Zip(zipfile.ZipFile):
    """A zip that closes its file."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.users = file
        super().__init__(file)
        self.filename = str(path)

    def close(self) -> None:
        super().close()
        self.users.close()


def open_zip(path: str | Path, field: str) -> zipfile.ZipFile:
    """A zip, open for reading; see door.check.

    Raises:
        ValueError: no regular file, no zip, or a damaged one.
    """
    file = _Limited(door.open_file(path, field).detach())
    try:
        return Zip(file, Path(path))
    except Exception as error:  # zipfile raises many kinds for damaged files
        file.close()
        raise ValueError(f"{field}: cannot open {path}: {_reason(error)}") from None


def read(archive: zipfile.ZipFile, name: str, field: str, most: int) -> bytes:
    """The bytes of a member.

    Args:
        most: bytes that it may have.

    Raises:
        ValueError: no such member, an encrypted, damaged or larger one, or one that has other bytes
            than it claims.
    """
    try:
        info = archive.getinfo(name)
        check(info, most)
        with archive.open(info) as member:
            data = b"".join(iter(lambda: member.read(door.PIECE), b""))
        if len(data) != info.file_size:
            raise ValueError(f"it has other bytes than the {info.file_size} that it claims")
        return data
    except Exception as error:  # zipfile raises many kinds for damaged and encrypted files
        raise ValueError(
            f"{field}: cannot read {shown(name)} in {archive.filename}: {_reason(error)}"
        ) from None


def check(info: zipfile.ZipInfo, most: int) -> None:
    """Raise ValueError unless the size that a member claims is allowed and possible."""
    if info.compress_type not in METHODS:
        raise ValueError("its compression is not allowed; save the zip with deflate or without")
    if info.file_size > most:
        raise ValueError(f"it claims {info.file_size} bytes, at most {most} are allowed")
    if info.file_size > RATIO * max(info.compress_size, 1):
        raise ValueError(
            f"it claims {info.file_size} bytes in {info.compress_size}, more than any compression"
        )


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split())[:200] or f"it is damaged ({type(error).__name__})"

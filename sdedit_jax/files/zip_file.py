"""Zips from users: what a member claims is checked before and while it is read."""

import struct
import zipfile
import zlib
from pathlib import Path

from sdedit_jax.files import door

MEMBERS = 5_000_000
"""Members of a zip."""
RATIO = 1100
"""Bytes of a member for each byte in the file; deflate reaches 1032."""
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError)
DAMAGE += (NotImplementedError, ValueError, OverflowError, KeyError, IndexError, MemoryError)
"""Raised by zipfile for damaged, encrypted and unknown files."""


def open_zip(path: str | Path, field: str) -> zipfile.ZipFile:
    """A zip, open for reading; see door.check.

    Raises:
        ValueError: no regular file, no zip, or a damaged one.
    """
    path = door.check(path, field)
    try:
        found = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise ValueError(f"{field}: cannot open {path}: {_reason(error)}") from None
    if len(found.filelist) > MEMBERS:
        raise ValueError(f"{field}: cannot open {path}: it has more than {MEMBERS} members")
    return found


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
            data = member.read(most + 1)
        if len(data) != info.file_size:
            raise ValueError(f"it has other bytes than the {info.file_size} that it claims")
        return data
    except DAMAGE as error:
        raise ValueError(
            f"{field}: cannot read {name} in {archive.filename}: {_reason(error)}"
        ) from None


def check(info: zipfile.ZipInfo, most: int) -> None:
    """Raise ValueError unless the size that a member claims is allowed and possible."""
    if info.file_size > most:
        raise ValueError(f"it claims {info.file_size} bytes, at most {most} are allowed")
    if info.file_size > RATIO * max(info.compress_size, 1):
        raise ValueError(
            f"it claims {info.file_size} bytes in {info.compress_size}, more than any compression"
        )


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
    text = str(error.args[0]) if isinstance(error, KeyError) else str(error)
    return " ".join(text.split()) or f"it is damaged ({type(error).__name__})"

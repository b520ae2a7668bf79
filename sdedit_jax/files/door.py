"""The one place that opens users' files: regular files only, with a limit of bytes for each kind.

Libraries that open files by themselves get paths that `check` or `check_folder` has seen.
"""

import contextlib
import hashlib
import itertools
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from sdedit_jax.files.paths import shown, user_path, walk
from sdedit_jax.files.wording import of_system

PICTURE = 2**30
"""Bytes of a picture file."""
TEXT = 2**28
"""Bytes of a file of text that is read whole: JSON, small tables, vocabularies."""
TABLE = 2**36
"""Bytes of a table that is read line by line."""
LINE = 2**22
"""Bytes of a line of a table."""
PIECE = 2**24
"""Bytes that are read at a time."""
ANY = 2**62 - 1
"""No limit: files that are mapped, or copied in pieces."""

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""Type of a path that is no regular file -> what it is."""

See = Callable[[Path, str], None]
"""Sees a path and the field that names it, before the path is opened; ValueError refuses it."""

_SEE: ContextVar[See | None] = ContextVar("see", default=None)
_DIGESTS: ContextVar[dict[Path, str] | None] = ContextVar("digests", default=None)


@contextlib.contextmanager
def guarded(see: See) -> Iterator[None]:
    """Within it, `see` is called with each path before it is opened, and may refuse it."""
    before = _SEE.set(see)
    try:
        yield
    finally:
        _SEE.reset(before)


@contextlib.contextmanager
def digests() -> Iterator[dict[Path, str]]:
    """Within it, the sha256 of each file that is read whole, by the file's path."""
    found: dict[Path, str] = {}
    before = _DIGESTS.set(found)
    try:
        yield found
    finally:
        _DIGESTS.reset(before)


def pass_guard(path: str | Path, field: str = "") -> Path:
    """A path that will be opened or listed, after the guard has seen it; see `guarded`.

    Raises:
        ValueError: the guard refuses it.
    """
    path, see = user_path(path), _SEE.get()
    if see is not None:
        see(path, field)
    return path


def check(path: str | Path, field: str = "", most: int = ANY) -> Path:
    """The path, after a check that it leads to a regular file.

    Args:
        field: the setting that names the file, for messages.
        most: bytes that the file may have.

    Raises:
        ValueError: no such file, another kind of file, or a larger one.
    """
    path = pass_guard(path, field)
    try:
        _check(os.stat(path), path, field, most)
    except (OSError, ValueError) as error:
        raise _error(path, field, error) from None
    return path


def open_file(path: str | Path, field: str = "", most: int = ANY) -> BinaryIO:
    """A regular file, open for reading; see `check`.

    A named pipe that takes the place of the file after the check does not block.
    """
    path = check(path, field, most)
    with reading(path, field):
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    file = os.fdopen(number, "rb")
    try:
        _check(os.fstat(number), path, field, most)
    except ValueError as error:
        file.close()
        raise _error(path, field, error) from None
    return file


def read(path: str | Path, field: str = "", most: int = TEXT) -> bytes:
    """The bytes of a regular file; see `check`.

    Raises:
        ValueError: see `check`; or the file cannot be read.
    """
    data, found = b"".join(_pieces(path, field, most)), _DIGESTS.get()
    if found is not None:
        found[user_path(path)] = hashlib.sha256(data).hexdigest()
    return data


def _pieces(path: str | Path, field: str, most: int) -> Iterator[bytes]:
    """The bytes of a regular file, at most PIECE at a time; see `read`."""
    left = most
    with open_file(path, field, most) as file:
        try:
            while piece := file.read(min(left + 1, PIECE)):  # Python reserves what it may read
                left -= len(piece)
                if left < 0:  # a file that grows, or one of /proc
                    raise ValueError(_too_large(most))
                yield piece
        except (OSError, ValueError) as error:
            raise _error(user_path(path), field, error) from None


@contextlib.contextmanager
def naming(field: str) -> Iterator[None]:
    """While active, an error about a file that cannot be read begins with a setting's name.

    Raises:
        ValueError: the error.
    """
    try:
        yield
    except ValueError as error:
        if not field or not str(error).startswith("cannot read"):
            raise
        raise ValueError(f"{field}: {error}") from error


def copy(path: str | Path, target: str | Path, field: str = "", most: int = TABLE) -> None:
    """Copy a regular file; see `check`.

    Raises:
        ValueError: see `check`; or the file grows beyond `most`.
        OSError: the target cannot be written.
    """
    pieces = _pieces(path, field, most)
    first = next(pieces, b"")  # the file is opened before the target is made
    with open(target, "wb") as out:
        for piece in itertools.chain([first], pieces):
            out.write(piece)


def read_head(path: str | Path, size: int, field: str = "") -> bytes:
    """The first bytes of a regular file, which may have fewer; see `read`."""
    with open_file(path, field) as file, reading(path, field):
        return file.read(size) or b""  # None: a file of /proc that has nothing now


@contextlib.contextmanager
def reading(path: str | Path, field: str = "") -> Iterator[None]:
    """While active, an error of the system is one about this path.

    Raises:
        ValueError: the error.
    """
    try:
        yield
    except OSError as error:
        raise _error(path, field, error) from None


def check_inside(path: Path, folder: Path, field: str = "", also: Sequence[Path] = ()) -> Path:
    """The path, after a check that it does not lead out of a folder by a link.

    Args:
        also: further folders into which links may lead.

    Raises:
        ValueError: it leads elsewhere.
    """
    try:
        real, homes = path.resolve(), [home.resolve() for home in (folder, *also)]
    except (OSError, RuntimeError) as error:  # RuntimeError: links that lead to each other
        raise _error(path, field, error) from None
    if not any(real.is_relative_to(home) for home in homes):
        reason = f"it is a link to {shown(real)}, outside of {shown(folder)}"
        raise _error(path, field, ValueError(reason))
    return path


def check_folder(
    folder: str | Path,
    field: str = "",
    also: Sequence[Path] = (),
    most: int = ANY,
    count: int = ANY,
) -> list[Path]:
    """The files in a folder and its subfolders: regular files, none of which leads out of it.

    Args:
        also: see `check_inside`.
        most: bytes of each file. count: number of files.

    Raises:
        ValueError: see `check` and `check_inside`; or the folder has more files.
    """
    found = sorted(itertools.islice(_walk(pass_guard(folder, field), field), count + 1))
    if len(found) > count:
        reason = f"it has more than {count} files"
        raise _error(user_path(folder), field, ValueError(reason))
    return [
        check(check_inside(path, user_path(folder), field, also), field, most) for path in found
    ]


def _walk(folder: Path, field: str) -> Iterator[Path]:
    """What is in a folder and its subfolders and is no folder; links are not followed."""

    def refuse(error: OSError) -> None:
        raise _error(error.filename or folder, field, error)

    for here, folders, files in walk(folder, refuse):
        linked = (name for name in folders if os.path.islink(os.path.join(here, name)))
        yield from (Path(here, name) for name in (*files, *linked))


def _check(found: os.stat_result, path: Path, field: str, most: int) -> None:
    """Raise ValueError for what is no regular file, or a larger one."""
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"it is {KINDS.get(stat.S_IFMT(found.st_mode), 'no file')}, not a file")
    if found.st_size > most:
        raise ValueError(_too_large(most, found.st_size))


def _too_large(most: int, size: int = 0) -> str:
    held = f"{size} bytes" if size else "more bytes"
    return f"it has {held}, at most {most} are allowed"


def _error(path: str | Path, field: str, error: Exception) -> ValueError:
    """The error for a file that cannot be read."""
    reason = of_system(error)
    if isinstance(error, FileNotFoundError):
        reason = "no such file"
        if os.path.islink(path):
            reason += f"; it is a symbolic link to {shown(os.readlink(path))}, which does not exist"
    before = f"{field}: " if field else ""
    return ValueError(f"{before}cannot read {shown(path)}: {reason}")

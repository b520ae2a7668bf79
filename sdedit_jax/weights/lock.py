"""One run at a time in a workdir: a file that names the process, removed when the run ends."""

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from sdedit_jax.files import door, json_file

NAME = ".sdedit_jax.lock"
LARGEST = 4096
"""Bytes of a lock that are read."""

Holder = Mapping[str, object]
"""The process that holds a lock: host, pid, since, and its start, which tells equal pids apart."""


def file_of(folder: Path, inside: bool) -> Path:
    """The lock of a workdir: inside it, or beside a workdir that appears whole or not at all."""
    folder = Path(os.path.realpath(folder))
    return folder / NAME if inside else folder.with_name(f".{folder.name}{NAME}")


@contextlib.contextmanager
def locked(file: Path, field: str = "workdir") -> Iterator[None]:
    """Hold a lock. Its folder is made, and removed again if it is empty at the end.

    Args:
        field: the setting that names the folder, for messages.

    Raises:
        ValueError: another process holds it, or it is no lock; the message names the process.
        OSError: the file cannot be written.
    """
    missing = [folder for folder in file.parents if not folder.exists()]
    try:
        _acquire(file, field)
        try:
            yield
        finally:
            file.unlink(missing_ok=True)
    finally:
        with contextlib.suppress(OSError):  # one that is not empty, and those above it
            for folder in missing:
                folder.rmdir()


def held(file: Path) -> bool:
    """Whether a process holds a lock; not if it has ended."""
    holder = _read(file)
    return holder is not None and not _dead(holder)


def _acquire(file: Path, field: str) -> None:
    if _create(file, field):
        return
    holder = _read(file)
    if holder is not None and not (_dead(holder) and _remove(file, holder)):
        raise ValueError(f"{field}: {_in_use(file, holder)}")
    if not _create(file, field):
        raise ValueError(f"{field}: {_in_use(file, _read(file) or {})}")


def _create(file: Path, field: str = "workdir") -> bool:
    """Write the lock of this process; False if there is one.

    It appears whole: it is written under another name, and linked.
    """
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    own = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    text = json.dumps({**own, "start": _start(os.getpid())})
    aside = file.with_name(f"{file.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.write_text(text, encoding="utf-8")
            _link(aside, file)
        finally:
            aside.unlink(missing_ok=True)
        return True
    except FileExistsError:
        if file.parent.is_dir():
            return False
        raise OSError(f"{field}: {file.parent} is not a folder") from None
    except OSError as error:
        raise OSError(f"{field}: cannot write {file}: {error.strerror}") from None


def _link(aside: Path, file: Path) -> None:
    """Give a file another name, unless that is taken."""
    try:
        os.link(aside, file)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        with open(file, "x", encoding="utf-8") as stream:
            stream.write(aside.read_text(encoding="utf-8"))


def _read(file: Path) -> Holder | None:
    """The holder of a lock; None if the lock is gone, empty if it is no lock or damaged."""
    try:
        return json_file.parse_object(door.read_head(file, LARGEST), file, "workdir")
    except ValueError:
        return {} if os.path.lexists(file) else None


def _dead(holder: Holder) -> bool:
    """Whether the holder was a process of this host and has ended."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or type(pid) is not int:
        return False
    if not 0 < pid < 2**31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # alive, of another user
        pass
    start = _start(pid)  # of another user, some systems hide it
    return start != "" and start != holder.get("start")


def _start(pid: int) -> str:
    """When a process started, in ticks since the boot; "" where /proc does not show it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _remove(file: Path, holder: Holder) -> bool:
    """Remove the lock of a dead process; False if another process was faster."""
    aside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return True
    if _read(aside) == holder:
        aside.unlink()
        return True
    aside.rename(file)
    return False


def _in_use(file: Path, holder: Holder) -> str:
    """Why a lock is not taken."""
    pid, host, since = (holder.get(name) for name in ("pid", "host", "since"))
    if type(pid) is not int or not isinstance(host, str):
        return f"{file} is no lock of a run, or damaged; remove it if no run writes here"
    return (
        f"process {pid} on {host[:64]} (since {str(since)[:19]}) writes to it; wait, give another"
        f" folder, or remove {file} if that process is gone"
    )

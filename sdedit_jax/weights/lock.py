"""One run at a time in a workdir: a file that names the process, removed when the run ends."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from sdedit_jax.text import json_file

NAME = ".sdedit_jax.lock"

Holder = Mapping[str, object]
"""The process that holds a lock: host, pid, since, and its start, which tells equal pids apart."""


def file_of(folder: Path, inside: bool) -> Path:
    """The lock of a workdir: inside it, or beside a workdir that appears whole or not at all."""
    folder = folder.resolve()
    return folder / NAME if inside else folder.with_name(f".{folder.name}{NAME}")


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock.

    Raises:
        ValueError: another process holds it; the message names the process.
        OSError: the file cannot be written.
    """
    _acquire(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def held(file: Path) -> bool:
    """Whether a process holds a lock; not if it has ended."""
    holder = _read(file)
    return holder is not None and not _dead(holder)


def _acquire(file: Path) -> None:
    if _create(file):
        return
    holder = _read(file)
    if holder is not None and not (_dead(holder) and _remove(file, holder)):
        raise ValueError(_in_use(file, holder))
    if not _create(file):
        raise ValueError(_in_use(file, _read(file) or {}))


def _create(file: Path) -> bool:
    """Write the lock of this process; False if there is one."""
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    own = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    text = json.dumps({**own, "start": _start(os.getpid())})
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "x", encoding="utf-8") as stream:
            stream.write(text)
        return True
    except FileExistsError:
        return False
    except OSError as error:
        raise OSError(f"workdir: cannot write {file}: {error.strerror}") from None


def _read(file: Path) -> Holder | None:
    """The holder of a lock; None if the lock is gone, empty if it cannot be read."""
    try:
        return json_file.read_object(file, "workdir")
    except ValueError:
        return {} if file.exists() else None


def _dead(holder: Holder) -> bool:
    """Whether the holder was a process of this host and has ended."""
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    if not 0 < pid < 2**31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # alive, of another user
        pass
    return _start(pid) != holder.get("start")


def _start(pid: int) -> str:
    """When a process started, in ticks since the boot; "" on systems without /proc."""
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
    who = "another process"
    if holder:
        pid, host, since = (holder.get(name) for name in ("pid", "host", "since"))
        who = f"process {pid} on {host} (since {since})"
    return (
        f"workdir: {who} writes to it; wait, give another --workdir, or remove {file} if that"
        " process is gone"
    )

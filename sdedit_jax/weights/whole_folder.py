"""Folders that are written whole: checks before, a folder aside, and its move into place."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from sdedit_jax.files.paths import real
from sdedit_jax.weights import disk, lock

OLD = ".{}.sdedit_jax-old"
"""The name of a folder that is replaced, until the new one is in place."""


@contextlib.contextmanager
def writing(folder: str | Path, field: str = "workdir") -> Iterator[Path]:
    """An empty folder that takes the place of `folder` at the end; other processes are locked out.

    An error, or a kill, leaves the old folder or none. Of a link, the folder that it leads to is
    replaced.

    Args:
        field: the setting that names the folder, for messages.

    Raises:
        ValueError: another process writes the folder, or it is another kind of file.
        OSError: the disk is full or cannot be written; the message names the folder.
    """
    folder = real(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{field}: {folder} is not a folder")
    with lock.locked(lock.file_of(folder, inside=False), field):
        _restore(folder)
        aside = beside(folder, "partial")
        try:
            with disk.naming(folder, field):
                aside.mkdir()
                yield aside
                replace(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def require_space(folder: str | Path, size: int) -> None:
    """Check that the disk has room.

    Args:
        folder: where the files will be written; it need not exist.
        size: bytes to write.

    Raises:
        ValueError: the disk has less room.
    """
    folder = Path(folder).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        raise ValueError(
            f"prior: {folder} needs {size / 1e9:.3g} GB, its disk has {free / 1e9:.3g} GB free"
        )


def check_target(folder: str | Path, field: str, mark: str, workdir: str | Path = "") -> None:
    """Check that writing a folder replaces only an older one of the same kind.

    Args:
        field: the config field with the folder, for the message.
        mark: a file that every such folder holds.
        workdir: of the run that writes the folder, if any; it must not lie within the folder.

    Raises:
        ValueError: the folder holds other files, or the run itself.
    """
    folder = Path(folder).absolute()
    if workdir and Path(workdir).absolute().is_relative_to(folder):
        raise ValueError(f"{field}: {folder} holds the run itself; give another folder")
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if taken and not (folder / mark).is_file():
        raise ValueError(
            f"{field}: {folder} holds other files, which would be replaced; give a new folder, or"
            f" one with a {mark}"
        )


def beside(folder: Path, kind: str) -> Path:
    """A hidden sibling of a folder, for unfinished or replaced files; an old one is removed."""
    path = folder.with_name(f".{folder.name}.sdedit_jax-{kind}")
    if _is_folder(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return path


def replace(aside: Path, folder: Path) -> None:
    """Move the finished folder `aside` to `folder`, which may exist."""
    old = beside(folder, "old")
    try:
        if folder.exists():
            folder.rename(old)
        aside.rename(folder)
    finally:
        _restore(folder)
    shutil.rmtree(old, ignore_errors=True)


def _restore(folder: Path) -> None:
    """Put the old folder back, where an error or a kill came between the two renames."""
    old = folder.with_name(OLD.format(folder.name))
    if _is_folder(old) and not folder.exists():
        old.rename(folder)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()

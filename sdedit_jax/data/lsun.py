"""LSUN as released: one LMDB folder for a category and split, such as church_outdoor_val_lmdb.

The keys are the ids, the values are JPEG or WebP files. The label is the category.
"""

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sdedit_jax.data.examples import DataSet, Example, check_ids
from sdedit_jax.data.files import to_picture
from sdedit_jax.data.layouts import Choice, Layout
from sdedit_jax.data.lmdb_file import Lmdb
from sdedit_jax.data.tables import texts

NAME = re.compile(r"(?P<category>.+)_(?P<split>train|val)_lmdb|(?P<test>test)_lmdb")


def fits(path: Path) -> bool:
    """Whether a path is an LMDB folder, or a folder that has some of LSUN."""
    return (path / "data.mdb").is_file() or (path.is_dir() and bool(_inside(path)))


def _inside(path: Path) -> list[Path]:
    return sorted(one.parent for one in path.glob("*_lmdb/data.mdb"))


def lsun(path: Path, choice: Choice) -> DataSet:
    """The pictures of an LMDB folder, in the order of their keys.

    Raises:
        ValueError: it cannot be read, or a folder has several LMDB folders of the split.
    """
    folder = path if (path / "data.mdb").is_file() else _chosen(path, choice.split)
    found = NAME.fullmatch(folder.name)
    if choice.split and (not found or choice.split not in (found["split"], found["test"])):
        raise ValueError(f"data: {folder} is not the split {choice.split!r} by its name")
    reader = _Reader(folder, (found and found["category"]) or "")
    (ids,) = texts(((key,) for key in reader.keys()), 1)
    check_ids(ids, ids, str(folder))
    return DataSet(folder.name, ids, ids, reader)


def _chosen(path: Path, split: str) -> Path:
    """The one LMDB folder of the split in a folder."""
    found = [one for one in _inside(path) if not split or one.name.endswith(f"{split}_lmdb")]
    if len(found) != 1:
        names = [one.name for one in found or _inside(path)]
        of = f" of the split {split!r}" if split else ""
        raise ValueError(f"data: {path} must have one LMDB folder{of}, has {names}; name one")
    return found[0]


class _Reader:
    """Reads a picture by its key; can be pickled."""

    def __init__(self, folder: Path, label: str) -> None:
        self.folder, self.label = folder, label

    def keys(self) -> Iterator[str]:
        return map(os.fsdecode, _opened(self.folder).keys())

    def __call__(self, id: str, reference: str) -> Example:
        data = _opened(self.folder).get(os.fsencode(reference))
        if data is None:
            raise ValueError(f"no such key in {self.folder}")
        return Example(id, to_picture(data, reference), label=self.label)


@functools.cache
def _opened(folder: Path) -> Lmdb:
    """The open file of a folder, for all threads."""
    return Lmdb(folder / "data.mdb")


LAYOUT = Layout(fits, lsun, ("split",))

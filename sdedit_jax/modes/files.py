"""Result files: names, existing results, inputs that must not be replaced, sheets' scale."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from ml_collections import ConfigDict, config_dict

from sdedit_jax import images, provenance
from sdedit_jax.files.paths import real, shown
from sdedit_jax.weights import lock

Item = TypeVar("Item")

CELL = 512
"""Pixels of the longest side of a picture on a contact sheet."""


class Target(NamedTuple):
    """Where results are written.

    Attributes:
        folder: the workdir. overwrite: whether existing results are replaced.
        resume: whether an interrupted run goes on, see resume.py.
    """

    folder: Path
    overwrite: bool
    resume: bool = False

    @property
    def own(self) -> "Target":
        """Where the files of an interrupted run are written again."""
        return self._replace(overwrite=self.overwrite or self.resume)

    def png(
        self,
        name: str,
        picture: np.ndarray,
        text: Mapping[str, str] | None = None,
        source: images.Picture | None = None,
    ) -> Path:
        """Write a picture, with what belongs to the picture `source` that it was made from."""
        path = self.folder / name
        images.write_png(path, picture, text or {}, self.overwrite, source)
        return path

    def json(self, name: str, body: Mapping[str, Any]) -> Path:
        """Write a record."""
        return self.text(name, provenance.dumps(body, indent=1) + "\n")

    def text(self, name: str, text: str) -> Path:
        """Write a text."""
        path = self.folder / name
        images.write_bytes(path, text.encode(), self.overwrite)
        return path

    def free(self, name: str) -> str:
        """The name itself, or with a number where it exists: record.json, record-2.json .."""
        if self.overwrite or not (self.folder / name).exists():
            return name
        stem, suffix = name.rsplit(".", 1)
        numbered = (f"{stem}-{i}.{suffix}" for i in range(2, 100_000))
        return next(one for one in numbered if not (self.folder / one).exists())


def kept(workdir: Path) -> Path:
    """The workdir, or where it holds files, a new folder in it: run-2, run-3 .."""
    if not _holds_files(workdir):
        return workdir
    for i in range(2, 100_000):
        folder = workdir / f"run-{i}"
        try:
            folder.mkdir()  # fails where another run has just made it
            return folder
        except FileExistsError:
            continue
    raise ValueError(f"workdir: {workdir} holds too many runs")


def _holds_files(folder: Path) -> bool:
    files = folder.iterdir() if folder.is_dir() else ()
    return any(not file.name.startswith(lock.NAME) or lock.held(file) for file in files)


def refuse_own_folder(config: ConfigDict, workdir: Path) -> None:
    """Refuse to put results among the inputs, where the next run would read them.

    Raises:
        ValueError: the input is a folder and the workdir is the same.
    """
    folder = Path(config.input)
    if os.path.isdir(folder) and real(folder) == real(workdir):
        raise ValueError(f"workdir: {workdir} is the folder of the inputs; give another --workdir")


def refuse_existing(
    files: Sequence[Path], overwrite: bool, needed: Sequence[Path] = (), resumes: bool = False
) -> None:
    """Stop before any work when a result would replace a file.

    Args:
        resumes: whether the mode takes --resume.

    Raises:
        ValueError: a file exists and overwrite is off, or it is one of those `needed` or no file.
    """
    there = [file for file in files if file.exists()]
    own = {real(path) for path in needed}
    for file in there:
        check_file(file)
        if real(file) in own:
            raise ValueError(
                f"workdir: the result {file} would replace an input; give another --workdir"
            )
    if there and not overwrite:
        raise ValueError(
            f"workdir: {there[0]} exists"
            + (f", and {len(there) - 1} more" if len(there) > 1 else "")
            + "; give another --workdir, "
            + "--resume (finishes an interrupted run), " * resumes
            + "--keep (writes to a new folder), or --overwrite"
        )


def check_writable(folder: Path, field: str) -> None:
    """Check that a file can be made in a folder; root has all permissions, and yet may fail.

    Args:
        field: the setting that names the folder.

    Raises:
        OSError: it cannot.
    """
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f"{field}: {shown(folder)} cannot be written: {error.strerror}") from None


def check_file(file: Path) -> None:
    """Raise ValueError where a folder, or what else is no file, is in the place of a result."""
    if file.exists() and not file.is_file():
        raise ValueError(f"workdir: {file} is no file, where a result belongs; move it away")


def needed(config: ConfigDict, inputs: Sequence[Path]) -> list[Path]:
    """The inputs of a config, and the files that it names beside them."""
    options = config.get("options") or {}
    named = [*options.values(), config.get("prompts"), *str(config.get("masks", "")).split(",")]
    files = [Path(name.split("#")[0]) for name in named if name and isinstance(name, str)]
    inside = [file for folder in files if folder.is_dir() for file in folder.iterdir()]
    masks = [images.mask_beside(path, mask_suffix(config)) for path in inputs]
    return [*inputs, *files, *inside, *(mask for mask in masks if mask)]


def mask_suffix(config: ConfigDict) -> str:
    """What the stem of a mask beside an input adds to that of the input."""
    return config.options.mask_suffix if "options" in config else images.MASK_SUFFIX


def list_inputs(config: ConfigDict) -> images.Listing:
    """The inputs of a config, and the masks of others among its files."""
    return images.list_inputs(config.input, mask_suffix(config))


def sheet(
    rows: Iterable[Sequence[tuple[str, np.ndarray | None]]], names: Sequence[str], side: int
) -> np.ndarray:
    """A contact sheet with cells of one size. Pictures of one row at a time are in memory.

    The column "mask" is left out where everything may change in every row.

    Args:
        rows: labels of columns with pictures. A row that lacks the first columns is shorter.
        side: pixels of the longest side of a cell, see `cell_side`.
    """
    cells, columns, free = [], [], True
    for row in rows:
        labels = [label for label, _ in row]
        columns = labels if len(labels) >= len(columns) else columns
        mask = dict(row).get("mask")
        free &= mask is None or bool((mask == 255).all())
        cells.append([None if cell is None else images.to_cell(cell, side) for _, cell in row])
    cells = [[None] * (len(columns) - len(row)) + row for row in cells]
    if free and "mask" in columns:
        i = columns.index("mask")
        columns, *cells = ([*line[:i], *line[i + 1 :]] for line in (columns, *cells))
    return images.contact_sheet(cells, names, columns)


def cell_side(longest: int, scale: int) -> int:
    """The longest side of a cell of a sheet, for results whose longest side is `longest`.

    Args:
        scale: pixels per pixel of a result; 0: results are at least 128 pixels long.
    """
    longest = min(longest, CELL)
    return longest * (scale or max(1, 128 // longest))


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """All items, or `most` of them at equal distances."""
    rows = np.linspace(0, len(items) - 1, min(len(items), most)).astype(int)
    return [items[row] for row in rows]


def plain(config: ConfigDict) -> dict[str, Any]:
    """The config as plain JSON values.

    Raises:
        ValueError: a required field without a value, or a config that holds itself.
    """
    try:
        return {
            name: plain(value) if isinstance(value, ConfigDict) else value
            for name, value in config.items()
        }
    except config_dict.RequiredValueError:
        raise ValueError("config: a required field has no value") from None
    except RecursionError:
        raise ValueError("config: the config holds itself") from None

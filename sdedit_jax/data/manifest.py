"""Manifests: tables of rows with paths and texts, CSV or JSONL.

The columns are COLUMNS; `id` and `picture` are required. Paths are relative to the manifest.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdedit_jax.data.examples import DataSet, Row, file_set
from sdedit_jax.data.files import Files
from sdedit_jax.data.tables import json_rows
from sdedit_jax.files import json_file, table
from sdedit_jax.files.wording import brief
from sdedit_jax.text.spelling import counted, hint

ENDINGS = (".csv", ".tsv", ".jsonl")
COLUMNS = ("id", *Row._fields)
REQUIRED = ("id", "picture")


def manifest(path: Path) -> DataSet:
    """The data set of a manifest. Pictures are looked for when they are read.

    Raises:
        ValueError: the file cannot be read or has no rows; a column is unknown; a row lacks its id
            or its picture, or has the id of another row.
    """
    lines = json_file.lines(path, "data")
    found = _json(lines, path.name) if path.suffix == ".jsonl" else _table(lines, path.name)
    rows = (_row(line, values, path.name) for line, values in found)
    return file_set(path.name, rows, Files(path.parent))


def _table(lines: Iterable[str], name: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    rows = table.rows_of(lines, name, "data")
    _, header = next(rows, (0, []))
    if header:
        _check_columns(header, name)
    for line, cells in rows:
        if len(cells) != len(header):
            raise ValueError(
                f"data: line {line} of {name} has {counted(len(cells), 'cell')} for"
                f" {counted(len(header), 'column')}; put quotes around cells with commas"
            )
        yield line, dict(zip(header, cells, strict=True))


def _json(lines: Iterable[str], name: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    for line, row in json_rows(lines, name):
        _check_columns(list(row), f"line {line} of {name}")
        yield line, {column: _text(row[column], column, line, name) for column in row}


def _check_columns(columns: Sequence[str], where: str) -> None:
    """Check the columns of a table, or the fields of a line.

    Raises:
        ValueError: one is unknown or occurs twice, or a required one is missing.
    """
    for column in columns:
        if column not in COLUMNS:
            near = hint(column, COLUMNS)
            raise ValueError(
                f"data: {where} has the unknown column {brief(column)}; known are"
                f" {list(COLUMNS)}{near}"
            )
        if columns.count(column) > 1:
            raise ValueError(f"data: {where} has the column {column!r} twice")
    for column in REQUIRED:
        if column not in columns:
            raise ValueError(f"data: {where} needs a column {column!r}, has {brief(list(columns))}")


def _text(value: Any, column: str, line: int, name: str) -> str:
    """A value of a JSON line as text: texts, whole numbers, and null for none."""
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise ValueError(
            f"data: line {line} of {name}: {column} must be a text or a whole number, got"
            f" {brief(value)}"
        )
    return "" if value is None else str(value).strip()


def _row(line: int, values: Mapping[str, str], name: str) -> tuple[str, Row, str]:
    """(id, row, place) of the cells of a line."""
    for column in REQUIRED:
        if not values[column]:
            raise ValueError(f"data: line {line} of {name} has no {column}")
    fields = {column: values.get(column, "") for column in Row._fields}
    return values["id"], Row(**fields), f"line {line}"

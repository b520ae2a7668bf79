"""Files with prompts for each input: JSON {input's name: prompt or fields}, or a table.

A table is CSV with commas, semicolons or tabs. Its columns are the name and the fields; without a
header, the name and the prompt.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sdedit_jax.files import json_file, table
from sdedit_jax.files.values import WEIGHT
from sdedit_jax.files.wording import brief
from sdedit_jax.text.spelling import hint

LISTS = ("concepts", "masks")
"""Fields that may be a list of texts."""

NAMES = ("name", "file", "file_name", "filename", "image", "input", "path", "id")
"""Headers of the column of names in a table."""


def of_inputs(
    file: str, inputs: Sequence[Path], fields: Sequence[str], short: str = ""
) -> dict[str, Any]:
    """The entries of a file, by the ids of the inputs; see `read`.

    Raises:
        ValueError: see `read`; a name that no input has, or that is written twice.
    """
    return by_id(read(file, fields, short), inputs, file)


@contextlib.contextmanager
def naming(file: str, own: Mapping[str, Any], id: str) -> Iterator[None]:
    """While active, an error about the prompts of an input names its entry in the file of prompts.

    Args:
        file: "": there is none. own: the entries by the ids of inputs.

    Raises:
        ValueError: the error with the file and the input.
    """
    try:
        yield
    except ValueError as error:
        if not file:
            raise
        entry = f"{id!r} in {file}" if id in own else f"{id!r} has no entry in {file}"
        raise ValueError(f"prompts: {entry}: {error}") from None


def by_id(entries: Mapping[str, Any], paths: Sequence[Path], file: str) -> dict[str, Any]:
    """Entries by the ids of inputs, their stems; names may have a suffix and folders.

    Raises:
        ValueError: a name that no input has, that several have, or that is written twice.
    """
    ids = {path.stem: path.stem for path in paths}
    shared = {path.name for path in paths if sum(p.stem == path.stem for p in paths) > 1}
    known = {path.name: path.stem for path in paths} | ids
    found: dict[str, Any] = {}
    strange = [name for name in entries if Path(name).name not in known]
    if strange:
        raise ValueError(
            f"prompts: {file} names {brief(strange[:3])}, and no input has this name"
            f"{hint(strange[0], known)}"
        )
    for name, entry in entries.items():
        id = known[Path(name).name]
        if Path(name).name in shared - ids.keys():
            raise ValueError(f"prompts: {name!r} in {file}: several inputs are called {id!r}")
        if id in found:
            raise ValueError(f"prompts: {file} names the input {id!r} twice")
        found[id] = entry
    return found


def read(file: str, fields: Sequence[str], short: str = "") -> dict[str, dict[str, Any]]:
    """The entries of a file by the names in it; "": none.

    Args:
        fields: names that an entry may have. short: the field of an entry that is a text.

    Raises:
        ValueError: no such file, or another content.
    """
    if not file:
        return {}
    text = json_file.decode(json_file.contents(file, "prompts"), file, "prompts").lstrip()
    if text and text[0] not in "[{":
        found = _table(file, text, fields, short)
    else:
        found = json_file.read_object(file, "prompts", "names and prompts")
    return {name: _entry(file, name, entry, fields, short) for name, entry in found.items()}


def _table(file: str, text: str, fields: Sequence[str], short: str) -> dict[str, dict[str, Any]]:
    """The entries of a table; an empty cell leaves its field open."""
    every = list(table.rows(text, file, "prompts"))
    if not every:
        raise ValueError(f"prompts: {file} holds no names and prompts")
    header = [cell.lower() for cell in every[0][1]]
    if header[0] in NAMES and header[1:]:
        if wrong := [column for column in header[1:] if column not in fields]:
            raise ValueError(
                f"prompts: the column {brief(wrong[0])} of {file} must be one of {list(fields)}"
                f"{hint(wrong[0], fields)}"
            )
        if twice := [column for column in header if header.count(column) > 1]:
            raise ValueError(f"prompts: {file} has the column {twice[0]!r} twice")
        every = every[1:]
    elif short and len(header) > 1:
        header = ["name", short]
    else:
        raise ValueError(
            f"prompts: {file} must be JSON, or a table whose first line is a header: name and some"
            f" of {list(fields)}, got {brief(every[0][1])}"
        )
    found: dict[str, dict[str, Any]] = {}
    for line, (name, *cells) in every:
        if len(cells) > len(header) - 1 or not name or name in found:
            raise ValueError(
                f"prompts: line {line} of {file} must hold a new name and at most"
                f" {len(header) - 1} cells, with quotes around what has delimiters; got"
                f" {brief([name, *cells])}"
            )
        given = dict(zip(header[1:], cells, strict=False))
        where = f"of line {line} in {file}"
        found[name] = {f: _cell(f, cell, where) for f, cell in given.items() if cell}
    return found


def _cell(field: str, cell: str, where: str) -> Any:
    """The value of a cell of a table."""
    if field != "scale":
        return cell
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"prompts: scale {where} must be a number, got {brief(cell)}") from None


def _entry(file: str, name: str, entry: Any, fields: Sequence[str], short: str) -> dict[str, Any]:
    given = {short: entry} if short and isinstance(entry, str) else entry
    if not isinstance(given, dict) or not set(given) <= set(fields):
        kinds = "a text or an object" if short else "an object"
        wrong = [field for field in given if field not in fields] if isinstance(given, dict) else []
        raise ValueError(
            f"prompts: {brief(name)} in {file} must be {kinds} of {list(fields)}, got"
            f" {brief(entry)}{hint(wrong[0], fields) if wrong else ''}"
        )
    where = f"of {brief(name)} in {file}"
    return {field: _value(field, value, where) for field, value in given.items()}


def _value(field: str, value: Any, where: str) -> Any:
    """A field of an entry; null leaves a text open."""
    if field == "scale":
        WEIGHT.check(value, f"prompts: scale {where}")
        return value
    many = field in LISTS and isinstance(value, list)
    texts = ["" if text is None else text for text in (value if many else [value])]
    if not all(isinstance(text, str) for text in texts):
        kind = "texts" if field in LISTS else "a text"
        raise ValueError(f"prompts: {field} {where} must be {kind}, got {brief(value)}")
    return texts if many else texts[0]

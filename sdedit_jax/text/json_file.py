"""JSON from users' files: UTF-8 with or without a byte order mark, UTF-16 or UTF-32."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def read(file: str | Path, field: str) -> Any:
    """The value in a JSON file.

    Args:
        field: the setting that names the file, for messages.

    Raises:
        ValueError: the file cannot be read or is not JSON; the message has the file and the place.
    """
    return parse(contents(file, field), file, field)


def read_object(file: str | Path, field: str, of: str = "") -> dict[str, Any]:
    """The object in a JSON file; see `read`.

    Args:
        of: what the object has, for the message.

    Raises:
        ValueError: see `read`; or the file holds another value.
    """
    return parse_object(contents(file, field), file, field, of)


def parse_object(data: bytes, file: str | Path, field: str, of: str = "") -> dict[str, Any]:
    """The object in a JSON file's bytes; see `read_object`."""
    value = parse(data, file, field)
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else repr(value)
        raise ValueError(f"{field}: {file} must hold a JSON object{of and f' of {of}'}, got {kind}")
    return value


def contents(file: str | Path, field: str) -> bytes:
    """The bytes of a file.

    Raises:
        ValueError: the file cannot be read.
    """
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ValueError(f"{field}: cannot read {file}: {error.strerror}") from None


def decode(data: bytes, name: str | Path, field: str) -> str:
    """The text of a file's bytes, without a byte order mark.

    Args:
        name: of the file, for messages.

    Raises:
        ValueError: the bytes are no text in UTF-8, UTF-16 or UTF-32.
    """
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{field}: cannot read {name}: byte {error.start} is not {encoding.upper()[:5]} text;"
            " save the file as UTF-8"
        ) from None


def lines(file: str | Path, field: str) -> Iterator[str]:
    """The lines of a text file with their ends, read one by one; for large files.

    Raises:
        ValueError: the file cannot be read, or is no text in UTF-8, UTF-16 or UTF-32.
    """
    number, encoding = 0, ""
    try:
        with open(file, "rb") as start:
            encoding = json.detect_encoding(start.read(4))
        with open(file, encoding=encoding, newline="") as text:
            for line in text:
                number += 1
                yield line
    except OSError as error:
        raise ValueError(f"{field}: cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(
            f"{field}: cannot read {file}: after line {number} there is no {encoding.upper()[:5]}"
            " text; save the file as UTF-8"
        ) from None


def parse(data: bytes, name: str | Path, field: str) -> Any:
    """The JSON value in a file's bytes.

    Args:
        name: of the file, for messages.

    Raises:
        ValueError: the bytes are no text, or the text is not JSON.
    """
    text = decode(data, name, field)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{field}: cannot read {name}: {_reason(text, error)}") from None
    except RecursionError:
        raise ValueError(f"{field}: cannot read {name}: its JSON is nested too deeply") from None


def _reason(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong, and where."""
    lines = text.strip().splitlines()
    if not lines:
        return "the file is empty"
    if re.match(r"[^\[{,;\t][^,;\t]*[,;\t]", lines[0]):
        return f"the file is not JSON but looks like CSV, its first line is {lines[0][:60]!r}"
    return f"the file is not JSON at line {error.lineno}, column {error.colno}: {error.msg}"

"""JSON from users' files: UTF-8 with or without a byte order mark, UTF-16 or UTF-32."""

import io
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sdedit_jax.files import door
from sdedit_jax.files.wording import brief

DEEPEST = 64
"""Levels of objects and lists within each other."""
DIGITS = 1000
"""Characters of a number."""
SURROGATE = re.compile("[\ud800-\udfff]")


def read(file: str | Path, field: str, *, infinite: bool = False) -> Any:
    """The value in a JSON file.

    Args:
        field: the setting that names the file, for messages.
        infinite: whether Infinity and -Infinity, which JSON lacks, are numbers.

    Raises:
        ValueError: the file cannot be read or is not JSON; the message has the file and the place.
    """
    return parse(contents(file, field), file, field, infinite=infinite)


def read_object(
    file: str | Path, field: str, of: str = "", *, infinite: bool = False
) -> dict[str, Any]:
    """The object in a JSON file; see `read`.

    Args:
        of: what the object has, for the message.

    Raises:
        ValueError: see `read`; or the file holds another value.
    """
    return parse_object(contents(file, field), file, field, of, infinite=infinite)


def parse_object(
    data: bytes, file: str | Path, field: str, of: str = "", *, infinite: bool = False
) -> dict[str, Any]:
    """The object in a JSON file's bytes; see `read_object`."""
    value = parse(data, file, field, infinite=infinite)
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else brief(value)
        raise ValueError(f"{field}: {file} must hold a JSON object{of and f' of {of}'}, got {kind}")
    return value


def contents(file: str | Path, field: str) -> bytes:
    """The bytes of a file of text.

    Raises:
        ValueError: the file cannot be read.
    """
    return door.read(file, field, door.TEXT)


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
            f"{field}: cannot read {name}: byte {error.start} is not {_short(encoding)} text;"
            " save the file as UTF-8"
        ) from None


def lines(file: str | Path, field: str) -> Iterator[str]:
    """The lines of a text file with their ends, read one by one; for large files.

    Raises:
        ValueError: the file cannot be read, is no text in UTF-8, UTF-16 or UTF-32, or has a line of
            more than `door.LINE` characters.
    """
    number, encoding = 0, ""
    with door.open_file(file, field, door.TABLE) as opened:
        with door.reading(file, field):
            encoding = json.detect_encoding(opened.read(4) or b"")
        opened.seek(0)
        text = io.TextIOWrapper(opened, encoding, newline="")
        try:
            while line := text.readline(door.LINE + 1):
                number += 1
                if len(line) > door.LINE:
                    raise ValueError(
                        f"{field}: cannot read {file}: line {number} has more than {door.LINE}"
                        " characters"
                    )
                yield line
        except OSError as error:
            raise ValueError(f"{field}: cannot read {file}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError(
                f"{field}: cannot read {file}: after line {number} there is no"
                f" {_short(encoding)} text; save the file as UTF-8"
            ) from None


def parse(data: bytes, name: str | Path, field: str, *, infinite: bool = False) -> Any:
    """The JSON value in a file's bytes; see `parse_text`.

    Raises:
        ValueError: the bytes are no text, or the text is not JSON.
    """
    return parse_text(decode(data, name, field), name, field, infinite=infinite)


def parse_text(text: str, name: str | Path, field: str, *, infinite: bool = False) -> Any:
    """The JSON value of a text.

    Args:
        name: of the file, for messages.
        infinite: whether Infinity and -Infinity, which JSON lacks, are numbers.

    Raises:
        ValueError: the text is not JSON, a name occurs twice in an object, a number is not finite
            or too long, values lie deeper than `DEEPEST`, or a text is no Unicode.
    """

    def constant(word: str) -> float:
        if infinite and word != "NaN":
            return float(word)
        raise ValueError(f"the number {word} is not allowed")

    try:
        found = json.loads(
            text,
            parse_constant=constant,
            parse_int=_int,
            parse_float=_float,
            object_pairs_hook=_object,
        )
        _check(found)
        return found
    except json.JSONDecodeError as error:
        reason = _reason(text, error)
    except RecursionError:
        reason = "its JSON is nested too deeply"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{field}: cannot read {name}: {reason}")


def _int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"the number {digits[:20]}... has {len(digits)} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {digits[:20]} is too large")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))
        raise ValueError(f"the name {brief(twice, 60)} occurs twice in an object")
    return found


def _check(value: Any) -> None:
    """Raise ValueError for values that lie too deep, and for texts that are no Unicode."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        if any(SURROGATE.search(text) for text in _texts(level)):
            raise ValueError("a text holds half of a surrogate pair")
        level = [inner for outer in level for inner in inside(outer)]
        if not level:
            return
    raise ValueError(f"its JSON is nested too deeply: more than {DEEPEST} levels")


def _texts(level: Iterable[Any]) -> Iterator[str]:
    for value in level:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from value


def inside(value: Any) -> Iterable[Any]:
    """The values in an object or a list; none for other values."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _reason(text: str, error: json.JSONDecodeError) -> str:
    """What is wrong, and where."""
    lines = text[:10_000].strip().splitlines()
    if not lines:
        return "the file is empty"
    if re.match(r"[^\[{,;\t][^,;\t]*[,;\t]", lines[0][:1000]):
        return f"the file is not JSON but looks like CSV, its first line is {brief(lines[0], 60)}"
    return f"the file is not JSON at line {error.lineno}, column {error.colno}: {error.msg}"


def _short(encoding: str) -> str:
    """The name of an encoding without its byte order: UTF-8, UTF-16 or UTF-32."""
    return re.sub(r"(-(sig|le|be))$", "", encoding).upper()

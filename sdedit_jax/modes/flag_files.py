"""Flag files: `--flagfile=FILE` stands for the arguments in the lines of a file."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdedit_jax.files.wording import brief
from sdedit_jax.images import user_path

LARGEST = 2**20
"""Bytes of a flag file."""
MOST_LINES = 10_000
"""Arguments of all flag files."""
DEEPEST = 32
"""Flag files inside each other."""
FLAG = re.compile(r"--?flagfile(?:=(.*))?", re.DOTALL)


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments with those of flag files in their places.

    Blank lines and lines that start with # or // are left out. A file may name further ones.

    Raises:
        ValueError: a file that is missing, too large, no text, or that names itself.
    """
    found = []
    for argument in _expanded(arguments, ()):
        found.append(argument)
        if len(found) > MOST_LINES + len(arguments):
            raise ValueError(f"flagfile: the files have more than {MOST_LINES} arguments")
    return found


def _expanded(arguments: Sequence[str], inside: tuple[Path, ...]) -> Iterator[str]:
    rest = iter(arguments)
    for argument in rest:
        flag = FLAG.fullmatch(argument)
        if argument == "--":
            yield from (argument, *rest)
        elif not flag:
            yield argument
        else:
            yield from _of_file(next(rest, "") if flag[1] is None else flag[1], inside)


def _of_file(name: str, inside: tuple[Path, ...]) -> Iterator[str]:
    """The arguments of a file; `inside` are those that lead to it."""
    path = user_path(name).resolve()
    if path in inside:
        raise ValueError(f"flagfile: {brief(name)} names itself")
    if len(inside) >= DEEPEST:
        raise ValueError(f"flagfile: more than {DEEPEST} files inside each other")
    lines = (line.strip() for line in _read(path, name).splitlines())
    kept = [line for line in lines if line and not line.startswith(("#", "//"))]
    yield from _expanded(kept, (*inside, path))


def _read(path: Path, name: str) -> str:
    if not path.is_file():
        raise ValueError(f"flagfile: there is no file {brief(name)}")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"flagfile: cannot read {brief(name)}: {error.strerror}") from None
    if len(data) > LARGEST:
        raise ValueError(f"flagfile: {brief(name)} has more than {LARGEST} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"flagfile: {brief(name)} is no UTF-8 text: {error.reason}") from None

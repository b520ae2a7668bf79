"""Flag files: `--flagfile=FILE` stands for the arguments in the lines of a file."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sdedit_jax.files import door, json_file
from sdedit_jax.files.paths import real, user_path
from sdedit_jax.files.schema import PLAIN
from sdedit_jax.files.wording import brief

LARGEST = 2**20
"""Bytes of a flag file."""
MOST_LINES = 10_000
"""Arguments of all flag files."""
DEEPEST = 32
"""Flag files inside each other."""
MOST_FILES = 1000
"""Flag files that are read, each as often as it is named."""
FLAG = re.compile(r"--?flagfile(?:=(.*))?", re.DOTALL)


def expanded(arguments: Sequence[str]) -> list[str]:
    """The arguments with those of flag files in their places.

    Blank lines and lines that start with # or // are left out. A file may name further ones.

    Raises:
        ValueError: a file that is missing, too large, no text, or that names itself, or too many
            files.
    """
    found, files = [], itertools.count(1)
    for argument in _expanded(arguments, (), files):
        found.append(argument)
        if len(found) > MOST_LINES + len(arguments):
            raise ValueError(f"flagfile: the files have more than {MOST_LINES} arguments")
    return found


def _expanded(
    arguments: Sequence[str], inside: tuple[Path, ...], files: Iterator[int]
) -> Iterator[str]:
    rest = iter(arguments)
    for argument in rest:
        flag = FLAG.fullmatch(argument)
        if argument == "--":
            yield from (argument, *rest)
        elif not flag:
            yield argument
        else:
            name = next(rest, "") if flag[1] is None else flag[1]
            yield from _of_file(name, inside, files)


def _of_file(name: str, inside: tuple[Path, ...], files: Iterator[int]) -> Iterator[str]:
    """The arguments of a file; `inside` lead to it, and `files` counts those that are read."""
    PLAIN[str].check(name, "flagfile")
    if next(files) > MOST_FILES:
        raise ValueError(f"flagfile: the files name more than {MOST_FILES} files")
    path = real(user_path(name))
    if path in inside:
        raise ValueError(f"flagfile: {brief(name)} names itself")
    if len(inside) >= DEEPEST:
        raise ValueError(f"flagfile: more than {DEEPEST} files inside each other")
    data = door.read(path, "flagfile", LARGEST)
    lines = (line.strip() for line in json_file.decode(data, brief(name), "flagfile").splitlines())
    kept = [line for line in lines if line and not line.startswith(("#", "//"))]
    yield from _expanded(kept, (*inside, path), files)

"""Paths of users: "~" is the home folder; names that are not UTF-8."""

import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from sdedit_jax.files.wording import escaped

LONGEST = 500
"""Characters of a path in a message."""
HOME = re.compile(r"(^|,)(\s*)(~[^/,\s]*)(?=/|,|$)")


def user_path(path: str | Path) -> Path:
    """A path with its home folder: "~/out" and "~user/out"; an unknown user stays as it is."""
    return Path(os.path.expanduser(path))


def real(path: str | Path) -> Path:
    """A path without links; one whose links run in a circle stays, and fails when it is opened."""
    return Path(os.path.realpath(path))


def shown(path: str | Path) -> str:
    """A path for messages: on one line, bytes of a name that are not UTF-8 as "\\xfc"."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    text = escaped(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def expand(text: str) -> str:
    """The value of a field with the home folder in each of its paths, which commas separate."""
    return HOME.sub(lambda found: found[1] + found[2] + os.path.expanduser(found[3]), text)


def walk(
    top: str | Path, onerror: Callable[[OSError], object] | None = None, links: bool = False
) -> Iterator[tuple[str, list[str], list[str]]]:
    """os.walk without recursion, so that folders may lie deep.

    Args:
        links: links to folders are followed.
    """
    left = [os.fspath(top)]
    while left:
        for here, folders, files in itertools.islice(os.walk(left.pop(), onerror=onerror), 1):
            yield here, folders, files
            inside = (os.path.join(here, name) for name in reversed(folders))
            left += [path for path in inside if links or not os.path.islink(path)]

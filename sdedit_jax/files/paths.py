"""Paths of users: "~" is the home folder; names that are not UTF-8."""

import os
import re
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

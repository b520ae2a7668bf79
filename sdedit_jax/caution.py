"""Words for the user: warnings, at the line of the caller or in one line; values in messages."""

import contextlib
import inspect
import sys
import warnings
from collections.abc import Iterator
from typing import Any

LONGEST = 80
"""Characters of a value in a message."""


def warn(message: str) -> None:
    """Warn at the line of the caller that is outside of this package."""
    package = __name__.partition(".")[0]
    frame, level = inspect.currentframe(), 1
    while frame.f_back and frame.f_globals["__name__"].partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, stacklevel=level)


@contextlib.contextmanager
def in_one_line() -> Iterator[None]:
    """While active, a warning is a line on stderr."""
    with warnings.catch_warnings():
        warnings.showwarning = _show
        yield


def _show(message: Warning | str, *_: Any) -> None:
    print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def shown(value: Any, longest: int = LONGEST) -> str:
    """A value for a message, in one line and cut to `longest` characters."""
    try:
        text = " ".join(repr(value).split())
    except (ValueError, RecursionError):  # an int of thousands of digits, a list in itself
        text = f"{type(value).__name__} of a size that cannot be shown"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."

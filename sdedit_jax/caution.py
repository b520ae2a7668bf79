"""Warnings: given at the user's line from Python, printed in one line by the program."""

import contextlib
import inspect
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from sdedit_jax.files.wording import one_line

_QUIET: ContextVar[bool] = ContextVar("quiet", default=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it, `warn` does nothing, because the same warning was given before."""
    before = _QUIET.set(True)
    try:
        yield
    finally:
        _QUIET.reset(before)


def warn(message: str) -> None:
    """Warn at the line of the caller that is outside of this package."""
    if _QUIET.get():
        return
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
    print(f"warning: {one_line(message)}", file=sys.stderr)

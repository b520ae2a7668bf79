"""Failures of the disk in libraries, as one OSError that names the path."""

import contextlib
import errno
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk that is full, broken or cannot be written."""
LIBRARIES = ("orbax", "tensorboardX", "tensorstore")
"""Libraries whose threads fail too, and print it."""


@contextlib.contextmanager
def naming(folder: str | Path, field: str = "workdir") -> Iterator[None]:
    """Within it, a failure of the disk is one OSError, also where a library wraps it.

    Args:
        folder: that is written. field: the setting that names it.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    try:
        with _quiet_threads():
            yield
    except Exception as error:  # orbax and tensorstore raise many kinds
        number = _number(error)
        if number is None:
            raise
        path = getattr(error, "filename", None) or folder
        raise OSError(f"{field}: cannot write {path}: {os.strerror(number)}") from None


def _number(error: BaseException | None) -> int | None:
    """The number of a failure of the disk; None for other errors.

    tensorstore's messages hold it: "[OS error 28: ENOSPC No space left on device]".
    """
    while error is not None:
        found = re.search(r"OS error (\d+)", str(error))
        number = int(found[1]) if found else getattr(error, "errno", None)
        if number in NUMBERS:
            return number
        error = error.__cause__
    return None


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """Within it, threads of LIBRARIES that end by an error print nothing."""
    before = threading.excepthook

    def hook(found: threading.ExceptHookArgs) -> None:
        home = type(found.thread).__module__.partition(".")[0]
        if home not in LIBRARIES:
            before(found)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before

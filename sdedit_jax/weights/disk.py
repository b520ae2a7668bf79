"""Failures of the disk in libraries, as one OSError that names the path."""

import contextlib
import errno
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk that is full, broken or cannot be written."""
LIBRARIES = ("orbax", "tensorstore")
"""Libraries whose threads fail too, and print it."""


@contextlib.contextmanager
def naming(folder: str | Path, field: str = "workdir") -> Iterator[None]:
    """Within it, a failure of the disk is one OSError, also where a library wraps it.

    Args:
        folder: that is written. field: the setting that names it.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    restore = _quiet()
    try:
        yield
    except Exception as error:  # orbax and tensorstore raise many kinds
        number = _number(error)
        if number is None:
            restore()
            raise
        # threads of these libraries go on for a while, so they stay quiet
        path = getattr(error, "filename", None) or folder
        raise OSError(f"{field}: cannot write {path}: {os.strerror(number)}") from None
    else:
        restore()


def _number(error: BaseException | None) -> int | None:
    """The number of a failure of the disk; None for other errors.

    tensorstore's messages hold it: "No space left on device [os_error_code='28']".
    """
    while error is not None:
        found = re.search(r"os_error_code='(\d+)'", str(error))
        number = int(found[1]) if found else getattr(error, "errno", None)
        if number in NUMBERS:
            return number
        error = error.__cause__
    return None


def _quiet() -> Callable[[], None]:
    """Let LIBRARIES print no tracebacks, by threads or logs; a function that undoes it."""
    thread, other, log = threading.excepthook, sys.unraisablehook, logging.getLogger("absl")

    def of_thread(found: threading.ExceptHookArgs) -> None:
        if type(found.thread).__module__.partition(".")[0] not in LIBRARIES:
            thread(found)

    def of_native(found: "sys.UnraisableHookArgs") -> None:
        if str(found.exc_value) != "Event loop is closed":  # tensorstore, when orbax has given up
            other(found)

    def wanted(record: logging.LogRecord) -> bool:
        return not any(f"/{name}/" in record.pathname for name in LIBRARIES)

    def restore() -> None:
        threading.excepthook, sys.unraisablehook = thread, other
        log.removeFilter(wanted)

    threading.excepthook, sys.unraisablehook = of_thread, of_native
    log.addFilter(wanted)
    return restore

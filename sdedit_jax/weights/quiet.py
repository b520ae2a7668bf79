"""Libraries that print what fails in their threads and tasks, and raise it as well."""

import contextlib
import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator

LIBRARIES = ("orbax", "tensorstore")


@contextlib.contextmanager
def libraries() -> Iterator[None]:
    """Within it, LIBRARIES print nothing, and nothing warns."""
    restore = begin()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        restore()


def begin() -> Callable[[], None]:
    """Let LIBRARIES print no errors and logs; a function that undoes it.

    Tasks that fail unseen are reported when they are deleted, so these reports are left out for
    good.
    """
    thread, other, log = threading.excepthook, sys.unraisablehook, logging.getLogger("absl")
    filters = list(log.filters)

    def of_thread(found: threading.ExceptHookArgs) -> None:
        if type(found.thread).__module__.partition(".")[0] not in LIBRARIES:
            thread(found)

    def of_native(found: "sys.UnraisableHookArgs") -> None:
        if str(found.exc_value) != "Event loop is closed":  # tensorstore, when orbax has given up
            other(found)

    def restore() -> None:
        threading.excepthook, sys.unraisablehook = thread, other
        log.filters = filters

    threading.excepthook, sys.unraisablehook = of_thread, of_native
    log.addFilter(_is_other)
    logging.getLogger("asyncio").addFilter(_is_other)
    return restore


def _is_other(record: logging.LogRecord) -> bool:
    """Whether a log is not of LIBRARIES, nor about an error in one."""
    trace = traceback.extract_tb(record.exc_info[2]) if record.exc_info else []
    places = [record.pathname, *(frame.filename for frame in trace)]
    return not any(f"/{name}/" in place for place in places for name in LIBRARIES)

"""Failures of the disk in libraries, as one OSError that names the path."""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sdedit_jax.weights import quiet

NUMBERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Errors of a disk that is full, broken or cannot be written."""


@contextlib.contextmanager
def naming(folder: str | Path, field: str = "workdir") -> Iterator[None]:
    """Within it, a failure of the disk is one OSError, also where a library wraps it.

    Args:
        folder: that is written. field: the setting that names it.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    restore = quiet.begin()
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

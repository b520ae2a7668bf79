"""Standard output of the program: whole lines, whatever a file is named and wherever it goes."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

from sdedit_jax.files.wording import escaped


class Screen(io.TextIOWrapper):
    """Standard output, on which no name moves the cursor, and whose errors say where they are."""

    def write(self, text: str) -> int:
        with self._named():
            super().write("\n".join(escaped(line) for line in text.split("\n")))
        return len(text)

    def flush(self) -> None:
        with self._named():
            super().flush()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # what is left goes nowhere, so that the exit has no error
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            raise OSError(f"stdout: it cannot be written: {error.strerror}") from None


def prepare() -> None:
    """Replace standard output by a Screen; a stream that is closed is one that goes nowhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
    before = sys.stdout
    lines = {"line_buffering": before.line_buffering, "write_through": before.write_through}
    encoding = before.encoding
    sys.stdout = Screen(before.detach(), encoding, "backslashreplace", **lines)

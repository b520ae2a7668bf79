"""Signals: the program ends with one line and the right exit code, at any moment.

`catch` stops a run after the current work. The program (not the library) also handles signals
before and after that: see `program`. This module is imported before all others, which take seconds.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

NUMBERS = (signal.SIGTERM, signal.SIGINT)


class Interrupted(KeyboardInterrupt):
    """A signal that ends the program; `exit_code` is 143 or 130."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number


class Signals:
    """The signal received so far.

    Attributes:
        stop: set by the first signal; what runs asks `stop.is_set()` between two chunks of work.
        name: "SIGTERM", "SIGINT", or "" before any signal.
        exit_code: 143 after SIGTERM, 130 after SIGINT, else 0.
    """

    def __init__(self) -> None:
        self.stop, self.name, self.exit_code = threading.Event(), "", 0

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal. The first one sets `stop`, the second one ends the process.

        Raises:
            KeyboardInterrupt: a second SIGINT.
            SystemExit: a second SIGTERM.
        """
        del frame
        if self.name:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        self.name, self.exit_code = signal.Signals(number).name, 128 + number
        self.stop.set()


@contextlib.contextmanager
def catch() -> Iterator[Signals]:
    """While active, the first SIGTERM or SIGINT sets `stop` instead of ending the process.

    Outside the main thread, where Python allows no handlers, nothing is caught.
    """
    signals = Signals()
    with _handled(signals.receive):
        yield signals


# --- the program ----------------------------------------------------------------------------------


@contextlib.contextmanager
def program() -> Iterator[None]:
    """While active, a signal raises Interrupted, and a second one ends the process at once.

    A thread sees to the second one, since the main thread may be in code that is not Python's.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=[reading], daemon=True).start()
    sys.unraisablehook = _unraisable
    try:
        with _handled(_interrupt):
            yield
    finally:
        signal.set_wakeup_fd(before)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Within it, a signal ends the program at once: an import that is cut off may crash the exit.

    The signals of other programs, and those of `catch`, stay as they are.
    """
    own = signal.getsignal(signal.SIGTERM) is _interrupt
    with _handled(end) if own else contextlib.nullcontext():
        yield


def end(number: int, frame: FrameType | None = None) -> NoReturn:
    """End the process at once, with one line."""
    del frame
    with contextlib.suppress(OSError):
        os.write(2, b"error: interrupted\n")
    os._exit(128 + number)


def end_at_once() -> None:
    """Let a signal end the process at once, where it is that of the program."""
    if _is_program() and threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            signal.signal(number, end)


def _is_program() -> bool:
    """Whether this process is `sdedit`, `python -m sdedit_jax` or main.py of the checkout."""
    if sys.argv[:1] == ["-m"]:  # as long as the module is imported
        given = sys.orig_argv
        return "-m" in given and given[given.index("-m") + 1 :][:1] == [__package__]
    file = Path(getattr(sys.modules.get("__main__"), "__file__", None) or "")
    main = Path(__file__).resolve().parent.parent / "main.py"
    return file.name in COMMANDS or file.resolve() == main


COMMANDS = ("sdedit", "sdedit.exe", "sdedit-script.py")
"""Names of the file that the command `sdedit` runs."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    del frame
    raise Interrupted(number)


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Python ignores errors in some places, such as destructors; a signal must not be lost."""
    if isinstance(found.exc_value, Interrupted):
        end(found.exc_value.exit_code - 128)
    sys.__unraisablehook__(found)


def _watch(reading: int) -> None:
    """End the process at its second signal."""
    seen = 0
    while data := os.read(reading, 16):
        for number in data:
            seen += number in NUMBERS
            if seen > 1:
                os._exit(128 + number)


@contextlib.contextmanager
def _handled(handler: object) -> Iterator[None]:
    """A handler of NUMBERS inside the block, where Python allows one."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handler) for number in NUMBERS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


end_at_once()

"""Signals that stop a run after the current work: SIGTERM and Ctrl-C."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


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
    signals, before = Signals(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, signals.receive)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

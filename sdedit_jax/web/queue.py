"""The order of edits: one at a time on the device, the latest of a visitor wins."""

import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

from sdedit_jax.text.spelling import counted

MOST = 16
"""Edits that may run or wait, of all visitors."""


class Refused(Exception):
    """Too many edits wait; the message is for the visitor."""


class Overtaken(Exception):
    """A later edit of the same visitor took this one's place, or it was cancelled."""


class Ticket(NamedTuple):
    """An edit that runs or waits.

    Attributes:
        visitor: whose it is. number: of what the canvas sent.
        cancel: set when it is overtaken; the executor's token.
    """

    visitor: str
    number: float
    cancel: threading.Event


class Line:
    """The line of edits; the first one runs."""

    def __init__(self, most: int = MOST) -> None:
        self.most, self.tickets = most, []
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def turn(self, visitor: str, number: float = 0) -> Iterator[threading.Event]:
        """Wait for the turn of an edit; yields its token. It cancels the visitor's earlier edit.

        Args:
            number: requests may arrive in another order than they were sent in. A later request
                has a larger number; infinity is later than all.

        Raises:
            Refused: too many edits wait. Overtaken: there is a later edit of the visitor.
        """
        ticket = Ticket(visitor, number, threading.Event())
        with self.changed:
            if any(one.visitor == visitor and one.number > number for one in self.tickets):
                raise Overtaken
            others = [one for one in self.tickets if one.visitor != visitor]
            if len(others) >= self.most:
                waiting = counted(len(others), "edit")
                raise Refused(f"The program is busy: {waiting} came before. Try again in a moment.")
            self._cancel(visitor)
            self.tickets.append(ticket)
            self.changed.notify_all()
        try:
            with self.changed:
                self.changed.wait_for(lambda: self.tickets[0] is ticket or ticket.cancel.is_set())
            if ticket.cancel.is_set():
                raise Overtaken
            yield ticket.cancel
        finally:
            with self.changed:
                self.tickets.remove(ticket)
                self.changed.notify_all()

    def has(self, visitor: str) -> bool:
        """Whether an edit of a visitor runs or waits."""
        with self.changed:
            return any(ticket.visitor == visitor for ticket in self.tickets)

    def cancel(self, visitor: str) -> None:
        """Cancel the edits of a visitor."""
        with self.changed:
            self._cancel(visitor)
            self.changed.notify_all()

    def _cancel(self, visitor: str) -> None:
        for ticket in self.tickets:
            if ticket.visitor == visitor:
                ticket.cancel.set()

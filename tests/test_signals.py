"""SIGTERM and Ctrl-C stop a run after the work in hand; the exit code names the signal."""

import os
import signal
import threading

import pytest

from sdedit_jax import signals

CODES = [(signal.SIGTERM, 143, SystemExit), (signal.SIGINT, 130, KeyboardInterrupt)]


@pytest.mark.parametrize(("number", "code", "ending"), CODES)
def test_the_first_signal_asks_to_stop_and_the_second_ends(number, code, ending):
    before = signal.getsignal(number)
    with signals.catch() as caught:
        assert not caught.stop.is_set() and (caught.name, caught.exit_code) == ("", 0)
        os.kill(os.getpid(), number)
        assert caught.stop.is_set() and caught.exit_code == code and caught.name == number.name
        with pytest.raises(ending):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_handlers_are_restored_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="wrong"), signals.catch():
        raise ValueError("wrong")
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_catches_nothing():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def run():
        with signals.catch() as caught:
            seen.append((signal.getsignal(signal.SIGTERM), caught.stop.is_set()))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(before, False)]

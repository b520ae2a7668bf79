"""SIGTERM and Ctrl-C stop a run after the work in hand; the exit code names the signal."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from program import ROOT, names, tiny_prior

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


# --- real processes -------------------------------------------------------------------------------

COMMANDS = {"main.py": ["main.py"], "module": ["-m", "sdedit_jax"]}
EDIT = ["--config=strokes", "--config.samples=8", "--config.batch=2", "--config.devices=1"]


def started(command, *arguments):
    """The program as a process, with its output."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *COMMANDS[command], *arguments], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def maps(pid):
    """The libraries of a process."""
    with open(f"/proc/{pid}/maps") as file:
        return file.read()


def lines(text):
    """What is printed, without progress bars."""
    shown = [line.strip() for line in re.split(r"[\r\n]", text)]
    return [line for line in shown if line and not re.search(r"\d+%\|", line)]


def ended(process, code):
    """The lines of a process that has ended with a code and without a traceback."""
    out, wrong = process.communicate(timeout=300)
    assert process.returncode == code, wrong
    assert "Traceback" not in out + wrong
    return lines(wrong)


@pytest.mark.parametrize(("number", "code"), [pair[:2] for pair in CODES])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_signal_during_the_imports_is_one_line(command, number, code, tmp_path):
    process = started(command, *EDIT, f"--workdir={tmp_path / 'out'}")
    while process.poll() is None and "jaxlib" not in maps(process.pid):  # in the midst of them
        time.sleep(0.01)
    process.send_signal(number)
    assert ended(process, code) == ["error: interrupted"]
    assert not (tmp_path / "out").exists()


def test_a_program_of_others_keeps_its_handlers():
    code = "import signal; before = signal.getsignal(15), signal.getsignal(2); import sdedit_jax"
    code += "; assert (signal.getsignal(15), signal.getsignal(2)) == before"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.long
def test_an_edit_that_is_killed_at_any_moment_goes_on(tmp_path):
    """20 kills; in the end all is as in a run that was never interrupted."""
    prior = f"--config.prior={tiny_prior()}"
    arguments = [*EDIT, prior, "--config.sampler.steps=100", "--config.cache=", "--resume"]
    random.seed(0)
    for k in range(20):
        process = started("main.py", *arguments, f"--workdir={tmp_path / 'out'}")
        time.sleep(random.uniform(0.3, 10))
        number = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT][k % 3]
        process.send_signal(number)
        out, wrong = process.communicate(timeout=300)
        # -15 and -2: while Python itself starts or ends
        assert (
            process.returncode in (-9, 143, 130, 0, -15, -2) and "Traceback" not in out + wrong
        ), wrong
    assert ended(started("main.py", *arguments, f"--workdir={tmp_path / 'out'}"), 0) == []
    whole = tmp_path / "whole"
    assert ended(started("main.py", *arguments, f"--workdir={whole}"), 0) == []
    assert names(tmp_path / "out") == names(whole)
    for file in whole.glob("*.png"):
        assert file.read_bytes() == (tmp_path / "out" / file.name).read_bytes(), file.name

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
from program import ROOT, tiny_prior

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


KILLED = {
    "edit": [*EDIT, "--resume"],
    "evaluate": ["--config=evaluate_strokes", "--mode=evaluate", "--config.features.prior=",
                 "--config.limit=4", "--config.samples=2", "--config.batch=2",
                 "--config.shard_size=2", "--config.devices=1"],
}  # fmt: skip
LASTING = (".png", ".npz", ".array_record")
"""Endings of files that do not depend on time."""


@pytest.mark.long
@pytest.mark.parametrize("mode", KILLED)
def test_a_run_that_is_killed_at_any_moment_goes_on(mode, tmp_path):
    """20 kills; nothing is lost, and in the end all is as in a run that was never interrupted.

    python -m pytest -m long tests/test_signals.py
    """
    few = [f"--config.prior={tiny_prior()}", "--config.sampler.steps=100", "--config.cache="]
    arguments, out, whole = [*KILLED[mode], *few], tmp_path / "out", tmp_path / "whole"
    random.seed(0)
    before = {}
    for k in range(20):
        process = started("main.py", *arguments, f"--workdir={out}")
        time.sleep(random.uniform(0.3, 10))
        number = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT][k % 3]
        process.send_signal(number)
        printed, wrong = process.communicate(timeout=300)
        # -15 and -2: while Python itself starts or ends
        assert process.returncode in (-9, 143, 130, 0, -15, -2), wrong
        assert "Traceback" not in printed + wrong
        now = lasting(out)
        assert {name: now.get(name) for name in before} == before
        before = now
    assert ended(started("main.py", *arguments, f"--workdir={out}"), 0) == []
    assert ended(started("main.py", *arguments, f"--workdir={whole}"), 0) == []
    assert every_name(out) == every_name(whole)
    assert lasting(out) == lasting(whole)


def every_name(folder):
    """The files of a folder and its subfolders."""
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


def lasting(folder):
    """The contents of the files that do not depend on time, without what is written now."""
    files = (folder / name for name in every_name(folder))
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in files
        if file.suffix in LASTING and not file.name.startswith(".")
    }

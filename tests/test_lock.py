"""One run at a time in a workdir: who holds it, and what becomes of locks of dead processes."""

import json
import os
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
from program import config_of, known, names, refused, run, small, tiny_net, tiny_prior

from sdedit_jax import images
from sdedit_jax.modes.files import kept
from sdedit_jax.weights import lock, store


def holder(**changes):
    own = {"host": socket.gethostname(), "pid": os.getpid(), "since": "2026-01-02 03:04:05"}
    return {**own, "start": lock._start(os.getpid()), **changes}


@pytest.fixture
def file(tmp_path):
    return lock.file_of(tmp_path, inside=True)


def test_a_lock_names_its_process_and_is_removed(file):
    with lock.locked(file):
        found = json.loads(file.read_text())
        assert (found["host"], found["pid"]) == (socket.gethostname(), os.getpid())
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", found["since"])
    assert not file.exists()
    with pytest.raises(KeyboardInterrupt), lock.locked(file):
        raise KeyboardInterrupt
    assert not file.exists()


@pytest.mark.parametrize("changes", [{}, {"host": "elsewhere", "pid": 1}])
def test_a_held_lock_is_refused_and_stays(changes, file):
    body = json.dumps(holder(**changes))
    file.write_text(body)
    pid = holder(**changes)["pid"]
    wanted = rf"process {pid} on .* \(since 2026-01-02 03:04:05\) .*{file.name}"
    with pytest.raises(ValueError, match=wanted), lock.locked(file):
        pass
    assert file.read_text() == body


def test_a_lock_that_cannot_be_read_is_refused(file):
    file.write_text("")
    with pytest.raises(ValueError, match="is no lock of a run, or damaged"), lock.locked(file):
        pass


def strange(file, kind):
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    elif kind == "link to itself":
        file.symlink_to(file)
    elif kind == "large":
        with open(file, "wb") as stream:
            stream.truncate(10**9)
    else:
        file.write_text(kind)


STRANGE = ["folder", "pipe", "device", "link to itself", "large", "{", "[]", "null", "[" * 4000]
STRANGE += [json.dumps(holder(pid=pid)) for pid in ("1", 1.5, True, None, [], {})]
STRANGE += [json.dumps(holder(host=host)) for host in (1, None, ["x"])]
STRANGE += ["9" * 5000, '{"pid": ' + "9" * 5000 + "}"]


@pytest.mark.parametrize("kind", STRANGE, ids=range(len(STRANGE)))
def test_what_is_no_lock_is_refused_in_one_line_and_stays(kind, file):
    strange(file, kind)
    with pytest.raises(ValueError, match="is no lock of a run, or damaged; remove it") as told:
        with lock.locked(file):
            pass
    assert "\n" not in str(told.value) and len(str(told.value)) < 400
    assert os.path.lexists(file) and names(file.parent) == [file.name]


@pytest.mark.parametrize("pid", [-1, 0, 2**31, 10**30])
def test_a_pid_that_no_process_has_is_dead(pid, file):
    file.write_text(json.dumps(holder(pid=pid)))
    with lock.locked(file):
        assert json.loads(file.read_text())["pid"] == os.getpid()


def test_folders_made_for_a_lock_are_removed_when_empty(tmp_path):
    file = tmp_path / "a" / "b" / "lock"
    with lock.locked(file):
        assert file.exists()
    assert names(tmp_path) == []


@pytest.mark.parametrize("write", ["publish", "calibrate"])
def test_a_folder_of_a_prior_is_locked(write, tmp_path):
    beside = lock.file_of(tmp_path / "prior", inside=False)
    store.save(tmp_path / "prior", {"a": np.ones(2)}, {"name": "a"})
    beside.write_text(json.dumps(holder()))
    with pytest.raises(ValueError, match=f"process {os.getpid()} on"):
        if write == "publish":
            store.save(tmp_path / "prior", {"a": np.zeros(2)}, {"name": "b"})
        else:
            run(small("strokes", prior=str(tmp_path / "prior"), input=""), None, "calibrate")
    assert store.read_metadata(tmp_path / "prior")["name"] == "a"


def test_locks_of_dead_processes_of_this_host_are_replaced(file):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for dead in (holder(pid=ended.pid), holder(start="12")):  # the second: its pid is used again
        file.write_text(json.dumps(dead))
        with lock.locked(file):
            assert json.loads(file.read_text())["pid"] == os.getpid()
        assert names(file.parent) == []


def test_a_living_process_whose_start_is_hidden_keeps_its_lock(file, monkeypatch):
    """/proc may hide the processes of other users (hidepid=2)."""
    file.write_text(json.dumps(holder()))
    monkeypatch.setattr(lock, "_start", lambda pid: "")
    with pytest.raises(ValueError, match=f"process {os.getpid()} on"), lock.locked(file):
        pass


def test_a_process_that_is_killed_leaves_a_lock_that_is_replaced(file):
    code = "import os, sys; from pathlib import Path; from sdedit_jax.weights import lock\n"
    code += "lock._create(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(file)]).returncode == -9
    assert file.exists()
    with lock.locked(file):
        assert json.loads(file.read_text())["pid"] == os.getpid()


def test_every_mode_that_writes_refuses_a_held_workdir(file, tmp_path):
    images.write_png(tmp_path / "photo.png", known())
    file.write_text(json.dumps(holder()))
    edits = small("strokes", input=str(tmp_path / "photo.png"))
    for config, mode in [
        (edits, "edit"),
        (edits, "sweep"),
        (edits, "replay"),
        (tiny_net(), "train"),
    ]:
        assert f"process {os.getpid()} on" in refused(config, tmp_path, mode)
    beside = lock.file_of(tmp_path / "prior", inside=False)
    beside.write_text(json.dumps(holder()))
    config = config_of("convert", source=tiny_prior())
    assert f"process {os.getpid()} on" in refused(config, tmp_path / "prior", "convert")
    assert not (tmp_path / "prior").exists()


def test_a_run_that_keeps_earlier_results_goes_beside_a_running_one(tmp_path):
    images.write_png(tmp_path / "photo.png", known())
    out = tmp_path / "out"
    with lock.locked(lock.file_of(out, inside=True)):
        config = small("strokes", input=str(tmp_path / "photo.png"), samples=1)
        assert run(config, out, keep=True) == 0
        assert "photo_0.png" in names(out / "run-2") and lock.NAME not in names(out / "run-2")


def test_the_lock_of_an_ended_process_is_no_earlier_result(tmp_path):
    """Else --keep would go to run-2 for ever after a kill."""
    lock.file_of(tmp_path, inside=True).write_text(
        json.dumps({"host": socket.gethostname(), "pid": 2**22 + 5, "since": "", "start": "1"})
    )
    assert kept(tmp_path) == tmp_path
    aside = tmp_path / f"{lock.NAME}.{2**22 + 5}-0a1b2c3d"  # of one killed while it locked
    aside.write_bytes(lock.file_of(tmp_path, inside=True).read_bytes())
    assert kept(tmp_path) == tmp_path

"""A full disk is one OSError that names the path, and libraries print nothing."""

import logging
import subprocess
import sys
import threading

import pytest
from program import ROOT, config_of, names, refused, small

from sdedit_jax.weights import disk, quiet

SAVE = """
import resource, sys
import numpy as np
from sdedit_jax.weights import store
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    params = {"a": np.random.default_rng(0).normal(size=(300, 300))}
    store.save(sys.argv[1], params, {"name": "a"})
except OSError as error:
    print(error)
"""


def test_a_library_that_meets_a_full_disk_prints_nothing(tmp_path):
    """Files may have 200 kB: the system raises EFBIG where it would raise ENOSPC."""
    given = [sys.executable, "-c", SAVE, str(tmp_path / "prior")]
    done = subprocess.run(given, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"workdir: cannot write {tmp_path / 'prior'}: File too large\n"
    assert done.stderr == "" and names(tmp_path) == []


@pytest.mark.parametrize("number", disk.NUMBERS)
@pytest.mark.parametrize("wrapped", ["plain", "message", "cause"])
def test_failures_of_the_disk_are_named(number, wrapped, tmp_path):
    def fail():
        own = OSError(number, "text")
        if wrapped == "plain":
            raise own
        if wrapped == "message":
            raise ValueError(f"RESOURCE_EXHAUSTED: Failed [os_error_code='{number}']")
        raise RuntimeError("save failed") from own

    with pytest.raises(OSError, match=f"publish: cannot write {tmp_path}: "):
        with disk.naming(tmp_path, "publish"):
            fail()


@pytest.mark.parametrize("error", [ValueError("net: wrong"), OSError("of ours"), KeyError("x")])
def test_other_errors_stay(error):
    hooks = threading.excepthook, sys.unraisablehook
    with pytest.raises(type(error)) as caught, disk.naming("x"):
        raise error
    assert caught.value is error and (threading.excepthook, sys.unraisablehook) == hooks


def failing(file):
    """The error of a function that stands in a file."""
    found = {}
    exec(compile("def fail():\n    raise ValueError('failed')", file, "exec"), found)
    with pytest.raises(ValueError) as caught:
        found["fail"]()
    return caught.value


@pytest.mark.parametrize(("file", "seen"), [("/a/orbax/b.py", 0), ("/a/tasks/b.py", 1)])
def test_tasks_of_the_libraries_fail_quietly_and_others_do_not(file, seen, caplog):
    """Python reports a failed task when it is deleted, which may be later."""
    with quiet.libraries():
        pass
    logging.getLogger("asyncio").error("a task failed", exc_info=failing(file))
    assert len(caplog.records) == seen


def test_an_inner_block_that_ends_leaves_the_outer_one_quiet(monkeypatch):
    log = logging.getLogger("absl")
    monkeypatch.setattr(log, "filters", [])  # a disk that was full leaves one
    record = log.makeRecord("absl", logging.ERROR, "/a/orbax/b.py", 1, "failed", (), None)
    with disk.naming("x"):
        with quiet.libraries():
            assert not log.filter(record)
        assert not log.filter(record)
    assert log.filter(record)


@pytest.mark.parametrize("path", ["file", "file/x", "n" * 300, "a/" + "n" * 300, "loop", "x\0y"])
@pytest.mark.parametrize("mode", ["edit", "train", "convert"])
def test_a_workdir_that_cannot_be_is_found_before_any_work(path, mode, tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    converts = config_of("convert", source=str(tmp_path / "file"))
    config = converts if mode == "convert" else small("strokes")
    assert refused(config, str(tmp_path / path), mode).startswith("workdir")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_workdir_that_takes_no_file_is_found_before_any_work(tmp_path):
    """/proc is such a folder, for root too."""
    assert "cannot be written" in refused(small("strokes"), "/proc/self/task")

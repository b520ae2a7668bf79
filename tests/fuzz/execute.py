"""Runs each case in a forked process with limits, and judges it by stated rules.

The parent has imported the package, and started no backend of JAX. The rules for a case:

- it ends with exit code 0, or with another one and one line on stderr, "error: ...", which names
  the file or the field; warnings are lines of their own, "warning: ..."
- no traceback, no signal, no time or memory above the limits
- nothing outside the workdir, the cache and the home folder's cache is changed
- no code of a file is run; after an error, every result that existed before is the same
"""

import json
import os
import re
import resource
import shutil
import signal
import stat
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

from fuzz.case import KINDS, Random

GIB = 2**30
SECONDS = float(os.environ.get("FUZZ_SECONDS", 40))
"""Of a case, on a busy machine."""
SPACE = 4 * GIB
"""Address space of a case, above that of the parent."""
MEMORY = 3 * GIB
"""Resident memory of a case."""
FILE = 2**28
"""Bytes of a file that a case may write."""
CHANGING = ("out", "home/.cache", "home/.config", "tmp")
"""Folders in which a case may write."""
MARK = "MARK"
"""Name of the file that hostile code would write."""
DEEP = 8
"""One seed in so many runs to its end; others end where a network would be compiled."""
BAD_GENERATOR = 99


class Outcome(NamedTuple):
    """What became of a case.

    Attributes:
        sort: "" if all rules hold, else the rule that does not. frame: where, for grouping.
    """

    kind: str
    seed: int
    sort: str
    frame: str
    note: str
    argv: list[str]
    code: int
    seconds: float
    gigabytes: float
    stderr: str


def run_all(jobs, stock, room, workers=2, keep=False):
    """Outcomes of (kind, seed) pairs, as they come.

    Args:
        stock: the folder of sound files. room: an empty folder for the cases.
        keep: the folders of cases stay.
    """
    waiting, running = list(reversed(jobs)), {}
    while waiting or running:
        while waiting and len(running) < workers:
            kind, seed = waiting.pop()
            place = Path(room) / f"{kind}-{seed}"
            running[_start(kind, seed, place, stock)] = (kind, seed, place, time.monotonic())
        for pid, (kind, seed, place, start) in list(running.items()):
            done, status, usage = os.wait4(pid, os.WNOHANG)
            late = time.monotonic() - start > SECONDS * (3 if deep(seed) else 1)
            if not done and not late:
                continue
            if not done:
                _kill(pid)
                _, status, usage = os.wait4(pid, 0)
            _kill(pid)  # what it started
            seconds = time.monotonic() - start
            yield _judge(kind, seed, place, status, seconds, late and not done, usage.ru_maxrss)
            if not keep:
                shutil.rmtree(place, ignore_errors=True)
            del running[pid]
        time.sleep(0.003)


def deep(seed):
    """Whether a case runs to its end."""
    return seed % DEEP == DEEP - 1


def _kill(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


# --- the process of a case ------------------------------------------------------------------------


def _start(kind, seed, place, stock):
    shutil.rmtree(place, ignore_errors=True)
    for name in ("case", "case/home", "case/tmp", "canary"):
        (place / name).mkdir(parents=True)
    (place / "canary" / "secret.txt").write_text("canary")
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = BAD_GENERATOR
    try:
        os.setsid()
        code = _child(kind, seed, place, stock)
    except BaseException:
        (place / "generator").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _child(kind, seed, place, stock):
    os.chdir(place / "case")
    (place / "case" / "stock").symlink_to(stock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = KINDS[kind](Random(kind, seed))
    told = {name: value for name, value in case._asdict().items() if name != "call"}
    told["before"] = snapshot(place)
    (place / "case.json").write_text(json.dumps(told))
    _redirect(place, b"done\n" * 100 if "--mode=search" in case.argv else b"")
    _limit()
    if not (case.whole or deep(seed)):
        _stop_at_networks()
    return _program(case)


def _redirect(place, answers):
    read, write = os.pipe()  # an input that never ends, and without answers never comes
    os.write(write, answers)
    os.dup2(read, 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ["HOME"], os.environ["TMPDIR"] = str(place / "case/home"), str(place / "case/tmp")
    os.environ["XDG_CACHE_HOME"] = str(place / "case/home/.cache")
    os.environ["SDEDIT_CACHE"] = ""


def _limit():
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPACE, used + SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    resource.setrlimit(resource.RLIMIT_CPU, (int(3 * SECONDS),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Reached(BaseException):
    """A sound request came to the point where a network would be compiled, and ends there."""


def _stop_at_networks():
    from sdedit_jax.pipeline.executor import Runner
    from sdedit_jax.training import loop

    def stop(*_, **__):
        raise Reached

    Runner.compile = stop
    loop.make_step = stop


def _program(case):
    """The exit code of the program, as the interpreter would give it."""
    from sdedit_jax.modes import command_line

    try:
        if case.call is None:
            sys.argv = ["sdedit", *case.argv]
            command_line.start()
        else:
            _call(case.call)
        code = 0
    except Reached:
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass
    return code


def _call(call):
    """A call of the Python API may raise some kinds of errors, each of one line."""
    warnings.simplefilter("ignore")  # they have two lines, and are no errors
    try:
        call()
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


# --- the rules ------------------------------------------------------------------------------------


def snapshot(place):
    """Every file of a case and of its canary, by name: what shows a change."""
    found = {}
    for top in ("case", "canary"):
        for folder, folders, files in os.walk(place / top):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                one = os.lstat(path)
                facts = [one.st_mode, one.st_ino]
                if not stat.S_ISDIR(one.st_mode):
                    facts += [one.st_size, one.st_mtime_ns]
                found[os.path.relpath(path, place)] = facts
    return found


def _judge(kind, seed, place, status, seconds, late, kilobytes):
    code = os.waitstatus_to_exitcode(status)
    if not (place / "case.json").is_file() or code == BAD_GENERATOR:
        reason = place / "generator"
        text = reason.read_text() if reason.is_file() else f"ended with {code}"
        raise RuntimeError(f"{kind} {seed}: the case was not made: {text}")
    told = json.loads((place / "case.json").read_text())
    texts = [(place / name).read_bytes().decode(errors="replace") for name in ("stdout", "stderr")]
    sort, frame = _broken(code, texts, told, place, late, kilobytes / 2**20)
    facts = (told["note"], told["argv"], code, seconds, kilobytes / 2**20, texts[1])
    return Outcome(kind, seed, sort, frame, *facts)


def _broken(code, texts, told, place, late, gigabytes):
    """The rule that does not hold, and where; ("", "") if all do."""
    stdout, stderr = texts
    before, after = told["before"], snapshot(place)
    if any(Path(name).name.startswith(MARK) for name in after):
        return "code was run", "a marker file was written"
    if late:
        return "hang", _last(stderr)
    if code < 0:
        name = signal.Signals(-code).name
        return "hang" if name == "SIGXCPU" else "signal", f"{name} {_last(stderr)}"
    if "MemoryError" in stderr or "Cannot allocate memory" in stderr or "std::bad_alloc" in stderr:
        return "memory", _last(stderr)
    if gigabytes > MEMORY / GIB:
        return "memory", "above the limit: " + _last(stderr)
    if "Traceback" in stderr or "Traceback" in stdout:
        return "traceback", _last(stderr + stdout)
    if told["sound"] and code:
        return "refused", _last(stderr)
    lines = [line for line in _shown(stderr) if not WARNING.match(line)]
    sort, frame = _wrong_lines(code, lines, stdout, told["names"])
    return (
        (sort, frame) if sort else _wrong_files(code, before, after, (*CHANGING, *told["writes"]))
    )


def _shown(stderr):
    """The lines that a terminal shows in the end, without those of progress."""
    parts = [part for line in stderr.split("\n") for part in line.split("\r")]
    return [part for part in parts if part.strip() and not re.search(r"\d+%\|", part)]


WARNING = re.compile("[Ww]arning: ")
"""The program's warnings, and those of absl about flag files."""
LISTED = re.compile(r"error: \d+ \w+ could not be made:")
"""The head of a list with a line for each picture that failed."""


def _wrong_lines(code, lines, stdout, names):
    if code == 0:
        return ("lines after success", _plain(lines[-1])) if lines else ("", "")
    if not lines:
        fine = "verdict " in stdout  # a replay that differs
        return ("", "") if fine else ("no message", f"exit code {code}")
    head, *rest = lines
    if not head.startswith("error: ") or len(head) < 12:
        return "no error line", _plain(head)
    listed = LISTED.fullmatch(head) and all(line.startswith("  ") for line in rest)
    if rest and not listed:
        return "several lines", _plain(lines[-1])
    text = " ".join(lines)
    if len(text) > 4000:
        return "long line", _plain(head[:100])
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        return "control characters", _plain(head)
    if names and not any(name in text for name in names):
        return "names nothing", _plain(head)
    return "", ""


def _wrong_files(code, before, after, changing):
    own = [top for top in changing if top not in CHANGING]
    for name in sorted(before.keys() | after.keys()):
        inside = name.removeprefix("case/")
        allowed = any(Path(inside).is_relative_to(top) for top in changing)
        kept = code and name in before and not any(Path(inside).is_relative_to(t) for t in own)
        if before.get(name) != after.get(name) and (kept or not allowed):
            how = "made" if name not in before else "changed" if name in after else "removed"
            return "file", f"{how} {re.sub('[0-9a-f]{8,}', '#', inside)}"
        if name not in before and name.endswith(".part"):
            return "file", f"left {inside}"
    return "", ""


def _last(text):
    """The last frame of a traceback inside the package, and the error; else the last line."""
    frames = re.findall(r'File "[^"]*?(sdedit_jax/[^"]*|[^"/]*)", line (\d+), in (\S+)', text)
    own = [frame for frame in frames if frame[0].startswith("sdedit_jax/")]
    ends = re.findall(r"\n(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt|Warning)\b.*", text)
    ends = ends or [line for line in re.split(r"[\r\n]", text) if line.strip()]
    error = _plain(ends[-1].strip()) if ends else "no message"
    where = "{}:{} {}".format(*own[-1]) if own else ""
    return f"{where} {error}".strip()


def _plain(line):
    """A line without numbers, names of files and values, for grouping."""
    line = re.sub(r"'[^']*'|\"[^\"]*\"", "'..'", line)
    line = re.sub(r"\S*/\S*", "PATH", line)
    return re.sub(r"\d+(\.\d+)?", "#", line)[:140]

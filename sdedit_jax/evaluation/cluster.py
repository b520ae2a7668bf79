"""The processes of a run on several hosts: JAX's distributed runtime, and who is there.

JAX finds the processes of Cloud TPU, Slurm, Open MPI and Kubernetes by itself; elsewhere the config
gives them. No edit waits for another process. A run begins when all processes see each other
in the workdir; process 0, on which the others depend, ends last.
"""

import contextlib
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sdedit_jax import images
from sdedit_jax.files import json_file
from sdedit_jax.text.spelling import one_of

FOLDER = "processes"
SHARE = re.compile(r"\d{5,9}-of-\d{5,9}\.json")
BEAT = 2.0
"""Seconds between two signs of life of a process."""
GONE = 60.0
"""Seconds without a sign of life after which a process counts as lost."""
USES = ("auto", "on", "off")


class Process(NamedTuple):
    """This process among those of a run.

    Attributes:
        index, count: counted from 0. runtime: whether JAX's distributed runtime connects them.
    """

    index: int = 0
    count: int = 1
    runtime: bool = False


def start(
    use: str = "auto",
    coordinator: str = "",
    count: int = 0,
    index: int = -1,
    timeout: float = 300.0,
    survive: bool = True,
) -> Process:
    """Connect this process with the others; call it before JAX has touched a device.

    Args:
        use: "on", "off", or "auto": where a cluster is found before JAX has touched a device.
        coordinator: HOST:PORT of process 0; "": found by JAX. count: of the processes; 0: found.
        index: of this process, from 0; -1: found.
        timeout: seconds until an unreachable coordinator, or a missing process, ends the program.
        survive: the other processes outlive the loss of any process but process 0; this is
            an experimental flag of JAX (jax_enable_recoverability).

    Raises:
        ValueError: no cluster is found though `use` is "on", or some of the numbers are wrong.
    """
    one_of("cluster.use", use, USES)
    given = coordinator or count or index >= 0 or "JAX_COORDINATOR_ADDRESS" in os.environ
    if use == "off":
        if given:
            raise ValueError("cluster: a coordinator or numbers are given, and cluster.use is off")
        return Process()
    _check(coordinator, count, index, timeout)
    if jax.distributed.is_initialized():
        return Process(jax.process_index(), jax.process_count(), True)
    jax.config.update("jax_enable_recoverability", survive)
    jax.config.update("jax_cpu_collectives_implementation", None)  # no edit needs any
    with _time_limit(coordinator, timeout):
        try:
            jax.distributed.initialize(
                coordinator or None, count or None, index if index >= 0 else None,
                initialization_timeout=int(timeout) + 60, heartbeat_timeout_seconds=int(GONE),
            )  # fmt: skip
        except (ValueError, RuntimeError) as error:
            alone = any(text in str(error) for text in ALONE)
            if given or use == "on" or not alone:
                raise ValueError(f"cluster: {error}") from None
            return Process()
    return Process(jax.process_index(), jax.process_count(), True)


ALONE = ("coordinator_address should be defined", "must be called before any JAX")
"""Of JAX's messages: there is no cluster; devices are in use already, as in a notebook."""


def _check(coordinator: str, count: int, index: int, timeout: float) -> None:
    if timeout <= 0:
        raise ValueError(f"cluster.timeout must be above 0 seconds, got {timeout:g}")
    host, sign, port = coordinator.rpartition(":")
    if coordinator and not (sign and host and port.isdecimal()):
        raise ValueError(f"cluster.coordinator must be HOST:PORT, got {coordinator!r}")
    if count and not 0 <= index < count:
        raise ValueError(f"cluster.process must be in [0, {count}), got {index}")


@contextlib.contextmanager
def _time_limit(coordinator: str, timeout: float) -> Iterator[None]:
    """End the program with one line where JAX would abort it with a stack trace."""

    def end() -> None:
        where = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS") or "found by JAX"
        print(
            f"error: cluster: the coordinator {where} and all processes did not meet within"
            f" {timeout:g} s; see cluster.coordinator and cluster.timeout",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        os._exit(1)

    timer = threading.Timer(timeout, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Presence:
    """The sign of life of this process in the workdir, and the view of the others'."""

    def __init__(self, folder: Path, process: Process, identity: str) -> None:
        name = f"{process.index:05d}-of-{process.count:05d}.json"
        self.file, self.process = folder / FOLDER / name, process
        self.about = {"host": socket.gethostname(), "pid": os.getpid(), "run": identity}
        self.seen: dict[str, tuple[Any, float]] = {}
        self.stop, self.beats = threading.Event(), 0

    def __enter__(self) -> "Presence":
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._refuse_second()
        self._beat()
        self.begun = self.file.stat().st_mtime
        self.thread = threading.Thread(target=self._go_on, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()
        with contextlib.suppress(OSError):
            self._beat(done=True)

    def _refuse_second(self) -> None:
        """Refuse a share that a living process of this host works on, and shares of other counts.

        Raises:
            ValueError: there is such a process.
        """
        for file in sorted(self.file.parent.glob("*.json")):
            about = _read(file) or {}
            of_count = file.name.endswith(self.file.name[5:])
            lives = about.get("host") == self.about["host"] and not _ended(about.get("pid"))
            lives = lives and not about.get("done")
            if lives and about["pid"] != os.getpid() and (file == self.file or not of_count):
                index, count = (int(part) for part in file.stem.split("-of-"))
                raise ValueError(
                    f"workdir: process {about['pid']} of this host works on share"
                    f" {index + 1}/{count} of it; wait, end that process, or remove {file} if it"
                    " is another program"
                )

    def others(self) -> dict[str, Mapping[str, Any]]:
        """File name -> sign of life of each other process that lives, as far as it is known.

        A sign counts for GONE seconds after it has changed while this process looked; on this host
        also after it was first seen, and not if its process has ended.
        """
        now, found = time.monotonic(), {}
        for file in sorted(self.file.parent.glob("*.json")):
            about = _read(file)
            if file == self.file or about is None or about.get("done"):
                continue
            here = about.get("host") == self.about["host"]
            last, since = self.seen.get(file.name, (about if not here else None, -GONE))
            since = since if about == last else now
            self.seen[file.name] = (about, since)
            if now - since < GONE and not (here and _ended(about.get("pid"))):
                found[file.name] = about
        return found

    def meet(self, timeout: float) -> None:
        """Wait until all processes of the run are seen in the workdir.

        Raises:
            ValueError: one is missing, or has other code, weights, data or settings than this one.
        """
        end, seen = time.monotonic() + timeout, set()
        while len(seen := seen | self._of_run(timeout)) < self.process.count - 1:
            if time.monotonic() > end:
                gone = sorted(set(range(self.process.count)) - seen - {self.process.index})
                raise ValueError(
                    f"workdir: processes {gone} were not seen in {self.file.parent} within"
                    f" {timeout:g} s; all hosts must share the workdir"
                )
            time.sleep(0.2)

    def _of_run(self, timeout: float) -> set[int]:
        """The numbers of the other processes that live, or that have finished lately.

        Raises:
            ValueError: one of them differs from this one.
        """
        end, found = f"-of-{self.process.count:05d}.json", set()
        for name, one in {**self._finished(timeout), **self.others()}.items():
            if not name.endswith(end):
                continue
            if one.get("run") != self.about["run"]:
                # the others shall see it too, and they abort when process 0 ends
                time.sleep(2 * BEAT if self.process.index else 4 * BEAT)
                raise ValueError(
                    f"cluster: process {int(name[:5])} on {one.get('host')} has other code,"
                    f" weights, data or settings than process {self.process.index} on"
                    f" {self.about['host']}"
                )
            found.add(int(name[:5]))
        return found

    def _finished(self, seconds: float) -> dict[str, Mapping[str, Any]]:
        """The signs of processes that ended at most `seconds` before this one began."""
        found = {}
        for file in self.file.parent.glob("*.json"):
            about = _read(file)
            with contextlib.suppress(OSError):
                late = file.stat().st_mtime > self.begun - seconds
                if file != self.file and about and about.get("done") and late:
                    found[file.name] = about
        return found

    def _go_on(self) -> None:
        while not self.stop.wait(BEAT):
            with contextlib.suppress(OSError):
                self._beat()

    def _beat(self, done: bool = False) -> None:
        self.beats += 1
        text = json.dumps({**self.about, "beat": self.beats, **({"done": True} if done else {})})
        images.write_bytes(self.file, text.encode(), overwrite=True)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json_file.read_object(file, "workdir")
    except ValueError:
        return None
    kinds = {"host": str, "pid": int, "run": str}
    right = all(isinstance(found.get(name), kind) for name, kind in kinds.items())
    return found if right and SHARE.fullmatch(file.name) else None


def _ended(pid: int) -> bool:
    """Whether a process of this host has ended; numbers below 1 are no process's."""
    try:
        if pid > 0:
            os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return pid < 1

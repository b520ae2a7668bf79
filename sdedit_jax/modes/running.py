"""A run of a mode: the checks of its workdir, the lock, and the mode itself."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from ml_collections import ConfigDict

from sdedit_jax import images, lazy
from sdedit_jax.caution import in_one_line
from sdedit_jax.files.paths import user_path
from sdedit_jax.files.wording import brief
from sdedit_jax.modes.config import resolve
from sdedit_jax.modes.facts import (
    CONTINUING,
    EDITING,
    LOCKING,
    MODES,
    OPTIONAL,
    RESUMING,
    SHARED,
    WITHOUT,
)
from sdedit_jax.modes.files import Target, check_writable, kept, plain
from sdedit_jax.modes.resume import seed_of
from sdedit_jax.pipeline.arguments import named
from sdedit_jax.registry import bounds, included
from sdedit_jax.text.spelling import one_of
from sdedit_jax.weights import lock

Mode = Callable[[ConfigDict, Target | None], int]

__all__ = ["check_config", "run", "run_in", "target"]


@named
def run(
    config: ConfigDict,
    workdir: str | Path | None = None,
    mode: str = "edit",
    *,
    overwrite: bool = False,
    keep: bool = False,
    resume: bool = False,
) -> int:
    """Run a mode; a notebook may do so any number of times.

    Args:
        config: of `get_config()` of a config file, with the changes of the user.
        workdir: folder for results, made where it is missing; a replay and a measurement need
            none, and a calibration or a page takes none. A conversion takes a name too, see
            registry.included.new_prior.
        mode: one of MODES.
        overwrite: replace existing results.
        keep: write to WORKDIR/run-2, run-3 .. where the workdir holds files.
        resume: finish the interrupted run in the workdir, which must have the same config, inputs
            and prior; for the modes RESUMING.

    Returns:
        0 if everything was made, else 1; 143 or 130 after SIGTERM or SIGINT.

    Raises:
        ValueError, OSError: a setting or file that stops the run, named in one line.
    """
    check_config(config, mode)
    return run_in(target(workdir, mode, overwrite, keep, resume), config, mode)


def check_config(config: ConfigDict, mode: str) -> None:
    """Check the name of a mode and all fields of a config.

    Raises:
        ValueError: an unknown mode or field, or a value that is not allowed.
    """
    one_of("mode", mode, MODES)
    if not isinstance(config, ConfigDict):
        raise TypeError(f"config must be a ConfigDict, got {brief(config)}")
    bounds.check(plain(config))


def run_in(where: Target | None, config: ConfigDict, mode: str) -> int:
    """Run a mode with a config that is checked, see `run`; `where` is of `target`."""
    resumed = where is not None and where.resume
    earlier = functools.partial(seed_of, where.folder) if resumed else lambda field: None
    with in_one_line(), holding(where, mode):
        return entry(mode)(resolve(config, mode, earlier), where)


@contextlib.contextmanager
def holding(where: Target | None, mode: str) -> Iterator[None]:
    """The lock of a run on its workdir; one process of a training on several hosts holds it.

    Unfinished files of dead processes are removed there.
    """
    if where is None or mode in LOCKING or jax.process_index():
        yield
        return
    with lock.locked(lock.file_of(where.folder, inside=True)):
        images.remove_parts(where.folder)
        yield


def target(
    workdir: str | Path | None,
    mode: str,
    overwrite: bool = False,
    keep: bool = False,
    resume: bool = False,
) -> Target | None:
    """Where a mode writes; None for a mode of WITHOUT, and for one of OPTIONAL without a workdir.

    Raises:
        ValueError: no workdir, options that exclude each other, or a folder that cannot be written.
    """
    options = {"keep": keep, "overwrite": overwrite, "resume": resume}
    if len(given := [name for name, value in options.items() if value]) > 1:
        raise ValueError(f"{', '.join(given)}: give one of them")
    if resume and mode in CONTINUING:
        raise ValueError(f"resume: --mode={mode} finishes what its workdir holds; leave it out")
    if resume and mode not in RESUMING:
        raise ValueError(f"resume: is for the modes {list(RESUMING)}, got mode {mode!r}")
    if keep and mode not in EDITING:
        raise ValueError(f"keep: is for the modes {list(EDITING)}, got mode {mode!r}")
    if mode in SHARED and (overwrite or keep):
        name = "overwrite" if overwrite else "keep"
        raise ValueError(f"{name}: --mode={mode} finishes what its workdir holds; leave it out")
    if mode in WITHOUT:
        if workdir or overwrite:
            name = "workdir" if workdir else "overwrite"
            raise ValueError(f"{name}: --mode={mode} {WITHOUT[mode]}; leave it out")
        return None
    if not workdir:
        if mode in OPTIONAL and not (keep or overwrite):
            return None
        raise ValueError("workdir: give a folder for the results, e.g. --workdir=out")
    check_path(workdir)
    if mode == "convert":  # that folder appears whole or not at all
        return Target(included.new_prior(workdir), overwrite, resume)
    folder = kept(user_path(workdir)) if keep else user_path(workdir)
    make_folder(folder)
    return Target(folder, overwrite, resume)


def make_folder(folder: Path) -> None:
    """Make the folder for results, and check that it can be written before any work is done.

    Raises:
        OSError: it cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise OSError(f"workdir: {folder} is not a folder") from None
    except OSError as error:
        raise OSError(f"workdir: cannot make the folder {folder}: {error.strerror}") from None
    check_writable(folder, "workdir")


def check_path(workdir: str | Path) -> None:
    """Check that a system can have such a path.

    Raises:
        ValueError: it holds a null byte. OSError: a name is too long, or links run in a circle.
    """
    if "\0" in str(workdir):
        raise ValueError(f"workdir: a path has no null byte, got {str(workdir)!r}")
    try:
        os.stat(user_path(workdir))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        pass
    except OSError as error:
        raise OSError(f"workdir: {str(workdir)[:200]}: {error.strerror}") from None


def entry(name: str) -> Mode:
    """The function of the module of the same name in this package, imported only now."""
    return getattr(lazy.imported(f"sdedit_jax.modes.{name}"), name)

"""The folder of compiled programs, so that a second process does not compile again."""

import os
from pathlib import Path

import jax

from sdedit_jax.files.paths import shown, user_path
from sdedit_jax.files.wording import of_system
from sdedit_jax.weights.load import cache_folder

VARIABLE = "SDEDIT_CACHE"
"""Environment variable with the folder; empty: no cache."""

_CHOSEN: list[bool] = []
"""Not empty once `use_cache` was called; calls of the Python API then leave its choice."""


def use_cache(where: str | Path | None = "auto") -> None:
    """Keep compiled programs in a folder between processes.

    Calls of the Python API do so by themselves, with "auto", unless a choice was made before.

    Args:
        where: "auto": the user's cache folder, unless the environment variable SDEDIT_CACHE or
            JAX's own setting names another. "" or None: no cache.

    Raises:
        ValueError: the path is no folder, and none can be made there.
    """
    _CHOSEN[:] = [True]
    if where == "auto":
        if jax.config.jax_compilation_cache_dir:
            return
        named = os.environ.get(VARIABLE)
        folder = _users_folder() if named is None else _folder(named, VARIABLE)
    else:
        folder = _folder(where, "cache")
    if folder != jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _users_folder() -> str | None:
    """A folder in the user's cache folder; None if it cannot be made, as in a read-only home."""
    try:
        return _folder(cache_folder() / "xla", "cache")
    except ValueError:
        return None


def _folder(where: str | Path | None, field: str) -> str | None:
    """The folder, made if missing; None for an empty path.

    Raises:
        ValueError: it cannot be made.
    """
    if not where:
        return None
    folder = user_path(where)
    try:
        str(folder).encode()  # JAX takes no other names
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        what = f"{field}: cannot make the folder {shown(folder)}"
        raise ValueError(f"{what}: {of_system(error)}") from None
    return str(folder)


def default_cache() -> None:
    """`use_cache()` at the first call of the Python API, unless a choice was made before."""
    if not _CHOSEN:
        use_cache()

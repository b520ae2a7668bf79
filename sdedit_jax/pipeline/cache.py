"""The folder of compiled programs, so that a second process does not compile again."""

import os
from pathlib import Path

import jax

from sdedit_jax.files.paths import user_path
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
    """
    _CHOSEN[:] = [True]
    if where == "auto":
        if jax.config.jax_compilation_cache_dir:
            return
        where = os.environ.get(VARIABLE, cache_folder() / "xla")
    folder = str(user_path(where)) if where else None
    if folder != jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def default_cache() -> None:
    """`use_cache()` at the first call of the Python API, unless a choice was made before."""
    if not _CHOSEN:
        use_cache()

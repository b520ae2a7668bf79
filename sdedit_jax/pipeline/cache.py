"""The folder of compiled programs, so that a second process does not compile again."""

import os
from pathlib import Path

import jax

from sdedit_jax.weights.load import cache_folder

VARIABLE = "SDEDIT_CACHE"
"""Environment variable with the folder; empty: no cache."""

_CHOSEN: list[str | None] = []
"""The last folder that a caller chose; calls of the API then leave it."""


def use_cache(where: str | Path | None = "auto") -> None:
    """Keep compiled programs in a folder between processes.

    Calls of the Python API do so by themselves. A folder that was chosen stays.

    Args:
        where: "auto": the user's cache folder, unless an earlier choice, the environment variable
            SDEDIT_CACHE or JAX's own setting names another. "" or None: no cache.
    """
    if where == "auto":
        if _CHOSEN or jax.config.jax_compilation_cache_dir:
            return
        where = os.environ.get(VARIABLE, cache_folder() / "xla")
    else:
        _CHOSEN[:] = [str(where) if where else None]
    folder = str(where) if where else None
    if folder != jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

"""The modes of the program. Each is a function (config, workdir, overwrite) -> exit code."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

Mode = Callable[[ConfigDict, Path, bool], int]

MODES = ["edit", "sweep", "replay", "train", "convert"]


def mode(name: str) -> Mode:
    """The mode of this name; its module is imported only now.

    Raises:
        ValueError: no such mode.
    """
    if name not in MODES:
        raise ValueError(f"mode must be one of {MODES}, got {name!r}")
    return entry(name)


def entry(name: str) -> Callable[..., Any]:
    """The function of the module of the same name in this package."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), name)

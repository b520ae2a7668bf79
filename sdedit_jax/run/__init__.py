"""The modes of the program. Each is a function (config, workdir, overwrite) -> exit code."""

from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

Mode = Callable[[ConfigDict, Path, bool], int]


def mode(name: str) -> Mode:
    """The mode of this name; its module is imported only now.

    Raises:
        ValueError: no such mode.
    """
    if name == "edit":
        from sdedit_jax.run.edit import edit

        return edit
    if name == "sweep":
        from sdedit_jax.run.sweep import sweep

        return sweep
    if name == "replay":
        from sdedit_jax.run.replay import replay

        return replay
    if name == "train":
        from sdedit_jax.run.train import train

        return train
    if name == "convert":
        from sdedit_jax.run.convert import convert

        return convert
    raise ValueError(f"mode must be one of {MODES}, got {name!r}")


MODES = ["edit", "sweep", "replay", "train", "convert"]

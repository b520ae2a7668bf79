"""The kinds of edits: the method of a config -> its module, in this one place.

A module has `open_kind(config, inputs, recipe) -> Kind`, `check_sweep(config)`,
`check_search(config)`, `check_given(mode, config, given)` and `restore(config, recipe)`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax import registry
from sdedit_jax.modes import ledits, sdedit
from sdedit_jax.modes.session import Kind

KINDS: Mapping[str, ModuleType] = {"sdedit": sdedit, "ledits": ledits}


def module_of(config: ConfigDict) -> ModuleType:
    """The module of a config's method.

    Raises:
        ValueError: an unknown method.
    """
    return registry.pick(KINDS, config.get("method", "sdedit"), "method")


def open_kind(
    config: ConfigDict, inputs: Sequence[Path] = (), recipe: Mapping[str, Any] | None = None
) -> Kind:
    """The kind of edit of a config, its prior loaded and its settings resolved.

    Args:
        inputs: that a file of prompts may name. recipe: of a replay.

    Raises:
        ValueError: an unknown method, or a setting out of its range.
    """
    return module_of(config).open_kind(config, inputs, recipe)

"""The kinds of edits: the method of a config -> its module, in this one place."""

from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax import registry
from sdedit_jax.modes import ledits, sdedit
from sdedit_jax.modes.session import Kind

KINDS: Mapping[str, Callable[..., Kind]] = {
    "sdedit": sdedit.open_kind,
    "ledits": ledits.open_kind,
}


def open_kind(config: ConfigDict, recipe: Mapping[str, Any] | None = None) -> Kind:
    """The kind of edit of a config, its prior loaded and its settings resolved.

    Args:
        recipe: of a replay.

    Raises:
        ValueError: an unknown method, or a setting out of its range.
    """
    name = config.get("method", "sdedit")
    return registry.pick(KINDS, name, "method")(config, recipe)

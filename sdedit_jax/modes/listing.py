"""--list: the configs, priors and presets by name."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sdedit_jax.edits import ledits
from sdedit_jax.files import json_file
from sdedit_jax.pipeline import settings
from sdedit_jax.registry import included
from sdedit_jax.weights import store


def lines() -> Iterator[str]:
    """The lines of the list."""
    yield "configs, --config=NAME:"
    yield from table(included.configs(), _about)
    yield ""
    yield "priors, --config.prior=NAME:"
    yield from table(included.priors(), _prior)
    yield f"  your own priors: {included.user_priors()}, or the folder {included.VARIABLE}"
    yield ""
    yield "presets, --config.preset=NAME:"
    yield f"  of SDEdit, with or without a text: {', '.join(settings.PRESETS)}"
    yield f"  of the configs ledits and leditspp: {', '.join(ledits.PRESETS)}"


def table(rows: Mapping[str, Path], about: Callable[[Path], str]) -> Iterator[str]:
    """A line for each name, with what `about` says of its path when the line comes."""
    width = max(map(len, rows), default=0)
    return (f"  {name:{width}}  {about(path)}" for name, path in rows.items())


def _about(file: Path) -> str:
    """The first line of a config's docstring."""
    first = next(json_file.lines(file, "config"), "")
    return first.strip().strip('"')


def _prior(folder: Path) -> str:
    """Size, conditions and card of a prior."""
    card = folder / "README.md"
    where = f"; {card}" if card.is_file() else ""
    if not (folder / "prior.json").is_file():
        return f"Stable Diffusion layout, reads prompts{where}"
    try:
        return "; ".join(_facts(store.read_metadata(folder))) + where
    except (ValueError, TypeError, AttributeError, OSError) as error:
        return f"cannot be read: {error}"


def picture(metadata: Mapping[str, Any]) -> str:
    """Size and channels of the pictures of a prior."""
    height, width, channels = metadata.get("size", ("?", "?", 3))
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"


def _facts(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield picture(metadata)
    data, training = metadata.get("data") or {}, metadata.get("training") or {}
    if data.get("labels"):
        yield f"classes {', '.join(map(str, data['labels']))}"
    if training.get("images"):
        yield f"{training['images']:,} pictures seen in training"
    if data.get("credit"):
        yield str(data["credit"])

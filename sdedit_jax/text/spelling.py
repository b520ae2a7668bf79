"""Words of messages: unknown names with the known name of the most similar spelling, counts."""

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sdedit_jax.files.wording import LONGEST, brief

CLOSE = 0.6
"""Least similarity of two spellings, by difflib's measure."""


def similar(name: Any, known: Iterable[Any], most: int = 1) -> list[str]:
    """The known names that contain a name, else those of similar spelling, the best first."""
    table = {one.lower(): one for one in known if isinstance(one, str)}
    wanted = name[:LONGEST].lower() if isinstance(name, str) else ""
    holding = [one for one in table if wanted in one] if len(wanted) > 2 else []
    cutoff = 0.0 if holding else CLOSE
    return [table[one] for one in difflib.get_close_matches(wanted, holding or table, most, cutoff)]


def hint(name: Any, known: Iterable[Any], shown: Mapping[str, str] | None = None) -> str:
    """The end of a message about an unknown name; "" where no known name is similar.

    Args:
        shown: known name -> how the message writes it, such as the path of a file; None: as it is.
    """
    found = similar(name, known)
    return f"; did you mean {(shown or {}).get(found[0], found[0])!r}?" if found else ""


def hint_path(path: str | Path, there: Iterable[Path]) -> str:
    """The end of a message about a path that does not exist, by the names of those that do."""
    shown = {one.name: str(one) for one in there}
    return hint(Path(path).name, shown, shown)


def counted(count: int, noun: str) -> str:
    """A count with its noun: "1 picture", "2 pictures"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def bytes_text(count: int) -> str:
    """A number of bytes: "12.3 MB"."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def one_of(field: str, value: Any, allowed: Iterable[Any]) -> Any:
    """A value, if it is one of those allowed.

    Raises:
        ValueError: another value.
    """
    allowed = list(allowed)
    if not any(isinstance(value, type(one)) and one == value for one in allowed):
        found = brief(value)
        raise ValueError(f"{field} must be one of {allowed}, got {found}{hint(value, allowed)}")
    return value

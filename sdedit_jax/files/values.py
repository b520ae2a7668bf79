"""Values of users' files in messages: never long, on one line."""

from typing import Any

LONGEST = 60
"""Characters of a value in a message."""


def short(value: Any) -> str:
    """A value for a message: the start of a text or a number; of other values the type."""
    if isinstance(value, str | bytes):
        text = repr(value[:LONGEST])
        return text if len(value) <= LONGEST else f"{text}..."
    if isinstance(value, bool | float | None):
        return repr(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() < 200 else f"a number of {value.bit_length()} bits"
    if isinstance(value, list | tuple) and len(value) <= 8:
        plain = all(isinstance(each, bool | int | float | str | None) for each in value)
        return f"[{', '.join(map(short, value))}]" if plain else f"a {type(value).__name__}"
    return f"a {type(value).__name__}"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened; the kind of the error where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__

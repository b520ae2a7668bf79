"""Values in messages."""

from collections.abc import Collection, Mapping
from typing import Any

LONGEST = 80
"""Characters of a value in a message."""
LONGEST_MESSAGE = 2000
"""Characters of a message."""


def brief(value: Any, longest: int = LONGEST) -> str:
    """A value in one line of at most `longest` characters; large ones by what they are."""
    if isinstance(value, Mapping) and not _is_short(value.values()):
        return f"an object of {len(value)} fields"
    if isinstance(value, list | tuple | set | frozenset) and not _is_short(value):
        return f"a {type(value).__name__} of {len(value)} values"
    if isinstance(value, int) and abs(value) > 10**longest:
        return "a number of too many digits"
    try:
        text = repr(value[: 2 * longest] if isinstance(value, str) else value)
        text = text if text.isprintable() else escaped(" ".join(text.split()))
    except Exception as error:  # of a repr that is another program's
        text = f"{type(value).__name__} without a text ({type(error).__name__})"
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def _is_short(values: Collection[Any]) -> bool:
    """Whether some values are few, plain and not long."""
    plain = (str, int, float, bool, type(None))
    return len(values) <= 64 and all(isinstance(one, plain) for one in values)


def escaped(text: str) -> str:
    """A text with each character that is not printable as its escape, such as "\\x1b"."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def one_line(message: object) -> str:
    """A message in one line of at most LONGEST_MESSAGE characters, without control characters."""
    text = escaped(" ".join(str(message).split()))
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 3]}..."


def first_line(error: BaseException) -> str:
    """The first line of an error's text, shortened; the kind of the error where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def of_system(error: BaseException) -> str:
    """What the system says of an error, without its number and path; the error's text elsewhere."""
    return getattr(error, "strerror", None) or str(error)


def reason(error: BaseException | str, longest: int = 200) -> str:
    """The text of an error in one line, cut off; the kind of the error where it has none."""
    return " ".join(str(error).split())[:longest] or type(error).__name__

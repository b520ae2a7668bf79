"""Files with prompts for each input: {input's name without suffix: prompt or fields}."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sdedit_jax.text import json_file
from sdedit_jax.text.spelling import hint

LISTS = ("concepts", "masks")
"""Fields that may be a list of texts."""


def read(file: str, fields: Sequence[str], short: str = "") -> dict[str, dict[str, Any]]:
    """The entries of a JSON file; "": none.

    Args:
        fields: names that an entry may have. short: the field of an entry that is a text.

    Raises:
        ValueError: no such file, or another content.
    """
    if not file:
        return {}
    found = json_file.read_object(file, "prompts", "names and prompts")
    return {name: _entry(file, name, entry, fields, short) for name, entry in found.items()}


def _entry(file: str, name: str, entry: Any, fields: Sequence[str], short: str) -> dict[str, Any]:
    given = {short: entry} if short and isinstance(entry, str) else entry
    if not isinstance(given, dict) or not set(given) <= set(fields):
        kinds = "a text or an object" if short else "an object"
        wrong = [field for field in given if field not in fields] if isinstance(given, dict) else []
        raise ValueError(
            f"prompts: {name!r} in {file} must be {kinds} of {list(fields)}, got {entry!r}"
            f"{hint(wrong[0], fields) if wrong else ''}"
        )
    where = f"of {name!r} in {file}"
    return {field: _value(field, value, where) for field, value in given.items()}


def _value(field: str, value: Any, where: str) -> Any:
    """A field of an entry; null leaves a text open."""
    if field == "scale":
        return value
    many = field in LISTS and isinstance(value, list)
    texts = ["" if text is None else text for text in (value if many else [value])]
    if not all(isinstance(text, str) for text in texts):
        kind = "texts" if field in LISTS else "a text"
        raise ValueError(f"prompts: {field} {where} must be {kind}, got {value!r}")
    return texts if many else texts[0]


def check_names(own: Mapping[str, Any], ids: Iterable[str], file: str) -> None:
    """Check that a file names inputs only.

    Raises:
        ValueError: it names something else.
    """
    ids = list(ids)
    if strange := sorted(set(own) - set(ids)):
        near = hint(strange[0], ids)
        raise ValueError(f"prompts: {file} names {strange[:3]}, and no input has this name{near}")

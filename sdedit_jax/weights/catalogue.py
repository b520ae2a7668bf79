"""The catalogue of released checkpoints: address, licence, and facts that are not in the file.

One JSON file for each family in cards/: `{"bases": {name: entry}, "cards": {name: entry}}`. An
entry has fields of `Card`; `"base"` names the entry of "bases" that it changes. Objects are merged
key by key, all else is replaced, so that what several checkpoints share is written once.
"""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

from sdedit_jax.text import spelling
from sdedit_jax.weights import cards

Entry = Mapping[str, Any]


class Card(NamedTuple):
    """A released checkpoint.

    Attributes:
        name: "PUBLISHER/CHECKPOINT", as `config.card` takes it.
        family: the family (weights/families) of its file.
        published: address of the file, or of the folder or hub repository with it.
        alive: False: the address is known to be dead; None: not checked recently.
        licence: SPDX name of the licence that the publisher states; None: unknown.
        sha256, md5: hexadecimal digests of the file where they are published, else None.
        process: kind of the training process, a name of `registry.SDES`.
        range: range of the pictures that the network takes.
        given: the original's configuration, as the family's `describe` takes it.
        note: step, averaging and known problems.
    """

    name: str
    family: str
    published: str
    alive: bool | None
    licence: str | None
    sha256: str | None
    md5: str | None
    process: str
    range: tuple[float, float]
    given: Mapping[str, Any]
    note: str


def card(name: str) -> Card:
    """The entry with this name.

    Raises:
        ValueError: an unknown name; the message lists similar names.
    """
    table = {c.name: c for c in _table()}
    if name not in table:
        close = spelling.similar(name, table, 8) or sorted(
            {n.split("/")[0] + "/..." for n in table}
        )
        raise ValueError(
            f"card: no checkpoint is called {name!r}; similar names: {', '.join(close)}"
        )
    return table[name]


def names(family: str | None = None) -> list[str]:
    """The names of all entries, or of one family.

    Raises:
        ValueError: an unknown family.
    """
    table = _table()
    known = sorted({c.family for c in table})
    if family is not None:
        spelling.one_of("family", family, known)
    return [c.name for c in table if family in (None, c.family)]


def by_sha256(digest: str) -> Card | None:
    """The entry of the file with this SHA-256 (hexadecimal), or None."""
    return next((c for c in _table() if c.sha256 == digest.lower()), None)


def _table() -> list[Card]:
    found: list[Card] = []
    for file in sorted(resources.files(cards).iterdir(), key=lambda f: f.name):
        if file.name.endswith(".json"):
            page = json.loads(file.read_text(encoding="utf-8"))
            found += [_card(n, _resolve(e, page["bases"])) for n, e in page["cards"].items()]
    return found


def _card(name: str, entry: Entry) -> Card:
    unknown = dict.fromkeys(("alive", "licence", "sha256", "md5")) | {"note": ""}
    low, high = entry["range"]
    return Card(name=name, **{**unknown, **entry, "range": (low, high)})


def _resolve(entry: Entry, bases: Mapping[str, Entry]) -> dict[str, Any]:
    """The entry merged into its bases."""
    own = {field: value for field, value in entry.items() if field != "base"}
    return _merge(_resolve(bases[entry["base"]], bases), own) if "base" in entry else own


def _merge(below: Entry, above: Entry) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        inner = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        both[key] = _merge(below[key], value) if inner else value
    return both

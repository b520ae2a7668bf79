"""Values inside objects and lists of JSON, by the path of their names and numbers."""

import copy


def places(value, entries=None, before=()):
    """The path of each value inside an object or a list; of lists the first `entries` (None: all).

    The path of an object or a list comes before those inside it. Other values have none.
    """
    items = []
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else list(enumerate(value))[:entries]
    for name, inner in items:
        yield (*before, name)
        yield from places(inner, entries, (*before, name))


def put(values, path, value):
    """A copy of the values with another one at a path."""
    changed = copy.deepcopy(values)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return changed

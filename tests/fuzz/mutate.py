"""Damage of bytes and of JSON."""

import copy
import json
import struct

from nested import places

EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**16 - 1, 2**63 - 1, 2**64 - 1)


def damaged(rng, data):
    """Bytes with one or two kinds of damage, and the damage in words."""
    how = [rng.choice(BYTES) for _ in range(1 + rng.chance(0.2))]
    for change in how:
        data = change(rng, bytearray(data))
    return bytes(data), ", ".join(change.__name__ for change in how)


def flip(rng, data):
    for _ in range(rng.choice((1, 1, 2, 8, 100))):
        if data:
            data[rng.below(len(data))] ^= 1 << rng.below(8)
    return data


def flip_early(rng, data):
    for _ in range(rng.choice((1, 2, 4))):
        if data:
            data[rng.below(min(len(data), 200))] ^= 1 << rng.below(8)
    return data


def truncate(rng, data):
    return data[: rng.below(len(data) + 1)]


def truncate_end(rng, data):
    return data[: max(0, len(data) - 1 - rng.below(30))]


def zeros(rng, data):
    start = rng.below(len(data) + 1)
    size = rng.choice((1, 4, 64, 4096))
    data[start : start + size] = bytes(len(data[start : start + size]))
    return data


def junk(rng, data):
    start = rng.below(len(data) + 1)
    data[start:start] = rng.bytes(rng.choice((1, 4, 100)))
    return data


def cut_out(rng, data):
    start = rng.below(len(data) + 1)
    del data[start : start + rng.choice((1, 4, 100))]
    return data


def repeat(rng, data):
    start = rng.below(len(data) + 1)
    piece = data[start : start + rng.choice((4, 16, 256))]
    data[start:start] = piece * rng.choice((1, 3, 100))
    return data


def number(rng, data):
    """An extreme number somewhere, in either byte order."""
    form = rng.choice(("<I", ">I", "<Q", ">Q", "<H", ">H"))
    size = struct.calcsize(form)
    if len(data) < size:
        return data
    start = rng.below(len(data) - size + 1)
    value = rng.choice(EXTREMES) % 2 ** (8 * size)
    data[start : start + size] = struct.pack(form, value)
    return data


def trailing(rng, data):
    return data + rng.choice((b"\0" * 1000, b"junk", data))


BYTES = (flip, flip, flip_early, truncate, truncate_end, zeros, junk, cut_out, repeat, number)
BYTES += (trailing,)


# --- JSON -----------------------------------------------------------------------------------------

RAW = "@raw%d@"
TOKENS = ("1" * 5000, "-" + "9" * 5000, "1e999", "-1e999", "NaN", "-Infinity", "1e-999", "-0")
TOKENS += ('"\\ud800"', '"\\udfff\\ud800"', "[" * 100_000 + "]" * 100_000, "0.1" + "0" * 5000)
HOSTILE = (
    *(None, True, False, -1, 0, 1, 2, 0.5, 1e308, -1e308, 5e-324, 10**9, -(10**9), 10**20, 2**63),
    *("", "x", "x" * 10**6, "\0", "a\nb", "../../x", "/etc/passwd", "/dev/zero", "/proc/self/mem"),
    *("null", "1", "nan", "{}", "ä\u202e", "stock", ".", "~", "*", "/**/*"),
    *([], {}, [[]], [None], {"a": {}}, [1, 2, 3], [0], [-1, -1], ["a", "b"], [10**9] * 3, [1e308]),
    *([float("nan")], {"name": None}, {"": 1}, [0.5] * 10_000, {"name": "x"}, [[[[[]]]]]),
)


def hostile(rng):
    """A value of a wrong type or size; RAW stands for a token of TOKENS."""
    if rng.chance(0.25):
        return RAW % rng.below(len(TOKENS))
    return copy.deepcopy(rng.choice(HOSTILE))


def dumps(value, **options):
    text = json.dumps(value, **options)
    for i, token in enumerate(TOKENS):
        text = text.replace(json.dumps(RAW % i), token)
    return text


def at(value, path):
    for key in path:
        value = value[key]
    return value


def changed(rng, value, where=None):
    """A JSON value with one field replaced, removed, renamed, doubled or added: (value, words).

    Args:
        where: the field by its path; None: any.
    """
    value = copy.deepcopy(value)
    paths = [(), *places(value)]
    path = rng.choice(paths) if where is None else where
    if not path:
        new = hostile(rng)
        return new, f"all = {new!r:.60}"
    parent, key = at(value, path[:-1]), path[-1]
    how = rng.choice(("replace",) * 6 + ("remove", "rename", "add", "swap"))
    told = ".".join(map(str, path))
    if how == "remove":
        del parent[key]
    elif how == "rename" and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
    elif how == "add" and isinstance(parent, dict):
        parent[rng.choice(("", "x", "__class__", "name", "\0", "a.b"))] = hostile(rng)
    elif how == "swap":
        other = rng.choice(paths[1:])
        parent[key] = copy.deepcopy(at(value, other))
        told += f" = {'.'.join(map(str, other))}"
    else:
        new = hostile(rng)
        parent[key] = new
        told += f" = {new!r:.60}"
    return value, f"{how} {told}"


def json_bytes(rng, value, where=None):
    """The bytes of a JSON file with damage: (bytes, words)."""
    if rng.chance(0.75):
        new, words = changed(rng, value, where)
        while rng.chance(0.15):
            new, more = changed(rng, new)
            words += f"; {more}"
        return dumps(new).encode("utf-8", "surrogatepass"), words
    text = dumps(value)
    how = rng.choice(TEXTS)
    return how(rng, text), how.__name__


def damaged_text(rng, text):
    return damaged(rng, text.encode())[0]


def deep(rng, text):
    a, b = rng.choice((("[", "]"), ('{"a":', "}")))
    n = rng.choice((900, 100_000))
    return (a * n + "1" + b * rng.choice((0, n))).encode()


def utf16(rng, text):
    return text.encode(rng.choice(("utf-16", "utf-32", "utf-16-le", "utf-8-sig")))


def latin(rng, text):
    return text.replace("{", '{"\u00e4\u00ff": 1,', 1).encode("latin-1", "replace")


def twice(rng, text):
    return (text + rng.choice(("", "\n", ",", "\0")) + text).encode()


def double_keys(rng, text):
    return text.replace("{", '{"name": 1, "name": {}, ', rng.choice((1, 5))).encode()


def empty(rng, text):
    return rng.choice((b"", b" ", b"\n", b"\0", b"null", b"[]", b"{}", b"\xef\xbb\xbf", b"0"))


TEXTS = (damaged_text, damaged_text, damaged_text, deep, utf16, latin, twice, double_keys, empty)

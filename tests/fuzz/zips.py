"""Zips of pictures: encrypted, of unknown methods, with sizes that lie, bombs, odd names."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

from fuzz.case import kind
from fuzz.data_sets import SOURCES, read_set
from fuzz.mutate import damaged

NAMES = ("../../evil.png", "/etc/evil.png", "a/\0.png", "x" * 60_000 + ".png", "", "a/b/", "..")
NAMES += ("a0.png", "a\\b.png", "C:\\x.png", "a/./a0.png", "\u202e.png", "a\nb.png", "~/x.png")


def zipped(files, compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return bytearray(buffer.getvalue())


def entries(data):
    """Where the records of the central directory start, and where the local headers do."""
    central, at = [], data.find(b"PK\1\2")
    while at >= 0:
        central.append(at)
        at = data.find(b"PK\1\2", at + 4)
    return central, [struct.unpack("<I", data[c + 42 : c + 46])[0] for c in central]


FIELDS = {
    "version": (6, 4, "<H", (0, 63, 255, 65_535)),
    "flags": (8, 6, "<H", (1, 8, 0x41, 0x2001, 0xFFFF)),
    "method": (10, 8, "<H", (1, 6, 9, 12, 14, 19, 93, 95, 97, 99, 65_535)),
    "checksum": (16, 14, "<I", (0, 2**32 - 1)),
    "packed size": (20, 18, "<I", (0, 1, 2**31, 2**32 - 1)),
    "size": (24, 22, "<I", (0, 1, 10**9, 2**32 - 1)),
    "name length": (28, 26, "<H", (0, 1, 65_535)),
    "extra length": (30, 28, "<H", (1, 65_535)),
}
"""Field -> its place in the central and the local record, form, odd values."""


def lying(rng, data):
    """A field of a record changed, in the directory, at the file, or both: what was done."""
    central, local = entries(data)
    i = rng.below(len(central))
    field = rng.choice((*FIELDS, "offset", "entries", "start"))
    if field == "offset":
        value = rng.choice((1, len(data), 2**31, 2**32 - 1, local[0]))
        data[central[i] + 42 : central[i] + 46] = struct.pack("<I", value)
        return f"offset {value}"
    if field in ("entries", "start"):
        end = data.rfind(b"PK\5\6")
        at, form = (end + 8, "<HH") if field == "entries" else (end + 16, "<I")
        value = rng.choice((0, 1, 65_535))
        packed = struct.pack(form, *([value] * (2 if form == "<HH" else 1)))
        data[at : at + len(packed)] = packed
        return f"{field} {value}"
    inner, outer, form, values = FIELDS[field]
    value = rng.choice(values)
    packed, where = struct.pack(form, value), rng.choice(("both", "directory", "file"))
    if where != "file":
        data[central[i] + inner : central[i] + inner + len(packed)] = packed
    if where != "directory":
        data[local[i] + outer : local[i] + outer + len(packed)] = packed
    return f"{field} {value} in {where}"


def pictures():
    photo = Path("stock/photo.png").read_bytes()
    return [("a/a0.png", photo), ("a/a1.png", photo), ("b/b0.png", photo), ("b/b1.png", photo)]


def damaged_zip(rng):
    """The bytes of a zip of pictures with damage: (bytes, words)."""
    files = pictures()
    how = rng.choice(("lies", "lies", "lies", "bytes", "names", "bomb", "twice", "zip64", "nested"))
    if how == "lies":
        data = zipped(files)
        words = lying(rng, data)
        return bytes(data), words
    if how == "bytes":
        return damaged(rng, bytes(zipped(files)))
    if how == "names":
        name = rng.choice(NAMES)
        files.append((name, files[0][1]))
        return bytes(zipped([f for f in files if f[0]])), f"name {name[:30]!r}"
    if how == "bomb":
        head = files[0][1] if rng.chance(0.5) else b""
        pack = zlib.compressobj(9, wbits=-15)
        size = 3 * 10**9
        packed = pack.compress(head) + b"".join(pack.compress(bytes(10**7)) for _ in range(300))
        packed += pack.flush()
        return bomb(packed, len(head) + size, rng.chance(0.5)), "bomb"
    if how == "twice":
        files.append((files[0][0], b"no picture"))
        return bytes(zipped(files)), how
    if how == "nested":
        return bytes(zipped([*files, ("c/inner.zip", bytes(zipped(files)))])), how
    data = zipped(files)
    end = data.rfind(b"PK\5\6")
    value = rng.choice((0, 2**63 - 1, 2**64 - 1))
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, value, value, value, value)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, rng.choice((end, value)), 1)
    data[end:end] = record + locator
    if rng.chance(0.7):
        end = data.rfind(b"PK\5\6")
        data[end + 8 : end + 20] = b"\xff" * 12
    return bytes(data), f"zip64 {value}"


def bomb(packed, size, honest):
    """A zip with one picture that unpacks to `size` bytes, and may say fewer."""
    name, told = b"a/a0.png", size if honest else 900
    facts = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), told, len(name), 0)
    local = b"PK\3\4" + facts + name + packed
    more = struct.pack("<HHHII", 0, 0, 0, 0, 0)
    central = b"PK\1\2" + struct.pack("<H", 20) + facts + more + name
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + b"PK\5\6" + end


@kind
def zips(rng):
    """As the data of a training, of an evaluation, and of a measurement."""
    data, words = damaged_zip(rng)
    Path("set.zip").write_bytes(data)
    return read_set(rng, "set.zip", words, rng.choice(SOURCES))

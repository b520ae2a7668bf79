"""Files of torch.save, written without torch: a pickle by its opcodes, in a zip or in a row."""

import io
import struct
import zipfile
from typing import NamedTuple

import numpy as np


class Name(NamedTuple):
    """A name of a module, as pickle's GLOBAL."""

    module: str
    name: str


class Call(NamedTuple):
    """A call: REDUCE."""

    function: object
    arguments: tuple


class Outside(NamedTuple):
    """A reference to what is outside of the pickle: BINPERSID."""

    facts: tuple


class Raw(NamedTuple):
    """Opcodes as they are, which must leave one object."""

    code: bytes


def pickled(value):
    return b"\x80\x02" + code(value) + b"."


def code(value):
    """The opcodes that make a value."""
    if isinstance(value, Raw):
        return value.code
    if isinstance(value, Name):
        return f"c{value.module}\n{value.name}\n".encode()
    if isinstance(value, Call):
        return code(value.function) + code(value.arguments) + b"R"
    if isinstance(value, Outside):
        return code(value.facts) + b"Q"
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return whole(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(data)) + data
    if isinstance(value, dict):
        items = b"".join(code(k) + code(v) for k, v in value.items())
        return b"}(" + items + b"u"
    open_, close = (b"](", b"e") if isinstance(value, list) else (b"(", b"t")
    return open_ + b"".join(map(code, value)) + close


def whole(value):
    """A whole number as the opcodes that torch reads too."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


KINDS = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage"}
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
ORDERED = Call(Name("collections", "OrderedDict"), ())


def tensor(key, shape, stride=None, offset=0, count=None, kind="FloatStorage", rest=()):
    """A tensor of the storage `key`."""
    if stride is None:
        stride = strides(shape)
    count = int(np.prod(shape)) if count is None else count
    storage = Outside(("storage", Name("torch", kind), key, "cpu", count))
    return Call(REBUILD, (storage, offset, tuple(shape), tuple(stride), False, ORDERED, *rest))


def strides(shape):
    return tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))


def listed(arrays, storages):
    """Tensors of arrays, whose bytes go to `storages`."""
    found = {}
    for name, a in arrays.items():
        key = str(len(storages))
        storages[key] = np.ascontiguousarray(a).tobytes()
        found[name] = tensor(key, a.shape, kind=KINDS[a.dtype.str[1:]])
    return found


def score_sde(averaged, raw):
    """checkpoint_N.pth of score_sde_pytorch; see foreign_files.write_score_sde_pth."""
    storages = {}
    model = listed({f"module.{name}": a for name, a in raw.items()}, storages)
    shadow = list(listed(averaged, storages).values())
    ema = {"decay": 0.9995, "num_updates": 1, "shadow_params": shadow}
    content = {"model": model, "ema": ema, "step": 1}
    return zipped(pickled(content), storages)


def zipped(data, storages, compression=zipfile.ZIP_STORED, root="archive"):
    """The zip format, since torch 1.6."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(f"{root}/data.pkl", data)
        archive.writestr(f"{root}/byteorder", "little")
        for key, one in storages.items():
            archive.writestr(f"{root}/data/{key}", one)
        archive.writestr(f"{root}/version", "3\n")
    return buffer.getvalue()


def legacy(content, storages, counts=None):
    """The format before torch 1.6: five pickles in a row, then each storage.

    Args:
        counts: the numbers of elements that stand before the storages; None: the right ones.
    """
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
    out = pickled(0x1950A86A20F9469CFC6C) + pickled(1001) + pickled(system)
    out += pickled(content) + pickled(list(storages))
    for i, one in enumerate(storages.values()):
        count = len(one) // 4 if counts is None else counts[i]
        out += struct.pack("<q", count) + one
    return out

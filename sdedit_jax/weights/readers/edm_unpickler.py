"""The pickles of NVidia's `torch_utils.persistence`, unpickled without running what they hold.

In such a file each object is a call of `_reconstruct_persistent_obj` with the source code of its
class and its state. The original executes the code. Here only the names of `NAMES` resolve, each to
a function or class of this module or to a builtin container. The source code is ignored, the state
becomes a record, and tensors become views of the bytes of the file, without torch.
"""

import io
import pickle
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.files.wording import brief, first_line
from sdedit_jax.weights.readers import mapped, pickles, tensors

STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Record(NamedTuple):
    """A pickled object of an unknown class: the name of the class and the attributes."""

    class_name: str
    state: Mapping[str, Any]


def unpickle(path: Path) -> Any:
    """The contents of the file, as dicts, lists, numbers, arrays, `Record` and `Container`.

    Raises:
        ValueError: the file is damaged or cut off, or refers to a name that is not in `NAMES`.
    """
    stream = mapped.mapping(path)
    try:
        return _load(stream)
    except _Refused as error:
        raise ValueError(f"source: {path} {error}; reading stopped, no code was run") from None
    except Exception as error:  # damaged pickles raise many kinds
        raise ValueError(
            f"source: {path} is not an EDM pickle, or is cut off or damaged: {first_line(error)}"
        ) from None


def _load(stream: Any) -> Any:
    """The next object of a stream, whose opcodes are checked first."""
    start = stream.tell()
    pickles.check(stream)
    stream.seek(start)
    return _Unpickler(stream).load()


class _StorageType(NamedTuple):
    """A kind of torch storage, by numpy's code: not a dtype, which a pickle could change."""

    code: str


class _Refused(ValueError):
    """The file refers to something that is not allowed."""


class _Unpickler(pickle.Unpickler):
    """Resolves the names of `NAMES` and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise _Refused(f"refers to {module[:60]}.{name[:60]}, which no EDM pickle needs")
        return NAMES[module, name]

    def persistent_load(self, pid: Any) -> Any:
        name, kind, _, _, count = pid[:5]
        if name != "storage" or not isinstance(kind, _StorageType) or type(count) is not int:
            raise _Refused(f"refers to {brief(name)} outside of it")
        return np.dtype(kind.code), count


class _Call:
    """A function that a pickle may call but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _Refused(f"sets {brief(name)} of a function")

    def __setstate__(self, state: Any) -> None:
        raise _Refused("sets the state of a function")


class Container:
    """A module of torch itself that holds others; its attributes are kept as they come."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise _Refused("gives a module a state that is no dict")
        self.state = state


def _record(meta: Any) -> Record:
    """Replaces `_reconstruct_persistent_obj`; meta["module_src"] is ignored."""
    state = meta["state"]
    if meta["type"] != "class" or not isinstance(state, dict):
        raise _Refused(f"holds a persistent object of another type: {brief(meta['type'])}")
    return Record(str(meta["class_name"]), state)


def _storage(data: bytes) -> np.ndarray:
    """A tensor's storage out of the bytes of a torch file of before 1.6: five pickles, then data.

    Returns:
        1-D view into `data`.
    """
    stream = io.BytesIO(data)
    magic, protocol, system, (dtype, count), keys = (_load(stream) for _ in range(5))
    if type(count) is not int or count < 0:
        raise _Refused("holds a tensor without a length")
    if magic != TORCH_MAGIC or protocol != TORCH_PROTOCOL or len(keys) != 1:
        raise _Refused("holds a tensor that is none of torch's")
    if not system.get("little_endian", True):
        raise _Refused("holds a tensor of a big-endian machine")
    if struct.unpack("<q", stream.read(8)) != (count,):
        raise _Refused("holds a tensor with two different lengths")
    return np.frombuffer(data, dtype, count, stream.tell())


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> np.ndarray:
    """A tensor [shape] as a read-only view into its storage; every element must lie within."""
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, np.ndarray) or len(shape) != len(stride):
        raise _Refused("holds a tensor without a storage or of two ranks")
    if not all(type(n) is int and n >= 0 for n in numbers):
        place = f"offset {brief(offset)}, shape {brief(shape)} and stride {brief(stride)}"
        raise _Refused(f"holds a tensor of {place}")
    try:
        tensors.check_storage(shape, stride, offset, storage.size, "a tensor")
    except ValueError as error:
        raise _Refused(f"is damaged: {str(error).removeprefix('source: ')}") from None
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


class _Dtype:
    """A dtype of numpy's, by code and byte order; numbers only."""

    def __init__(self, code: str, *_: Any) -> None:
        if code not in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"):
            raise _Refused(f"holds numpy data of type {brief(code)}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array of numpy's; none is a weight, so the contents are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


def _scalar(kind: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, kind.dtype, 1)[0]


NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): dict,
    ("builtins", "set"): set,
    ("dnnlib.util", "EasyDict"): dict,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Call(_record),
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(lambda data, *_: data),
    ("torch.storage", "_load_from_bytes"): _Call(_storage),
    **{("torch", name): _StorageType(code) for name, code in STORAGES.items()},
    **{
        ("torch.nn.modules.container", name): Container
        for name in ("ModuleDict", "ModuleList", "Sequential")
    },
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    **{
        (f"numpy.{core}.multiarray", name): made
        for core in ("core", "_core")
        for name, made in (
            ("scalar", _Call(_scalar)),
            ("_reconstruct", _Call(lambda *_: _Array())),
        )
    },
}
"""The replacement for each name in the file; these classes keep no global state."""

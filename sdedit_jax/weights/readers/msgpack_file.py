"""Flax files (flax.serialization.to_bytes), read without flax's classes of any version.

score_sde's checkpoint_N is the State of its training: step, optimizer {target, state}, lr,
model_state, ema_rate, params_ema, rng. The msgpack package locates each array. The arrays are
views of the mapped file, so unused parts take no memory.

    ext 1, ext 3    an array, a numpy scalar: msgpack of (shape, dtype name, C-order bytes)
    {"__msgpack_chunked_array__": True, "shape": {"0": n, ...}, "chunks": {"0": ext 1, ...}}
                    an array of more than 2^30 bytes
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np

from sdedit_jax.files import door
from sdedit_jax.files.wording import brief, first_line
from sdedit_jax.weights.readers import mapped
from sdedit_jax.weights.source import Source

CHUNKED = "__msgpack_chunked_array__"
EXT_HEADS = {0xC7: 3, 0xC8: 4, 0xC9: 6, 0xD4: 2, 0xD5: 2, 0xD6: 2, 0xD7: 2, 0xD8: 2}
"""First byte of an ext object -> bytes before its payload, the last of them its type."""
DEEPEST, OBJECTS = 100, 1_000_000
DAMAGE = (msgpack.UnpackException, ValueError, TypeError, LookupError, OverflowError, MemoryError)
"""Raised for files that are damaged."""
BIN_HEADS = {0xC4: 2, 0xC5: 3, 0xC6: 5}


def read(path: str | Path) -> Source:
    """The averaged parameters of a flax file, names joined by "/".

    Raises:
        ValueError: the file is cut off or damaged, or holds no parameters.
    """
    path = Path(path)
    content = _content(path)
    params, ema, left_out = _choose(content, path)
    tensors = _named(_flat(params))
    odd = [name for name, leaf in tensors.items() if not isinstance(leaf, np.ndarray)]
    if odd or not tensors:
        raise ValueError(
            f"source: {path} holds no arrays of parameters, but {list(map(brief, odd[:5]))}"
        )
    return Source(path, tensors, layout="flax", ema=ema, left_out=left_out)


def _choose(content: Mapping[str, Any], path: Path) -> tuple[Any, bool | None, dict[str, str]]:
    """The parameters in the file, whether they are averaged, and what is not taken."""
    left = {name: f"no weights ({_short(content[name])})" for name in content}
    optimizer = content.get("optimizer")
    raw = optimizer.get("target") if isinstance(optimizer, dict) else None
    if "optimizer" in left:
        left["optimizer"] = "state of the training"
    if isinstance(raw, dict) and "params_ema" in content:
        left["optimizer.target"] = "raw weights; the averaged ones (params_ema) were taken"
    for name, value, ema in (
        ("params_ema", content.get("params_ema"), True),
        ("optimizer.target", raw, False),
        ("params", content.get("params"), False if "opt_state" in content else None),
    ):
        if isinstance(value, dict) and value:
            return value, ema, {n: why for n, why in left.items() if n != name}
    if content and all(isinstance(leaf, np.ndarray) for _, leaf in _flat(content)):
        return content, None, {}
    raise ValueError(
        f"source: {path} is a msgpack file without params_ema, optimizer.target or params; "
        f"it has {list(map(brief, content))[:8]}"
    )


def _content(path: Path) -> dict[str, Any]:
    """The whole file as nested dicts of views."""
    data = mapped.contents(path)
    try:
        with door.open_file(path) as file, door.open_file(path) as peek:
            walker = msgpack.Unpacker(file, read_size=2**20, raw=False, **_limits(len(data)))
            content = _tree(walker, peek, data, itertools.count())
            end = walker.tell()
    except DAMAGE as error:
        # OutOfData of a file that ends too early has no text
        reason = first_line(error) if str(error) else "it ends too early"
        raise ValueError(
            f"source: {path} is a msgpack file that is cut off or damaged: {reason}"
        ) from None
    if end != len(data) or not isinstance(content, dict):
        raise ValueError(f"source: {path} is no flax file: more than one msgpack object in it")
    return content


def _limits(size: int) -> dict[str, int]:
    """What an object may claim in a file of this size."""
    most = dict.fromkeys(("max_str_len", "max_bin_len", "max_ext_len", "max_map_len"), size)
    return {**most, "max_array_len": 0, "max_buffer_size": max(size, 2**20)}


def _tree(
    walker: msgpack.Unpacker,
    peek: BinaryIO,
    data: memoryview,
    count: Iterator[int],
    depth: int = 0,
) -> Any:
    """The next object; maps become dicts, arrays stay where they are in `data`.

    Args:
        count: of the objects so far. depth: of maps around this one.
    """
    start = walker.tell()
    if depth > DEEPEST or next(count) > OBJECTS:
        raise ValueError(f"more than {OBJECTS} objects, or {DEEPEST} maps in each other")
    # through `peek`: touching one byte of `data` may map megabytes around it
    peek.seek(start)
    head = peek.read(1024)
    if 0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF):
        pairs = range(walker.read_map_header())
        found = [(walker.unpack(), _tree(walker, peek, data, count, depth + 1)) for _ in pairs]
        return _joined(_named(found))
    if head[0] in EXT_HEADS:
        walker.skip()
        return _array(head, data[start : walker.tell()])
    return walker.unpack()


def _array(head: bytes, ext: memoryview) -> np.ndarray:
    """The array that an ext object holds, whose first bytes are `head`.

    Raises:
        ValueError: it is none of flax's (type 2 is a Python complex number), or damaged.
    """
    at = EXT_HEADS[head[0]]
    if head[at - 1] not in (1, 3):
        raise ValueError(f"ext type {head[at - 1]} is no array")
    reader = msgpack.Unpacker(raw=False, max_buffer_size=len(head))
    reader.feed(head[at:])
    if reader.read_array_header() != 3:
        raise ValueError("an array is not (shape, dtype, bytes)")
    shape, dtype = reader.unpack(), reader.unpack()
    at += reader.tell()
    if not isinstance(shape, list) or not isinstance(dtype, str):
        raise ValueError("an array is not (shape, dtype, bytes)")
    return mapped.array(ext[at + BIN_HEADS.get(head[at], 0) :], dtype, tuple(shape))


def _named(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    """The map of these pairs, whose names are distinct texts."""
    found = dict(pairs)
    if len(found) < len(pairs) or not all(isinstance(name, str) for name in found):
        raise ValueError("a map has a name twice, or one that is no text")
    return found


def _joined(tree: dict[str, Any]) -> Any:
    """A chunked array in one piece; any other dict as it is."""
    if CHUNKED not in tree:
        return tree
    shape, chunks = ([part[str(i)] for i in range(len(part))] for part in _parts(tree))
    return np.concatenate(chunks).reshape(tuple(shape))


def _parts(tree: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    if not isinstance(tree.get("shape"), dict) or not isinstance(tree.get("chunks"), dict):
        raise ValueError("a chunked array lacks its shape or its chunks")
    return tree["shape"], tree["chunks"]


def _flat(tree: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    flat = []
    for name, value in tree.items():
        inner = isinstance(value, dict)
        flat += _flat(value, f"{before}{name}/") if inner else [(before + name, value)]
    return flat


def _short(value: Any) -> str:
    """A few words on a value that is left out."""
    if isinstance(value, np.ndarray):
        return str(value.item()) if value.size == 1 else f"{value.dtype}{list(value.shape)}"
    return "a group" if isinstance(value, dict) else brief(value)

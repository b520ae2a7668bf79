"""Reading of folders of orbax, after a check: nothing leads out or claims more than is there.

Orbax itself takes five times as long to import as tensorstore, with which it reads.

A folder is a database (OCDBT): a manifest and trees of nodes, which name values by file, offset and
length. `_METADATA` names the tensors. Without the database each tensor has a folder of its name.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import tensorstore as ts

from sdedit_jax.files import json_file
from sdedit_jax.files.wording import brief
from sdedit_jax.weights.readers import home

MANIFEST = "manifest.ocdbt"
NODES = 100_000
"""Nodes of the trees."""
RATIO, ANYWAY = 64, 2**28
"""Bytes of tensors for each byte on disk (zeros are small), and the bytes allowed anyway."""


def check(folder: Path) -> int:
    """The bytes on disk, after a check of the files, and of what they name.

    Raises:
        ValueError: a file that is no regular one, a link out of the folder, or a name that leads
            out of it or behind the end of a file.
    """
    files = home.files_in(folder, "prior")
    names = [".".join(keys) for keys in _keys(folder)]
    if not (folder / MANIFEST).exists():
        _check_folders(folder, names)
    else:
        sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
        for place in _places(folder):
            _check_place(place, sizes)
    return sum(path.stat().st_size for path in files)


def stored_shapes(folder: Path) -> dict[str, Any]:
    """The tree of the shapes and dtypes of the tensors of a folder.

    Raises:
        ValueError: a tensor that cannot be opened, or that stands where others are.
    """
    found: dict[str, Any] = {}
    every = _keys(folder)
    for keys, store in zip(every, _open_all(folder, map(".".join, every)), strict=True):
        place = found
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if not isinstance(place, dict) or keys[-1] in place:
            raise ValueError(f"_METADATA has {brief('.'.join(keys))} and a tensor in it, or twice")
        place[keys[-1]] = jax.ShapeDtypeStruct(store.shape, store.dtype.numpy_dtype)
    return found


def read(folder: Path, shapes: Any) -> Any:
    """The tensors of a folder that was checked.

    Orbax reads in threads, whose errors go to the terminal; this reads with its library alone.

    Args:
        shapes: their tree, of string keys.

    Raises:
        ValueError: a tensor that cannot be read, or has another shape.
    """
    flat, tree = jax.tree_util.tree_flatten_with_path(shapes)
    names = [".".join(part.key for part in path) for path, _ in flat]
    stores = _open_all(folder, names)
    for name, store, (_, leaf) in zip(names, stores, flat, strict=True):
        if store.shape != tuple(leaf.shape):
            raise ValueError(f"{name} has the shapes {store.shape} and {tuple(leaf.shape)}")
    started = [store.read() for store in stores]
    return jax.tree.unflatten(tree, [each.result() for each in started])


def _open_all(folder: Path, names: Iterable[str]) -> list[ts.TensorStore]:
    """The tensors of these names, not yet read."""
    third = bool(json_file.read_object(folder / "_METADATA", "prior").get("use_zarr3"))
    return [_open(folder, name, "zarr3" if third else "zarr") for name in names]


def _open(folder: Path, name: str, driver: str) -> ts.TensorStore:
    """One tensor of a folder."""
    if (folder / MANIFEST).exists():
        base = {"driver": "file", "path": f"{folder}/"}
        place = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    else:
        place = {"driver": "file", "path": f"{folder}/{name}/"}
    return ts.open({"driver": driver, "kvstore": place}, open=True, read=True).result()


def check_shapes(shapes: Any, size: int) -> None:
    """Raise ValueError where tensors claim far more bytes than their folder has."""
    leaves = jax.tree.leaves(shapes)
    if not all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        raise ValueError("it holds values that are no tensors")
    claimed = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
    if claimed > max(RATIO * size, ANYWAY):
        raise ValueError(f"its tensors claim {claimed} bytes, the folder has {size}")


def _check_folders(folder: Path, names: list[str]) -> None:
    """Check that each tensor has a folder, where there is no database."""
    for name in names:
        if not any((folder / name / file).exists() for file in (".zarray", "zarr.json")):
            raise ValueError(f"it has neither {MANIFEST} nor {brief(name)}/.zarray")


def _keys(folder: Path) -> list[list[str]]:
    """The keys of each tensor in _METADATA, of which none is a path."""
    if not (folder / "_METADATA").exists():
        raise ValueError("it has no _METADATA")
    found = json_file.read_object(folder / "_METADATA", "prior")
    tree = found.get("tree_metadata")
    if not isinstance(tree, Mapping) or not all(isinstance(e, Mapping) for e in tree.values()):
        raise ValueError("tree_metadata in _METADATA must be an object of objects")
    found = []
    for entry in tree.values():
        keys = entry.get("key_metadata")
        if not isinstance(keys, list) or not all(isinstance(key, Mapping) for key in keys):
            raise ValueError(f"key_metadata in _METADATA must be a list, got {brief(keys)}")
        if not keys:
            raise ValueError("key_metadata in _METADATA must name each tensor")
        for key in keys:
            name = key.get("key")
            if not isinstance(name, str) or not name or {"/", "\\", "\0"} & {*name} or ".." in name:
                raise ValueError(f"the name {brief(name)} of a tensor in _METADATA is not allowed")
        found.append([key["key"] for key in keys])
    return found


def _places(folder: Path) -> Iterator[str]:
    """The places "KIND:FOLDER:FILE:OFFSET:LENGTH" that the manifest and its trees name."""
    base = ts.KvStore.open({"driver": "file", "path": f"{folder}/"}).result()
    todo: list[Any] = [ts.ocdbt.dump(base).result()]
    count = 0
    while todo:
        for place in _named(todo.pop()):
            yield place
            if not place.startswith("value:"):
                todo.append(ts.ocdbt.dump(base, place).result())
            count += 1
            if count > NODES:
                raise ValueError(f"it has more than {NODES} nodes and values")


def _named(node: Any) -> Iterator[str]:
    """The places in a node, at any depth."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name in ("location", "indirect_value") and isinstance(value, str):
                yield value
            else:
                yield from _named(value)
    elif isinstance(node, list):
        for value in node:
            yield from _named(value)


def _check_place(place: str, sizes: Mapping[str, int]) -> None:
    """Raise ValueError unless a place is within a file of the folder."""
    parts = place.split(":")
    path = "".join(parts[1:-2])
    if len(parts) != 5 or path not in sizes:
        raise ValueError(f"it names {brief(place)}, which is no file in it")
    if int(parts[-2]) + int(parts[-1]) > sizes[path]:
        raise ValueError(f"it names {brief(place)}, the file has {sizes[path]} bytes")

"""Reading of folders of orbax, after a check: nothing leads out or claims more than is there.

Tensorstore, with which orbax reads, is imported in a fraction of its time.

`_METADATA` names the tensors. Their chunks are values of a database, see orbax_database; without
one, each tensor has a folder of its name.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore as ts

from sdedit_jax.files import json_file, zstd_size
from sdedit_jax.files.wording import brief
from sdedit_jax.weights import orbax_database
from sdedit_jax.weights.orbax_database import MANIFEST, SMALL
from sdedit_jax.weights.readers import home

DESCRIPTION = 2**26
"""Bytes of a file that describes the tensors."""
RATIO, ANYWAY = 64, 2**28
"""Bytes of tensors for each byte on disk (zeros are small), and the bytes allowed anyway."""
SPARE = 2**20
"""Bytes by which a chunk may be larger than its tensor, compressed or by its headers."""
CHUNKS = 100_000
"""Chunks of a tensor."""
CACHE = {"cache_pool": {"total_bytes_limit": 2**24}}
"""The tensors share a cache of the database's nodes."""


class Sizes(NamedTuple):
    """Bytes of all files of a folder, and of the largest chunk as it is stored."""

    total: int
    largest: int


def check(folder: Path) -> Sizes:
    """The bytes on disk, after a check of the files, and of what they name.

    Raises:
        ValueError: a file that is no regular one or too large, a link out of the folder, or a name
            that leads out of it or behind the end of a file.
    """
    files = home.files_in(folder, "prior")
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    names = [".".join(keys) for keys in _keys(_metadata(folder))]
    if MANIFEST in sizes:
        data = {path for path in sizes if "d" in path.split("/")[:-1]}
        largest = orbax_database.largest_value(folder, sizes)
    else:
        _check_folders(folder, names)
        data = {path for path in sizes if path.split("/")[0] in names and path[-1].isdigit()}
        largest = max((sizes[path] for path in data), default=0)
    for path in sizes.keys() - data:
        most = SMALL if path.split("/")[0] in names else DESCRIPTION
        if sizes[path] > most:
            raise ValueError(f"{brief(path)} has {sizes[path]} bytes, at most {most} are allowed")
    return Sizes(sum(sizes.values()), largest)


@dataclass(frozen=True)
class Tensor:
    """A tensor that is opened and not yet read: a leaf of a tree."""

    name: str
    store: ts.TensorStore

    @property
    def shape(self) -> tuple[int, ...]:
        return self.store.shape

    @property
    def dtype(self) -> np.dtype:
        return self.store.dtype.numpy_dtype


def opened(folder: Path) -> dict[str, Any]:
    """The tree of the tensors of a folder, of which no values are read.

    Raises:
        ValueError: a tensor that cannot be opened, or that stands where others are.
    """
    metadata, found = _metadata(folder), {}
    driver, context = "zarr3" if metadata.get("use_zarr3") else "zarr", ts.Context(CACHE)
    for keys in _keys(metadata):
        name, place = ".".join(keys), found
        store = _open(folder, name, driver, context)
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if not isinstance(place, dict) or keys[-1] in place:
            raise ValueError(f"_METADATA has {brief(name)} and a tensor in it, or twice")
        place[keys[-1]] = Tensor(name, store)
    return found


def read(tensors: Any) -> Any:
    """The arrays of a tree of tensors of a folder that was checked.

    Orbax reads in threads, whose errors go to the terminal; this reads with its library alone.

    Raises:
        ValueError: a tensor that cannot be read, or expands to more than its shape.
    """
    for one in jax.tree.leaves(tensors):
        _check_chunks(one.name, one.store)
    started = jax.tree.map(lambda one: one.store.read(), tensors)
    return jax.tree.map(lambda each: each.result(), started)


def _open(folder: Path, name: str, driver: str, context: ts.Context) -> ts.TensorStore:
    """One tensor of a folder."""
    if (folder / MANIFEST).exists():
        base = {"driver": "file", "path": f"{folder}/"}
        place = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
    else:
        place = {"driver": "file", "path": f"{folder}/{name}/"}
    spec = {"driver": driver, "kvstore": place}
    return ts.open(spec, open=True, read=True, context=context).result()


def check_shapes(shapes: Any, sizes: Sizes) -> None:
    """Raise ValueError where tensors claim far more bytes than their folder has, or far fewer."""
    leaves = jax.tree.leaves(shapes)
    if not all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        raise ValueError("it holds values that are no tensors")
    if wrong := [leaf.dtype for leaf in leaves if not _is_real(leaf.dtype)]:
        raise ValueError(f"it holds values of dtype {wrong[0]}")
    claimed = [math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves]
    if sum(claimed) > max(RATIO * sizes.total, ANYWAY):
        raise ValueError(f"its tensors claim {sum(claimed)} bytes, the folder has {sizes.total}")
    if sizes.largest > _allowed(max(claimed, default=0)):
        raise ValueError(f"it has a value of {sizes.largest} bytes, more than any tensor")


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


# --- chunks ---------------------------------------------------------------------------------------


def _check_chunks(name: str, store: ts.TensorStore) -> None:
    """Check the chunks of a tensor, which are expanded before they are compared with its shape.

    Raises:
        ValueError: too many or too large ones, or a compression that orbax does not write.
    """
    shape, chunk = store.shape, store.chunk_layout.read_chunk.shape or ()  # None: a scalar
    sides = list(zip(shape, chunk, strict=True))
    count = math.prod(math.ceil(whole / part) for whole, part in sides)
    if count > CHUNKS or any(part > max(whole, 1) for whole, part in sides):
        raise ValueError(f"{name} of shape {shape} has chunks of shape {chunk}")
    if not _is_compressed(name, store.spec().to_json()["metadata"]):
        return
    most = _allowed(math.prod(chunk) * store.dtype.numpy_dtype.itemsize)
    for key in store.kvstore.list().result():
        if key[-1:].isdigit():
            size = zstd_size.expanded(store.kvstore.read(key).result().value)
            if size > most:
                raise ValueError(
                    f"{name} of shape {shape} has a chunk that expands to {size} bytes"
                )


def _allowed(size: int) -> int:
    """The bytes that a chunk of a size may take: zstandard's blocks give a bound, not the size."""
    return 2 * size + SPARE


def _is_compressed(name: str, metadata: Mapping[str, Any]) -> bool:
    """Whether chunks are compressed by zstandard.

    Raises:
        ValueError: they are compressed by something else, or in shards.
    """
    codecs: Sequence[Any] = metadata.get("codecs", [metadata.get("compressor")])
    kinds = [codec.get("name", codec.get("id")) for codec in codecs if codec]
    other = [kind for kind in kinds if kind not in ("bytes", "transpose", "zstd")]
    if other or metadata.get("filters"):
        raise ValueError(f"{name} is compressed by {(other or ['filters'])[0]}, allowed is zstd")
    return "zstd" in kinds


# --- names ----------------------------------------------------------------------------------------


def _check_folders(folder: Path, names: list[str]) -> None:
    """Check that each tensor has a folder, where there is no database."""
    for name in names:
        if not any((folder / name / file).exists() for file in (".zarray", "zarr.json")):
            raise ValueError(f"it has neither {MANIFEST} nor {brief(name)}/.zarray")


def _metadata(folder: Path) -> Mapping[str, Any]:
    """What _METADATA holds."""
    if not (folder / "_METADATA").exists():
        raise ValueError("it has no _METADATA")
    return json_file.read_object(folder / "_METADATA", "prior")


def _keys(metadata: Mapping[str, Any]) -> list[list[str]]:
    """The keys of each tensor in _METADATA, of which none is a path.

    Entries for parts of a tree that hold no tensors are left out.
    """
    tree = metadata.get("tree_metadata")
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
        value = entry.get("value_metadata")
        if not (isinstance(value, Mapping) and value.get("skip_deserialize") is True):
            found.append([key["key"] for key in keys])
    return found

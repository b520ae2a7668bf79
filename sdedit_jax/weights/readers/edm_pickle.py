"""Pickles of NVlabs/edm (`network-snapshot-*.pkl`), read without running their code.

A file is a dict with the averaged network under "ema". Its modules are read as records of class
name and state (see edm_unpickler.py), from which the state dict is built here.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sdedit_jax.files.wording import brief
from sdedit_jax.weights.readers import tensors
from sdedit_jax.weights.readers.edm_unpickler import Container, Record, unpickle
from sdedit_jax.weights.source import Source

BESIDE = {
    "loss_fn": "the training loss",
    "augment_pipe": "the augmentation of the training pictures",
    "dataset_kwargs": "where the training pictures were",
    "encoder": "the encoder of pictures",
}

DEEPEST, MODULES, VALUES = 20, 10_000, 10_000
"""Limits of modules in modules, of modules, and of plain values."""


def read_edm(path: str | Path) -> Source:
    """The averaged network of an EDM pickle, tensors named as in its state dict.

    Returns:
        a source whose config is {"class_name", "init_kwargs", "model_class", "model_kwargs"}: the
        class and arguments of the preconditioning ("ema") and of the network in it ("ema.model";
        None and {} if there is none of this name).

    Raises:
        ValueError: the file is damaged or cut off, refers to a name that such files do not need,
            or holds no network under "ema".
    """
    path = Path(path)
    snapshot = unpickle(path)
    if not isinstance(snapshot, dict) or not isinstance(snapshot.get("ema"), Record):
        here = brief(sorted(map(str, snapshot))[:8] if isinstance(snapshot, dict) else snapshot)
        raise ValueError(
            f"source: {path} is not an EDM pickle: a network under 'ema' is missing, found {here}"
        )
    ema = snapshot["ema"]
    found = dict(_tensors(ema, path))
    if not found:
        raise ValueError(f"source: {path} holds no tensors under 'ema'")
    beside = [name for name in snapshot if isinstance(name, str) and name != "ema"]
    left_out = {name: BESIDE.get(name, "beside the network") for name in beside}
    return Source(path, found, "torch", True, left_out, _config(ema, path))


# --- records of the pickle ------------------------------------------------------------------------


def _tensors(ema: Record, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of a module and its submodules, in the order of the original's state dict."""
    for count, (prefix, record) in enumerate(_modules(ema, path)):
        if count > MODULES:
            raise ValueError(f"source: {path} has more than {MODULES} modules")
        yield from _own(record, path, prefix)


def _modules(
    record: Record | Container, path: Path, prefix: str = ""
) -> Iterator[tuple[str, Record | Container]]:
    """(prefix of its names, module) of a module and its submodules."""
    if prefix.count(".") > DEEPEST:
        raise ValueError(f"source: {path} nests modules deeper than {DEEPEST}: {prefix[:100]}")
    yield prefix, record
    for name, child in _part(record, "_modules", path).items():
        if isinstance(child, Record | Container):
            yield from _modules(child, path, f"{prefix}{name}.")


def _own(record: Record | Container, path: Path, prefix: str) -> Iterator[tuple[str, np.ndarray]]:
    """(name, array) of a module's own tensors."""
    hidden = record.state.get("_non_persistent_buffers_set") or ()
    hidden = hidden if isinstance(hidden, set | list | tuple | dict) else ()
    for kind in ("_parameters", "_buffers"):
        for name, value in _part(record, kind, path).items():
            if value is None or (kind == "_buffers" and name in hidden):
                continue
            if not isinstance(value, np.ndarray):
                raise ValueError(f"source: {prefix}{name} in {path} is no tensor")
            yield f"{prefix}{name}", value


def _part(record: Record | Container, kind: str, path: Path) -> dict[str, Any]:
    """A dict among the attributes of a module; {} if it has none of this name."""
    part = record.state.get(kind) or {}
    if not isinstance(part, dict):
        raise ValueError(f"source: {path} is damaged: {kind} is of type {type(part).__name__}")
    for name in part:
        tensors.check_name(name, path)
    return part


def _config(ema: Record, path: Path) -> dict[str, Any]:
    model = _part(ema, "_modules", path).get("model")
    found = isinstance(model, Record)
    return {
        "class_name": ema.class_name,
        "init_kwargs": _arguments(ema, path),
        "model_class": model.class_name if found else None,
        "model_kwargs": _arguments(model, path) if found else {},
    }


def _arguments(record: Record, path: Path) -> dict[str, Any]:
    """The keyword arguments of an object's constructor, as plain values."""
    if record.state.get("_init_args"):
        raise ValueError(
            f"source: {path}: {record.class_name} was constructed with positional arguments "
            f"{brief(record.state['_init_args'])}, whose names are not in the file"
        )
    values = _part(record, "_init_kwargs", path)
    count = itertools.count()
    return {name: _plain(value, f"{path}: {name}", count) for name, value in values.items()}


def _plain(value: Any, what: str, count: Iterator[int], depth: int = 0) -> Any:
    """Numbers, strings, and lists and dicts of them, as Python objects.

    Args:
        count: of the values so far. depth: of lists and dicts around this one.
    """
    if isinstance(value, np.generic):
        return value.item()
    if depth > DEEPEST or next(count) > VALUES:
        raise ValueError(
            f"source: {what} is nested deeper than {DEEPEST}, or has more than {VALUES} values"
        )
    if isinstance(value, dict):
        return {_name(n, what): _plain(v, what, count, depth + 1) for n, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, what, count, depth + 1) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"source: {what} is not a plain value but of type {type(value).__name__}")


def _name(name: Any, what: str) -> str:
    if not isinstance(name, str):
        raise ValueError(f"source: {what} has the name {brief(name)}, which is no text")
    return name

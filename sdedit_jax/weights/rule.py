"""The one conversion rule: a leaf of ours from the tensor of the same path, turned by its rank.

    ours                        theirs (torch)              turned
    .../kernel [h, w, I, O]     ....weight [O, I, h, w]     (2, 3, 1, 0)
    .../kernel [I, O]           ....weight [O, I], or [O, I, 1(, 1)] of a 1x1 convolution   (1, 0)
    .../scale, .../embedding    ....weight                  as it is
    .../bias, .../W, .../b      the same name               as it is

Flax files have our layout and need the names only. Families give the exceptions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sdedit_jax.weights import store
from sdedit_jax.weights.source import Source

Params = dict[str, Any]

WEIGHT = ("kernel", "scale", "embedding")


def fill(
    shapes: Mapping[str, Any],
    source: Source,
    names: Mapping[str, str] | None = None,
    unused: Mapping[str, str] | None = None,
    make: Callable[[np.ndarray], Any] = lambda a: a,
) -> Params:
    """Our parameters [nested dicts of float32 arrays] with every leaf taken from the source.

    Args:
        shapes: nested dict of what has `.shape`: the tree to fill.
        names: our leaf path "a/b/kernel" -> the source's name, where the rule's own would not do.
        unused: the source's names that are no weights -> why.
        make: what becomes of each array as soon as it is turned; of a whole tree afterwards it
            would need the memory twice.

    Returns:
        what `make` gives; by itself views into the source's arrays where a view will do: nothing
        is copied without need.

    Raises:
        ValueError: a tensor is missing, of another shape, used twice, left over, or not finite.
    """
    names, unused = names or {}, unused or {}
    taken: dict[str, str] = {}
    params: Params = {}
    for path, leaf in store.leaves(shapes):
        name = names.get(path) or default_name(path, source.layout)
        if name not in source.tensors:
            raise ValueError(f"source: {source.path} lacks the tensor {name} (for {path})")
        if name in taken:
            raise ValueError(f"source: tensor {name} is wanted for {taken[name]} and for {path}")
        taken[name] = path
        _put(params, path, make(turned(source, name, path, tuple(leaf.shape))))
    extra = [n for n in source.tensors if n not in taken and n not in unused]
    if extra:
        more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
        raise ValueError(f"source: {source.path} has tensors without a place: {extra[:5]}{more}")
    return params


def default_name(path: str, layout: str = "torch") -> str:
    """The name in the source of our leaf "a/b/kernel": "a.b.weight" in torch files."""
    if layout == "flax":
        return path
    *head, last = path.split("/")
    return ".".join([*head, "weight" if last in WEIGHT else last])


def turned(source: Source, name: str, path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The source's tensor `name` in our layout, float32, of the given shape.

    Raises:
        ValueError: it has another shape, or values that are not finite.
    """
    theirs = source.tensors[name]
    a = _layout(theirs, path, len(shape), source.layout)
    if a.shape != shape:
        raise ValueError(
            f"source: tensor {name} in {source.path} has shape {tuple(theirs.shape)}, "
            f"{path} needs {shape} (turned: {tuple(a.shape)})"
        )
    if not np.isfinite(a).all():
        raise ValueError(f"source: tensor {name} in {source.path} holds values that are not finite")
    return a.astype(np.float32, copy=False)


def _layout(a: np.ndarray, path: str, rank: int, layout: str) -> np.ndarray:
    if layout == "flax":
        return a.reshape(a.shape[-rank:]) if rank and set(a.shape[:-rank]) == {1} else a
    if not path.endswith("kernel"):
        return a
    while a.ndim > rank and a.ndim > 2 and a.shape[-1] == 1:
        a = a[..., 0]
    return a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T


def _put(params: Params, path: str, value: np.ndarray) -> None:
    *head, last = path.split("/")
    for part in head:
        params = params.setdefault(part, {})
    params[last] = value

"""Conversion of tensors: each leaf of ours is the tensor of the same path, transposed by rank.

    ours                        theirs (torch)              axes
    .../kernel [h, w, I, O]     ....weight [O, I, h, w]     (2, 3, 1, 0)
    .../kernel [I, O]           ....weight [O, I], or [O, I, 1(, 1)] of a 1x1 convolution   (1, 0)
    .../scale, .../embedding    ....weight                  unchanged
    .../bias, .../W, .../b      the same name               unchanged

Flax files have our layout and need only the names. Families give the exceptions.
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
    """Our parameters, nested dicts of float32 arrays, with every leaf taken from the source.

    Args:
        shapes: the tree to fill, a nested dict of leaves with `.shape`.
        names: our leaf path "a/b/kernel" -> the source's name, where `default_name` differs.
        unused: names in the source that are not weights -> the reason.
        make: applied to each array after its conversion. Applied to the whole tree, it would need
            twice the memory.

    Returns:
        the results of `make`; without it, views of the source's arrays where possible.

    Raises:
        ValueError: a tensor is missing, has another shape, is used twice, is left over, or is not
            finite.
    """
    names, unused = names or {}, unused or {}
    taken: dict[str, str] = {}
    params: Params = {}
    for path, leaf in store.leaves(shapes):
        name = names.get(path) or default_name(path, source.layout)
        if name not in source.tensors:
            raise ValueError(f"source: {source.path} lacks the tensor {name} (for {path})")
        if name in taken:
            raise ValueError(f"source: tensor {name} is used for {taken[name]} and for {path}")
        taken[name] = path
        _put(params, path, make(converted(source, name, path, tuple(leaf.shape))))
    extra = [n for n in source.tensors if n not in taken and n not in unused]
    if extra:
        more = f" and {len(extra) - 5} more" if len(extra) > 5 else ""
        raise ValueError(f"source: {source.path} has tensors without use: {extra[:5]}{more}")
    return params


def default_name(path: str, layout: str = "torch") -> str:
    """The name in the source of our leaf "a/b/kernel": "a.b.weight" in torch files."""
    if layout == "flax":
        return path
    *head, last = path.split("/")
    return ".".join([*head, "weight" if last in WEIGHT else last])


def converted(source: Source, name: str, path: str, shape: tuple[int, ...]) -> np.ndarray:
    """The source's tensor `name` in our layout, float32, with the given shape.

    Raises:
        ValueError: the tensor has another shape, or values that are not finite.
    """
    theirs = source.tensors[name]
    a = _layout(theirs, path, len(shape), source.layout)
    if a.shape != shape:
        raise ValueError(
            f"source: tensor {name} in {source.path} has shape {tuple(theirs.shape)}, "
            f"{path} needs {shape} (converted: {tuple(a.shape)})"
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

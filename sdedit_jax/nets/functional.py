"""The one bridge out of flax: a network as pure functions of a plain nested dict of arrays.

Outside this folder nothing knows flax. Parameters are dicts with string keys at every level
(`{"all_modules": {"0": {"kernel": ...}}}`), so optax, orbax, `jax.grad`, `lax.scan` and `pmap` see
an ordinary tree. The dict is checked against the network's own structure at every trace.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import layers

Params = dict[str, Any]

# compute mode -> (precision of every product, dtype of the activations)
COMPUTE = {
    "float32": ("highest", jnp.float32),
    "tf32": ("tensorfloat32", jnp.float32),
    "bfloat16": ("tensorfloat32", jnp.bfloat16),
}


class Functional(NamedTuple):
    """A network as functions.

    Attributes:
        apply: `(params, *args, method="__call__", **kwargs)`: what the module gives, arrays as
            float32. A denoising network is called as `(params, x [B,H,W,C], label [B], *, y=None,
            key=None) -> [B,H,W,C]`, where `y` are class labels [B] or tokens [B,M,K] of a text and
            `key` switches dropout on (None: off). `method` names another of the module's.
        init: `key -> params`, freshly initialised.
        shapes: the tree of `jax.ShapeDtypeStruct` that `params` must match.
    """

    apply: Callable[..., Any]
    init: Callable[[jax.Array], Params]
    shapes: Params


def functional(make: Callable[..., nnx.Module], compute: str = "float32") -> Functional:
    """Turns a network constructor into (apply, init, shapes).

    Args:
        make: called as `make(rngs=layers.Draws(...))`; the module is called with the arguments of
            `apply` and `dtype=dtype`.
        compute: "float32" (full float32 products on every backend), "tf32" (float32 activations,
            TensorFloat-32 products where the hardware has them) or "bfloat16" (activations and
            products in bfloat16; norms, softmax, embeddings and output in float32). Parameters
            are float32 in each.

    Raises:
        ValueError: an unknown `compute`, or (from `apply`) parameters of another structure.
    """
    if compute not in COMPUTE:
        raise ValueError(f"compute must be one of {list(COMPUTE)}, got {compute!r}")
    precision, dtype = COMPUTE[compute]
    graph, state = nnx.split(make(rngs=layers.Draws()))
    skeleton = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), nnx.to_pure_dict(state)
    )
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(skeleton))

    def apply(params: Params, *args: Any, method: str = "__call__", **kwargs: Any) -> Any:
        module = nnx.merge(graph, _to_flax(params, skeleton))
        with jax.default_matmul_precision(precision):
            out = getattr(module, method)(*args, dtype=dtype, **kwargs)
        return jax.tree.map(lambda a: a.astype(jnp.float32), out)

    def init(key: jax.Array) -> Params:
        above = np.nextafter(np.float32(-1), np.float32(0))
        numbers = jax.random.uniform(key, (size,), minval=above, maxval=1)
        if not isinstance(numbers, jax.core.Tracer):
            numbers = np.asarray(numbers)  # slicing on the host compiles nothing
        module = make(rngs=layers.Draws(numbers))
        return jax.tree.map(jnp.asarray, _to_plain(nnx.to_pure_dict(nnx.state(module))))

    return Functional(apply, init, _to_plain(skeleton))


def _to_plain(tree: Any) -> Any:
    """The same tree with every key a string."""
    if not isinstance(tree, Mapping):
        return tree
    return {str(name): _to_plain(child) for name, child in tree.items()}


def _to_flax(params: Any, skeleton: Any, path: str = "") -> Any:
    """The same tree with the keys of `skeleton` (integers in lists); accepts both kinds."""
    if not isinstance(skeleton, Mapping):
        if isinstance(params, Mapping) or params.shape != skeleton.shape:
            found = "a dict" if isinstance(params, Mapping) else f"shape {params.shape}"
            raise ValueError(f"params{path} must have shape {skeleton.shape}, got {found}")
        return params
    named = {str(name): child for name, child in params.items()}
    wanted = {str(name): name for name in skeleton}
    if named.keys() != wanted.keys():
        missing, extra = sorted(wanted.keys() - named), sorted(named.keys() - wanted)
        raise ValueError(f"params{path or ' '} lacks {missing} and has unknown {extra}")
    return {
        name: _to_flax(named[text], skeleton[name], f"{path}[{text!r}]")
        for text, name in wanted.items()
    }

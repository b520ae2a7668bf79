"""Networks as values: the one bridge out of flax, to pure functions of a nested dict of arrays.

Outside this folder nothing knows flax. Parameters are dicts with string keys at every level
(`{"all_modules": {"0": {"kernel": ...}}}`), so optax, orbax, `jax.grad`, `lax.scan` and `pmap` see
an ordinary tree. Every trace checks the dict against the structure of the network.

A `Network` is a frozen dataclass, equal and hashed by value. It can be a static argument of
`jax.jit`: an equal network, built again, compiles nothing.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.custom_batching import custom_vmap

from sdedit_jax.files.wording import brief
from sdedit_jax.nets import layers

Params = dict[str, Any]

# compute mode -> (precision of every product, dtype of the activations)
COMPUTE = {
    "float32": ("highest", jnp.float32),
    "tf32": ("tensorfloat32", jnp.float32),
    "bfloat16": ("tensorfloat32", jnp.bfloat16),
}


@jax.tree_util.register_static
@dataclass(frozen=True)
class Network:
    """A network as a value: what to build and how to compute.

    Attributes:
        module: the nnx module class, called as `module(config, rngs=layers.Draws(...))`.
        config: its configuration, frozen and hashable.
        compute: "float32" (full float32 products on every backend), "tf32" (float32 activations,
            TensorFloat-32 products where the hardware has them) or "bfloat16" (activations and
            products in bfloat16; norms, softmax, embeddings and both ends in float32). Parameters
            are float32, or in the dtype to which it converts them.
    """

    module: Callable[..., nnx.Module]
    config: Any
    compute: str = "float32"

    def __post_init__(self) -> None:
        if self.compute not in COMPUTE:
            raise ValueError(f"compute must be one of {list(COMPUTE)}, got {self.compute!r}")

    @property
    def shapes(self) -> Params:
        """The tree of `jax.ShapeDtypeStruct` that `params` must match."""
        return _to_plain(_structure(self.module, self.config).shapes)

    def init(self, key: jax.Array) -> Params:
        """Freshly initialised parameters."""
        size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(self.shapes))
        above = np.nextafter(np.float32(-1), np.float32(0))
        numbers = jax.random.uniform(key, (size,), minval=above, maxval=1)
        if not isinstance(numbers, jax.core.Tracer):
            numbers = np.asarray(numbers)  # slicing on the host compiles nothing
        module = self.module(self.config, rngs=layers.Draws(numbers))
        return jax.tree.map(jnp.asarray, _to_plain(nnx.to_pure_dict(nnx.state(module))))

    def apply(self, params: Params, *args: Any, method: str = "__call__", **kwargs: Any) -> Any:
        """What a method of the module returns, arrays as float32.

        Args:
            params: see `shapes`.
            method: name of the method; it is called with the other arguments and `dtype=dtype`.

        Raises:
            ValueError: parameters of another structure.
        """
        graph, shapes = _structure(self.module, self.config)
        precision, dtype = COMPUTE[self.compute]
        module = nnx.merge(graph, _to_flax(params, shapes))
        with jax.default_matmul_precision(precision):
            out = getattr(module, method)(*args, dtype=dtype, **kwargs)
        return jax.tree.map(lambda a: a.astype(jnp.float32), out)

    def __call__(self, params: Params, *args: Any, **kwargs: Any) -> Any:
        """`apply`. A denoising network is called as `(params, x [B,H,W,C], label [B], *, y=None,
        key=None) -> [B,H,W,C]`, where `y` are class labels [B] or tokens [B,M,K] of a text and
        `key` switches dropout on (None: off)."""
        return self.apply(params, *args, **kwargs)


def network(
    kind: tuple[Callable[..., nnx.Module], Callable[[Mapping[str, Any]], Any]],
    config: Mapping[str, Any],
    compute: str = "float32",
    *,
    name: str = "network",
) -> Network:
    """The network of a kind from plain config values.

    Args:
        kind: the module class, and the function that reads its config from plain values.
        config: plain values, as in JSON.
        compute: see `Network`.
        name: of the network in messages.

    Raises:
        ValueError: values from which no network can be built.
    """
    module, read_config = kind
    if not isinstance(config, Mapping):
        raise ValueError(f"{name}: config must be an object, got {brief(config)}")
    try:
        made = Network(module, read_config(config), compute)
        _structure(made.module, made.config)
    except ValueError as error:
        raise ValueError(f"{name}: config: {error}") from None
    except (TypeError, AttributeError, LookupError, ArithmeticError, MemoryError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: no network can be built from this config ({cause})") from error
    return made


def together(apply: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """A network without dropout that `vmap` over pictures runs once, on all of them as one batch.

    It is for training: under a plain `vmap`, autodiff makes the gradient of every kernel for each
    picture and then sums them. Differentiate it through such a `vmap` only.
    """

    @custom_vmap
    def run(params: Params, x: jax.Array, label: jax.Array, y: jax.Array | None) -> jax.Array:
        return apply(params, x, label, y=y)

    @run.def_vmap
    def rule(size: int, batched: Any, params: Params, *inputs: Any) -> tuple[jax.Array, bool]:
        if any(jax.tree.leaves(batched[0])):
            raise ValueError("params must be one for all pictures that run together")

        def joined(a: jax.Array, mapped: bool) -> jax.Array:
            a = a if mapped else jnp.broadcast_to(a, (size, *a.shape))
            return a.reshape(-1, *a.shape[2:])

        x, label, y = jax.tree.map(joined, inputs, tuple(batched[1:]))
        out = apply(params, x, label, y=y)
        return out.reshape(size, -1, *out.shape[1:]), True

    def call(
        params: Params, x: jax.Array, label: jax.Array, *, y: Any = None, key: Any = None
    ) -> jax.Array:
        del key
        return run(params, x, label, y)

    return call


class _Structure(NamedTuple):
    graph: Any
    shapes: Params


@functools.lru_cache(maxsize=64)
def _structure(module: Callable[..., nnx.Module], config: Any) -> _Structure:
    """The graph of a module and the shapes of its state, with the keys of flax."""
    graph, state = nnx.split(module(config, rngs=layers.Draws()))
    return _Structure(
        graph,
        jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), nnx.to_pure_dict(state)),
    )


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

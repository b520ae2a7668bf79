"""Batches over devices; the rest of the project handles one image or one shard."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def over_devices(fn: Callable[..., Any], devices: int | None = None) -> Callable[..., Any]:
    """fn(params, batch) on one shard -> the same over local devices, for any batch size.

    `batch` is a pytree with a leading axis of equal length; it is padded to a multiple of the
    device count by repeating its last row, and the padding is taken off the result. Give params
    that went through `replicate` once.
    """
    n = devices or jax.local_device_count()
    mapped = jax.pmap(fn, in_axes=(None, 0), devices=jax.local_devices()[:n])

    def run(params: Any, batch: Any) -> Any:
        size = jax.tree.leaves(batch)[0].shape[0]
        rows = jnp.minimum(jnp.arange(size + -size % n), size - 1).reshape(n, -1)
        out = mapped(params, jax.tree.map(lambda a: a[rows], batch))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], out)

    return run


def replicate(params: Any, devices: int | None = None) -> Any:
    """The parameters on every local device, to be done once."""
    n = devices or jax.local_device_count()
    mesh = jax.make_mesh(
        (n,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.local_devices()[:n],
    )
    return jax.device_put(params, jax.NamedSharding(mesh, jax.P()))


def stack(rows: list[Any]) -> Any:
    """Pytrees of equal structure, stacked along a new leading axis."""
    return jax.tree.map(lambda *a: _stack(a), *rows)


def _stack(leaves: tuple[Any, ...]) -> Array:
    return jnp.stack([jnp.asarray(leaf) for leaf in leaves])

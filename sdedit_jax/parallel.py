"""Batches over devices; the rest of the project handles one image or one shard."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def count(devices: int = 0) -> int:
    """How many local devices to use; 0 means all.

    Raises:
        ValueError: more than there are.
    """
    there = jax.local_device_count()
    if not 0 <= devices <= there:
        raise ValueError(f"devices must be in [0, {there}] on this machine, got {devices}")
    return devices or there


def spread(batch: Any, devices: int) -> Any:
    """Leaves [B, ...] -> [devices, b, ...]; the last row is repeated until all devices are even.

    By way of the host: leaves may lie on any devices, as the results of another part do.
    """
    size = jax.tree.leaves(batch)[0].shape[0]
    rows = np.minimum(np.arange(size + -size % devices), size - 1).reshape(devices, -1)
    return jax.tree.map(lambda a: _on_host(a, lambda values: values[rows]), batch)


def _on_host(a: Any, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """A changed copy; numpy has no type for keys."""
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
        data = change(np.asarray(jax.random.key_data(a)))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(a))
    return change(np.asarray(a))


def gather(batch: Any, size: int) -> Any:
    """Leaves [devices, b, ...] -> [size, ...], the inverse of spread."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], batch)


def mapped(fn: Callable[..., Any], in_axes: tuple[int | None, ...], devices: int) -> Any:
    """fn on one device's rows [b, ...] -> the same on spread leaves [devices, b, ...]."""
    return jax.pmap(fn, in_axes=in_axes, devices=jax.local_devices()[:devices])


def replicate(params: Any, devices: int = 0) -> Any:
    """The parameters on every device used, to be done once."""
    n = count(devices)
    auto = (jax.sharding.AxisType.Auto,)
    mesh = jax.make_mesh((n,), ("data",), axis_types=auto, devices=jax.local_devices()[:n])
    return jax.device_put(params, jax.NamedSharding(mesh, jax.P()))


def stack(rows: list[Any]) -> Any:
    """Pytrees of equal structure, stacked along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *rows)

"""Devices: the mesh, the placement of arrays, and the share of work of one host.

Batched edits run by `jax.pmap` over the local devices: `spread` splits a batch over them, `mapped`
maps a function, `gather` joins the results. Training runs one sharded program over the same mesh;
`placement` gives its shardings. Parameters are placed once, by `replicate`.

The rest of the project handles one image, or the rows of one device.
"""

import functools
import hashlib
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sdedit_jax.files import door

MEMINFO, CONTROL_GROUP = "/proc/meminfo", "/sys/fs/cgroup"
"""Linux's numbers of the memory of the machine, and the folder of those of the container."""
LITTLE_MEMORY = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
"""XLA's option for the order of operations on CPU."""


class Memory(NamedTuple):
    """Bytes of memory of a device, or of the host."""

    free: int
    total: int


def count(devices: int = 0) -> int:
    """The number of local devices to use; 0 means all.

    Raises:
        ValueError: more than there are.
    """
    there = jax.local_device_count()
    if not 0 <= devices <= there:
        raise ValueError(f"devices must be in [0, {there}] on this machine, got {devices}")
    return devices or there


def on_cpu() -> bool:
    """Whether the local devices are a CPU, whose cores and memory they share."""
    return jax.local_devices()[0].platform == "cpu"


def memory(devices: int) -> Memory | None:
    """The memory of each of the first `devices` local devices, by the fullest; None: not known.

    CPU devices share the memory of the host.
    """
    if on_cpu():
        host = host_memory()
        return host and Memory(host.free // devices, host.total // devices)
    own = jax.local_devices()[:devices]
    try:
        found = [device.memory_stats() for device in own]
        return min(Memory(f["bytes_limit"] - f["bytes_in_use"], f["bytes_limit"]) for f in found)
    except (TypeError, KeyError, jax.errors.JaxRuntimeError):  # no numbers, or not these
        return None


def host_memory() -> Memory | None:
    """The memory of the host that this process may use; None where the system is not Linux."""
    try:
        found = _numbers(MEMINFO)
        host = Memory(1024 * found["MemAvailable"], 1024 * found["MemTotal"])
    except (ValueError, KeyError):
        return None
    try:
        limit = int(door.read(f"{CONTROL_GROUP}/memory.max"))
        files = _numbers(f"{CONTROL_GROUP}/memory.stat")["file"]  # which the system may drop
        used = int(door.read(f"{CONTROL_GROUP}/memory.current")) - files
    except (ValueError, KeyError):  # no container, or one without a limit
        return host
    return Memory(max(min(host.free, limit - used), 0), min(host.total, limit))


def _numbers(file: str) -> dict[str, int]:
    """The lines "name: number unit" of a file of the system."""
    words = [line.split() for line in door.read(file).decode().splitlines()]
    return {line[0].rstrip(":"): int(line[1]) for line in words if len(line) > 1}


@functools.cache
def mesh(devices: int) -> Mesh:
    """The first `devices` local devices, along one axis "data"."""
    own = jax.local_devices()[:devices]
    return jax.make_mesh((devices,), ("data",), (AxisType.Auto,), devices=own)


def split(devices: int) -> NamedSharding:
    """The sharding of arrays whose first axis is split over the devices."""
    return NamedSharding(mesh(devices), PartitionSpec("data"))


def whole(devices: int) -> NamedSharding:
    """The sharding of arrays that each device holds whole."""
    return NamedSharding(mesh(devices), PartitionSpec())


def placement(batch: int) -> tuple[NamedSharding, NamedSharding]:
    """(sharding of a batch, sharding of the state) of data-parallel training.

    All local devices are used if the batch splits evenly over them, else one device.
    """
    devices = jax.local_device_count()
    devices = 1 if batch % devices else devices
    return split(devices), whole(devices)


def replicate(params: Any, devices: int = 0) -> Any:
    """The parameters on every device used; parameters that are already there do not move.

    Parameters of one device are sent to several devices once: the copy is kept as long as they
    live.
    """
    n, leaves = count(devices), jax.tree.leaves(params)
    if n == 1 or not leaves or not isinstance(leaves[0], jax.Array):
        return jax.device_put(params, whole(n))
    for key in [key for key, (alive, _) in _PLACED.items() if alive() is None]:
        del _PLACED[key]
    key = (tuple(map(id, leaves)), n)
    if key not in _PLACED:
        placed = jax.device_put(params, whole(n))
        if any(a is b for a, b in zip(leaves, jax.tree.leaves(placed), strict=True)):
            return placed  # they are there already
        _PLACED[key] = weakref.ref(leaves[0]), placed
    return _PLACED[key][1]


_PLACED: dict[tuple, tuple[weakref.ref, Any]] = {}
"""Parameters that were sent to several devices, by the arrays that they were sent from."""


def spread(batch: Any, devices: int) -> Any:
    """Leaves [B, ...] -> [devices, b, ...], split over the devices.

    The last row is repeated until all devices have the same number of rows. Arrays of the host are
    sent once, each row to its device. Arrays on devices do not pass through the host, and rows that
    are already on their device stay there.
    """
    return jax.device_put(jax.tree.map(lambda a: _rows(a, devices), batch), split(devices))


def _rows(a: Any, devices: int) -> Any:
    if isinstance(a, jax.Array):
        return _rows_on_device(a, devices)
    a = np.asarray(a)
    rows = np.minimum(np.arange(len(a) + -len(a) % devices), len(a) - 1)
    a = a if len(rows) == len(a) else a[rows]
    return a.reshape(devices, len(rows) // devices, *a.shape[1:])


@functools.partial(jax.jit, static_argnums=1)
def _rows_on_device(a: jax.Array, devices: int) -> jax.Array:
    padding = -len(a) % devices
    if padding:
        a = jnp.concatenate([a, jnp.broadcast_to(a[-1:], (padding, *a.shape[1:]))])
    return a.reshape(devices, len(a) // devices, *a.shape[1:])


def gather(batch: Any, size: int) -> Any:
    """Leaves [devices, b, ...] -> [size, ...], the inverse of `spread`; numpy arrays too."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], batch)


def mapped(fn: Callable[..., Any], in_axes: tuple[Any, ...], devices: int, donate: Any = ()) -> Any:
    """A function of one device's rows [b, ...] -> a function of spread leaves [devices, b, ...].

    Args:
        fn: called with the rows of one device.
        in_axes: 0 for arguments that are spread, None for those that each device holds whole; a
            tree of these for the leaves of an argument.
        devices: the number of devices.
        donate: numbers of the arguments whose memory the results may use; their arrays are deleted.
    """
    own = jax.local_devices()[:devices]
    return jax.pmap(fn, in_axes=in_axes, devices=own, donate_argnums=donate)


def compiled(lowered: Any) -> Any:
    """The program of a lowered function.

    On CPU the operations are ordered for little memory: XLA's own order makes all that depends on
    the parameters alone at the start and keeps it.
    """
    return lowered.compile(LITTLE_MEMORY if on_cpu() else None)


def axes_of_leaves(axes: tuple[int | None, ...], args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The axis of each argument, for each of its leaves.

    jax.pmap takes a tuple of numbers for the axes of leaves where the arguments have as many leaves
    in all as there are arguments, even if one has two leaves and another has none.
    """
    pairs = zip(axes, args, strict=True)
    return tuple(jax.tree.map(lambda _, axis=axis: axis, arg) for axis, arg in pairs)


def stack(rows: list[Any]) -> Any:
    """Pytrees of equal structure, stacked along a new first axis; host arrays stay on the host."""
    return jax.tree.map(lambda *leaves: _stack(leaves), *rows)


def _stack(leaves: tuple[Any, ...]) -> Any:
    if any(isinstance(leaf, jax.Array) for leaf in leaves):
        return jnp.stack([jnp.asarray(leaf) for leaf in leaves])
    made = np.stack([np.asarray(leaf) for leaf in leaves])
    return made.astype(jax.dtypes.canonicalize_dtype(made.dtype), copy=False)


def share(ids: Iterable[str], index: int | None = None, count: int | None = None) -> list[str]:
    """The ids that one of several hosts works on, in their order.

    An id belongs to the host with the number SHA-256(id) mod count. The choice depends on the id
    alone, so hosts that see the ids in another order, or other ids beside them, agree.

    Args:
        ids: of all hosts together.
        index: this host's number; by default that of the JAX process.
        count: the number of hosts; by default that of the JAX processes.

    Raises:
        ValueError: the index is not in [0, count).
    """
    index = jax.process_index() if index is None else index
    count = jax.process_count() if count is None else count
    if not 0 <= index < count:
        raise ValueError(f"index must be in [0, {count}) for {count} hosts, got {index}")
    return [id for id in ids if _host(id, count) == index]


def _host(id: str, count: int) -> int:
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") % count

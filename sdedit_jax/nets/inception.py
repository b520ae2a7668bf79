"""Inception v3 of 2015-12-05, whose pool3 features FID and KID are computed on.

It is the network of pytorch-fid and torch-fidelity, with their tensor names. It differs from
torchvision's in its pools: means count only pixels of the picture, and the last block takes maxima.

References:
    Szegedy et al., Rethinking the Inception architecture (1512.00567).
    Heusel et al., GANs trained by a two time-scale update rule (1706.08500).
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from sdedit_jax.nets.layers import Draws
from sdedit_jax.nets.recognition_blocks import BatchNorm, Kernel, Size, max_pool, mean_pool

EPSILON = 1e-3
SIDE = 299
LEAST = 75
"""The smallest side of a picture for which the last block has a pixel."""

Moments = list[tuple[jax.Array, jax.Array]]


class Unit(NamedTuple):
    """A convolution with batch norm and ReLU; zeros around keep the size unless `valid`."""

    name: str
    width: int
    size: Size = (1, 1)
    stride: int = 1
    valid: bool = False


class Fork(NamedTuple):
    """Units on one input, whose outputs stand beside each other."""

    units: tuple[Unit, ...]


Step = Unit | Fork | str
Branch = tuple[Step, ...]


def _a(pool: int) -> tuple[Branch, ...]:
    return (
        (Unit("branch1x1", 64),),
        (Unit("branch5x5_1", 48), Unit("branch5x5_2", 64, (5, 5))),
        (
            Unit("branch3x3dbl_1", 64),
            Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3)),
        ),
        ("mean", Unit("branch_pool", pool)),
    )


def _b() -> tuple[Branch, ...]:
    return (
        (Unit("branch3x3", 384, (3, 3), 2, True),),
        (
            Unit("branch3x3dbl_1", 64),
            Unit("branch3x3dbl_2", 96, (3, 3)),
            Unit("branch3x3dbl_3", 96, (3, 3), 2, True),
        ),
        ("halve",),
    )


def _c(n: int) -> tuple[Branch, ...]:
    return (
        (Unit("branch1x1", 192),),
        (
            Unit("branch7x7_1", n),
            Unit("branch7x7_2", n, (1, 7)),
            Unit("branch7x7_3", 192, (7, 1)),
        ),
        (
            Unit("branch7x7dbl_1", n),
            Unit("branch7x7dbl_2", n, (7, 1)),
            Unit("branch7x7dbl_3", n, (1, 7)),
            Unit("branch7x7dbl_4", n, (7, 1)),
            Unit("branch7x7dbl_5", 192, (1, 7)),
        ),
        ("mean", Unit("branch_pool", 192)),
    )


def _d() -> tuple[Branch, ...]:
    return (
        (Unit("branch3x3_1", 192), Unit("branch3x3_2", 320, (3, 3), 2, True)),
        (
            Unit("branch7x7x3_1", 192),
            Unit("branch7x7x3_2", 192, (1, 7)),
            Unit("branch7x7x3_3", 192, (7, 1)),
            Unit("branch7x7x3_4", 192, (3, 3), 2, True),
        ),
        ("halve",),
    )


def _e(pool: str) -> tuple[Branch, ...]:
    return (
        (Unit("branch1x1", 320),),
        (Unit("branch3x3_1", 384), _fork("branch3x3_2")),
        (
            Unit("branch3x3dbl_1", 448),
            Unit("branch3x3dbl_2", 384, (3, 3)),
            _fork("branch3x3dbl_3"),
        ),
        (pool, Unit("branch_pool", 192)),
    )


def _fork(name: str) -> Fork:
    return Fork((Unit(f"{name}a", 384, (1, 3)), Unit(f"{name}b", 384, (3, 1))))


STEM: tuple[Step, ...] = (
    Unit("Conv2d_1a_3x3", 32, (3, 3), 2, True),
    Unit("Conv2d_2a_3x3", 32, (3, 3), 1, True),
    Unit("Conv2d_2b_3x3", 64, (3, 3)),
    "halve",
    Unit("Conv2d_3b_1x1", 80),
    Unit("Conv2d_4a_3x3", 192, (3, 3), 1, True),
    "halve",
)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _a(32),
    "Mixed_5c": _a(64),
    "Mixed_5d": _a(64),
    "Mixed_6a": _b(),
    "Mixed_6b": _c(128),
    "Mixed_6c": _c(160),
    "Mixed_6d": _c(160),
    "Mixed_6e": _c(192),
    "Mixed_7a": _d(),
    "Mixed_7b": _e("mean"),
    "Mixed_7c": _e("max"),
}


@dataclass(frozen=True)
class InceptionConfig:
    """The network has no choices."""


class BasicConv(nnx.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, n_in: int, unit: Unit, *, rngs: Draws) -> None:
        self.stride, self.padding = unit.stride, "VALID" if unit.valid else "SAME"
        self.conv = Kernel(n_in, unit.width, unit.size, rngs=rngs)
        self.bn = BatchNorm(unit.width, EPSILON)

    def __call__(self, x: jax.Array, moments: Moments | None = None) -> jax.Array:
        x = self.conv(x, self.stride, self.padding)
        if moments is not None:
            moments.append(self._compared(x))
        return jax.nn.relu(self.bn(x))

    def _compared(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of x in units of the stored ones, each [C]."""
        mean, var = self.bn.running_mean[...], self.bn.running_var[...] + EPSILON
        return (x.mean((0, 1, 2)) - mean) / jnp.sqrt(var), (x.var((0, 1, 2)) + EPSILON) / var


class Branches(nnx.Module):
    """Branches on one input, whose outputs stand beside each other."""

    def __init__(self, n_in: int, branches: tuple[Branch, ...], *, rngs: Draws) -> None:
        self.branches = branches
        self.width = sum(_build(self, n_in, branch, rngs) for branch in branches)

    def __call__(self, x: jax.Array, moments: Moments | None = None) -> jax.Array:
        found = [_run(self, x, branch, moments) for branch in self.branches]
        return jnp.concatenate(found, axis=-1)


class Inception(nnx.Module):
    """The network up to pool3; see `InceptionConfig`."""

    def __init__(self, config: InceptionConfig, *, rngs: Draws) -> None:
        self.config = config
        width = _build(self, 3, STEM, rngs)
        for name, branches in BLOCKS.items():
            block = Branches(width, branches, rngs=rngs)
            setattr(self, name, block)
            width = block.width

    def __call__(self, x: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """Pictures [B,H,W,3] in [-1, 1], 299 x 299 for FID -> features [B,2048]."""
        return self._features(x.astype(dtype))

    def statistics(self, x: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> Moments:
        """Mean and variance of what each batch norm gets, in units of those that it stores.

        Returns:
            for each norm ((mean - running_mean) / sqrt(var), (variance + 1e-3) / var), both [C],
            with var = running_var + 1e-3.
        """
        moments: Moments = []
        self._features(x.astype(dtype), moments)
        return moments

    def _features(self, x: jax.Array, moments: Moments | None = None) -> jax.Array:
        if x.ndim != 4 or x.shape[3] != 3 or min(x.shape[1:3]) < LEAST:
            wanted = f"[B,H,W,3] with sides from {LEAST}"
            raise ValueError(f"x must be {wanted}, got shape {x.shape}")
        x = _run(self, x, STEM, moments)
        for name in BLOCKS:
            x = getattr(self, name)(x, moments)
        return x.mean((1, 2))


POOLS = {
    "mean": mean_pool,
    "max": lambda x: max_pool(x, 3, 1, "SAME"),
    "halve": lambda x: max_pool(x, 3, 2),
}


def _build(module: nnx.Module, width: int, steps: tuple[Step, ...], rngs: Draws) -> int:
    """Adds the units of consecutive steps to a module; the width after them."""
    for step in steps:
        if isinstance(step, str):
            continue
        units = step.units if isinstance(step, Fork) else (step,)
        for unit in units:
            setattr(module, unit.name, BasicConv(width, unit, rngs=rngs))
        width = sum(unit.width for unit in units)
    return width


def _run(
    module: nnx.Module, x: jax.Array, steps: tuple[Step, ...], moments: Moments | None
) -> jax.Array:
    """The consecutive steps on x."""
    for step in steps:
        if isinstance(step, str):
            x = POOLS[step](x)
        elif isinstance(step, Fork):
            both = [getattr(module, unit.name)(x, moments) for unit in step.units]
            x = jnp.concatenate(both, axis=-1)
        else:
            x = getattr(module, step.name)(x, moments)
    return x

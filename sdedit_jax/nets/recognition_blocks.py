"""Parts of the networks trained for recognition: convolutions, batch norm in inference, pools.

Pictures are [B,H,W,C]. Children have the names of the PyTorch originals.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from sdedit_jax.nets import layers
from sdedit_jax.nets.layers import Draws

Size = tuple[int, int]


class Kernel(nnx.Module):
    """Convolution without bias; kernel [kh,kw,I,O]."""

    def __init__(self, n_in: int, n_out: int, size: Size, *, rngs: Draws) -> None:
        self.kernel = nnx.Param(rngs.fan_avg((*size, n_in, n_out), 1))

    def __call__(self, x: jax.Array, stride: int = 1, padding: str = "SAME") -> jax.Array:
        return layers.conv(x, self.kernel[...], stride, padding)


class BatchNorm(nnx.Module):
    """(x - mean) / sqrt(var + eps) with stored mean and variance, then scale and bias; float32."""

    def __init__(self, channels: int, eps: float) -> None:
        self.eps = eps
        self.scale = nnx.Param(np.ones(channels, np.float32))
        self.bias = nnx.Param(np.zeros(channels, np.float32))
        self.running_mean = nnx.BatchStat(np.zeros(channels, np.float32))
        self.running_var = nnx.BatchStat(np.ones(channels, np.float32))

    def __call__(self, x: jax.Array) -> jax.Array:
        slope = self.scale[...] * lax.rsqrt(self.running_var[...] + self.eps)
        wide = layers.add_bias(x.astype(jnp.float32), -self.running_mean[...])
        wide = wide * slope.reshape(1, 1, 1, -1)
        return layers.add_bias(wide, self.bias[...]).astype(x.dtype)


class Layer(NamedTuple):
    """A convolution with ReLU of a `Stack`.

    Attributes:
        width: channels of the output.
        size, stride, padding: of the convolution; padding None keeps the size at stride 1.
        pool: side of the max pool of stride 2 before it; 0: none.
        feature: whether its output is a feature of the stack.
    """

    width: int
    size: int = 3
    stride: int = 1
    padding: int | None = None
    pool: int = 0
    feature: bool = False


class Stack(nnx.Module):
    """Convolutions with ReLU and max pools, named as torchvision numbers `features`."""

    def __init__(self, plan: tuple[Layer, ...], *, rngs: Draws) -> None:
        self.plan, self.names = plan, _numbers(plan)
        widths = [3, *(layer.width for layer in plan)]
        self.features = nnx.Dict(
            {
                name: layers.Conv(n_in, layer.width, layer.size, rngs=rngs)
                for name, n_in, layer in zip(self.names, widths, plan, strict=False)
            }
        )

    def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """x [B,H,W,3] -> the features [B,h,w,C], in order."""
        found = []
        for name, layer in zip(self.names, self.plan, strict=True):
            x = max_pool(x, layer.pool, 2) if layer.pool else x
            x = jax.nn.relu(_convolved(x, self.features[name], layer))
            found += [x] if layer.feature else []
        return tuple(found)


def _numbers(plan: tuple[Layer, ...]) -> tuple[str, ...]:
    """The number of each convolution; a ReLU and a pool have numbers too."""
    found, at = [], 0
    for layer in plan:
        at += bool(layer.pool)
        found.append(str(at))
        at += 2
    return tuple(found)


def _convolved(x: jax.Array, conv: layers.Conv, layer: Layer) -> jax.Array:
    side = layer.size // 2 if layer.padding is None else layer.padding
    y = layers.conv(x, conv.kernel[...], layer.stride, ((side, side),) * 2)
    return layers.add_bias(y, conv.bias[...])


def max_pool(x: jax.Array, size: int, stride: int, padding: str = "VALID") -> jax.Array:
    """The largest value of each window of x [B,H,W,C]."""
    window, steps = (1, size, size, 1), (1, stride, stride, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, steps, padding)


def mean_pool(x: jax.Array, size: int = 3) -> jax.Array:
    """Means over size x size pixels of x [B,H,W,C]; those outside the picture do not count."""
    window, steps = (1, size, size, 1), (1, 1, 1, 1)
    counted = np.ones((1, *x.shape[1:3], 1), np.float32)
    sums = lax.reduce_window(x, 0.0, lax.add, window, steps, "SAME")
    return sums / lax.reduce_window(counted, 0.0, lax.add, window, steps, "SAME")

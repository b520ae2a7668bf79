"""LPIPS 0.1: a learned distance of two pictures; tensor names of the package lpips.

With f_l(a) the features of layer l, divided by their length over the channels at each pixel, and
linear heads w_l >= 0, the map of layer l is

    d_l(a, b) = sum_c w_lc (f_lc(a) - f_lc(b))^2,

and the distance is the sum over l of its mean over the pixels.

References:
    Zhang et al., The unreasonable effectiveness of deep features (1801.03924), eq. 1.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from sdedit_jax.nets import alexnet, vgg
from sdedit_jax.nets.layers import Draws
from sdedit_jax.nets.recognition_blocks import Kernel, Stack

PLANS = {"vgg": vgg.PLAN, "alex": alexnet.PLAN}
LEAST = {"vgg": 16, "alex": 63}
"""The smallest side of a picture for which each feature has a pixel."""

SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
"""Mean and spread of ImageNet's colours, for pictures in [-1, 1]."""
EPSILON = 1e-10


@dataclass(frozen=True)
class LpipsConfig:
    """The network of the features: "vgg" (VGG16) or "alex" (AlexNet)."""

    net: str

    def __post_init__(self) -> None:
        if self.net not in PLANS:
            raise ValueError(f"net must be one of {list(PLANS)}, got {self.net!r}")


class Head(nnx.Module):
    """The weights of a layer's channels; the original has dropout as number 0."""

    def __init__(self, channels: int, *, rngs: Draws) -> None:
        self.model = nnx.Dict({"1": Kernel(channels, 1, (1, 1), rngs=rngs)})

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.model["1"](x)


class Lpips(nnx.Module):
    """The distance; see `LpipsConfig`."""

    def __init__(self, config: LpipsConfig, *, rngs: Draws) -> None:
        self.config = config
        self.net = Stack(PLANS[config.net], rngs=rngs)
        widths = [layer.width for layer in PLANS[config.net] if layer.feature]
        self.heads = len(widths)
        for i, width in enumerate(widths):
            setattr(self, f"lin{i}", Head(width, rngs=rngs))

    def __call__(self, a: jax.Array, b: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """Pictures a, b [B,H,W,3] in [-1, 1] -> distances [B]."""
        return jnp.sum(jnp.stack([d.mean((1, 2, 3)) for d in self._maps(a, b, dtype)]), axis=0)

    def spatial(self, a: jax.Array, b: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> jax.Array:
        """The map of the distance [B,H,W]: the sum of d_l, each enlarged bilinearly to a's size."""
        size = (*a.shape[:3], 1)
        maps = [jax.image.resize(d, size, "linear", False) for d in self._maps(a, b, dtype)]
        return jnp.sum(jnp.stack(maps), axis=0)[..., 0]

    def features(self, a: jax.Array, *, dtype: jnp.dtype = jnp.float32) -> tuple[jax.Array, ...]:
        """Pictures [B,H,W,3] in [-1, 1] -> the features of each layer [B,h,w,C]."""
        least = LEAST[self.config.net]
        if a.ndim != 4 or a.shape[3] != 3 or min(a.shape[1:3]) < least:
            wanted = f"[B,H,W,3] with sides from {least}"
            raise ValueError(f"pictures must be {wanted}, got shape {a.shape}")
        shift, scale = (v.reshape(1, 1, 1, 3) for v in (SHIFT, SCALE))
        return self.net(((a - shift) / scale).astype(dtype))

    def _maps(self, a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> list[jax.Array]:
        """d_l [B,h,w,1] of each layer."""
        if a.shape != b.shape:
            raise ValueError(f"a and b must have one shape, got {a.shape} and {b.shape}")
        pairs = zip(self.features(a, dtype=dtype), self.features(b, dtype=dtype), strict=True)
        return [
            getattr(self, f"lin{i}")((_unit(f) - _unit(g)) ** 2) for i, (f, g) in enumerate(pairs)
        ]


def _unit(f: jax.Array) -> jax.Array:
    return f / (jnp.sqrt(jnp.sum(f * f, axis=-1, keepdims=True)) + EPSILON)

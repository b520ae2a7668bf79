"""Known-region replacement: the part of the guide that an edit keeps."""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sampler import Context
from sdedit_jax.diffusion.sde import level

MODES = ("level", "paper", "official", "diffusers")
"""The levels of noise of the kept region, see `KnownRegion`."""
OF_START = ("official", "diffusers")
"""Modes whose noise is that of the start."""


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["guide", "mask", "z", "begins"],
    meta_fields=["mode"],
)
@dataclass(frozen=True)
class KnownRegion:
    """A hook that keeps the guide where mask is 0, noised to the level of the state.

    Fractions of the mask blend.

    Attributes:
        guide: [H, W, C] in [-1, 1].
        mask: [H, W, 1] or [H, W, C]; 1 where the edit may change pixels.
        mode: "level": new noise at the level s just reached. "paper": the level t before the step
            with the step's own noise (SDEdit, masked algorithms). "official": the level t with the
            one noise `z` of the whole run (released code). "diffusers": the level at which the next
            step begins with that one noise, and no noise after the last step (its inpainting).
        z: [H, W, C], for the modes OF_START.
        begins: [H, W, 1] the time at which the edit of each pixel begins: the guide is kept in the
            steps that end there or above, and everywhere at time 0; None: all begin at once.
    """

    guide: Array
    mask: Array
    mode: str = "level"
    z: Any = None
    begins: Any = None
    before: ClassVar[None] = None
    evaluations: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {list(MODES)}, got {self.mode!r}")
        if self.mode in OF_START and self.z is None:
            raise ValueError(f'the mask mode "{self.mode}" needs z, the noise of the start')

    def after(self, x: Array, context: Context) -> Array:
        """x [H, W, C] with its kept region replaced."""
        if self.mode == "level":
            t, noise = context.s, context.draw(0, self.guide.shape)
        elif self.mode == "diffusers":
            t, noise = context.next_t, self.z
        else:
            t, noise = context.t, context.noisy * context.z if self.mode == "paper" else self.z
        alpha, sigma = level(context.process, t)
        mask = jnp.broadcast_to(self.mask, self.guide.shape)
        if self.begins is not None:
            mask = jnp.where(self.begins > jnp.maximum(context.s, 0.0), mask, 0.0)
        return mask * x + (1 - mask) * (alpha * self.guide + sigma * noise)

"""Correctors: hooks that change the state before a step."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sampler import Context
from sdedit_jax.diffusion.sde import level, noise_from_eps, transition

NORMS = ("image", "batch")


@jax.tree_util.register_static
@dataclass(frozen=True)
class Langevin:
    """Langevin corrector (Song et al., Algorithms 4 and 5).

    x <- x + e g + sqrt(2 e) z with g the score, e = 2 a^2 (snr |z| / |g|)^2, a^2 = alpha_t^2 /
    alpha_s^2 (1 for VE).

    Attributes:
        snr: the signal-to-noise ratio of a correction, above 0.
        steps: corrections before each step.
        norm: |z|, |g| of the image, or with "batch" their means over the vmapped axis `axis`, as in
            the original; a result then depends on its neighbours, so it serves replays only.
    """

    snr: float = 0.16
    steps: int = 1
    norm: str = "image"
    axis: str = "batch"
    after: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {list(NORMS)}, got {self.norm!r}")
        if not self.snr > 0 or self.steps < 1:
            raise ValueError(
                f"Langevin needs snr > 0 and steps >= 1, got snr={self.snr}, steps={self.steps}"
            )

    @property
    def evaluations(self) -> int:
        """Network evaluations in a step."""
        return self.steps

    @property
    def mixes(self) -> bool:
        """Whether a picture's result depends on the others of its batch."""
        return self.norm == "batch"

    def before(self, x: Array, context: Context) -> Array:
        """x [H, W, C] after the corrections."""
        a = transition(context.process, context.t, context.s)[0]
        sigma = level(context.process, context.t)[1]

        def correct(call: int, x: Array) -> Array:
            eps = context.predict(x, context.t).eps
            score = -noise_from_eps(context.process, x, context.t, eps) / sigma
            z = context.draw(call, x.shape)
            e = 2 * a**2 * (self.snr * self._size(z) / self._size(score)) ** 2
            return x + e * score + jnp.sqrt(2 * e) * z

        return jax.lax.fori_loop(0, self.steps, correct, x)

    def _size(self, v: Array) -> Array:
        length = jnp.sqrt(jnp.sum(v**2))
        return jax.lax.pmean(length, self.axis) if self.norm == "batch" else length

"""What a denoiser makes of guides, as a pipeline: one stage whose steps are noise levels."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.edits import auto_strength
from sdedit_jax.edits.auto_strength import Observed
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline.base import Stage
from sdedit_jax.priors.prior import Prior


class Request(NamedTuple):
    """A guide in pixels, or as x0 in the space of the prior; cond: without guidance."""

    guide: Any
    cond: Any


@jax.tree_util.register_static
@dataclass(frozen=True)
class ObservationPipeline:
    """The statistic of automatic strength of a guide; see base.Pipeline.

    Attributes:
        prior: static.
        sigmas: noise-to-signal ratios of the levels.
        draws: of noise at each level.
    """

    prior: Prior
    sigmas: tuple[float, ...]
    draws: int

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (Stage("observe", len(self.sigmas), self.draws),)

    @property
    def keep_on_host(self) -> bool:
        return False

    def prepare(self, params: Any, request: Request) -> Request:
        guide: Guide = request.guide
        return Request(*auto_strength.prepare(self.prior, params, guide, request.cond))

    def init(
        self, params: Any, request: Request, key: Array, state: None, repeat: Array, *, stage: str
    ) -> Observed:
        x0, levels = request.guide, len(self.sigmas)
        energies = jnp.zeros((levels, auto_strength.KINDS, *x0.shape[:2]))
        return Observed(energies, jnp.zeros((levels, *x0.shape)))

    def advance(
        self,
        params: Any,
        request: Request,
        key: Array,
        state: Observed,
        maps: None,
        repeat: Array,
        first: Array,
        *,
        stage: str,
        count: int,
        preview: bool,
    ) -> tuple[Observed, None, Array | None]:
        sigmas = jnp.asarray(self.sigmas, jnp.float32)

        def at(j: Array) -> Observed:
            own = jax.random.fold_in(key, j)
            return auto_strength.observe(
                self.prior, sigmas[j], self.draws, params, request.guide, request.cond, own
            )

        found = jax.lax.map(at, first + jnp.arange(count))
        state = jax.tree.map(
            lambda a, new: jax.lax.dynamic_update_slice_in_dim(a, new, first, 0), state, found
        )
        return state, None, found.denoised[-1] if preview else None

    def idle(self, state: Observed) -> Array:
        return jnp.zeros(len(state.energies), bool)

    def show(self, params: Any, x0: Array) -> Array:
        return self.prior.codec.decode(params, x0)

    def finish(self, params: Any, given: Request, request: Request, state: Observed) -> Observed:
        return state

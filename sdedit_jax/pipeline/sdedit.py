"""SDEdit as a pipeline: one stage, run once or K times."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax import caution
from sdedit_jax.diffusion import sampler
from sdedit_jax.diffusion.sampler import Observation
from sdedit_jax.diffusion.sde import x0_from_eps
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Attempts, Edited, Request, SDEdit
from sdedit_jax.pipeline.base import Stage


class State(NamedTuple):
    """Between chunks.

    Attributes:
        loop: the carry of the loop.
        x0: the guide [h, w, c] of this repeat.
        score_sq: the largest squared norm of the score so far, if measured.
        attempts: the sum over the steps so far, of an adaptive solver.
    """

    loop: sampler.State
    x0: Array
    score_sq: Array | None = None
    attempts: Attempts | None = None


@jax.tree_util.register_static
@dataclass(frozen=True)
class SDEditPipeline:
    """The stages of an SDEdit plan; see base.Pipeline.

    Attributes:
        plan: the edit.
        measure: whether the result has the largest squared norm of the score.
    """

    plan: SDEdit
    measure: bool = False

    def __post_init__(self) -> None:
        if getattr(self.plan.corrector, "mixes", False):
            raise ValueError(
                'corrector: a batch norm mixes the pictures of a batch; norm must be "image"'
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        plan = self.plan
        return (Stage("edit", plan.n, self.evaluations, plan.repeats, early=plan.adaptive),)

    @property
    def evaluations(self) -> int:
        """Network evaluations in a step, those of guidance included."""
        return self.plan.evaluations * getattr(self.plan.prior.predict, "evaluations", 1)

    @property
    def keep_on_host(self) -> bool:
        return False

    def prepare(self, params: Any, request: Request) -> Request:
        return sdedit.prepare(self.plan, params, request)

    def init(
        self,
        params: Any,
        request: Request,
        key: Array,
        state: State | None,
        repeat: Array,
        *,
        stage: str,
    ) -> State:
        if state is None:  # a copy, since the carry is donated and the request is not
            x0 = jnp.copy(request.guide.image)
            score_sq = jnp.zeros(()) if self.measure else None
            attempts = Attempts(jnp.int32(0), jnp.int32(0)) if self.plan.adaptive else None
        else:
            x0, score_sq, attempts = self._mixed(request, state), state.score_sq, state.attempts
        noise = sdedit.randomness_of(self.plan, request, key)
        return State(sdedit.start(self.plan, request, noise, repeat, x0), x0, score_sq, attempts)

    def advance(
        self,
        params: Any,
        request: Request,
        key: Array,
        state: State,
        maps: None,
        repeat: Array,
        first: Array,
        *,
        stage: str,
        count: int,
        preview: bool,
    ) -> tuple[State, None, Array | None]:
        def observe(seen: Observation) -> tuple[Any, Any, Any]:
            norm = sdedit.score_norm(seen) if self.measure else None
            tried = sdedit.tally(seen) if self.plan.adaptive else None
            return norm, predicted_x0(seen) if preview else None, tried

        noise = sdedit.randomness_of(self.plan, request, key)
        loop, (norms, x0s, tried) = sdedit.steps(
            self.plan, params, request, noise, repeat, state.x0, state.loop,
            first=first, count=count, observe=observe,
        )  # fmt: skip
        score_sq = jnp.maximum(state.score_sq, jnp.max(norms)) if self.measure else None
        attempts = jax.tree.map(lambda a, new: a + jnp.sum(new), state.attempts, tried)
        return State(loop, state.x0, score_sq, attempts), None, x0s[-1] if preview else None

    def idle(self, state: State) -> Array:
        return self.plan.solver.idle(state.loop.memory)

    def show(self, params: Any, x0: Array) -> Array:
        return self.plan.prior.codec.decode(params, x0)

    def finish(self, params: Any, given: Request, request: Request, state: State) -> Edited:
        x0 = self._mixed(request, state)
        return sdedit.finish(self.plan, params, given, x0, state.score_sq, state.attempts)

    def _mixed(self, request: Request, state: State) -> Array:
        return sdedit.mix(self.plan, request, state.x0, state.loop.x)


def predicted_x0(seen: Observation) -> Array:
    """The clean state [h, w, c] that the prediction of a step stands for."""
    x0 = x0_from_eps(seen.process, seen.x, seen.t, seen.prediction.eps)
    return jnp.where(seen.idle, seen.x, x0)


def warn_short(row: Edited, steps: str, picture: str) -> None:
    """Warn where an adaptive solver had too few steps.

    Args:
        steps, picture: the number of steps and the picture in the message.
    """
    if row.attempts is not None and row.attempts.short:
        caution.warn(
            f"{steps} is too small for {picture}: the last step went from a higher level straight"
            " to the predicted picture; give more steps, or a larger rtol or atol"
        )

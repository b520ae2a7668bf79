"""LEDITS and LEDITS++ as a pipeline: inversion, edit, reconstruction."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sampler import Observation
from sdedit_jax.edits import inversion
from sdedit_jax.edits.inversion import Inversion, Request
from sdedit_jax.pipeline.base import Stage
from sdedit_jax.pipeline.sdedit import predicted_x0


class State(NamedTuple):
    """Between chunks.

    Attributes:
        loop: the carry of the loop; with keep "keys" those of inversion and replay.
        start: the state [h, w, c] where the replay begins.
        edited: the edit's last state, once it is made.
        masks: the sum over the steps of the masks [K, h, w, 1] of the concepts, or None.
    """

    loop: Any
    start: Any = None
    edited: Any = None
    masks: Any = None


class Result(NamedTuple):
    """The result of an edit; parts that were not requested are None.

    Attributes:
        image: the edit [H, W, C].
        reconstruction: the replay under the guidance of the inversion [H, W, C].
        autoencoded: the photo through the codec alone [H, W, C].
        state_error, state_largest: the largest error of the reconstruction's state, and the largest
            value of the photo's.
        masks: [K, h, w, 1] the share of the steps in which each concept acts at a place.
        start: the state [h, w, c] where the replay begins.
    """

    image: Any = None
    reconstruction: Any = None
    autoencoded: Any = None
    state_error: Any = None
    state_largest: Any = None
    masks: Any = None
    start: Any = None


@jax.tree_util.register_static
@dataclass(frozen=True)
class LEDITSPipeline:
    """The stages of an inversion plan; see base.Pipeline.

    Attributes:
        plan: the inversion and its replay.
        slots: rows of the concepts, padding included.
        run: the stages to run, of "invert", "edit", "reconstruct", in this order. Without "invert"
            the request brings its maps. With keep "keys" each replay inverts anew.
        masks: whether the result has the masks of the concepts.
    """

    plan: Inversion
    slots: int = 0
    run: tuple[str, ...] = ("invert", "edit", "reconstruct")
    masks: bool = False

    def __post_init__(self) -> None:
        inversion.check(self.plan)

    @property
    def stages(self) -> tuple[Stage, ...]:
        plan, keys = self.plan, self.plan.keep == "keys"
        solver = plan.solver.evaluations
        there = solver * getattr(plan.source, "evaluations", 1)
        edit = solver * (getattr(plan.target, "conditions", 1) + self.slots)
        costs = {"invert": there, "edit": edit, "reconstruct": there}
        if keys:
            replays = [name for name in self.run if name != "invert"]
            return tuple(Stage(name, plan.steps, there + costs[name]) for name in replays)
        replays = "invert" if "invert" in self.run else ""
        return tuple(
            Stage(name, plan.steps, costs[name], records=True)
            if name == "invert"
            else Stage(name, plan.steps, costs[name], replays=replays)
            for name in self.run
        )

    @property
    def keep_on_host(self) -> bool:
        return self.plan.keep == "host"

    def prepare(self, params: Any, request: Request) -> Request:
        return inversion.prepare(self.plan, params, request)

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
        if stage == "invert":
            loop = inversion.source_begin(self.plan, params, request, key)
            return State(loop, jnp.copy(loop.x))
        plan, own = self._of(stage, request)
        edited = state.loop if stage == "reconstruct" else None
        masks = state.masks if stage == "reconstruct" else self._no_masks(request)
        if plan.keep == "keys":
            begun = inversion.source_begin(plan, params, request, key)
            target = inversion.target_begin(plan, params, own, begun.x)
            edited = edited[1].x if edited else None
            return State((begun, target), jnp.copy(begun.x), edited, masks)
        start = self._start(request, state, stage)
        loop = inversion.target_begin(plan, params, own, start)
        return State(loop, jnp.copy(start), edited.x if edited else None, masks)

    def advance(
        self,
        params: Any,
        request: Request,
        key: Array,
        state: State,
        maps: Any,
        repeat: Array,
        first: Array,
        *,
        stage: str,
        count: int,
        preview: bool,
    ) -> tuple[State, Any, Array | None]:
        plan, own = self._of(stage, request)
        if stage == "invert":
            loop, zs = inversion.source_steps(plan, params, own, key, state.loop, first, count)
            return state._replace(loop=loop), zs, own.image if preview else None

        def observe(seen: Observation) -> tuple[Any, Any]:
            kept = self.masks and stage == "edit"
            return predicted_x0(seen) if preview else None, seen.prediction.masks if kept else None

        if plan.keep == "keys":
            loop, (x0s, masks) = inversion.together(
                plan, params, own, key, state.loop, first, count, observe
            )
        else:
            if maps is None:
                zs = own.maps.zs
                whole = len(zs) == count
                maps = zs if whole else jax.lax.dynamic_slice_in_dim(zs, first, count)
            loop, (x0s, masks) = inversion.target_steps(
                plan, params, own, maps, state.loop, first, observe
            )
        if masks is not None:
            state = state._replace(masks=state.masks + jnp.sum(masks, axis=0))
        return state._replace(loop=loop), None, x0s[-1] if preview else None

    def show(self, params: Any, x0: Array) -> Array:
        return self.plan.prior.codec.decode(params, x0)

    def finish(self, params: Any, given: Request, request: Request, state: State) -> Result:
        plan, last = self.plan, state.loop[1] if self.plan.keep == "keys" else state.loop
        if self.run == ("invert",):
            return Result(start=state.start if plan.method == "ddpm" else last.x)
        edited = state.edited if "reconstruct" in self.run else last.x
        result = Result(inversion.finish(plan, params, given, edited), start=state.start)
        if state.masks is not None:
            result = result._replace(masks=state.masks / plan.steps)
        if "reconstruct" not in self.run:
            return result
        return result._replace(
            reconstruction=inversion.finish(plan, params, given, last.x),
            autoencoded=inversion.finish(plan, params, given, request.image),
            state_error=jnp.max(jnp.abs(last.x - request.image)),
            state_largest=jnp.max(jnp.abs(request.image)),
        )

    def _of(self, stage: str, request: Request) -> tuple[Inversion, Request]:
        """Plan and request of a stage: the reconstruction has the guidance of the inversion."""
        if stage != "reconstruct":
            return self.plan, request
        return replace(self.plan, target=self.plan.source), request._replace(target=request.source)

    def _start(self, request: Request, state: State | None, stage: str) -> Array:
        if "invert" not in self.run:
            return request.maps.x
        ended = self.plan.method == "ddim" and stage == "edit"
        return state.loop.x if ended else state.start

    def _no_masks(self, request: Request) -> Array | None:
        if not self.masks:
            return None
        return jnp.zeros((self.slots, *request.image.shape[:2], 1))

"""Whole edits as pure functions of one picture: the stages of the pipelines, without the executor.

They can be jitted and mapped like any function of arrays.
"""

import jax
import jax.numpy as jnp

from sdedit_jax.edits.inversion import Inverted
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.pipeline.sdedit import SDEditPipeline


def run(pipeline, params, given, key):
    """All stages of a pipeline: (result, stage -> recorded arrays)."""
    request, state, tape = pipeline.prepare(params, given), None, {}
    for stage in pipeline.stages:
        maps = tape.get(stage.replays)
        for k in range(stage.repeats):
            repeat, first = jnp.int32(k), jnp.int32(0)
            state = pipeline.init(params, request, key, state, repeat, stage=stage.name)
            state, recorded, _ = pipeline.advance(
                params, request, key, state, maps, repeat, first,
                stage=stage.name, count=stage.steps, preview=False,
            )  # fmt: skip
        if stage.records:
            tape[stage.name] = recorded
    return pipeline.finish(params, given, request, state), tape


def edit(plan):
    """SDEdit: (params, request, key) -> Edited, with the norm of the score."""
    pipeline = SDEditPipeline(plan, measure=True)
    return lambda params, request, key: run(pipeline, params, request, key)[0]


def invert(plan):
    """An inversion alone: (params, request, key) -> Inverted."""
    pipeline = LEDITSPipeline(plan, run=("invert",))

    def inverted(params, request, key):
        result, tape = run(pipeline, params, request, key)
        return Inverted(result.start, tape["invert"])

    return inverted


def replay(plan):
    """A replay of given maps: (params, request, Inverted) -> image [H, W, C]."""
    pipeline, key = LEDITSPipeline(plan, run=("edit",)), jax.random.key(0)  # it draws nothing
    return lambda params, request, maps: (
        run(pipeline, params, request._replace(maps=maps), key)[0].image
    )


def replayed_states(plan):
    """The same: (params, request, Inverted) -> the state after each step for which it has maps."""
    pipeline, key = LEDITSPipeline(plan, run=("edit",)), jax.random.key(0)

    def states(params, request, maps):
        request = pipeline.prepare(params, request._replace(maps=maps))
        begun = pipeline.init(params, request, key, None, jnp.int32(0), stage="edit")

        def one(state, first):
            state = pipeline.advance(
                params, request, key, state, None, jnp.int32(0), first,
                stage="edit", count=1, preview=False,
            )[0]  # fmt: skip
            return state, state.loop.x

        return jax.lax.scan(one, begun, jnp.arange(len(maps.zs)))[1]

    return states


def edit_inverted(plan):
    """Inversion and replay: (params, request, key) -> image [H, W, C]."""
    pipeline = LEDITSPipeline(plan, run=("invert", "edit"))
    return lambda params, request, key: run(pipeline, params, request, key)[0].image

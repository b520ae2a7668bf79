"""The executor makes in chunks what the stages make as one function."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
from program import four_devices

from sdedit_jax import devices
from sdedit_jax.diffusion import grids, sde, solvers
from sdedit_jax.edits import inversion, sdedit
from sdedit_jax.edits.inversion import Inversion
from sdedit_jax.edits.sdedit import SDEdit
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.base import total_evaluations
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors.analytic import gaussian

SHAPE, N, KEY = (4, 6, 2), 5, jax.random.key(4)
CHUNKS = (1, 3, N)  # 3 is no divisor of N
VP = sde.VP()
PRIOR = gaussian(VP, jnp.full(SHAPE, 0.2), 0.5)


def picture():
    return np.random.default_rng(0).uniform(-1, 1, SHAPE).astype(np.float32)


def chunked(pipeline, request, chunk, keep_maps=False):
    """The result of one picture by the executor, and its maps if they are wanted."""
    rows = devices.stack([request])
    options = {"devices": 1, "chunk": chunk, "keep_maps": keep_maps}
    done = executor.finish(executor.run(pipeline, PRIOR.params, rows, KEY[None], **options))
    return jax.tree.map(lambda a: a[0], (done.result, done.maps))


@functools.cache
def sdedit_case():
    """(plan, request, Edited): two repeats with a soft mask and a solver with memory."""
    plan = SDEdit(PRIOR, solvers.DPMpp(), grids.Uniform(), N, repeats=2)
    mask = np.random.default_rng(1).choice([0.0, 0.25, 1.0], (*SHAPE[:2], 1)).astype(np.float32)
    request = sdedit.Request(np.float32(0.5), Guide(picture(), mask))
    return plan, request, jax.jit(pure.edit(plan))(PRIOR.params, request, KEY)


@pytest.mark.parametrize("chunk", CHUNKS)
def test_sdedit_in_chunks(chunk):
    plan, request, want = sdedit_case()
    got, _ = chunked(SDEditPipeline(plan, measure=True), request, chunk)
    np.testing.assert_allclose(got.image, want.image, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.score_sq, want.score_sq, rtol=1e-5)
    assert np.abs(got.image - request.guide.image).max() > 0.1


def test_the_score_is_measured_on_request():
    plan, request, want = sdedit_case()
    got, _ = chunked(SDEditPipeline(plan), request, N)
    assert got.score_sq is None and want.score_sq > 0
    np.testing.assert_allclose(got.image, want.image, rtol=0, atol=1e-6)


def shifted(params, x, t, cond):
    """Data around another mean."""
    return PRIOR.predict(params, x - cond * VP.alpha(t), t)


@functools.cache
def ledits_case():
    """(plan, request, edit, its reconstruction, maps)."""
    plan = Inversion(PRIOR, PRIOR.predict, shifted, solvers.DPMpp(),
                     grids.Above(grids.Uniform()), N)  # fmt: skip
    request = inversion.Request(np.float32(0.5), picture(), None, np.float32(0.3))
    same = dataclasses.replace(plan, target=plan.source)
    edit, back = (
        jax.jit(pure.edit_inverted(made))(PRIOR.params, request, KEY) for made in (plan, same)
    )
    maps = jax.jit(pure.invert(plan))(PRIOR.params, request, KEY).zs
    return plan, request, edit, back, maps


@pytest.mark.parametrize(
    ("keep", "chunk"),
    [*(("device", chunk) for chunk in CHUNKS), ("host", 3), ("keys", 3), ("keys", N)],
)
def test_ledits_in_chunks(keep, chunk):
    """With the maps on the device, on the host or nowhere, by a solver with memory."""
    plan, request, edit, back, maps = ledits_case()
    pipeline = LEDITSPipeline(dataclasses.replace(plan, keep=keep))
    got, kept = chunked(pipeline, request, chunk, keep_maps=True)
    np.testing.assert_allclose(got.image, edit, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.reconstruction, back, rtol=0, atol=1e-6)
    np.testing.assert_allclose(got.reconstruction, request.image, rtol=0, atol=1e-5)
    assert np.abs(got.image - got.reconstruction).max() > 0.1 and got.state_error < 1e-5
    assert set(kept) == (set() if keep == "keys" else {"invert"})
    if kept:
        np.testing.assert_allclose(kept["invert"], maps, rtol=0, atol=1e-4)


@four_devices
def test_ledits_on_four_devices():
    """Three photos, one to each device: the edits and the reconstructions of one device."""
    plan, request, *_ = ledits_case()
    pipeline, keys = LEDITSPipeline(plan), jax.random.split(KEY, 3)
    rows = devices.stack([request._replace(image=sign * request.image) for sign in (1, -1, 0.5)])
    one, four = (
        executor.finish(executor.run(pipeline, PRIOR.params, rows, keys, devices=n, chunk=3))
        for n in (1, 4)
    )
    assert one.rows == four.rows == 4
    for name in ("image", "reconstruction"):
        pair = (getattr(done.result, name) for done in (four, one))
        np.testing.assert_allclose(*pair, rtol=0, atol=1e-6)
    np.testing.assert_allclose(four.result.reconstruction, rows.image, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["sdedit", "ledits"])
def test_the_state_between_chunks_is_donated(kind):
    """Every chunk writes its state over that of the chunk before."""
    plan, request = (sdedit_case if kind == "sdedit" else ledits_case)()[:2]
    pipeline = (SDEditPipeline if kind == "sdedit" else LEDITSPipeline)(plan)
    rows, one = devices.stack([request]), jnp.int32(0)
    runner = executor.Runner(pipeline, 1, [0.0])
    given, keys = devices.spread((rows, KEY[None]), 1)
    asked = runner("prepare", PRIOR.params, given)
    stage = pipeline.stages[0].name
    state = runner("init", PRIOR.params, asked, keys, None, one, stage=stage)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    args = (PRIOR.params, asked, keys, state, None, one, one)
    program = runner.compile("advance", args, {"stage": stage, "count": 2, "preview": False})
    assert program.memory_analysis().alias_size_in_bytes == size > 0


@pytest.mark.skipif(jax.default_backend() == "cpu", reason="JAX guards no transfers of the CPU")
@pytest.mark.parametrize("kind", ["sdedit", "ledits"])
def test_nothing_goes_to_the_host_between_chunks(kind):
    """A second edit of a batch sends its request to the device and its result back, no more."""
    plan, request = (sdedit_case if kind == "sdedit" else ledits_case)()[:2]
    pipeline = (SDEditPipeline if kind == "sdedit" else LEDITSPipeline)(plan)
    chunked(pipeline, request, 2)
    edit = executor.Edit(
        executor.Runner(pipeline, 1, [0.0]), PRIOR.params,
        *devices.spread((devices.stack([request]), KEY[None]), 1),
    )  # fmt: skip
    with jax.transfer_guard_device_to_host("disallow"):
        for chunk in executor.chunks(pipeline, 2):
            edit.advance(chunk, False)
    assert edit.evaluations == total_evaluations(pipeline)


def test_a_plan_without_noise_makes_no_pipeline():
    plan = dataclasses.replace(ledits_case()[0], solver=solvers.Ancestral(eta=0))
    with pytest.raises(ValueError, match="solver: step 0 of 5 has no noise"):
        LEDITSPipeline(plan)

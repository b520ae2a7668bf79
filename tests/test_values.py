"""Parts of a run are values: equal ones are equal, hash equal and share one compiled program; the
loop holds no array of all states unless one is asked for."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pure
import pytest
from hooks import Hook
from jaxprs import equations

import sdedit_jax as sj
from sdedit_jax.diffusion import correctors, grids, sampler, sde, solvers, timesteps
from sdedit_jax.diffusion.masking import KnownRegion
from sdedit_jax.diffusion.noise import ReplayNoise, SampleNoise, ZeroNoise
from sdedit_jax.edits import inversion, ledits, sdedit
from sdedit_jax.edits.inversion import Inversion
from sdedit_jax.edits.sdedit import SDEdit
from sdedit_jax.guidance import CFG, SEGA, LeditsPP, SEGACond, concepts
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors.analytic import GaussianPredictor, gaussian
from sdedit_jax.priors.conditioning import CFGCond

VP, KEY = sde.VP(), jax.random.key(0)
SHAPE, N = (5, 6, 3), 11


def prior():
    """Exact priors of data that differ each time; equal as values."""
    mean = np.random.default_rng().uniform(-1, 1, SHAPE)
    return gaussian(sde.VP(), mean, 0.5)


def predictor():
    return GaussianPredictor(sde.VP())


def an_sdedit(**given):
    made = SDEdit(prior(), solvers.DPMpp(), grids.Karras(), 4, corrector=correctors.Langevin())
    return dataclasses.replace(made, **given)


def an_inversion(**given):
    own = prior()
    made = Inversion(own, CFG(own.predict), SEGA(own.predict), solvers.Ancestral(), GRID, 4)
    return dataclasses.replace(made, **given)


GRID = grids.Above(grids.Uniform())
SCHEDULE = timesteps.Timesteps("ddim", "leading", 1, False)

# makers of one value, and of others that differ from it
VALUES = {
    "ancestral": (solvers.Ancestral, [
        lambda: solvers.Ancestral(0.5), lambda: solvers.Ancestral(variance="large"),
        lambda: solvers.Ancestral(clip_x0=True), lambda: solvers.Ancestral(linear_eta=True),
        solvers.EulerMaruyama,
    ]),
    "dpmpp": (solvers.DPMpp, [
        lambda: solvers.DPMpp(clip_x0=True), lambda: solvers.DPMpp(first_order_to=0.1),
        lambda: solvers.DPMpp(3), lambda: solvers.DPMpp(sde=False),
        lambda: solvers.DPMpp(form="exact"),
    ]),
    "unipc": (solvers.UniPC, [lambda: solvers.UniPC(3), lambda: solvers.UniPC(variant="bh1")]),
    "sa": (solvers.SASolver, [
        lambda: solvers.SASolver(0.5), lambda: solvers.SASolver(predictor=3),
        lambda: solvers.SASolver(corrector=0), lambda: solvers.SASolver(form="released"),
    ]),
    "reverse diffusion": (solvers.ReverseDiffusion, [lambda: solvers.ReverseDiffusion(True)]),
    "euler": (solvers.EulerMaruyama, [solvers.ProbabilityFlow]),
    "flow": (solvers.ProbabilityFlow, [solvers.Heun]),
    "heun": (solvers.Heun, [solvers.PLMS, lambda: solvers.Heun(0.1)]),
    "plms": (solvers.PLMS, [solvers.Heun]),
    "uniform": (grids.Uniform, [lambda: grids.Uniform("zero"), grids.Karras]),
    "karras": (grids.Karras, [lambda: grids.Karras(5.0), lambda: grids.Karras(sigma_end=0.1)]),
    "log-SNR": (grids.UniformLogSNR, [lambda: grids.UniformLogSNR(0.1)]),
    "score_sde": (grids.ScoreSDE, [
        lambda: grids.ScoreSDE(1e-3), lambda: grids.ScoreSDE(euler=True),
    ]),
    "above": (lambda: grids.Above(grids.Uniform()), [
        lambda: grids.Above(grids.Karras()), lambda: grids.Above(grids.Uniform(), 1e-2),
    ]),
    "listed": (lambda: grids.Listed((5, 3, 1)), [
        lambda: grids.Listed((5, 3, 2)), lambda: grids.Listed((5, 3, 1), None),
    ]),
    "timesteps": (lambda: timesteps.TimestepGrid(SCHEDULE, 10), [
        lambda: timesteps.TimestepGrid(SCHEDULE, 10, 3),
        lambda: timesteps.TimestepGrid(SCHEDULE._replace(spacing="trailing", offset=0), 10),
    ]),
    "langevin": (correctors.Langevin, [
        lambda: correctors.Langevin(0.2), lambda: correctors.Langevin(steps=2),
        lambda: correctors.Langevin(norm="batch"),
    ]),
    "cfg": (lambda: CFG(predictor()), [lambda: CFG(GaussianPredictor(sde.VE()))]),
    "sega": (lambda: SEGA(predictor()), [
        lambda: SEGA(predictor(), "sega-original"), lambda: CFG(predictor()),
    ]),
    "leditspp": (lambda: LeditsPP(predictor()), [
        lambda: LeditsPP(predictor(), "noise"), lambda: LeditsPP(predictor(), intersect_to=1.0),
    ]),
    "sdedit": (an_sdedit, [
        lambda: an_sdedit(n=5), lambda: an_sdedit(solver=solvers.Heun()),
        lambda: an_sdedit(grid=grids.Karras(5.0)), lambda: an_sdedit(hold=None),
        lambda: an_sdedit(repeats=2), lambda: an_sdedit(final="sample"),
        lambda: an_sdedit(corrector=None), lambda: an_sdedit(prior=prior().with_process(sde.VE())),
    ]),
    "inversion": (an_inversion, [
        lambda: an_inversion(n=5), lambda: an_inversion(skip=1), lambda: an_inversion(keep="host"),
        lambda: an_inversion(zero_last=True), lambda: an_inversion(method="ddim"),
        lambda: an_inversion(target=LeditsPP(predictor())),
        lambda: an_inversion(solver=solvers.Ancestral(0.5)),
    ]),
    "sdedit pipeline": (lambda: SDEditPipeline(an_sdedit()), [
        lambda: SDEditPipeline(an_sdedit(n=5)),
    ]),
    "ledits pipeline": (lambda: LEDITSPipeline(an_inversion(), 2), [
        lambda: LEDITSPipeline(an_inversion(), 3), lambda: LEDITSPipeline(an_inversion(n=5), 2),
        lambda: LEDITSPipeline(an_inversion(), 2, masks=True),
        lambda: LEDITSPipeline(an_inversion(), 2, ("invert", "edit")),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_equal_parts_are_equal_values(name):
    make, others = VALUES[name]
    one, same = make(), make()
    assert one is not same and one == same and hash(one) == hash(same)
    for other in others:
        assert one != other(), other()


@pytest.mark.parametrize("name", VALUES)
def test_parts_are_frozen_and_static(name):
    """No leaves in any tree, so that a part may stand in an argument of a compiled function."""
    made = VALUES[name][0]()
    assert jax.tree.leaves(made) == []
    names = [field.name for field in dataclasses.fields(made)] or ["any"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, names[0], 1)


@pytest.mark.parametrize("name", ["ledits", "leditspp", "ledits-app", "ddim-inversion"])
def test_two_plans_of_a_recipe_are_equal(name):
    one, same = (ledits.plan(prior(), ledits.recipe(name)) for _ in range(2))
    assert one == same and hash(one) == hash(same)
    assert one != ledits.plan(prior(), ledits.recipe(name, n=60))


# --- compiling ------------------------------------------------------------------------------------


class Counting:
    """A predictor that counts how often it is traced."""

    def __init__(self):
        self.traces = 0

    def __call__(self, x, t):
        self.traces += 1
        return solvers.Prediction(0.1 * x)


def states(seen):
    return seen.x_next


def test_reverse_takes_parameters_as_arguments():
    """Two priors of other data are one program, and give other states."""
    process, x = sde.VP(), jax.random.normal(jax.random.key(0), SHAPE)
    grid, noise = grids.Uniform()(process, jnp.float32(0.5), N), SampleNoise(jax.random.key(1))
    first, other = (gaussian(process, jnp.full(SHAPE, mean), 0.5) for mean in (0.0, 0.5))

    def run(prior):
        solver, predict = solvers.Ancestral(), prior.predictor()
        return sj.reverse(predict, process, solver, grid, noise, x, observe=states)[1]

    made = run(first)
    programs = sampler._with_arguments._cache_size()
    assert np.abs(run(other) - made).max() > 0.1
    np.testing.assert_array_equal(run(gaussian(process, jnp.full(SHAPE, 0.0), 0.5)), made)
    assert sampler._with_arguments._cache_size() == programs


def test_a_corrector_of_the_batch_is_refused():
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.5)
    corrector = correctors.Langevin(norm="batch")
    plan = SDEdit(prior.static, solvers.Ancestral(), grids.Uniform(), N, corrector=corrector)
    with pytest.raises(ValueError, match="mixes"):
        SDEditPipeline(plan)


def test_a_process_and_back_is_the_prior_itself():
    prior = gaussian(sde.VE(), jnp.zeros(SHAPE), 0.5)
    there = prior.with_process(sde.VP())
    assert there.with_process(sde.VE()) == prior
    assert there.with_process(sde.SubVP()) == prior.with_process(sde.SubVP())


def test_reverse_compiles_once():
    """Equal solvers, processes and grids, other arrays: one program. Another solver is another."""
    predict = Counting()

    def run(solver, seed, t0=0.5, hooks=()):
        process, key = sde.VP(), jax.random.key(seed)
        grid = grids.Uniform()(process, jnp.float32(t0), N)
        x = jax.random.normal(key, SHAPE)
        noise = SampleNoise(key)
        return sj.reverse(predict, process, solver, grid, noise, x, hooks=hooks)[0].x

    first = run(solvers.Ancestral(0.5), 0)
    traces = predict.traces
    assert traces > 0
    again = run(solvers.Ancestral(0.5), 0)
    others = [run(solvers.Ancestral(0.5), seed, t0) for seed, t0 in ((1, 0.5), (0, 0.9))]
    assert predict.traces == traces
    np.testing.assert_array_equal(first, again)
    assert all(np.abs(other - first).max() > 0.01 for other in others)
    run(solvers.Ancestral(0.4), 0)
    assert predict.traces == 2 * traces

    def masked(value):
        hold = KnownRegion(jnp.full(SHAPE, value), jnp.zeros((*SHAPE[:2], 1)))
        return run(solvers.Ancestral(0.5), 0, hooks=[hold])

    np.testing.assert_array_equal(masked(0.3), jnp.full(SHAPE, 0.3))
    held = predict.traces
    np.testing.assert_array_equal(masked(0.8), jnp.full(SHAPE, 0.8))
    assert predict.traces == held


def test_equal_plans_share_the_programs_of_the_executor():
    """Pipelines made twice, with other parameters, pictures, strengths and keys."""

    def run(t0, seed):
        own, rng = prior(), np.random.default_rng(seed)
        plan = SDEdit(own.static, solvers.DPMpp(), grids.Karras(), 4)
        image = rng.uniform(-1, 1, (1, *SHAPE)).astype(np.float32)
        guide = Guide(image, np.ones((1, *SHAPE[:2], 1), np.float32))
        request = sdedit.Request(np.full(1, t0, np.float32), guide)
        keys = jax.random.split(jax.random.key(seed), 1)
        events = executor.run(SDEditPipeline(plan), own.params, request, keys, devices=1)
        return executor.finish(events)

    first = run(0.5, 0)
    programs = len(executor.PROGRAMS.kept)
    second = run(0.8, 1)
    assert first.compile_seconds > 0 and second.compile_seconds == 0
    assert len(executor.PROGRAMS.kept) == programs
    assert np.abs(first.result.image - second.result.image).max() > 0.01


# --- memory ---------------------------------------------------------------------------------------


def arrays_in(jaxpr):
    """Shapes of all values that a program computes, inner programs included."""
    values = (v.aval for equation in equations(jaxpr) for v in equation.outvars)
    return [value.shape for value in values if hasattr(value, "shape")]


def paths_in(function, *args, state=SHAPE):
    """How many arrays of N states or more are computed."""
    shapes = arrays_in(jax.make_jaxpr(function)(*args).jaxpr)
    size = math.prod(state)
    return sum(len(s) > 3 and s[-3:] == state and math.prod(s) >= N * size for s in shapes)


HOOKS = {
    "none": [],
    "mask": [KnownRegion(jnp.zeros(SHAPE), jnp.zeros((*SHAPE[:2], 1)))],
    "langevin": [correctors.Langevin(steps=2)],
    "hook": [Hook(lambda x, context: x, lambda x, context: x)],
}


@pytest.mark.parametrize("hooks", HOOKS)
@pytest.mark.parametrize(
    "solver", [solvers.Ancestral(), solvers.DPMpp(), solvers.Heun(), solvers.PLMS()]
)
def test_the_loop_keeps_no_path(solver, hooks):
    own = prior()

    def run(x, observe=None):
        grid = grids.Uniform()(VP, jnp.float32(0.5), N)
        return sampler.reverse(
            lambda x, t: own.predict(own.params, x, t), VP, solver, grid, SampleNoise(KEY), x,
            hooks=HOOKS[hooks], observe=observe,
        )  # fmt: skip

    x = jnp.zeros(SHAPE)
    assert paths_in(run, x) == 0
    assert paths_in(lambda x: run(x, lambda seen: seen.x_next), x) >= 1
    assert paths_in(lambda x: run(x, sdedit.score_norm), x) == 0


def test_edits_keep_no_path():
    """SDEdit; the replay of an inversion, and both together. The inversion alone keeps its maps."""
    own = prior()
    image, cond = jnp.zeros(SHAPE), jnp.float32(0)
    plan = SDEdit(own, solvers.DPMpp(), grids.Karras(), N, repeats=2)
    request = sdedit.Request(0.5, Guide(image, jnp.ones((*SHAPE[:2], 1))))
    assert paths_in(pure.edit(plan), own.params, request, KEY) == 0

    guided = an_inversion(prior=own, n=N, target=CFG(own.predict), keep="keys")
    pair = CFGCond(cond, cond, 2.0)
    request = inversion.Request(0.5, image, pair, pair)
    assert paths_in(pure.edit_inverted(guided), own.params, request, KEY) == 0
    kept = dataclasses.replace(guided, keep="device")
    assert paths_in(pure.invert(kept), own.params, request, KEY) >= 1
    maps = inversion.Inverted(image, jnp.zeros((N, *SHAPE)))
    replay = pure.replay(kept)
    assert paths_in(lambda maps: replay(own.params, request, maps), maps) <= 1  # maps, reshaped


def test_semantic_guidance_keeps_one_state_a_concept():
    own = prior()
    many = concepts(np.zeros(2, np.float32))
    zero = np.float32(0)
    predict = SEGA(own.predict).bind(own.params, SEGACond(zero, zero, 1.0, many))

    def run(x):
        grid = grids.Uniform()(VP, jnp.float32(0.5), N)
        return sampler.reverse(predict, VP, solvers.Ancestral(), grid, ZeroNoise(), x)

    assert paths_in(run, jnp.zeros(SHAPE)) == 0


def test_recorded_noise_is_an_argument():
    """The record is a leaf of its source: another one compiles nothing."""
    traces, x = [], jnp.zeros(SHAPE)

    @jax.jit
    def run(noise, x):
        traces.append(1)
        grid = grids.Uniform()(VP, jnp.float32(0.5), N)
        predict = Counting()
        return sampler.reverse(predict, VP, solvers.Ancestral(), grid, noise, x)[0].x

    rng = np.random.default_rng(0)
    seen = [run(ReplayNoise(rng.normal(size=(N, 1, *SHAPE)).astype("f")), x) for _ in range(3)]
    seen += [run(SampleNoise(jax.random.key(i)), x) for i in range(3)]
    assert len(traces) == 2
    assert len({np.asarray(one).tobytes() for one in seen}) == 6

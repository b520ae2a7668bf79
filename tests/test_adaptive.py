"""The adaptive solver against its algorithm in float64, and against laws on Gaussian data."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from scipy import stats

import sdedit_jax as sj
from sdedit_jax import devices
from sdedit_jax.diffusion import grids, sampler, sde, solvers
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.noise import At, PathNoise, Purpose, ReplayNoise, SampleNoise
from sdedit_jax.diffusion.solvers import Step
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.inversion import Inversion, check
from sdedit_jax.edits.sdedit import Recorded, Request, SDEdit
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import executor, settings
from sdedit_jax.pipeline.base import Event, Finished
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors.analytic import gaussian

M, S = 0.7, 0.5  # the data: N(M, S^2)
PROCESSES = {
    "ve": (sde.VE(0.02, 10.0), oracles.ve(0.02, 10.0)),
    "vp": (sde.VP(), oracles.vp()),
    "subvp": (sde.SubVP(), oracles.subvp()),
}
KEY, SHAPE = jax.random.key(7), (4, 4, 3)
ALARM = 1e-6  # chance of a false alarm of each statistical assertion


def prior_of(process, shape=SHAPE):
    return gaussian(process, jnp.full(shape, M), S)


def seen_times(seen):
    return seen.t, seen.s, seen.idle


def algorithm(form, solver, x, z, t, end):
    """Algorithm 1 of the paper and the last step: the result, and (t, s) of each attempt."""
    eps = oracles.gaussian_eps(form, M, S)

    def change(x, t, length, z):
        slope = form.rate(t) * x + form.g(t) ** 2 / form.at(t)[1] * eps(x, t)
        return np.sqrt(length) * form.g(t) * z - length * slope

    length, last, tried = solver.first, x, []
    while t > end:
        s = max(t - length, end)
        length = t - s
        euler = x + change(x, t, length, z[len(tried)])
        again = x + change(euler, s, length, z[len(tried)])
        tried.append((t, s))
        scale = np.maximum(solver.atol, solver.rtol * np.maximum(np.abs(euler), np.abs(last)))
        error = np.sqrt(np.mean(((euler - again) / 2 / scale) ** 2))
        if error <= 1:
            x, t, last = (euler + again) / 2, s, euler
        length = solver.safety * length * error**-solver.exponent
    alpha, sigma = form.at(t)
    return (x - sigma * eps(x, t)) / alpha, tried


@pytest.mark.parametrize("process", PROCESSES)
def test_it_is_the_algorithm_of_the_paper(process, rng):
    """Times, rejected attempts and result; a long first attempt is rejected."""
    ours, form = PROCESSES[process]
    solver, n = solvers.Adaptive(first=0.3), 60
    x, z = rng.normal(size=SHAPE).astype("f"), rng.normal(size=(n, *SHAPE)).astype("f")
    x = x * np.float32(form.at(0.7)[1])
    grid = grids.UniformLogSNR(0.05)(ours, jnp.float32(0.7), n)
    end = float(grid.t[-1])
    want, tried = algorithm(form, solver, x.astype(float), z.astype(float), float(grid.t[0]), end)
    state, (t, s, idle) = sampler.reverse(
        prior_of(ours).predictor(), ours, solver, grid, ReplayNoise(z[:, None]), x,
        observe=seen_times,
    )  # fmt: skip
    count = len(tried)
    assert np.any(np.diff([t for t, _ in tried]) == 0) and count < n - 1
    np.testing.assert_allclose(np.stack([t, s], 1)[:count], tried, rtol=2e-3, atol=1e-4)
    assert float(t[count]) == np.float32(end) and np.isneginf(s[count])
    assert list(idle) == [False] * (count + 1) + [True] * (n - count - 1)
    np.testing.assert_allclose(state.x, want, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize(
    ("noise_by", "process"), [*(("step", process) for process in PROCESSES), ("time", "vp")]
)
def test_law_of_edits(process, noise_by):
    """4096 pixels, of 16 pictures: z-test of the mean, chi^2 of the variance."""
    ours, form = PROCESSES[process]
    shape, t0, guide = (16, 16, 1), 0.6, -0.8
    prior = prior_of(ours, shape)
    plan = SDEdit(prior, solvers.Adaptive(0.01, 0.004), grids.Karras(), 300, hold=None,
                  noise_by=noise_by)  # fmt: skip
    request = Request(np.float32(t0), Guide(np.full(shape, guide, "f"), np.ones(shape, "f")))
    result = edited(plan, [request] * 16)[-1].result
    assert not np.any(result.attempts.short) and np.all(result.attempts.count < 250)
    mean, std = oracles.sdedit_law(form, t0, guide, M, S)
    z = (np.asarray(result.image, np.float64) - mean) / std
    assert abs(z.mean()) * np.sqrt(z.size) < stats.norm.isf(ALARM / 2)
    low, high = stats.chi2.ppf([ALARM / 2, 1 - ALARM / 2], z.size)
    assert low < np.sum(z**2) < high


def test_smaller_tolerances_converge_on_one_path():
    """Along one Brownian path the results come nearer to those of 4000 ancestral steps."""
    process, shape = sde.VP(), (8, 8, 1)
    predict, noise = prior_of(process, shape).predictor(), PathNoise(KEY)
    x = jax.random.normal(jax.random.key(1), shape)

    def run(solver, n):
        times = jnp.append(jnp.linspace(0.7, 0.1, n), sde.CLEAN)
        grid = grids.Grid(times[:-1], times[1:])
        return np.asarray(sampler.reverse(predict, process, solver, grid, noise, x)[0].x)

    fine = run(solvers.Ancestral(), 4000)
    found = [run(solvers.Adaptive(rtol, rtol / 5), 1000) for rtol in (0.2, 0.04, 0.008)]
    errors = [np.sqrt(np.mean((x - fine) ** 2)) for x in found]
    assert errors[1] < errors[0] / 1.5 and errors[2] < errors[1] / 1.5 and errors[2] < 0.01


def edited(plan, requests, keys=None, **options):
    """The events of a batch by the executor; the last one is Finished."""
    keys = jax.random.split(KEY, len(requests)) if keys is None else keys
    rows = devices.stack(requests)
    pipeline = SDEditPipeline(plan, measure=True)
    return list(executor.run(pipeline, plan.prior.params, rows, keys, devices=1, **options))


def test_pictures_of_a_batch_have_their_own_steps(rng):
    """Each equals its single run, with as many attempts; the run stops when all are finished."""
    process = sde.VE(0.02, 10.0)
    plan = SDEdit(prior_of(process), solvers.Adaptive(), grids.Karras(), 400, repeats=2,
                  corrector=Langevin(0.1))  # fmt: skip
    guides = rng.uniform(-1, 1, (3, *SHAPE)).astype("f")
    masks = rng.choice([0.0, 1.0], (3, 4, 4, 1)).astype("f")
    requests = [
        Request(np.float32(t0), Guide(guide, mask))
        for t0, guide, mask in zip((0.3, 0.6, 0.0), guides, masks, strict=True)
    ]
    keys = jax.random.split(KEY, 3)
    *events, done = edited(plan, requests, keys, preview_every=1)
    assert all(isinstance(event, Event) for event in events) and isinstance(done, Finished)
    result, counts = done.result, done.result.attempts.count
    assert counts[0] < counts[1] and counts[2] == 0 and not np.any(result.attempts.short)
    assert events[-1].evaluations <= 3 * (counts[1] + 20) < events[-1].total == plan.nfe
    assert all(np.isfinite(event.preview).all() for event in events)
    kept = np.broadcast_to(masks == 0, guides.shape)
    np.testing.assert_array_equal(result.image[kept], guides[kept])
    np.testing.assert_array_equal(result.image[2], guides[2])
    assert np.all(np.isfinite(result.score_sq)) and np.all(result.score_sq[:2] > 0)
    for i in (0, 1):
        alone = edited(plan, requests[i : i + 1], keys[i : i + 1])[-1].result
        assert alone.attempts.count[0] == counts[i]
        np.testing.assert_allclose(alone.image[0], result.image[i], atol=1e-5)


def test_recorded_noise_goes_by_attempts(rng):
    """The record of a key's noise gives the key's picture, with a mask."""
    guide, mask = rng.uniform(-1, 1, SHAPE).astype("f"), np.ones((4, 4, 1), "f")
    mask[:2] = 0
    plan = SDEdit(prior_of(sde.VP()), solvers.Adaptive(), grids.Karras(), 60)
    request = Request(np.float32(0.5), Guide(guide, mask))
    noise, kernel = sdedit.sample(KEY, SHAPE), Step(jnp.zeros(SHAPE), jnp.ones(()))
    loop = noise.steps(jnp.int32(0))
    steps = jax.vmap(
        lambda i: jnp.stack([loop.step(At(i), kernel), loop.draw(At(i), Purpose.AFTER, 0, SHAPE)])
    )(jnp.arange(plan.n))
    recorded = Recorded(noise.start(0)[None], steps[None])
    keyed = edited(plan, [request], KEY[None])[-1].result
    other = edited(plan, [request._replace(noise=recorded)], jax.random.split(KEY, 1))[-1].result
    np.testing.assert_allclose(other.image, keyed.image, atol=1e-6)
    assert np.abs(keyed.image[0, 2:] - guide[2:]).max() > 0.1


def test_too_few_steps_give_the_predicted_picture_and_a_warning():
    """The last step leads to x0, so no noise is left: a result far from the noisy state."""
    process, n = sde.VP(), 5
    prior = prior_of(process, (8, 8, 1))
    x = jax.random.normal(KEY, (8, 8, 1))

    def ends(seen):
        return seen.t, seen.s, seen.x, seen.prediction, seen.short

    state, (t, s, states, prediction, short) = sampler.reverse(
        prior.predictor(), process, solvers.Adaptive(),
        grids.Karras()(process, jnp.float32(0.8), n), SampleNoise(KEY), x, observe=ends,
    )  # fmt: skip
    assert list(short) == [False] * (n - 1) + [True] and t[-1] > 0.5 and np.isneginf(s[-1])
    x0 = sde.x0_from_eps(process, states[-1], t[-1], prediction.eps[-1])
    np.testing.assert_allclose(state.x, x0, atol=1e-5)
    call = functools.partial(sj.edit, prior, np.zeros((8, 8), np.uint8), t0=0.8, rule="adaptive")
    with pytest.warns(UserWarning, match="^steps 5 is too small for picture 0: the last step"):
        call(steps=5)


def test_errors_and_defaults():
    wrong = [{"rtol": 0.0}, {"atol": -1.0}, {"first": np.inf}, {"safety": 1.5}, {"exponent": 2.0}]
    for given in wrong:
        name, value = next(iter(given.items()))
        with pytest.raises(ValueError, match=f"^{name} must be .*, got {value}"):
            solvers.Adaptive(**given)
    assert settings.sampling({"rule": "adaptive(rtol=0.02)"}).steps == settings.ATTEMPTS
    assert settings.sampling({"rule": "adaptive", "steps": 30}).steps == 30
    prior = prior_of(sde.VP())
    plan = Inversion(prior, prior.predict, prior.predict, solvers.Adaptive(),
                     grids.Above(grids.Uniform()), 5)  # fmt: skip
    with pytest.raises(ValueError, match=r"inversion needs one that takes the steps of the grid"):
        check(plan)

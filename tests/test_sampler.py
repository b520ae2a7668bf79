"""Grids, noise, the loop in chunks, and its hooks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hooks import Hook
from scipy import stats

from sdedit_jax.diffusion import grids, sampler, sde, solvers
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.masking import KnownRegion
from sdedit_jax.diffusion.noise import (
    SLOT,
    At,
    InferNoise,
    PathNoise,
    Purpose,
    ReplayNoise,
    SampleNoise,
    ZeroNoise,
    drawn_seed,
    image_key,
    seed_key,
    seed_word,
)
from sdedit_jax.diffusion.sampler import Context
from sdedit_jax.diffusion.solvers import Step
from sdedit_jax.priors.analytic import gaussian

N = 9
PROCESSES = {"ve": sde.VE(0.02, 100.0), "vp": sde.VP(), "table": sde.linear_table()}
GRIDS = {
    "uniform": grids.Uniform(),
    "paper": grids.Uniform("zero"),
    "log-SNR": grids.UniformLogSNR(0.05),
    "karras": grids.Karras(7.0, 0.05),
    "score_sde": grids.ScoreSDE(1e-3),
    "euler": grids.ScoreSDE(1e-3, euler=True),
}
STRENGTHS = np.array([1e-6, 1e-4, 0.01, 0.35, 0.7, 1.0], np.float32)


@functools.cache
def made(grid, process):
    """The grids of all STRENGTHS, t0 traced: t, s [strengths, N] in float64."""
    build = functools.partial(GRIDS[grid], PROCESSES[process], n=N)
    got = jax.jit(jax.vmap(lambda t0: build(t0)))(jnp.asarray(STRENGTHS))
    return np.asarray(got.t, np.float64), np.asarray(got.s, np.float64)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("grid", GRIDS)
def test_grids_start_at_t0_fall_and_end(grid, process):
    """N asked are N; the start is t0 to the last bit, for tiny t0 too."""
    t, s = made(grid, process)
    assert t.shape == s.shape == (len(STRENGTHS), N)
    np.testing.assert_array_equal(t[:, 0], STRENGTHS)
    assert np.all(np.diff(t) <= 0) and np.all(t >= 0)
    assert np.all(np.diff(t[2:]) < 0)  # strictly, where float32 has room between the times
    if grid == "euler":  # each step has the length t0 / n
        np.testing.assert_allclose(t - s, np.tile(STRENGTHS[:, None] / N, N), rtol=1e-4)
    else:
        np.testing.assert_array_equal(s[:, :-1], t[:, 1:])
        assert np.all(s[:, -1] == (0.0 if grid == "paper" else sde.CLEAN))


def test_even_grids():
    even = STRENGTHS[:, None] * (1 - np.arange(N) / N)
    for grid in ("uniform", "paper"):
        np.testing.assert_allclose(made(grid, "vp")[0], even, rtol=1e-6)
    for grid in ("score_sde", "euler"):  # linspace(t0, t_end, n)
        want = np.linspace(STRENGTHS, np.minimum(1e-3, STRENGTHS), N, axis=1)
        np.testing.assert_allclose(made(grid, "vp")[0], want, rtol=1e-4)


def ratios(t, process):
    alpha, sigma = jax.vmap(lambda t: jnp.stack(sde.level(process, t)))(jnp.float32(t)).T
    return np.asarray(sigma / alpha, np.float64)


@pytest.mark.parametrize("process", PROCESSES)
def test_spacing_in_noise(process):
    """uniform_log_snr: sigmas geometric. karras: EDM eq. 5 between sigma(t0) and sigma_end."""
    for i in (3, 4, 5):
        high = ratios(STRENGTHS[i : i + 1], PROCESSES[process])[0]
        even = np.geomspace(high, 0.05, N)
        got = ratios(made("log-SNR", process)[0][i], PROCESSES[process])
        np.testing.assert_allclose(got, even, rtol=2e-4)
        rho = 7.0
        steps = np.arange(N) / (N - 1)
        edm = (high ** (1 / rho) + steps * (0.05 ** (1 / rho) - high ** (1 / rho))) ** rho
        got = ratios(made("karras", process)[0][i], PROCESSES[process])
        np.testing.assert_allclose(got, edm, rtol=2e-4)


def test_grids_of_one_step():
    for name, grid in GRIDS.items():
        got = grid(sde.VP(), jnp.float32(0.3), 1)
        assert got.t.shape == (1,) and got.t[0] == np.float32(0.3), name


def test_uniform_starts_at_t0_for_any_n(rng):
    t0 = jnp.asarray(rng.uniform(size=200), jnp.float32)
    for n in (7, 49):
        start = jax.vmap(lambda t0, n=n: grids.Uniform()(sde.VP(), t0, n).t[0])(t0)
        assert jnp.array_equal(start, t0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grids.Uniform("dirty"), r"end must be one of \['clean', 'zero'\], got 'dirty'"),
        (lambda: grids.Karras(rho=0), "rho must be above 0, got 0"),
        (lambda: grids.Karras(sigma_end=0), "sigma_end must be above 0, got 0"),
        (lambda: grids.UniformLogSNR(-1), "sigma_end must be above 0, got -1"),
        (lambda: grids.ScoreSDE(2.0), r"t_end must be in \(0, 1\), got 2.0"),
        (lambda: Langevin(norm="row"), r"norm must be one of .* got 'row'"),
        (lambda: Langevin(snr=0), "Langevin needs snr > 0 .* snr=0"),
        (lambda: Langevin(steps=0), "steps >= 1, got .* steps=0"),
        (lambda: KnownRegion(0, 0, "off"), r"mode must be one of \['level', .* got 'off'"),
        (lambda: KnownRegion(0, 0, "official"), 'mode "official" needs z'),
        (lambda: of_replay((2, 0, 1), Purpose.STEP), "z holds 0 draws for each step"),
        (lambda: of_replay((2, 1, 1), Purpose.AFTER), "z holds 1 draws for each step"),
        (lambda: of_replay((2, 3, 1), Purpose.AFTER, 2), "z holds 3 draws for each step"),
        (lambda: of_replay((2, 3, 1), Purpose.BEFORE, 1, before=1), "1 of them before it"),
        (lambda: of_replay((2, 3, 1), Purpose.BEFORE), "0 of them before it"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- noise ----------------------------------------------------------------------------------------


def of_replay(shape, purpose, call=0, before=0):
    return ReplayNoise(jnp.zeros(shape), before).draw(At(0), purpose, call, (1,))


KERNEL = Step(jnp.zeros((5, 5, 1)), jnp.ones(()))


def increments(times, side=40):
    """sqrt(t - s) z [steps, side^2] of the steps between these times, and their lengths."""
    times = jnp.asarray(times, jnp.float32)
    noise = PathNoise(jax.random.key(5))
    kernel = Step(jnp.zeros((side, side, 1)), jnp.ones(()))
    steps = At(jnp.arange(len(times) - 1), times[:-1], times[1:])
    z = jax.lax.map(lambda at: noise.step(at, kernel), steps)
    lengths = -np.diff(np.asarray(times, np.float64))
    return np.asarray(z).reshape(len(lengths), -1), lengths


def test_noise_of_a_path_is_the_same_in_longer_steps():
    """W(t) - W(s) is the sum over the steps between; its z are independent and standard normal."""
    fine, lengths = increments(np.arange(48, -1, -1) / 64)
    coarse, long = increments(np.arange(48, -1, -6) / 64)
    added = (np.sqrt(lengths)[:, None] * fine).reshape(8, 6, -1).sum(1)
    np.testing.assert_allclose(np.sqrt(long)[:, None] * coarse, added, atol=2e-6)
    count = fine.shape[1]
    assert stats.kstest(fine.ravel(), "norm").pvalue > 1e-3
    seen = np.corrcoef(fine)[np.triu_indices(48, 1)] * np.sqrt(count)
    assert np.abs(seen).max() < 5 and abs(seen.std() - 1) < 0.1
    uneven, _ = increments([0.83, 0.4101, 0.41, 0.0003, 0.0])
    assert np.all(np.abs(uneven.std(1) - 1) < 5 / np.sqrt(2 * count))
    assert not np.array_equal(*increments([0.5, 0.5, 0.5])[0])  # no length: a draw of the step


def test_hooks_draw_from_a_path_by_the_time_of_their_state():
    """Runs that share a time share the draws there, whatever the numbers of their steps are."""
    noise, shape = PathNoise(jax.random.key(5)), (4, 4, 1)

    def draw(at, purpose, call=0):
        return np.asarray(noise.draw(at, purpose, call, shape)).tobytes()

    for purpose, at, same, other in (
        (Purpose.BEFORE, At(3, 0.5, 0.25), At(6, 0.5, 0.375), At(3, 0.625, 0.25)),
        (Purpose.AFTER, At(3, 0.5, 0.25), At(7, 0.375, 0.25), At(3, 0.5, sde.CLEAN)),
    ):
        assert draw(at, purpose) == draw(same, purpose)
        assert len({draw(at, purpose), draw(other, purpose), draw(at, purpose, 1)}) == 3


@pytest.mark.parametrize(
    ("solver", "process"),
    [
        (solvers.Ancestral(), sde.VP()),
        (solvers.DPMpp(), sde.VE(0.02, 10.0)),
        (solvers.SASolver(), sde.VP()),
    ],
)
def test_runs_on_one_path_converge(process, solver):
    """Twice the steps on one path is nearer than on noise by the step, and ever nearer."""
    prior = gaussian(process, jnp.full((16, 16, 1), 0.3), 0.5)
    x = sde.perturb(process, 0.3, 0.7, jax.random.normal(jax.random.key(0), (16, 16, 1)))

    def run(n, noise):
        times = jnp.linspace(0.7, 0.1, n + 1)
        grid = Grid(times[:-1], times[1:])
        run = sampler.reverse(prior.predictor(), process, solver, grid, noise, x, final="sample")
        return np.asarray(run[0].x)

    def apart(noise):
        runs = [run(n, noise) for n in (8, 32, 128)]
        return [np.sqrt(np.mean((a - b) ** 2)) for a, b in zip(runs, runs[1:], strict=False)]

    key = jax.random.key(1)
    path, number = apart(PathNoise(key)), apart(SampleNoise(key))
    assert path[1] < path[0] / 1.8 and path[1] < number[1] / 4


def test_noise_depends_on_key_step_purpose_and_call_alone():
    """The draws of the step, of hooks before and after it, and of each of their calls differ."""

    def draws(seed, index, calls=3):
        noise, shape, at = SampleNoise(jax.random.key(seed)), KERNEL.mean.shape, At(index)
        hooks = [(purpose, slot * SLOT + call) for purpose in (Purpose.BEFORE, Purpose.AFTER)
                 for slot in (0, 1) for call in range(calls)]  # fmt: skip
        found = [noise.step(at, KERNEL), *(noise.draw(at, *hook, shape) for hook in hooks)]
        return jnp.stack(found)

    seen = [
        np.asarray(z).tobytes()
        for seed in (0, 1)
        for index in (0, 1, 7)
        for z in draws(seed, index)
    ]
    assert len(set(seen)) == len(seen) == 2 * 3 * 13
    np.testing.assert_array_equal(draws(0, 7), draws(0, 7))
    np.testing.assert_array_equal(draws(0, 7, calls=1)[:2], draws(0, 7)[:2])
    np.testing.assert_array_equal(jax.jit(draws, static_argnums=0)(0, 7)[0], draws(0, 7)[0])


@pytest.mark.parametrize("purpose", [Purpose.BEFORE, Purpose.AFTER])
def test_a_draw_in_a_loop_equals_the_same_draw_outside(purpose, rng):
    """The number of the call may be traced, also where steps and purposes are many."""
    z = jnp.asarray(rng.normal(size=(4, 9, 2, 2, 1)), jnp.float32)
    for noise in (SampleNoise(jax.random.key(3)), ReplayNoise(z, 4)):

        @jax.jit
        def inside(noise, index):
            def body(i, out):
                return out.at[i].set(noise.draw(At(index), purpose, i, (2, 2, 1)))

            return jax.lax.fori_loop(0, 4, body, jnp.zeros((4, 2, 2, 1)))

        for index in (0, 3):
            outside = [noise.draw(At(index), purpose, call, (2, 2, 1)) for call in range(4)]
            np.testing.assert_array_equal(inside(noise, index), outside)
            assert len({np.asarray(one).tobytes() for one in outside}) == 4


def test_recorded_noise_comes_in_the_order_of_a_step():
    """Before the step, for the step, after it; a traced call past the record is NaN."""
    z = jnp.arange(24.0).reshape(4, 3, 2, 1, 1)
    shape, noise = (2, 1, 1), ReplayNoise(z, before=1)
    kernel = Step(jnp.zeros(shape), jnp.ones(()))
    at = At(jnp.asarray(2))
    np.testing.assert_array_equal(noise.draw(at, Purpose.BEFORE, 0, shape), z[2, 0])
    np.testing.assert_array_equal(noise.step(at, kernel), z[2, 1])
    np.testing.assert_array_equal(noise.draw(at, Purpose.AFTER, 0, shape), z[2, 2])
    with pytest.raises(ValueError, match="z holds 3 draws for each step, 1 of them before it"):
        noise.draw(at, Purpose.AFTER, 1, shape)
    for purpose in (Purpose.BEFORE, Purpose.AFTER):
        late = jax.jit(lambda call, purpose=purpose: noise.draw(At(2), purpose, call, shape))
        assert np.isfinite(late(0)).all() and np.isnan(late(1)).all()


def test_inferred_noise_reaches_its_targets(rng):
    """z = (target - mean) / std; where a step has no noise it is 0."""
    target, mean = jnp.asarray(rng.normal(size=(2, *SHAPE)), jnp.float32)
    noise = InferNoise(lambda i: target)
    for std in (0.3, jnp.full(SHAPE, 2.0)):
        z = noise.step(At(0), Step(mean, jnp.asarray(std)))
        np.testing.assert_allclose(mean + std * z, target, rtol=1e-6, atol=1e-6)
    assert not np.any(noise.step(At(0), Step(mean, jnp.zeros(()))))
    assert not np.any(ZeroNoise().step(At(0), Step(mean, jnp.ones(()))))
    with pytest.raises(ValueError, match="a hook cannot draw any"):
        noise.draw(At(0), Purpose.AFTER, 0, SHAPE)


def test_the_key_of_a_picture():
    """Seed, id and sample decide it, each of them; only whole numbers are seeds."""
    asked = [(seed, id, sample) for seed in (0, 1) for id in "ab" for sample in (0, 1)]
    data = {tuple(jax.random.key_data(image_key(*one)).tolist()) for one in asked}
    assert len(data) == len(asked)
    assert image_key(np.int64(7), "a") == image_key(7, "a", 0)
    for seed in (1.0, "1", True, None):
        with pytest.raises(TypeError, match="seed must be a whole number"):
            image_key(seed, "a")
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match=r"seed must be a whole number in \[0, 2\*\*64 - 1\]"):
            image_key(seed, "a")


def test_large_seeds_fold_in_their_upper_bits_and_small_ones_are_unchanged():
    for seed in (0, 7, 2**31, 2**32 - 1):
        assert seed_key(seed) == jax.random.key(seed) and seed_word(seed) == seed
    for high, low in ((1, 0), (1, 7), (2**32 - 1, 2**32 - 1)):
        seed = high * 2**32 + low
        assert seed_key(seed) == jax.random.fold_in(jax.random.key(low), high)
        assert seed_key(seed) == seed_key(np.uint64(seed))
        assert 0 <= seed_word(seed) < 2**32
    large = [2**32 + 7, 2 * 2**32 + 7, 2**64 - 1, 7]
    assert len({tuple(jax.random.key_data(seed_key(seed)).tolist()) for seed in large}) == 4
    assert len(set(map(seed_word, large))) == 4


def test_minus_one_draws_seeds_of_32_bits():
    found = [drawn_seed(-1) for _ in range(8)]
    assert len(set(found)) == 8 and all(0 <= seed < 2**32 for seed in found)
    assert drawn_seed(2**64 - 1) == 2**64 - 1
    with pytest.raises(ValueError, match="or -1 to draw one, got -2"):
        drawn_seed(-2)


# --- the loop -------------------------------------------------------------------------------------


SHAPE = (4, 4, 2)
PRIOR = gaussian(sde.VP(), jnp.full(SHAPE, 0.3), 0.5)
PREDICT = functools.partial(PRIOR.predict, PRIOR.params)


def after(seen):
    """The state after a step."""
    return seen.x_next


def test_chunks_equal_one_scan_bit_for_bit(rng):
    """Nine steps in chunks of three with a traced start, with solver memory and a mask."""
    process, rule = sde.VP(), solvers.DPMpp()
    grid = grids.Uniform()(process, jnp.float32(0.6), N)
    noise = ReplayNoise(jnp.asarray(rng.normal(size=(N, 2, *SHAPE)), jnp.float32))
    hold = KnownRegion(jnp.zeros(SHAPE), jnp.asarray(rng.random(SHAPE), jnp.float32))
    x = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)

    def run(state, first, count):
        return sampler.advance(
            PREDICT, process, rule, grid, noise, state, first=first, count=count, hooks=[hold],
            observe=after,
        )  # fmt: skip

    traces = []

    @jax.jit
    def chunk(state, first):
        traces.append(first)
        return run(state, first, 3)[0]

    state = sampler.begin(rule, x)
    whole, path = jax.jit(lambda state: run(state, 0, None))(state)
    for first in (0, 3, 6):
        state = chunk(state, jnp.int32(first))
        np.testing.assert_array_equal(state.x, path[first + 2])
    assert len(traces) == 1
    for ours, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_last_step_takes_mean_or_sample(rng):
    """They differ by std z in the last step alone, whatever the chunk."""
    process, rule = sde.VE(0.02, 10.0), solvers.ReverseDiffusion()
    grid = Grid(jnp.asarray([0.5, 0.4]), jnp.asarray([0.4, 0.3]))
    z = jnp.asarray(rng.normal(size=(2, 1, *SHAPE)), jnp.float32)
    x = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    run = functools.partial(
        sampler.reverse, PREDICT, process, rule, grid, ReplayNoise(z), x, observe=after
    )
    (mean, path), (sample, other) = run(final="mean"), run(final="sample")
    np.testing.assert_array_equal(path[0], other[0])
    std = np.sqrt(process.sigma(0.4) ** 2 - process.sigma(0.3) ** 2)
    np.testing.assert_allclose(sample.x - mean.x, std * z[1, 0], atol=1e-5)
    with pytest.raises(ValueError, match=r"final must be one of .* got 'last'"):
        run(final="last")


def test_hooks_run_in_order_and_know_the_step(rng):
    """before, the step, after; two of each in the order given; z, noisy and index told."""
    told = []

    def note(name):
        def run(x, context):
            z = jnp.zeros(()) if context.z is None else context.z[0, 0, 0]
            jax.debug.callback(
                lambda *a: told.append((name, *map(float, a))),
                context.index,
                context.t,
                context.s,
                context.noisy,
                z,
                ordered=True,
            )
            return x

        return run

    hooks = [Hook(note("a"), note("c")), Hook(note("b")), Hook(), Hook(after=note("d"))]
    grid = Grid(jnp.asarray([0.5, 0.25]), jnp.asarray([0.25, sde.CLEAN]))
    z = jnp.asarray([[[[[1.5]]]], [[[[2.5]]]]])
    x = jnp.zeros((1, 1, 1))
    prior = gaussian(sde.VP(), x, 1.0)
    predict = functools.partial(prior.predict, prior.params)
    noise = ReplayNoise(z)
    state = sampler.reverse(predict, sde.VP(), solvers.Ancestral(), grid, noise, x, hooks=hooks)
    jax.block_until_ready(state)
    jax.effects_barrier()
    assert told == [
        (name, i, t, s, noisy, z if name in "cd" else 0.0)
        for i, t, s, noisy, z in [(0, 0.5, 0.25, 1, 1.5), (1, 0.25, sde.CLEAN, 0, 2.5)]
        for name in "abcd"
    ]


def test_each_hook_changes_what_the_last_one_left(rng):
    """x -> 2 x and x -> x + 1 before the step, and the other way after it."""
    double, more = (lambda x, context: 2 * x), (lambda x, context: x + 1)
    process, solver = sde.VP(), solvers.Ancestral(0.0)
    grid = Grid(jnp.asarray([0.5]), jnp.asarray([0.25]))
    x = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    run = functools.partial(sampler.reverse, PREDICT, process, solver, grid, ZeroNoise())
    for hooks, change, back in [
        ([Hook(double), Hook(more)], lambda x: 2 * x + 1, lambda x: x),
        ([Hook(more), Hook(double)], lambda x: 2 * (x + 1), lambda x: x),
        ([Hook(after=double), Hook(after=more)], lambda x: x, lambda x: 2 * x + 1),
        ([Hook(more, double), Hook(double, more)], lambda x: 2 * (x + 1), lambda x: 2 * x + 1),
    ]:
        got = run(x, hooks=hooks)[0].x
        np.testing.assert_allclose(got, back(run(change(x))[0].x), rtol=1e-5, atol=1e-5)


def test_each_hook_draws_its_own_noise():
    """Equal hooks on both sides of each step, of which no two draws are equal."""
    seen, n = [], 3

    def draw_two(x, context):
        for call in (0, 1):
            jax.debug.callback(lambda z: seen.append(np.asarray(z)), context.draw(call, SHAPE))
        return x

    def keep(x, context):
        jax.debug.callback(lambda z: seen.append(np.asarray(z)), context.z)
        return x

    process, hook = sde.VP(), Hook(draw_two, draw_two)
    grid = grids.Uniform()(process, jnp.float32(0.5), n)
    noise, x = SampleNoise(jax.random.key(0)), jnp.zeros(SHAPE)
    hooks = [hook, hook, Hook(after=keep)]
    sampler.reverse(PREDICT, process, solvers.Ancestral(), grid, noise, x, hooks=hooks)
    jax.effects_barrier()
    assert len(seen) == n * 9 == len({z.tobytes() for z in seen})


def test_a_hook_that_does_not_draw_moves_no_noise(rng):
    """The step's z and a mask's draws are those of the loop without the other hook."""
    process, x = sde.VP(), jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    grid, noise = grids.Uniform()(process, jnp.float32(0.5), 3), SampleNoise(jax.random.key(5))
    hold = KnownRegion(jnp.zeros(SHAPE), jnp.asarray(rng.random(SHAPE), jnp.float32))
    run = functools.partial(
        sampler.reverse, PREDICT, process, solvers.Ancestral(), grid, noise, x, observe=after
    )
    still = Hook(lambda x, context: x)
    for more in ([still], [Hook()]):
        np.testing.assert_array_equal(run(hooks=[*more, hold])[1], run(hooks=[hold])[1])


def test_observe_sees_each_step(rng):
    """The state it starts from, the prediction there, the kernel, its noise and the state after."""
    process, n = sde.VP(), 4
    grid = grids.Uniform()(process, jnp.float32(0.6), n)
    z = jnp.asarray(rng.normal(size=(n, 1, *SHAPE)), jnp.float32)
    x = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    shift = Hook(lambda x, context: x + 0.1, lambda x, context: 0.9 * x)
    state, seen = sampler.reverse(
        PREDICT, process, solvers.Ancestral(), grid, ReplayNoise(z), x, hooks=[shift],
        final="sample", observe=lambda seen: seen._replace(process=None),
    )  # fmt: skip
    np.testing.assert_array_equal(seen.index, np.arange(n))
    np.testing.assert_array_equal(seen.t, grid.t)
    np.testing.assert_array_equal(seen.s, grid.s)
    np.testing.assert_array_equal(seen.z, z[:, 0])
    np.testing.assert_allclose(seen.x[0], x + 0.1, rtol=1e-6)
    np.testing.assert_allclose(seen.x[1:], seen.x_next[:-1] + 0.1, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(state.x, seen.x_next[-1])
    std = seen.kernel.std[:, None, None, None]
    np.testing.assert_allclose(
        seen.x_next, 0.9 * (seen.kernel.mean + std * seen.z), rtol=1e-5, atol=1e-6
    )
    eps = jax.vmap(lambda x, t: PREDICT(x, t).eps)(seen.x, seen.t)
    np.testing.assert_allclose(seen.prediction.eps, eps, rtol=1e-5, atol=1e-6)


# --- masks ----------------------------------------------------------------------------------------


def context(process, t, s, z, noisy=1.0, draws=None):
    draw = None
    if draws is not None:
        source = ReplayNoise(draws[None], len(draws))
        draw = functools.partial(source.draw, At(0), Purpose.BEFORE)
    times = jnp.float32(t), jnp.float32(s)
    return Context(process, *times, 0, z, jnp.float32(noisy), draw, PREDICT)


@pytest.mark.parametrize("process", PROCESSES.values())
def test_hold_by_its_definition(process, rng):
    """level: fresh noise at s; paper: the step's z at t; official: the start's z at t;
    diffusers: the start's z where the next step begins."""
    guide, x, z, fresh, start = jnp.asarray(rng.normal(size=(5, *SHAPE)), jnp.float32)
    mask = jnp.asarray(rng.choice([0.0, 0.3, 1.0], (4, 4, 1)), jnp.float32)
    told = context(process, 0.6, 0.5, z, draws=fresh[None])._replace(next_t=jnp.float32(0.4))
    modes = [("level", 0.5, fresh), ("paper", 0.6, z), ("official", 0.6, start)]
    for mode, t, noise in [*modes, ("diffusers", 0.4, start)]:
        got = KnownRegion(guide, mask, mode, start).after(x, told)
        want = mask * x + (1 - mask) * sde.perturb(process, guide, t, noise)
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    paper = KnownRegion(guide, mask, "paper").after(x, told._replace(noisy=jnp.zeros(())))
    want = mask * x + (1 - mask) * sde.perturb(process, guide, 0.6, 0 * z)
    np.testing.assert_allclose(paper, want, rtol=1e-6, atol=1e-6)


def test_level_holds_exactly_at_the_clean_end(rng):
    guide, x, z = jnp.asarray(rng.normal(size=(3, *SHAPE)), jnp.float32)
    mask = jnp.zeros((4, 4, 1)).at[:2].set(1.0)
    told = context(sde.VP(), 0.1, sde.CLEAN, z, draws=z[None])
    got = KnownRegion(guide, mask).after(x, told)
    assert jnp.array_equal(got[2:], guide[2:]) and jnp.array_equal(got[:2], x[:2])


# --- Langevin -------------------------------------------------------------------------------------


def test_langevin_by_its_formula(rng):
    """e = 2 a^2 (snr |z| / |score|)^2, x + e score + sqrt(2 e) z, twice with two draws."""
    process, x, z = sde.VP(), *jnp.asarray(rng.normal(size=(2, *SHAPE)), jnp.float32)
    told = context(process, 0.6, 0.4, None, draws=jnp.stack([z, 2 * z]))
    got = Langevin(0.2, 2).before(x, told)
    a = float(process.alpha(0.6) / process.alpha(0.4))
    for noise in (np.asarray(z, np.float64), np.asarray(2 * z, np.float64)):
        score = -np.asarray(PREDICT(jnp.float32(x), 0.6).eps, np.float64) / process.sigma(0.6)
        e = 2 * a**2 * (0.2 * np.linalg.norm(noise) / np.linalg.norm(score)) ** 2
        x = x + e * score + np.sqrt(2 * e) * noise
    np.testing.assert_allclose(got, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("process", [sde.VE(0.02, 10.0), sde.VP()])
def test_langevin_is_stationary_on_gaussian_data(process):
    """200 steps from noise of half the std: N(alpha m, v (1 + a^2 snr^2)), chance of alarm 1e-6.

    The step is e = 2 a^2 snr^2 v^2 / V at variance V (many pixels), and V = (1 - e/v)^2 V + 2 e
    has the solution V = v (1 + a^2 snr^2).
    """
    snr, shape, alarm = 0.2, (48, 48, 1), 1e-6
    prior = gaussian(process, jnp.full(shape, 0.3), 0.5)
    predict = functools.partial(prior.predict, prior.params)
    t, s = jnp.float32(0.5), jnp.float32(0.45)
    alpha, sigma = (float(v) for v in sde.level(process, t))
    mean, v = 0.3 * alpha, (0.5 * alpha) ** 2 + sigma**2
    a = float(sde.transition(process, t, s)[0])
    corrector, noise = Langevin(snr), SampleNoise(jax.random.key(1))

    def step(x, i):
        draw = functools.partial(noise.draw, At(i), Purpose.BEFORE)
        told = Context(process, t, s, i, None, jnp.ones(()), draw, predict)
        return corrector.before(x, told), None

    x = mean + np.sqrt(v) / 2 * jax.random.normal(jax.random.key(2), shape)
    x = np.asarray(jax.jit(lambda x: jax.lax.scan(step, x, jnp.arange(200))[0])(x), np.float64)
    z = (x - mean) / np.sqrt(v * (1 + a**2 * snr**2))
    low, high = stats.chi2.ppf([alarm / 2, 1 - alarm / 2], z.size)
    assert low < np.sum(z**2) < high
    assert abs(z.mean()) * np.sqrt(z.size) < stats.norm.isf(alarm / 2)


def test_langevin_norms(rng):
    """image: each alone. batch: the means of |z| and |g|, so neighbours matter."""
    x, z = jnp.asarray(rng.normal(size=(2, 3, *SHAPE)), jnp.float32)
    x = x * jnp.asarray([0.5, 1.0, 4.0])[:, None, None, None]

    def rows(norm, picked):
        def one(x, z):
            told = context(sde.VP(), 0.6, 0.5, None, draws=z[None])
            return Langevin(0.2, norm=norm).before(x, told)

        return jax.jit(jax.vmap(one, axis_name="batch"))(x[picked], z[picked])

    every, alone = jnp.arange(3), jnp.asarray([1])
    np.testing.assert_allclose(rows("image", every)[1], rows("image", alone)[0], rtol=1e-5)
    np.testing.assert_allclose(rows("batch", alone), rows("image", alone), rtol=1e-5)
    assert not np.allclose(rows("batch", every)[1], rows("image", every)[1], rtol=1e-3)

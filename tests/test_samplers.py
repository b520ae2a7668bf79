"""Grids, noise, the loop in chunks, and the refinements."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sdedit_jax import grids, rules, samplers, sde
from sdedit_jax.grids import Grid
from sdedit_jax.prior import gaussian
from sdedit_jax.samplers import Context, Refine

N = 9
PROCESSES = {"ve": sde.VE(0.02, 100.0), "vp": sde.VP(), "table": sde.linear_table()}
GRIDS = {
    "uniform": grids.uniform(),
    "paper": grids.paper(),
    "log-SNR": grids.uniform_log_snr(0.05),
    "karras": grids.karras(7.0, 0.05),
    "score_sde": grids.score_sde(1e-3),
    "euler": grids.score_sde(1e-3, euler=True),
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
        start = jax.vmap(lambda t0, n=n: grids.uniform()(sde.VP(), t0, n).t[0])(t0)
        assert jnp.array_equal(start, t0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grids.uniform("dirty"), r"end must be one of \['clean', 'zero'\], got 'dirty'"),
        (lambda: grids.karras(rho=0), "rho must be above 0, got 0"),
        (lambda: grids.karras(sigma_end=0), "sigma_end must be above 0, got 0"),
        (lambda: grids.uniform_log_snr(-1), "sigma_end must be above 0, got -1"),
        (lambda: grids.score_sde(2.0), r"t_end must be in \(0, 1\), got 2.0"),
        (lambda: samplers.langevin(norm="row"), r"norm must be one of .* got 'row'"),
        (lambda: samplers.langevin(snr=0), "langevin needs snr > 0 .* snr=0"),
        (lambda: samplers.langevin(steps=0), "steps >= 1, got .* steps=0"),
        (lambda: samplers.hold(0, 0, "off"), r"mode must be one of \['level', .* got 'off'"),
        (lambda: samplers.hold(0, 0, "official"), 'mode "official" needs z'),
        (lambda: samplers.recorded(jnp.zeros((2, 0, 1)))(0)(), "z holds 0 draws for each step"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# --- noise ----------------------------------------------------------------------------------------


def test_keyed_noise_depends_on_key_index_and_call_alone():
    def draws(seed, index, calls=3):
        draw = samplers.keyed(jax.random.key(seed), (5, 5, 1))(index)
        return [np.asarray(draw()) for _ in range(calls)]

    seen = [z.tobytes() for seed in (0, 1) for index in (0, 1, 7) for z in draws(seed, index)]
    assert len(set(seen)) == len(seen)
    np.testing.assert_array_equal(draws(0, 7), draws(0, 7))
    np.testing.assert_array_equal(draws(0, 7, calls=1)[0], draws(0, 7)[0])
    traced = jax.jit(lambda i: samplers.keyed(jax.random.key(0), (5, 5, 1))(i)())
    np.testing.assert_array_equal(traced(7), draws(0, 7)[0])


def test_recorded_noise_comes_in_call_order():
    z = jnp.arange(24.0).reshape(4, 2, 3, 1, 1)
    draw = samplers.recorded(z)(jnp.asarray(2))
    assert jnp.array_equal(draw(), z[2, 0]) and jnp.array_equal(draw(), z[2, 1])
    with pytest.raises(ValueError, match="z holds 2 draws for each step, a step asks for more"):
        draw()


# --- the loop -------------------------------------------------------------------------------------


SHAPE = (4, 4, 2)
PRIOR = gaussian(sde.VP(), jnp.full(SHAPE, 0.3), 0.5)
PREDICT = functools.partial(PRIOR.predict, PRIOR.params)


def test_chunks_equal_one_scan_bit_for_bit(rng):
    """Nine steps in chunks of three with a traced start, with rule memory and a mask."""
    process, rule = sde.VP(), rules.dpmpp_2m_sde()
    grid = grids.uniform()(process, jnp.float32(0.6), N)
    noise = samplers.recorded(jnp.asarray(rng.normal(size=(N, 2, *SHAPE)), jnp.float32))
    refine = samplers.hold(jnp.zeros(SHAPE), jnp.asarray(rng.random(SHAPE), jnp.float32))
    x = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)

    def run(state, first, count):
        return samplers.advance(
            PREDICT, process, rule, grid, noise, state, first=first, count=count, refine=refine
        )

    traces = []

    @jax.jit
    def chunk(state, first):
        traces.append(first)
        return run(state, first, 3)[0]

    state = samplers.begin(rule, x)
    whole, path = jax.jit(lambda state: run(state, 0, None))(state)
    for first in (0, 3, 6):
        state = chunk(state, jnp.int32(first))
        np.testing.assert_array_equal(state.x, path[first + 2])
    assert len(traces) == 1
    for ours, wanted in zip(jax.tree.leaves(state), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_last_step_takes_mean_or_sample(rng):
    """They differ by std z in the last step alone, whatever the chunk."""
    process, rule = sde.VE(0.02, 10.0), rules.reverse_diffusion()
    grid = Grid(jnp.asarray([0.5, 0.4]), jnp.asarray([0.4, 0.3]))
    z = jnp.asarray(rng.normal(size=(2, 1, *SHAPE)), jnp.float32)
    x = jnp.asarray(rng.normal(size=SHAPE), jnp.float32)
    run = functools.partial(samplers.reverse, PREDICT, process, rule, grid, samplers.recorded(z), x)
    (mean, path), (sample, other) = run(final="mean"), run(final="sample")
    np.testing.assert_array_equal(path[0], other[0])
    std = np.sqrt(process.sigma(0.4) ** 2 - process.sigma(0.3) ** 2)
    np.testing.assert_allclose(sample.x - mean.x, std * z[1, 0], atol=1e-5)
    with pytest.raises(ValueError, match=r"final must be one of .* got 'last'"):
        run(final="last")


def test_chain_keeps_the_order_and_the_context(rng):
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

    both = samplers.chain(
        Refine(note("a"), note("c")), Refine(note("b")), Refine(), Refine(after=note("d"))
    )
    grid = Grid(jnp.asarray([0.5, 0.25]), jnp.asarray([0.25, sde.CLEAN]))
    z = jnp.asarray([[[[[1.5]]]], [[[[2.5]]]]])
    x = jnp.zeros((1, 1, 1))
    prior = gaussian(sde.VP(), x, 1.0)
    predict = functools.partial(prior.predict, prior.params)
    noise = samplers.recorded(z)
    state = samplers.reverse(predict, sde.VP(), rules.ancestral(), grid, noise, x, refine=both)
    jax.block_until_ready(state)
    jax.effects_barrier()
    assert told == [
        (name, i, t, s, noisy, z if name in "cd" else 0.0)
        for i, t, s, noisy, z in [(0, 0.5, 0.25, 1, 1.5), (1, 0.25, sde.CLEAN, 0, 2.5)]
        for name in "abcd"
    ]
    assert samplers.chain() == Refine()


# --- masks ----------------------------------------------------------------------------------------


def context(process, t, s, z, noisy=1.0, draws=None):
    draw = None if draws is None else samplers.recorded(draws[None])(0)
    times = jnp.float32(t), jnp.float32(s)
    return Context(process, *times, 0, z, jnp.float32(noisy), draw, PREDICT)


@pytest.mark.parametrize("process", PROCESSES.values())
def test_hold_by_its_definition(process, rng):
    """level: fresh noise at s; paper: the step's z at t; official: the start's z at t."""
    guide, x, z, fresh, start = jnp.asarray(rng.normal(size=(5, *SHAPE)), jnp.float32)
    mask = jnp.asarray(rng.choice([0.0, 0.3, 1.0], (4, 4, 1)), jnp.float32)
    told = context(process, 0.6, 0.5, z, draws=fresh[None])
    for mode, t, noise in [("level", 0.5, fresh), ("paper", 0.6, z), ("official", 0.6, start)]:
        got = samplers.hold(guide, mask, mode, start).after(x, told)
        want = mask * x + (1 - mask) * sde.perturb(process, guide, t, noise)
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    paper = samplers.hold(guide, mask, "paper").after(x, told._replace(noisy=jnp.zeros(())))
    want = mask * x + (1 - mask) * sde.perturb(process, guide, 0.6, 0 * z)
    np.testing.assert_allclose(paper, want, rtol=1e-6, atol=1e-6)


def test_level_holds_exactly_at_the_clean_end(rng):
    guide, x, z = jnp.asarray(rng.normal(size=(3, *SHAPE)), jnp.float32)
    mask = jnp.zeros((4, 4, 1)).at[:2].set(1.0)
    told = context(sde.VP(), 0.1, sde.CLEAN, z, draws=z[None])
    got = samplers.hold(guide, mask).after(x, told)
    assert jnp.array_equal(got[2:], guide[2:]) and jnp.array_equal(got[:2], x[:2])


# --- Langevin -------------------------------------------------------------------------------------


def test_langevin_by_its_formula(rng):
    """e = 2 a^2 (snr |z| / |score|)^2, x + e score + sqrt(2 e) z, twice with two draws."""
    process, x, z = sde.VP(), *jnp.asarray(rng.normal(size=(2, *SHAPE)), jnp.float32)
    told = context(process, 0.6, 0.4, None, draws=jnp.stack([z, 2 * z]))
    got = samplers.langevin(0.2, 2).before(x, told)
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
    refine = samplers.langevin(snr)
    noise = samplers.keyed(jax.random.key(1), shape)

    def step(x, i):
        told = Context(process, t, s, i, None, jnp.ones(()), noise(i), predict)
        return refine.before(x, told), None

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
            return samplers.langevin(0.2, norm=norm).before(x, told)

        return jax.jit(jax.vmap(one, axis_name="batch"))(x[picked], z[picked])

    every, alone = jnp.arange(3), jnp.asarray([1])
    np.testing.assert_allclose(rows("image", every)[1], rows("image", alone)[0], rtol=1e-5)
    np.testing.assert_allclose(rows("batch", alone), rows("image", alone), rtol=1e-5)
    assert not np.allclose(rows("batch", every)[1], rows("image", every)[1], rtol=1e-3)

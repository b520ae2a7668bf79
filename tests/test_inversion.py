"""Edit-friendly inversion: the original's maps from its recorded estimates, closed forms for exact
priors, and the way back to the photo."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pure
import pytest
from jax import jit
from recorded import arrays, close, player, settings

from sdedit_jax.diffusion import grids, sampler, sde, solvers, timesteps
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.noise import InferNoise
from sdedit_jax.edits import inversion, ledits
from sdedit_jax.edits.inversion import Inversion, Inverted, Request
from sdedit_jax.guidance import CFG
from sdedit_jax.guidance.sega import concepts
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.ledits import LEDITSPipeline
from sdedit_jax.priors.analytic import gaussian, mixture
from sdedit_jax.priors.conditioning import CFGCond

SHAPE = (6, 6, 2)
KEY = jax.random.key(3)
DDIM = timesteps.Timesteps("ddim", "leading", offset=1, clean=False)  # of Stable Diffusion
SOLVERS = {
    "ancestral": solvers.Ancestral(),
    "eta_half": solvers.Ancestral(eta=0.5),
    "linear_eta": solvers.Ancestral(eta=0.5, linear_eta=True),
    "eta_of_t": solvers.Ancestral(eta=lambda t: 0.2 + 0.7 * t),
    "large": solvers.Ancestral(variance="large"),
    "reverse_diffusion": solvers.ReverseDiffusion(),
    "euler_maruyama": solvers.EulerMaruyama(),
    "dpmpp": solvers.DPMpp(),
    "dpmpp_3m": solvers.DPMpp(3),
    "sa_solver": solvers.SASolver(0.7),
    "churn": solvers.Heun(0.3),
}
LEARNED = solvers.Ancestral(variance="learned")
DDIM_SOLVER = solvers.Ancestral(eta=0.0)
GRID = grids.Above(grids.Uniform())


def alone(prior, solver=SOLVERS["ancestral"], grid=GRID, n=6, **given):
    """A plan whose source and target are the prior itself."""
    return Inversion(prior, prior.predict, prior.predict, solver, grid, n, **given)


def photo(rng):
    return rng.uniform(-1, 1, SHAPE).astype(np.float32)


def round_trip(plan, x0, t0=0.6, key=KEY):
    """(photo that comes back, Inverted)."""
    request = Request(t0, x0, None, None)

    @jit
    def both(params, request):
        inverted = pure.invert(plan)(params, request, key)
        return pure.replay(plan)(params, request, inverted), inverted

    return both(plan.prior.params, request)


# --- the original's numbers -----------------------------------------------------------------------

ORIGINALS = [  # inversion, a replay with the same guidance
    ("sd_inversion.npz", "A_src", "A_rec_skip0"),
    ("sd_inversion.npz", "B_src", "A_rec_skip0"),  # the same noises; its own replay has rounding
    ("sd_inversion.npz", "A_eta05", "A_rec_eta05"),
    ("io_ddpm_inversion.npz", "A_src", "A_rec_skip0"),
    ("io_ddpm_inversion.npz", "A_uncond", "A_rec_uncond_skip0"),
    ("io_ddpm_inversion.npz", "A_eta05", "A_rec_eta05"),
    ("io_ddpm_inversion.npz", "A_etalist", "A_rec_etalist"),
    ("io_ddpm_inversion.npz", "B_src", "A_rec_skip0"),
    ("io_ddpm_inversion.npz", "A_alpha1_off0", "A_rec_alpha1_off0"),
]


def original(file, case, run, skip=0):
    """(plan, request, recorded arrays of the case and the run in the order of our steps)."""
    a, b, shared = arrays(file, case + "__"), arrays(file, run + "__"), arrays(file, "x0")
    setting = settings(file, case)
    if case.startswith("A"):  # this program counts its maps and its states from the photo on
        a |= {"zs": a["zs"][::-1], "xts": a["xts"][::-1]}
    eta = setting["eta"]
    if isinstance(eta, list):  # the last of them for the first step
        levels = jnp.asarray(eta[::-1])

        def eta(t):
            return levels[jnp.argmin(jnp.abs((a["timesteps"] + 1) / 1000 - t))]

    prior = player(a["timesteps"][skip:], np.stack([b["eps_uncond"], b["eps_cond"]], axis=1))
    way = DDIM._replace(offset=0, clean=True) if case == "A_alpha1_off0" else DDIM
    grid = timesteps.TimestepGrid(way, len(a["zs"]))
    guided = CFG(prior.predict)
    solver = solvers.Ancestral(eta=eta, linear_eta=True)
    plan = Inversion(prior, guided, guided, solver, grid, len(a["zs"]), skip, zero_last=True)
    scale = 0.0 if setting["prompt_src"] == "" else setting["cfg_scale_src"]
    cond = CFGCond(1, 0, scale)
    return plan, Request(1.0, shared[""], cond, cond), a, b


@pytest.mark.parametrize("file, case, run", ORIGINALS)
def test_maps_and_replay_of_the_original(golden, file, case, run):
    plan, request, a, b = original(golden(file), case, run)

    @jit
    def both(params, a):
        given = request._replace(noises=a["noise_t_ascending"][::-1])
        inverted = pure.invert(plan)(params, given, KEY)
        maps = Inverted(a["xts"][0], a["zs"])
        return inverted, pure.replayed_states(plan)(params, request, maps)

    inverted, path = both(plan.prior.params, a)
    close(inverted.x, a["xts"][0], 1e-6)
    # one minus abar of the table's first steps has few digits in the original's float32
    close(inverted.zs, a["zs"], 2e-5 if case == "A_alpha1_off0" else 1e-5)
    close(path[:-1], a["xts"][1:-1], 1e-5)
    close(path[-1], b["result"], 2e-5)


@pytest.mark.parametrize(
    "case, run", [("A_src", "A_rec_skip5"), ("A_src", "A_edit_skip5"), ("B_src", "B_edit_skip5")]
)
def test_replay_of_the_original_from_further_down(golden, case, run):
    """Its maps with another text and scale, the first 5 steps left out."""
    file = golden("io_ddpm_inversion.npz")
    plan, request, a, b = original(file, case, run, skip=5)
    scale = settings(file, run)["cfg_scales"][0]
    request = request._replace(target=CFGCond(1, 0, scale))
    maps = Inverted(a["xts"][5], a["zs"][5:])
    path = pure.replayed_states(plan)(plan.prior.params, request, maps)
    close(path, b["latents"], 1e-5)


def test_the_steps_of_the_original(golden):
    a = arrays(golden("io_ddpm_inversion.npz"), "A_src__")
    grid = timesteps.TimestepGrid(DDIM, 14)(sde.scaled_linear_table(), jnp.float32(1), 14)
    np.testing.assert_array_equal(np.round(grid.t * 1000).astype(int) - 1, a["timesteps"])


# --- closed forms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("process, form", [
    (sde.VP(), oracles.vp(0.1, 20.0)), (sde.VE(0.02, 20.0), oracles.ve(0.02, 20.0)),
])  # fmt: skip
def test_maps_of_a_gaussian_prior(rng, process, form):
    """With data N(m, d^2) each ancestral step is linear: its map in float64 from the noises."""
    n, d = 5, 0.4
    x0, m = photo(rng), rng.uniform(-0.5, 0.5, SHAPE).astype(np.float32)
    noises = rng.standard_normal((n, *SHAPE)).astype(np.float32)
    plan = alone(gaussian(process, m, d), n=n)
    request = Request(0.6, x0, None, None, noises)
    got = jit(pure.invert(plan))(plan.prior.params, request, KEY)
    t = 0.6 * (n - np.arange(n + 1)) / n
    t[-1] = 1e-3
    levels = [form.at(float(v)) for v in t]
    states = [levels[i][0] * x0 + levels[i][1] * noises[i].astype(np.float64) for i in range(n)]
    states.append(x0)
    for i in range(n):
        (a_t, s_t), (a_s, s_s) = levels[i], levels[i + 1]
        eps = s_t * (states[i] - a_t * m) / (a_t**2 * d**2 + s_t**2)
        guess = (states[i] - s_t * eps) / a_t
        v = s_s**2 * (1 - (a_t * s_s / a_s / s_t) ** 2)
        z = (states[i + 1] - a_s * guess - np.sqrt(s_s**2 - v) * eps) / np.sqrt(v)
        close(got.zs[i], z, 3e-5)


def test_spread_of_the_maps(rng):
    """For photos of the prior itself the maps have mean 0 and the std of the closed form, well
    above 1: independent noises are further apart than a path's."""
    process, d, side = sde.VP(), 0.4, 64
    form = oracles.vp(0.1, 20.0)
    x0 = (d * rng.standard_normal((side, side, 1))).astype(np.float32)
    prior = gaussian(process, jnp.zeros((side, side, 1)), d)
    zs = round_trip(alone(prior, n=5), x0)[1].zs
    (a_t, s_t), (a_s, s_s) = form.at(0.36), form.at(0.24)
    shrink = s_t / (a_t**2 * d**2 + s_t**2)
    v = s_s**2 * (1 - (a_t * s_s / a_s / s_t) ** 2)
    slope = a_s / a_t * (1 - s_t * shrink) + np.sqrt(s_s**2 - v) * shrink
    spread = np.sqrt(((a_s - slope * a_t) ** 2 * d**2 + s_s**2 + slope**2 * s_t**2) / v)
    assert spread > 1.3
    np.testing.assert_allclose(np.std(zs[2]), spread, rtol=0.05)  # 4.5 std of the estimate
    assert abs(np.mean(zs[2])) < 4 * spread / side


@pytest.mark.parametrize("name", SOLVERS)
def test_the_photo_comes_back(rng, name):
    """The last step included, whatever the prior believes."""
    prior = mixture(sde.VP(), rng.uniform(-1, 1, (2, *SHAPE)), 0.2)
    x0 = photo(rng)
    back, inverted = round_trip(alone(prior, SOLVERS[name]), x0)
    np.testing.assert_allclose(back, x0, atol=2e-5)  # multistep solvers extrapolate rounding
    assert np.isfinite(inverted.zs).all()


@pytest.mark.parametrize(
    "grid",
    [
        grids.Above(grids.UniformLogSNR(0.01)),
        grids.Above(grids.Karras(sigma_end=0.01), 0.01),
        timesteps.TimestepGrid(DDIM, 6),
        timesteps.TimestepGrid(DDIM._replace(scheduler="dpmpp"), 6),
        grids.Listed([700, 421, 200, 80, 30, 1]),
    ],
)
def test_the_photo_comes_back_on_every_grid(rng, grid):
    prior = gaussian(sde.scaled_linear_table(), jnp.zeros(SHAPE), 0.3)
    x0 = photo(rng)
    back = round_trip(alone(prior, grid=grid), x0)[0]
    np.testing.assert_allclose(back, x0, atol=1e-5)


def test_another_target_moves_the_photo(rng):
    """With data N(m, d^2) and a target prior of mean m + c the replay moves the photo by c times
    one number, which the linear recursion gives in float64."""
    process, n, d, c = sde.VP(), 5, 0.4, 0.25
    form = oracles.vp(0.1, 20.0)
    prior, moved = (gaussian(process, jnp.full(SHAPE, mean), d) for mean in (0.1, 0.1 + c))
    plan = dataclasses.replace(
        alone(prior, n=n), target=lambda params, x, t, cond: moved.predict(moved.params, x, t)
    )
    x0 = photo(rng)
    shift, t = 0.0, [*(0.6 * (n - np.arange(n)) / n), 1e-3]
    for i in range(n):
        (a_t, s_t), (a_s, s_s) = form.at(float(t[i])), form.at(float(t[i + 1]))
        v = s_s**2 * (1 - (a_t * s_s / a_s / s_t) ** 2)
        eps = s_t * (shift - a_t * c) / (a_t**2 * d**2 + s_t**2)
        shift = a_s * (shift - s_t * eps) / a_t + np.sqrt(s_s**2 - v) * eps
    back = round_trip(plan, x0)[0]
    np.testing.assert_allclose(back - x0, np.full(SHAPE, shift), atol=2e-5)
    assert shift > 0.1


# --- DDIM inversion ------------------------------------------------------------------------------


def flow_step(form, d, t, s):
    """The affine DDIM step from t to s on data N(m, d^2), with the estimate at t: x_s = gain x +
    push m; s may be noisier than t."""
    (a_t, s_t), (a_s, s_s) = form.at(t), form.at(s)
    shrink = s_t / (a_t**2 * d**2 + s_t**2)  # eps = shrink (x - a_t m)
    slope = s_s - a_s / a_t * s_t
    return a_s / a_t + slope * shrink, -slope * shrink * a_t


@pytest.mark.parametrize("process, form", [
    (sde.VP(), oracles.vp(0.1, 20.0)), (sde.VE(0.02, 20.0), oracles.ve(0.02, 20.0)),
])  # fmt: skip
@pytest.mark.parametrize("n", [1, 7])
def test_ddim_inversion_of_a_gaussian_prior(rng, process, form, n):
    """Up and down again, each step is affine: both ends in float64."""
    d, t0 = 0.4, 0.6
    x0, m = photo(rng), rng.uniform(-0.5, 0.5, SHAPE).astype(np.float32)
    plan = alone(gaussian(process, m, d), DDIM_SOLVER, n=n, method="ddim")
    back, inverted = round_trip(plan, x0, t0)
    times = np.float32(t0) * (n - np.arange(n + 1.0)) / n
    times[-1] = min(1e-3, times[-2] / 2)
    x = x0.astype(np.float64)
    for t, s in zip(times[:0:-1], times[-2::-1], strict=True):  # the photo stands at the last level
        gain, push = flow_step(form, d, t, s)
        x = gain * x + push * m
    close(inverted.x, x, 3e-5)
    for t, s in zip(times[:-1], times[1:], strict=True):
        gain, push = flow_step(form, d, t, s)
        x = gain * x + push * m
    close(back, x, 3e-5)
    assert np.abs(back - x0).max() > (0.05 if n == 1 else 1e-3)  # it is inexact


@pytest.mark.parametrize("process", [sde.VP(), sde.VE(0.02, 20.0)])
def test_ddim_inversion_comes_back_to_first_order(rng, process):
    """Under the same guidance the error of the photo halves with twice the steps."""
    prior = mixture(process, 0.2 * rng.uniform(-1, 1, (2, *SHAPE)), 0.5)

    def shifted(params, x, t, cond=None, key=None):
        return prior.predict(params, x - cond, t)

    guided = CFG(shifted)
    x0, cond = photo(rng), CFGCond(np.float32(0.1), np.float32(-0.1), 1.5)
    errors = []
    for n in (40, 80, 160):
        plan = Inversion(prior, guided, guided, DDIM_SOLVER, GRID, n, method="ddim")
        back = jit(pure.edit_inverted(plan))(prior.params, Request(0.5, x0, cond, cond), KEY)
        errors.append(np.sqrt(np.mean((np.asarray(back) - x0) ** 2)))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 1.0, atol=0.2)
    assert errors[-1] < 0.05


def test_the_preset_of_ddim_inversion(rng):
    """The plan of its recipe: without concepts and with its source as the target it is a round
    trip, of first order too; the key does not matter."""
    prior, x0 = gaussian(sde.scaled_linear_table(), jnp.zeros(SHAPE), 0.3), photo(rng)

    def shifted(params, x, t, cond=None, key=None):
        return prior.predict(params, x - 0.2 * cond, t)

    told, errors = prior.replace(predict=shifted), []
    for n in (50, 100):
        made = ledits.recipe("ddim-inversion", n=n)._replace(target_scale=1.0)
        assert made.method == "ddim" and made.solver == DDIM_SOLVER and made.source_scale == 1
        plan = ledits.plan(told, made)
        assert not np.any(inversion.step_stds(plan))
        one, none = np.float32(1), np.float32(0)
        request = ledits.request(
            made, x0, source=one, empty=none, target=one, many=concepts(np.zeros(0, np.float32))
        )
        run = jit(pure.edit_inverted(plan))
        back = run(prior.params, request, KEY)
        np.testing.assert_array_equal(back, run(prior.params, request, jax.random.key(8)))
        errors.append(np.sqrt(np.mean((np.asarray(back) - x0) ** 2)))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("keep", ["device", "host"])
def test_the_executor_runs_ddim_inversion(rng, keep):
    """In chunks, the edit and the reconstruction are those of the pure functions."""
    plan, request = steep_plan(rng)
    plan = dataclasses.replace(plan, solver=DDIM_SOLVER, n=5, method="ddim", keep=keep)
    want = jit(pure.edit_inverted(plan))(plan.prior.params, request, KEY)
    same = dataclasses.replace(plan, target=plan.source)
    again = jit(pure.edit_inverted(same))(plan.prior.params, request, KEY)
    assert np.abs(want - again).max() > 0.01
    batch = jax.tree.map(lambda a: np.asarray(a)[None], request)
    events = executor.run(LEDITSPipeline(plan), plan.prior.params, batch, KEY[None], chunk=2)
    result = executor.finish(events).result
    np.testing.assert_allclose(result.image[0], want, atol=5e-5)
    np.testing.assert_allclose(result.reconstruction[0], again, atol=5e-5)


# --- the parts of a plan --------------------------------------------------------------------------


def test_zero_last_ends_at_the_mean(rng):
    """The same maps but for the last one, which is 0: the result misses std z of that step."""
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    x0, plan = photo(rng), alone(prior)
    exact, zeroed = round_trip(plan, x0)[1], dataclasses.replace(plan, zero_last=True)
    back, inverted = round_trip(zeroed, x0)
    np.testing.assert_array_equal(inverted.zs[:-1], exact.zs[:-1])
    assert not np.any(inverted.zs[-1])
    std = inversion.step_stds(plan, 0.6)[-1]
    np.testing.assert_allclose(x0 - back, std * exact.zs[-1], atol=1e-5)
    clean = dataclasses.replace(zeroed, grid=grids.Uniform())  # then a clean end is allowed
    assert np.isfinite(round_trip(clean, x0)[0]).all()


def test_skip_starts_further_down(rng):
    """The maps of the steps that are left are those of the whole grid."""
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    x0, plan = photo(rng), alone(prior)
    back, inverted = round_trip(dataclasses.replace(plan, skip=2), x0)
    whole = round_trip(plan, x0)[1]
    close(inverted.zs, whole.zs[2:], 1e-6)
    np.testing.assert_allclose(back, x0, atol=1e-5)


def test_an_edit_is_inversion_and_replay(rng):
    """In one program, with the maps on the device or nowhere; by a solver with memory."""
    plan, request = steep_plan(rng)

    @jit
    def apart(params, request):
        inverted = pure.invert(plan)(params, request, KEY)
        return pure.replay(plan)(params, request, inverted)

    want = apart(plan.prior.params, request)
    assert np.abs(want - request.image).max() > 0.01
    for keep in ("device", "keys"):
        kept = dataclasses.replace(plan, keep=keep)
        got = jit(pure.edit_inverted(kept))(plan.prior.params, request, KEY)
        np.testing.assert_allclose(got, want, atol=1e-5)


def steep_plan(rng):
    """A plan whose target is steeper than its source, and a request."""
    prior = mixture(sde.VP(), rng.uniform(-1, 1, (2, *SHAPE)), 0.5)

    def steep(params, x, t, cond):
        return prior.predict(params, x + cond * jnp.roll(x, 1, axis=0), t)

    plan = dataclasses.replace(alone(prior, SOLVERS["dpmpp"], n=4), target=steep)
    return plan, Request(np.float32(0.6), photo(rng), None, np.float32(0.1))


@pytest.mark.parametrize("keep", inversion.KEEPS)
def test_a_batch_of_photos_comes_back(rng, keep):
    """Three rows of their own strengths and keys, with padding."""
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    pipeline = LEDITSPipeline(alone(prior, n=3, keep=keep), run=("invert", "edit"))
    photos, keys = np.stack([photo(rng) for _ in range(3)]), jax.random.split(KEY, 3)
    request = Request(np.asarray([0.5, 0.7, 1.0], np.float32), photos, None, None)
    done = executor.finish(executor.run(pipeline, prior.params, request, keys, devices=1))
    assert done.rows == 4
    np.testing.assert_allclose(done.result.image, photos, atol=1e-5)


def test_memory_is_known_beforehand():
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    plan, one = alone(prior, n=50, skip=10), 64 * 64 * 4 * 4
    for keep, n, want in [
        ("device", 50, (40 * one, 0)),
        ("host", 50, (8 * one, 40 * one)),
        ("keys", 50, (one, 0)),
        ("keys", 1000, (one, 0)),
    ]:
        made = dataclasses.replace(plan, keep=keep, n=n)
        assert inversion.map_bytes(made, (64, 64, 4), chunk=8) == want
    assert inversion.map_bytes(plan, (64, 64, 4), batch=3).device == 120 * one


def test_keys_keep_no_maps():
    """The compiled program holds no array of N maps."""
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    request = Request(jnp.float32(0.6), jnp.zeros(SHAPE), None, None)

    def temp(keep):
        plan = alone(prior, n=300, keep=keep)
        lowered = jit(pure.edit_inverted(plan)).lower(prior.params, request, KEY)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    size = 4 * int(np.prod(SHAPE))
    assert temp("device") > 300 * size
    assert temp("keys") < 60 * size  # the times of the grid, and a few states


def test_strength_0_returns_the_photo(rng):
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    x0 = photo(rng)
    run = jit(pure.edit_inverted(alone(prior, n=2)))
    out = run(prior.params, Request(0.0, x0, None, None), KEY)
    np.testing.assert_array_equal(out, x0)


def test_one_program_for_all_requests(rng):
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    traces, plan = [], alone(prior)

    def counted(params, x, t, cond):
        traces.append(None)
        return prior.predict(params, x * cond, t)

    run = jit(pure.edit_inverted(dataclasses.replace(plan, target=counted)))
    for t0, cond in [(0.3, 1.0), (0.6, 0.9), (0.9, 1.1)]:
        run(prior.params, Request(t0, photo(rng), None, np.float32(cond)), KEY)
        before = len(traces)
    assert len(traces) == before > 0


# --- bad input ------------------------------------------------------------------------------------


def test_bad_plans():
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    table = gaussian(sde.linear_table(), jnp.zeros(SHAPE), 0.3)
    for plan, said in [
        (alone(prior, grid=grids.Uniform()), "grid: its last step ends clean"),
        (alone(table, grid=grids.Uniform("zero")), "grid: its last step ends clean"),
        (alone(prior, LEARNED, grids.Uniform()), "grid: its last step ends clean"),
        (alone(prior, solvers.Ancestral(eta=0)), "solver: step 0 of 6 has no noise"),
        (alone(prior, solvers.Heun()), "solver: step"),
        (alone(prior, solvers.Ancestral(eta=0), zero_last=True), "solver: step"),
        (alone(prior, skip=6), r"skip must be in \[0, 5\]"),
        (alone(prior, keep="disk"), "keep must be one of"),
        (alone(prior, DDIM_SOLVER, grids.Uniform(), method="ddim"), "grid: its last step ends cl"),
        (alone(prior, DDIM_SOLVER, grids.Uniform("zero"), method="ddim"), "DDIM inversion cannot"),
        (alone(prior, method="exact"), "method must be one of"),
        (alone(prior, method="ddim"), "solver: DDIM inversion needs one without noise"),
        (alone(prior, DDIM_SOLVER, method="ddim", keep="keys"), 'for DDIM inversion, got "keys"'),
    ]:
        with pytest.raises(ValueError, match=said):
            LEDITSPipeline(plan)


def test_bad_grids():
    process = sde.linear_table()
    for made, said in [
        (lambda: grids.Above(grids.Uniform(), 0.0), "t_end must be in"),
        (lambda: grids.Listed([500, 500]), "steps must fall"),
        (lambda: grids.Listed([1000, 5]), "steps must fall"),
        (lambda: grids.Listed([500, 0]), "steps must fall"),
        (lambda: grids.Listed([5, 1])(process, 1.0, 3), "n must be the 2 steps"),
    ]:
        with pytest.raises(ValueError, match=said):
            made()


def test_hooks_cannot_draw_while_noise_is_solved():
    process = sde.VP()
    prior = gaussian(process, jnp.zeros(SHAPE), 0.3)
    grid = GRID(process, jnp.float32(0.5), 2)
    with pytest.raises(ValueError, match="noise is inferred"):
        sampler.reverse(
            lambda x, t: prior.predict(prior.params, x, t), process, solvers.Ancestral(), grid,
            InferNoise(lambda i: jnp.zeros(SHAPE)), jnp.zeros(SHAPE),
            hooks=[Langevin()], final="sample",
        )  # fmt: skip

"""Edit-friendly inversion: the original's maps from its recorded estimates, closed forms for exact
priors, and the way back to the photo."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax import jit
from recorded import arrays, close, player, settings

from sdedit_jax import grids, rules, samplers, sde, timesteps
from sdedit_jax.edits import inversion, on_host
from sdedit_jax.edits.inversion import Inversion, Request
from sdedit_jax.guidance import Guided, cfg
from sdedit_jax.prior import gaussian, mixture

SHAPE = (6, 6, 2)
KEY = jax.random.key(3)
DDIM = timesteps.Timesteps("ddim", "leading", offset=1, clean=False)  # of Stable Diffusion
RULES = {
    "ancestral": rules.ancestral(),
    "eta_half": rules.ancestral(eta=0.5),
    "linear_eta": rules.ancestral(eta=0.5, linear_eta=True),
    "eta_of_t": rules.ancestral(eta=lambda t: 0.2 + 0.7 * t),
    "large": rules.ancestral(variance="large"),
    "reverse_diffusion": rules.reverse_diffusion(),
    "euler_maruyama": rules.euler_maruyama(),
    "dpmpp": rules.dpmpp_2m_sde(),
}
GRID = grids.above(grids.uniform())


def alone(prior, rule=RULES["ancestral"], grid=GRID, n=6, **given):
    """A plan whose source and target are the prior itself."""
    same = inversion.bind(prior.predict)
    return Inversion(prior, same, same, rule, grid, n, **given)


def photo(rng):
    return rng.uniform(-1, 1, SHAPE).astype(np.float32)


def round_trip(plan, x0, t0=0.6, key=KEY):
    """(photo that comes back, Inverted)."""
    request = Request(t0, x0, None, None)

    @jit
    def both(params, request):
        inverted = inversion.invert(plan)(params, request, key)
        return inversion.replay(plan)(params, request, inverted), inverted

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
    grid = timesteps.grid(way, len(a["zs"]))
    guided = inversion.bind(cfg(prior.predict))
    rule = rules.ancestral(eta=eta, linear_eta=True)
    plan = Inversion(prior, guided, guided, rule, grid, len(a["zs"]), skip, zero_last=True)
    scale = 0.0 if setting["prompt_src"] == "" else setting["cfg_scale_src"]
    cond = Guided(1, 0, scale)
    return plan, Request(1.0, shared[""], cond, cond), a, b


@pytest.mark.parametrize("file, case, run", ORIGINALS)
def test_maps_and_replay_of_the_original(golden, file, case, run):
    plan, request, a, b = original(golden(file), case, run)

    @jit
    def both(params, a):
        inverted = inversion.invert(plan)(params, request, KEY, a["noise_t_ascending"][::-1])
        state = inversion.target_begin(plan, params, request, a["xts"][0])
        return inverted, inversion.target_steps(plan, params, request, a["zs"], state)[1]

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
    request = request._replace(target=Guided(1, 0, scale))
    state = inversion.target_begin(plan, plan.prior.params, request, a["xts"][5])
    _, path = inversion.target_steps(plan, plan.prior.params, request, a["zs"][5:], state)
    close(path, b["latents"], 1e-5)


def test_the_steps_of_the_original(golden):
    a = arrays(golden("io_ddpm_inversion.npz"), "A_src__")
    grid = timesteps.grid(DDIM, 14)(sde.scaled_linear_table(), jnp.float32(1), 14)
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
    request = Request(0.6, x0, None, None)
    got = jit(inversion.invert(plan))(plan.prior.params, request, KEY, noises)
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


@pytest.mark.parametrize("name", RULES)
def test_the_photo_comes_back(rng, name):
    """The last step included, whatever the prior believes."""
    prior = mixture(sde.VP(), rng.uniform(-1, 1, (2, *SHAPE)), 0.2)
    x0 = photo(rng)
    back, inverted = round_trip(alone(prior, RULES[name]), x0)
    np.testing.assert_allclose(back, x0, atol=1e-5)
    assert np.isfinite(inverted.zs).all()


@pytest.mark.parametrize(
    "grid",
    [
        grids.above(grids.uniform_log_snr()),
        grids.above(grids.karras(), 0.01),
        timesteps.grid(DDIM, 6),
        timesteps.grid(DDIM._replace(scheduler="dpmpp"), 6),
        grids.listed([700, 421, 200, 80, 30, 1]),
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
    plan = alone(prior, n=n)._replace(
        target=lambda params, cond: lambda x, t: moved.predict(moved.params, x, t)
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


# --- the parts of a plan --------------------------------------------------------------------------


def test_zero_last_ends_at_the_mean(rng):
    """The same maps but for the last one, which is 0: the result misses std z of that step."""
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    x0, plan = photo(rng), alone(prior)
    exact, zeroed = round_trip(plan, x0)[1], plan._replace(zero_last=True)
    back, inverted = round_trip(zeroed, x0)
    np.testing.assert_array_equal(inverted.zs[:-1], exact.zs[:-1])
    assert not np.any(inverted.zs[-1])
    std = inversion.step_stds(plan, 0.6)[-1]
    np.testing.assert_allclose(x0 - back, std * exact.zs[-1], atol=1e-5)
    clean = zeroed._replace(grid=grids.uniform())  # then a clean end is allowed
    assert np.isfinite(round_trip(clean, x0)[0]).all()


def test_skip_starts_further_down(rng):
    """The maps of the steps that are left are those of the whole grid."""
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    x0, plan = photo(rng), alone(prior)
    back, inverted = round_trip(plan._replace(skip=2), x0)
    whole = round_trip(plan, x0)[1]
    close(inverted.zs, whole.zs[2:], 1e-6)
    np.testing.assert_allclose(back, x0, atol=1e-5)


def test_an_edit_is_inversion_and_replay(rng):
    """In one program, with the maps on the device, in the host's memory, or nowhere; by a rule that
    remembers its last step."""
    prior = mixture(sde.VP(), rng.uniform(-1, 1, (2, *SHAPE)), 0.5)
    x0, n = photo(rng), 4

    def steep(params, cond):
        return lambda x, t: prior.predict(params, x + cond * jnp.roll(x, 1, axis=0), t)

    plan = alone(prior, RULES["dpmpp"], n=n)._replace(target=steep)
    request = Request(0.6, x0, None, np.float32(0.1))

    @jit
    def apart(params, request):
        inverted = inversion.invert(plan)(params, request, KEY)
        return inversion.replay(plan)(params, request, inverted)

    want = apart(prior.params, request)
    assert np.abs(want - x0).max() > 0.01
    for keep in ("device", "keys"):
        got = jit(inversion.edit(plan._replace(keep=keep)))(prior.params, request, KEY)
        np.testing.assert_allclose(got, want, atol=1e-5)
    host = on_host.edit(plan._replace(keep="host"), chunk=2)
    np.testing.assert_allclose(host(prior.params, request, KEY), want, atol=1e-5)


def test_a_batch_on_the_host(rng):
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    plan = alone(prior, n=3, keep="host")
    photos, keys = np.stack([photo(rng), photo(rng)]), jax.random.split(KEY, 2)
    request = Request(np.asarray([0.5, 0.7], np.float32), photos, None, None)
    back = on_host.edit(plan, chunk=3, batch=True)(prior.params, request, keys)
    np.testing.assert_allclose(back, photos, atol=1e-5)


def test_memory_is_known_beforehand():
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    plan, one = alone(prior, n=50, skip=10), 64 * 64 * 4 * 4
    for keep, n, want in [
        ("device", 50, (40 * one, 0)),
        ("host", 50, (8 * one, 40 * one)),
        ("keys", 50, (one, 0)),
        ("keys", 1000, (one, 0)),
    ]:
        made = plan._replace(keep=keep, n=n)
        assert inversion.map_bytes(made, (64, 64, 4), chunk=8) == want
    assert inversion.map_bytes(plan, (64, 64, 4), batch=3).device == 120 * one


def test_keys_keep_no_maps():
    """The compiled program holds no array of N maps."""
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    request = Request(jnp.float32(0.6), jnp.zeros(SHAPE), None, None)

    def temp(keep):
        plan = alone(prior, n=300, keep=keep)
        lowered = jit(inversion.edit(plan)).lower(prior.params, request, KEY)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    size = 4 * int(np.prod(SHAPE))
    assert temp("device") > 300 * size
    assert temp("keys") < 60 * size  # the times of the grid, and a few states


def test_strength_0_returns_the_photo(rng):
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    x0 = photo(rng)
    run = jit(inversion.edit(alone(prior, n=2)))
    out = run(prior.params, Request(0.0, x0, None, None), KEY)
    np.testing.assert_array_equal(out, x0)


def test_one_program_for_all_requests(rng):
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    traces, plan = [], alone(prior)

    def counted(params, cond):
        traces.append(None)
        return lambda x, t: prior.predict(params, x * cond, t)

    run = jit(inversion.edit(plan._replace(target=counted)))
    for t0, cond in [(0.3, 1.0), (0.6, 0.9), (0.9, 1.1)]:
        run(prior.params, Request(t0, photo(rng), None, np.float32(cond)), KEY)
        before = len(traces)
    assert len(traces) == before > 0


# --- bad input ------------------------------------------------------------------------------------


def test_bad_plans():
    prior = gaussian(sde.VP(), jnp.zeros(SHAPE), 0.3)
    table = gaussian(sde.linear_table(), jnp.zeros(SHAPE), 0.3)
    for plan, said in [
        (alone(prior, grid=grids.uniform()), "grid: its last step ends clean"),
        (alone(table, grid=grids.uniform("zero")), "grid: its last step ends clean"),
        (alone(prior, rules.ancestral(eta=0)), "rule: step 0 of 6 has no noise"),
        (alone(prior, rules.heun()), "rule: step"),
        (alone(prior, rules.ancestral(eta=0), zero_last=True), "rule: step"),
        (alone(prior, skip=6), r"skip must be in \[0, 5\]"),
        (alone(prior, keep="disk"), "keep must be one of"),
    ]:
        with pytest.raises(ValueError, match=said):
            inversion.invert(plan)
    with pytest.raises(ValueError, match="use on_host.edit"):
        inversion.edit(alone(prior, keep="host"))
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        on_host.edit(alone(prior, keep="host"), chunk=0)


def test_bad_grids():
    process = sde.linear_table()
    for made, said in [
        (lambda: grids.above(grids.uniform(), 0.0), "t_end must be in"),
        (lambda: grids.listed([500, 500]), "steps must fall"),
        (lambda: grids.listed([1000, 5]), "steps must fall"),
        (lambda: grids.listed([500, 0]), "steps must fall"),
        (lambda: grids.listed([5, 1])(process, 1.0, 3), "n must be the 2 steps"),
    ]:
        with pytest.raises(ValueError, match=said):
            made()


def test_refinements_cannot_draw_while_noise_is_solved():
    process = sde.VP()
    prior = gaussian(process, jnp.zeros(SHAPE), 0.3)
    grid = GRID(process, jnp.float32(0.5), 2)
    with pytest.raises(ValueError, match="noise is an Aim"):
        samplers.reverse(
            lambda x, t: prior.predict(prior.params, x, t), process, rules.ancestral(), grid,
            samplers.Aim(lambda i: jnp.zeros(SHAPE)), jnp.zeros(SHAPE),
            refine=samplers.langevin(), final="sample",
        )  # fmt: skip

"""SDEdit against its law on Gaussian data, the algorithms in float64, and its identities."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pure
import pytest
from jax import jit
from recorded import Codec
from scipy import stats

from sdedit_jax.diffusion import grids, masking, sampler, sde, solvers
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.noise import At, Purpose, ReplayNoise
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Recorded, Request, SDEdit
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import settings
from sdedit_jax.priors.analytic import gaussian, mixture
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry.sampler_parts import SOLVERS

M, S = 0.4, 0.5  # the data: N(M, S^2)
KEY = jax.random.key(0)
ALARM = 1e-6  # the chance that a statistical test below fails by accident, each; keys are fixed

PROCESSES = {
    "ve": (sde.VE(0.02, 10.0), oracles.ve(0.02, 10.0)),
    "vp": (sde.VP(), oracles.vp()),
}


def plan(process, shape, solver=None, grid=None, n=6, **options):
    prior = gaussian(process, jnp.full(shape, M), S)
    return SDEdit(prior, solver or solvers.DPMpp(), grid or grids.Uniform(), n, **options)


def compiled(made, noise=None):
    """(request, key=...) -> Edited, as one program; with this recorded noise."""
    edit = jit(pure.edit(made))
    return lambda request, key=KEY: edit(made.prior.params, with_noise(request, noise), key)


def with_noise(request, noise):
    return request if noise is None else request._replace(noise=noise)


def picture(rng, *shape):
    return jnp.asarray(rng.uniform(-1, 1, shape or (4, 4, 3)), jnp.float32)


def everywhere(image):
    return Guide(image, jnp.ones((*image.shape[:2], 1)))


def recorded(start, steps):
    """start [K, H, W, C], steps [K, N, calls, H, W, C]."""
    return Recorded(jnp.asarray(start, jnp.float32), jnp.asarray(steps, jnp.float32))


def drawn(made, shape, seed=0):
    """Recorded noise for a plan; it compiles faster than noise from keys."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=(made.repeats, made.n, 2, *shape))
    return recorded(rng.normal(size=(made.repeats, *shape)), steps)


MANY = [
    solvers.DPMpp(3), solvers.DPMpp(3, sde=False), solvers.UniPC(3), solvers.SASolver(0.5),
    solvers.SASolver(1.0, 3, 4), solvers.Heun(0.2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("solver", "process"),
    zip(MANY, 2 * [sde.VE(0.02, 10.0), sde.SubVP(), sde.linear_table()], strict=True),
)
def test_solvers_with_masks_repeats_and_keys(process, solver, rng):
    """The kept part is the guide; a picture of a batch is that of its own key alone."""
    made = plan(process, (4, 4, 3), solver, repeats=2)
    guides = jnp.stack([picture(rng), picture(rng)])
    mask = jnp.zeros((4, 4, 1)).at[:2].set(1.0)
    edit, keys = pure.edit(made), jax.random.split(KEY)

    def one(guide, key):
        return edit(made.prior.params, Request(jnp.float32(0.6), Guide(guide, mask)), key).image

    every = jit(jax.vmap(one))(guides, keys)
    assert np.isfinite(every).all()
    np.testing.assert_array_equal(every[:, 2:], guides[:, 2:])
    for guide, key, image in zip(guides, keys, every, strict=True):
        np.testing.assert_allclose(image, jit(one)(guide, key), atol=2e-5)


def test_noise_by_time_follows_one_path(rng):
    """12 and 48 steps of one key are nearer by time than by step, with a mask."""
    guide, mask = picture(rng), jnp.zeros((4, 4, 1)).at[:2].set(1.0)

    def made(n, noise_by):
        own = plan(sde.VP(), guide.shape, solvers.Ancestral(), n=n, noise_by=noise_by)
        return compiled(own)(Request(0.6, Guide(guide, mask))).image

    path, number = (
        np.abs(made(12, noise_by) - made(48, noise_by)).mean() for noise_by in ("time", "step")
    )
    assert path < number / 2


# --- the law on Gaussian data ---------------------------------------------------------------------

ALGORITHMS = {
    "ve": (solvers.ReverseDiffusion(), oracles.reverse_diffusion(), "sample"),  # Algorithm 1
    "vp": (solvers.Ancestral(), oracles.ddpm_step, "mean"),
}


def law_probes(n):
    """guide, z0 [n + 3] and z [n, n + 3]: one pixel per source of the result."""
    guide, z0 = np.zeros(n + 3), np.zeros(n + 3)
    guide[1], z0[2] = 1.0, 1.0
    return guide, z0, np.eye(n, n + 3, 3)


def read_law(out, guide):
    out = np.asarray(out, np.float64).ravel()
    return (out[1] - out[0]) * guide + out[0], np.sqrt(np.sum((out[2:] - out[0]) ** 2))


@pytest.mark.parametrize("process", PROCESSES)
def test_law_of_the_discrete_algorithm(process):
    """Mean and std of the result for each source of randomness, exactly, by pixels."""
    ours, form = PROCESSES[process]
    solver, step, final = ALGORITHMS[process]
    n, t0 = 10, 0.6
    guide, z0, z = law_probes(n)
    made = plan(
        ours,
        (n + 3, 1, 1),
        solver,
        grids.Uniform("zero") if process == "ve" else None,
        n,
        final=final,
    )
    times = [t0 * (n - i) / n for i in range(n)] + [0.0 if process == "ve" else sde.CLEAN]
    a, s = form.at(t0)
    want = oracles.run(
        step,
        form,
        oracles.gaussian_eps(form, M, S),
        list(zip(times[:-1], times[1:], strict=True)),
        a * guide + s * z0,
        z,
        final,
    )
    noise = recorded(z0[None, :, None, None], z[None, :, None, :, None, None])
    image = jnp.asarray(guide, jnp.float32)[:, None, None]
    out = compiled(dataclasses.replace(made, hold=None), noise)(Request(t0, everywhere(image)))
    np.testing.assert_allclose(out.image.ravel(), want, atol=5e-5)


@pytest.mark.parametrize("process", PROCESSES)
def test_law_tends_to_the_posterior(process):
    """The same law at 48 steps is nearer to the limit of many steps than at 24: at most three
    quarters of the distance, where first order would halve it."""
    ours, form = PROCESSES[process]
    t0, guide = 0.6, -0.8
    want = oracles.sdedit_law(form, t0, guide, M, S)
    errors = []
    for n in (24, 48):
        values, z0, z = law_probes(n)
        grid = grids.UniformLogSNR(0.02)
        made = plan(ours, (n + 3, 1, 1), solvers.DPMpp(), grid, n, hold=None)
        noise = recorded(z0[None, :, None, None], z[None, :, None, :, None, None])
        image = jnp.asarray(values, jnp.float32)[:, None, None]
        out = compiled(made, noise)(Request(t0, everywhere(image)))
        errors.append(np.abs(np.subtract(read_law(out.image, guide), want)))
    assert errors[1].max() < 4e-3
    assert errors[1].max() < 0.75 * errors[0].max()


@pytest.mark.parametrize("process", PROCESSES)
def test_law_of_drawn_edits(process):
    """4096 pixels with keyed noise: z-test of the mean, chi^2 of the variance, no correlation."""
    ours, form = PROCESSES[process]
    shape, t0, guide = (64, 64, 1), 0.6, -0.8
    made = plan(ours, shape, grid=grids.UniformLogSNR(0.01), n=100, hold=None)
    request = Request(t0, everywhere(jnp.full(shape, guide)))
    x = np.asarray(compiled(made)(request).image, np.float64)[..., 0]
    mean, std = oracles.sdedit_law(form, t0, guide, M, S)
    z = (x - mean) / std
    bound = stats.norm.isf(ALARM / 2)
    assert abs(z.mean()) * np.sqrt(z.size) < bound
    low, high = stats.chi2.ppf([ALARM / 2, 1 - ALARM / 2], z.size)
    assert low < np.sum(z**2) < high
    for neighbour in (z[1:] * z[:-1], z[:, 1:] * z[:, :-1]):  # variance 1 each if independent
        assert abs(neighbour.mean()) * np.sqrt(neighbour.size) < bound


@pytest.mark.parametrize("process", [sde.VE(0.02, 20.0), sde.VP()])
def test_full_strength_draws_from_a_mixture(process):
    """t0 = 1: Kolmogorov-Smirnov between edits and data on four projections (Bonferroni)."""
    rng, n, shape = np.random.default_rng(3), 3000, (2, 2, 1)
    means = rng.normal(size=(3, *shape))
    weights = np.array([0.5, 0.3, 0.2])
    prior = mixture(process, means, 0.2, weights)
    made = SDEdit(prior, solvers.DPMpp(), grids.UniformLogSNR(0.02), 64, hold=None)
    request = Request(1.0, everywhere(jnp.zeros(shape)))
    keys = jax.random.split(KEY, n)
    edit = pure.edit(made)
    got = jit(jax.vmap(lambda key: edit(prior.params, request, key).image))(keys)
    data = means[rng.choice(3, n, p=weights)] + 0.2 * rng.normal(size=(n, *shape))
    directions = rng.normal(size=(4, 4))
    for direction in directions:
        a, b = (np.reshape(x, (n, 4)) @ direction for x in (got, data))
        assert stats.ks_2samp(a, b).pvalue > ALARM / len(directions)


# --- masks and repeats: the algorithms in float64 -------------------------------------------------


def algorithm(form, step, times, guide, mask, mode, z0, z, final="mean"):
    """SDEdit with a mask, K repeats, in float64; z0 [K, ...], z [K, N, calls, ...]."""
    eps = oracles.gaussian_eps(form, M, S)
    for k in range(len(z0)):
        a, s = form.at(times[0])
        x, memory = a * guide + s * z0[k], None
        for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
            noisy = 0.0 if final == "mean" and i == len(times) - 2 else 1.0
            mean, std, memory = step(form, memory, x, eps(x, t), t, s)
            x = mean + noisy * std * z[k, i, 0]
            (at, st), (as_, ss) = form.at(t), form.at(s)
            kept = {
                "level": as_ * guide + ss * z[k, i, 1],
                "paper": at * guide + st * noisy * z[k, i, 0],
                "official": at * guide + st * z0[k],
                "diffusers": as_ * guide + ss * z0[k],
            }[mode]
            x = mask * x + (1 - mask) * kept
        guide = mask * x + (1 - mask) * guide
    return guide


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("mode", masking.MODES)
def test_masked_algorithms_with_repeats(process, mode, rng):
    """The modes with hard and soft masks and K = 2, with recorded noise."""
    ours, form = PROCESSES[process]
    solver, step, final = ALGORITHMS[process]
    guide = picture(rng, 4, 6, 1)
    mask = jnp.asarray(rng.choice([0.0, 0.25, 1.0], (4, 6, 1)), jnp.float32)
    z0, z = rng.normal(size=(2, 4, 6, 1)), rng.normal(size=(2, 5, 2, 4, 6, 1))
    made = plan(ours, (4, 6, 1), solver, n=5, hold=mode, repeats=2, final=final)
    out = compiled(made, recorded(z0, z))(Request(0.5, Guide(guide, mask)))
    read = (np.asarray(mask) > 0) if mode == "official" else np.asarray(mask, np.float64)
    times = [0.5 * (5 - i) / 5 for i in range(5)] + [sde.CLEAN]
    args = np.asarray(guide, np.float64), read, mode, z0, z, final
    np.testing.assert_allclose(out.image, algorithm(form, step, times, *args), atol=5e-5)


@functools.cache
def masked(mode):
    """(guide, mask) -> image: two repeats at t0 = 0.5 with recorded noise."""
    made = plan(sde.VP(), (4, 4, 3), hold=mode, repeats=2)
    edit = compiled(made, drawn(made, (4, 4, 3)))
    return lambda guide, mask: edit(Request(0.5, Guide(guide, mask))).image


@pytest.mark.parametrize("mode", masking.MODES)
def test_masks_of_one_value(mode, rng):
    """A mask of ones is no mask; a mask of zeros returns the guide, bit for bit."""
    guide, ones = picture(rng), jnp.ones((4, 4, 1))
    np.testing.assert_allclose(masked(mode)(guide, ones), masked(None)(guide, ones), atol=1e-6)
    assert jnp.array_equal(masked(mode)(guide, 0 * ones), guide)


@pytest.mark.parametrize("mode", masking.MODES)
def test_kept_pixels_are_the_guides(mode, rng):
    guide, mask = picture(rng), jnp.zeros((4, 4, 1)).at[:2].set(1.0)
    out = masked(mode)(guide, mask)
    assert jnp.array_equal(out[2:], guide[2:])
    assert not np.any(out[:2] == guide[:2])


def test_masks_by_channel_and_by_pixel_agree(rng):
    guide, mask = picture(rng), jnp.asarray(rng.choice([0.0, 0.5, 1.0], (4, 4, 1)), jnp.float32)
    by_channel = jnp.broadcast_to(mask, guide.shape)
    assert jnp.array_equal(masked("level")(guide, mask), masked("level")(guide, by_channel))


def test_official_binarises_the_mask(rng):
    """Anything but fully kept is edited in full."""
    guide, mask = picture(rng), jnp.asarray(rng.choice([0.0, 1e-3, 1.0], (4, 4, 1)), jnp.float32)
    edit = masked("official")
    assert jnp.array_equal(edit(guide, mask), edit(guide, jnp.ceil(mask)))


def test_repeats_are_the_edit_applied_again(rng):
    """K = 3 is three edits in a row, the k-th with the randomness of repeat k."""
    guide, mask = picture(rng), jnp.asarray(rng.choice([0.0, 1.0], (4, 4, 1)), jnp.float32)
    made = plan(sde.VE(0.02, 10.0), guide.shape, repeats=3)
    noise = drawn(made, guide.shape)
    edit, image = pure.edit(dataclasses.replace(made, repeats=1)), guide

    @jit
    def once(image, k):
        only = Recorded(noise.start[k][None], noise.steps[k][None])
        request = Request(0.5, Guide(image, mask), noise=only)
        return edit(made.prior.params, request, KEY).image

    for k in range(3):
        image = once(image, k)
    got = compiled(made, noise)(Request(0.5, Guide(guide, mask))).image
    np.testing.assert_allclose(got, image, atol=2e-6)


def test_randomness_of_repeats_and_keys():
    """Start and steps, repeats, steps and keys all have noise of their own, and nothing else."""
    shape = (4, 4, 1)
    kernel = solvers.Step(jnp.zeros(shape), jnp.ones(()))

    def noises(key, k):
        noise = sdedit.sample(key, shape)
        loop = noise.steps(k)
        ats, sides = (At(0), At(1)), (Purpose.BEFORE, Purpose.AFTER)
        hooks = [loop.draw(at, side, 0, shape) for at in ats for side in sides]
        return [noise.start(k), *(loop.step(at, kernel) for at in ats), *hooks]

    seen = [z for key in (KEY, jax.random.key(1)) for k in (0, 1) for z in noises(key, k)]
    assert len({np.asarray(z).tobytes() for z in seen}) == len(seen) == 28
    assert jnp.array_equal(sdedit.sample(KEY, shape).start(1), seen[7])


def test_recorded_noise_of_a_request(rng):
    """start, steps and corrections of a Request stand in the place of the key's noise."""
    guide, mask = picture(rng), jnp.asarray(rng.uniform(size=(4, 4, 1)), jnp.float32)
    made = plan(sde.VP(), guide.shape, n=3, repeats=2, corrector=Langevin(steps=2))
    noise = sdedit.sample(KEY, guide.shape)

    def loop(k):
        source = noise.steps(k)
        kernel = solvers.Step(guide, jnp.ones(()))
        shape = guide.shape
        return jnp.stack([
            jnp.stack([*(source.draw(at, Purpose.BEFORE, c, shape) for c in (0, 1)),
                       source.step(at, kernel), source.draw(at, Purpose.AFTER, 0, shape)])
            for at in map(At, range(made.n))
        ])  # fmt: skip

    start, steps = (jnp.stack([part(k) for k in (0, 1)]) for part in (noise.start, loop))
    request, edit = Request(0.5, Guide(guide, mask)), compiled(made)
    told = request._replace(noise=Recorded(start, steps))
    got = edit(told, jax.random.key(9)).image  # another key changes nothing
    np.testing.assert_allclose(got, edit(request).image, atol=1e-5)


# --- strength maps --------------------------------------------------------------------------------

LISTED = {"plms": "diffusers_pndm", "diffusers_ddim": "uniform", "diffusers_ddpm": "uniform"}
"""Grids of the solvers that are not tested on the Karras grid."""


@functools.cache
def by_name(rule, hold, repeats=1):
    """request -> image: an edit by a solver of the registry, with recorded noise."""
    prior = gaussian(sde.linear_table(), jnp.full((4, 4, 3), M), S)
    values = {"rule": rule, "grid": LISTED.get(rule, "karras"), "steps": 5, "hold": hold}
    s = settings.sampling({**values, "repeats": repeats})
    resolved = settings.resolve(prior, s, 0.6)
    edit, noise = jit(pure.edit(resolved.plan)), drawn(resolved.plan, (4, 4, 3))

    def image(t0, *guide):
        return np.asarray(
            edit(prior.params, Request(np.float32(t0), Guide(*guide), None, noise), KEY).image
        )

    return image


@pytest.mark.parametrize(
    ("rule", "hold"),
    [*((rule, "level") for rule in SOLVERS), *(("ancestral", hold) for hold in masking.MODES[1:])],
)
def test_strength_maps_of_one_and_two_values(rule, hold, rng):
    """A constant map is a lower t0, a map of 0 and 1 a mask, bit for bit."""
    image, ones = picture(rng), jnp.ones((4, 4, 1))
    edit = by_name(rule, hold, 2 if rule == "ancestral" else 1)
    mask = jnp.asarray(rng.choice([0.0, 1.0], (4, 4, 1)), jnp.float32)
    t0 = 0.995 if LISTED.get(rule) == "diffusers_pndm" else 0.6
    binary = edit(t0, image, ones, mask)
    np.testing.assert_array_equal(binary, edit(t0, image, mask, ones))
    assert (binary != image).any() and (binary == image)[np.asarray(mask)[..., 0] == 0].all()
    if LISTED.get(rule) != "diffusers_pndm":  # listed steps begin at t0
        constant = edit(t0, image, mask, 0.25 * ones)
        np.testing.assert_array_equal(constant, edit(0.25 * t0, image, mask, ones))


@pytest.mark.parametrize("t0", [0.5, 1e-6])
def test_a_strength_map_of_ones_is_none(t0, rng):
    guide, mask = picture(rng), jnp.asarray(rng.choice([0.0, 0.5, 1.0], (4, 4, 1)), jnp.float32)
    made = plan(sde.VP(), guide.shape)
    edit = compiled(made, drawn(made, guide.shape))
    without, ones = (
        edit(Request(t0, Guide(guide, mask, shares))).image for shares in (None, 0 * mask + 1)
    )
    np.testing.assert_allclose(ones, without, atol=1e-6)


def test_strength_maps_by_their_formula(rng):
    """The algorithm in float64, with a mask that depends on the step: share t0 > s."""
    form, hold = PROCESSES["vp"][1], "level"
    image = np.asarray(picture(rng, 4, 6, 1), np.float64)
    mask, shares = rng.choice([0.25, 1.0], (4, 6, 1)), rng.uniform(size=(4, 6, 1))
    shares[0, :3], shares[3, 3] = 0.0, 0.9
    shares = np.minimum(shares, 0.9)
    z0, z = rng.normal(size=(4, 6, 1)), rng.normal(size=(5, 2, 4, 6, 1))
    made = plan(sde.VP(), (4, 6, 1), solvers.Ancestral(), n=5, hold=hold)
    guide = Guide(*(jnp.asarray(a, jnp.float32) for a in (image, mask, shares)))
    got = compiled(made, recorded(z0[None], z[None]))(Request(0.5, guide)).image
    t0, eps = 0.5 * 0.9, oracles.gaussian_eps(form, M, S)
    times = [t0 * (5 - i) / 5 for i in range(5)] + [sde.CLEAN]
    a, sigma = form.at(t0)
    x = a * image + sigma * z0
    for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
        mean, std, _ = oracles.ddpm_step(form, None, x, eps(x, t), t, s)
        (a, sigma), free = form.at(s), np.where(shares * 0.5 > max(s, 0), mask, 0)
        x = mean + (i < 4) * std * z[i, 0]
        x = free * x + (1 - free) * (a * image + sigma * z[i, 1])
    free = np.where(shares > 0, mask, 0)
    np.testing.assert_allclose(got, free * x + (1 - free) * image, atol=5e-5)
    np.testing.assert_array_equal(got[0, :3], guide.image[0, :3])


def test_strength_maps_in_latents(rng):
    """A latent takes the largest share of its block; its other pixels are pasted afterwards."""
    blocks = Codec(
        lambda params, image, z=None: image.reshape(4, 2, 4, 2, 1).mean((1, 3)),
        lambda params, x0: x0.repeat(2, 0).repeat(2, 1),
    )
    small = plan(sde.VP(), (4, 4, 1))
    made = dataclasses.replace(small, prior=small.prior.replace(codec=blocks))
    noise, image, fine = drawn(small, (4, 4, 1)), picture(rng, 8, 8, 1), rng.uniform(size=(8, 8, 1))
    shares = fine.reshape(4, 2, 4, 2, 1).max((1, 3))
    ones = [np.ones_like(a, np.float32) for a in (fine, shares)]
    guides = Guide(image, ones[0], fine), Guide(blocks.encode({}, image), ones[1], shares)
    edits = jit(pure.edit(made)), jit(pure.edit(small))
    got, want = (
        edit(small.prior.params, Request(0.6, jax.tree.map(jnp.float32, guide), None, noise), KEY)
        for edit, guide in zip(edits, guides, strict=True)
    )
    np.testing.assert_allclose(got.image[::2, ::2], want.image, atol=1e-6)


def test_strength_maps_without_a_level_are_refused():
    made = plan(sde.VP(), (4, 4, 1), hold=None)
    image = jnp.zeros((4, 4, 1))
    with pytest.raises(ValueError, match="hold: a strength map needs one of .* got None"):
        compiled(made)(Request(0.5, Guide(image, image + 1, image + 1)))


# --- strength, tracing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process", "grid"),
    [
        (sde.VE(0.02, 10.0), grids.Karras(sigma_end=0.01)),
        (sde.VP(), grids.Uniform()),
        (sde.linear_table(), grids.UniformLogSNR(0.01)),
    ],
)
def test_strength_0_is_the_identity(process, grid, rng):
    guide = picture(rng)
    mask = jnp.asarray(rng.uniform(size=(4, 4, 1)), jnp.float32)
    made = plan(process, guide.shape, grid=grid, repeats=2)
    out = compiled(made, drawn(made, guide.shape))(Request(0.0, Guide(guide, mask)))
    assert jnp.array_equal(out.image, guide)
    assert out.score_sq == 0


@pytest.mark.parametrize(
    ("process", "grid"),
    [
        (sde.VE(0.02, 10.0), grids.Karras(sigma_end=0.01)),
        (sde.VP(), grids.UniformLogSNR(0.01)),
        (sde.linear_table(), grids.ScoreSDE()),
    ],
)
def test_small_strengths_stay_finite_and_small(process, grid):
    """t0 down to 1e-7: no NaN, and no more change than the noise at t0 allows."""
    image = jnp.full((4, 4, 1), M)
    made = plan(process, image.shape, grid=grid)
    edit = compiled(made, drawn(made, image.shape))
    t0 = jnp.asarray([1e-7, 1e-6, 1e-5, 1e-4, 1e-3], jnp.float32)
    out = jax.vmap(lambda t: edit(Request(t, everywhere(image))))(t0)
    assert np.isfinite(out.image).all() and np.isfinite(out.score_sq).all()
    change = np.abs(np.asarray(out.image) - M).max(axis=(1, 2, 3))
    assert np.all(change < 10 * np.asarray(sde.level(process, t0)[1]))


def counted(prior):
    """The prior, and the list that grows whenever its predictor is traced."""
    traces = []

    def predict(*args):
        traces.append(len(args))
        return prior.predict(*args)

    return prior.replace(predict=predict), traces


@pytest.mark.parametrize("grid", [grids.Karras(sigma_end=0.01), grids.Uniform()])
def test_a_sweep_compiles_once(grid, rng):
    """t0, seeds, masks and guides change without a new trace, also in a batch."""
    made = plan(sde.VP(), (4, 4, 3), grid=grid, repeats=2)
    prior, traces = counted(made.prior)
    edit = pure.edit(dataclasses.replace(made, prior=prior))
    batch = jit(jax.vmap(edit, in_axes=(None, 0, 0)))
    seen, pictures = set(), []
    for i, t0 in enumerate((0.0, 1e-3, 0.35, 0.5, 1.0)):
        guides = Guide(picture(rng, 2, 4, 4, 3), jnp.asarray(rng.uniform(size=(2, 4, 4, 1))))
        request = Request(jnp.full(2, t0), jax.tree.map(jnp.float32, guides))
        keys = jax.random.split(jax.random.key(i), 2)
        pictures.append(batch(prior.params, request, keys).image)
        seen.add(len(traces))
    assert len(seen) == 1 and len(traces) > 0
    assert len({p.tobytes() for p in map(np.asarray, pictures)}) == 5


def test_cond_and_codec_reach_the_prior(rng):
    """The label goes to predict, the guide through encode, the result through decode."""
    seen = []

    def predict(params, x, t, cond=None, key=None):
        seen.append(cond)
        return solvers.Prediction(jnp.zeros_like(x))

    codec = Codec(lambda params, image, z=None: image * 2, lambda params, x0: x0 / 2)
    prior = Prior(sde.VP(), predict, {}, (4, 4, 1))
    prior = prior.replace(codec=codec)
    made = SDEdit(prior, solvers.Ancestral(), grids.Uniform(), 2)
    guide = Guide(picture(rng)[:, :, :1], jnp.zeros((4, 4, 1)))
    out = compiled(made, drawn(made, (4, 4, 1)))(Request(0.5, guide, 7))
    assert seen and all(c is not None for c in seen)
    np.testing.assert_array_equal(out.image, guide.image)


def test_nfe():
    made = plan(sde.VP(), (2, 2, 1), solvers.Heun(), n=6, repeats=3)
    assert made.nfe == 36
    assert dataclasses.replace(made, corrector=Langevin(steps=2)).nfe == 72


# --- Proposition 1 --------------------------------------------------------------------------------


def test_proposition_1_formula():
    """d = 3, sigma = 2, C = 5, delta = e^-3: 4 (20 + 3 + 2 sqrt(9) + 6) = 140."""
    assert sdedit.proposition_1(2.0, 5.0, 3, np.exp(-3)) == pytest.approx(140.0)
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got 1"):
        sdedit.proposition_1(2.0, 5.0, 3, 1)


def test_proposition_1_holds_on_toy_edits(rng):
    """1000 edits by Algorithm 1, all strengths with sigma(t0) at least the data's std."""
    process, shape, count = sde.VE(0.02, 10.0), (4, 4, 1), 1000
    made = plan(
        process,
        shape,
        solvers.ReverseDiffusion(),
        grids.Uniform("zero"),
        20,
        hold=None,
        final="sample",
    )
    t0 = jnp.asarray(rng.uniform(0.55, 1.0, count), jnp.float32)
    guides = picture(rng, count, *shape)

    def one(t0, image, key):
        out = pure.edit(made)(made.prior.params, Request(t0, everywhere(image)), key)
        return jnp.sum((out.image - image) ** 2), out.score_sq, process.sigma(t0)

    keys = jax.random.split(KEY, count)
    results = np.asarray(jit(jax.vmap(one))(t0, guides, keys), np.float64)
    for distance, score_sq, sigma in results.T:
        assert distance <= sdedit.proposition_1(sigma, score_sq, 16)


def test_score_sq_is_the_largest_on_the_way():
    """Against the path of the loop itself, by the score of the prior."""
    made = plan(sde.VE(0.02, 10.0), (4, 4, 1), solvers.ReverseDiffusion(), hold=None)
    guide = jnp.zeros((4, 4, 1))
    noise = drawn(made, guide.shape)
    process, predict = made.prior.process, functools.partial(made.prior.predict, made.prior.params)
    grid = made.grid(process, jnp.float32(0.5), made.n)
    x = sde.perturb(process, guide, 0.5, noise.start[0])
    loop = ReplayNoise(noise.steps[0])
    _, path = sampler.reverse(
        predict, process, made.solver, grid, loop, x, observe=lambda seen: seen.x_next
    )
    sizes = [
        jnp.sum(sde.score_from_eps(process, t, predict(x, t).eps) ** 2)
        for x, t in zip([x, *path[:-1]], grid.t, strict=True)
    ]
    got = compiled(made, noise)(Request(0.5, everywhere(guide))).score_sq
    assert float(got) == pytest.approx(float(max(sizes)), rel=1e-4)

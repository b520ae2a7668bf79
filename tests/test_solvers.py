"""Solvers against closed forms on Gaussian data, the papers' formulas and the original's updates.

On Gaussian data E[z | x_t] is linear in x_t, so a whole loop is x_out = gain x + offset + std z.
The loop of the package runs on probes that read these off; the same runs in float64 in oracles.py.
"""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax import jit

from sdedit_jax.diffusion import grids, sampler, sde, solvers
from sdedit_jax.diffusion.correctors import Langevin
from sdedit_jax.diffusion.noise import At, Purpose, ReplayNoise, ZeroNoise
from sdedit_jax.diffusion.solvers import Prediction, multistep
from sdedit_jax.diffusion.strength import noise_to_signal
from sdedit_jax.priors.analytic import gaussian

HERE, TABLE = Path(__file__).parent, sde.scaled_linear_table()
M, S = 0.7, 0.5  # the data: N(M, S^2)


PROCESSES = {
    "ve": (sde.VE(0.02, 10.0), oracles.ve(0.02, 10.0)),
    "vp": (sde.VP(), oracles.vp()),
    "subvp": (sde.SubVP(), oracles.subvp()),
}
SOLVERS = {
    "ddim": (solvers.Ancestral(0.0), oracles.ddim(0.0)),
    "half": (solvers.Ancestral(0.5), oracles.ddim(0.5)),
    "ancestral": (solvers.Ancestral(), oracles.ddim(1.0)),
    "reverse": (solvers.ReverseDiffusion(), oracles.reverse_diffusion()),
    "reverse flow": (
        solvers.ReverseDiffusion(probability_flow=True),
        oracles.reverse_diffusion(0.5),
    ),
    "euler": (solvers.EulerMaruyama(), oracles.euler()),
    "flow": (solvers.ProbabilityFlow(), oracles.euler(0.5)),
    "heun": (solvers.Heun(), oracles.heun),
    "2m": (solvers.DPMpp(), oracles.dpmpp_2m_sde),
    "2m flow": (solvers.DPMpp(sde=False), oracles.multistep(2, 0, oracles.released)),
    "2m exact": (solvers.DPMpp(form="exact"), oracles.multistep(2, 1)),
    "3m": (solvers.DPMpp(3), oracles.multistep(3, 1, oracles.released)),
    "3m flow": (solvers.DPMpp(3, sde=False), oracles.multistep(3, 0, oracles.released)),
    "3m exact": (solvers.DPMpp(3, sde=False, form="exact"), oracles.multistep(3, 0)),
    "unipc 2": (solvers.UniPC(), oracles.multistep(2, 0, oracles.midpoint, 2)),
    "unipc 3": (solvers.UniPC(3), oracles.multistep(3, 0, oracles.midpoint, 3)),
    "sa flow": (solvers.SASolver(0.0, 3, 3), oracles.multistep(3, 0, corrector=2)),
    "sa half": (solvers.SASolver(0.5), oracles.multistep(2, 0.5, corrector=1)),
    "sa": (solvers.SASolver(1.0, 3, 4), oracles.multistep(3, 1, corrector=3)),
    "sa more": (solvers.SASolver(1.4, 1, 0), oracles.multistep(1, 1.4)),
}
FLOWS = {"ddim", "reverse flow", "flow", "heun", "2m flow", "3m flow", "3m exact"}
FLOWS |= {"unipc 2", "unipc 3", "sa flow"}
TAUS = dict.fromkeys(FLOWS, 0.0) | {"sa half": 0.5, "sa more": 1.4}  # all others: 1
ORDERS = dict.fromkeys(["heun", "2m", "2m flow", "2m exact", "3m flow"], 2.0)  # all others: 1
# their errors reach float32 too soon, or their order is another in the law; see the test in float64
HIGH = {"3m", "3m exact", "unipc 2", "unipc 3", "sa flow", "sa half", "sa"}


def column(values):
    """Scalar problems as the rows of one picture [n, 1, 1]."""
    return jnp.asarray(values, jnp.float32)[..., None, None]


@functools.cache
def measured(process, solver, times, final):
    """The affine map of the loop on Gaussian data, over the grid of consecutive `times`."""
    grid = grids.Grid(jnp.asarray(times[:-1]), jnp.asarray(times[1:]))
    n = len(times) - 1
    x, z = oracles.probes(n)
    prior = gaussian(process, jnp.full((n + 2, 1, 1), M), S)
    predict = functools.partial(prior.predict, prior.params)
    noise = ReplayNoise(column(z)[:, None])
    run = functools.partial(sampler.reverse, predict, process, solver, grid, noise, final=final)
    loop = jit(lambda x: run(x)[0].x)
    return oracles.affine(loop(column(x))[:, 0, 0])


def expected(form, step, times, final):
    x, z = oracles.probes(len(times) - 1)
    grid = list(zip(times[:-1], times[1:], strict=True))
    return oracles.affine(
        oracles.run(step, form, oracles.gaussian_eps(form, M, S), grid, x, z, final)
    )


def even(start, end, n):
    """Times that float32 and float64 share."""
    return tuple(np.linspace(start, end, n + 1).astype(np.float32).astype(float).tolist())


def close(got, want, rtol=2e-5):
    scale = max(1.0, np.max(np.abs(want)))
    np.testing.assert_allclose(got, want, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("solver", SOLVERS)
def test_moments_are_those_of_the_exact_recursion(process, solver):
    ours, form = PROCESSES[process]
    made, step = SOLVERS[solver]
    times = (*even(0.9, 0.1, 9), sde.CLEAN)
    close(measured(ours, made, times, "mean"), expected(form, step, times, "mean"))


@pytest.mark.parametrize("process", ["ve", "vp"])
@pytest.mark.parametrize("solver", sorted({*SOLVERS} - {"half"} - HIGH))
def test_converges_to_the_exact_law_with_its_order(process, solver):
    """From a point at t = 0.8 to t = 0.2: the law of x_s given x_t, or the flow's map."""
    ours, form = PROCESSES[process]
    want = exact_map(form, 0.8, 0.2, tau=TAUS.get(solver, 1.0))
    errors = []
    for n in (32, 64):
        got = measured(ours, SOLVERS[solver][0], even(0.8, 0.2, n), "sample")
        errors.append(np.abs([got.gain - want.gain, got.std - want.std]))
    for coarse, fine in zip(*errors, strict=True):
        if coarse > 2e-5:  # else the solver is exact here, to float32
            assert np.log2(coarse / fine) == pytest.approx(ORDERS.get(solver, 1.0), abs=0.4)


@pytest.mark.parametrize("process", ["ve", "vp"])
@pytest.mark.parametrize(
    ("step", "tau", "order"),
    [
        (oracles.multistep(2, 0, oracles.released), 0, 2.0),
        (oracles.multistep(3, 0, oracles.released), 0, 2.0),
        (oracles.multistep(3, 0), 0, 3.0),
        (oracles.multistep(2, 1, oracles.released), 1, 2.0),
        (oracles.multistep(3, 1, oracles.released), 1, 2.0),
        (oracles.multistep(2, 0, oracles.midpoint, 2), 0, 3.0),
        (oracles.multistep(3, 0, oracles.midpoint, 3), 0, 4.0),
        (oracles.multistep(1, 0.5), 0.5, 1.0),
        (oracles.multistep(2, 0.5), 0.5, 2.0),
    ],
)
def test_orders_of_the_recursions(process, step, tau, order):
    """In float64, where the steps begin short, so that the first ones of low order do not count."""
    errors = [recursion_error(process, step, tau, n) for n in (64, 128)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.5)


@pytest.mark.parametrize("process", ["ve", "vp"])
@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_the_corrector_brings_the_law_nearer(process, tau):
    """SA-Solver of two predictions: at least 3 times nearer with its corrector."""
    steps = (oracles.multistep(2, tau), oracles.multistep(2, tau, corrector=1))
    predicted, corrected = (recursion_error(process, step, tau, 64) for step in steps)
    assert corrected < predicted / 3


def recursion_error(process, step, tau, n):
    form = PROCESSES[process][1]
    want = exact_map(form, 0.8, 0.2, tau)
    times = 0.8 - 0.6 * np.linspace(0, 1, n + 1) ** 2
    got = expected(form, step, tuple(times), "sample")
    return np.hypot(got.gain - want.gain, got.std - want.std)


def exact_map(form, start, end, tau=1.0):
    """tau 1: the gain is Cov(x_s, x_t) / Var(x_t). Noise tau forgets tau^2 times as fast."""
    (at, st), (ae, se) = form.at(start), form.at(end)
    vt, ve = (at * S) ** 2 + st**2, (ae * S) ** 2 + se**2
    kept = (at / ae * np.sqrt(ve / vt)) ** (tau**2)
    return oracles.Affine(np.sqrt(ve / vt) * kept, None, np.sqrt(ve * (1 - kept**2)))


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("solver", ["ancestral", "2m", "3m", "sa"])
def test_conditional_mean_is_exact_at_any_step(process, solver):
    """For Gaussian data one step of these solvers has E[x_s | x_t] exactly."""
    ours, form = PROCESSES[process]
    want = exact_map(form, 0.8, 0.2)
    got = measured(ours, SOLVERS[solver][0], (0.8, 0.2), "sample")
    assert got.gain == pytest.approx(want.gain, rel=1e-4, abs=1e-6)


# --- EDM's churn ----------------------------------------------------------------------------------

CHURN = {"ve": sde.VE(0.02, 10.0), "vp": sde.VP(), "subvp": sde.SubVP(), "table": TABLE}


@pytest.mark.parametrize("process", CHURN)
@pytest.mark.parametrize("end", [0.1, sde.CLEAN])
def test_churn_is_algorithm_2_of_edm(process, end):
    """Raised levels of EDM are the grid's: the same affine map in float64."""
    ours, churn, noise = CHURN[process], 0.3, 1.007
    times = (*even(0.9, 0.2, 7), end)
    ratios = np.asarray(noise_to_signal(ours, jnp.asarray(times, jnp.float32)), np.float64)
    x, z = oracles.probes(len(times) - 1)

    def eps_of(u, ratio):
        return ratio * (u - M) / (S**2 + ratio**2)

    alphas = [float(sde.level(ours, times[i])[0]) for i in (0, -1)]
    sigmas = [ratios[0], *(ratios[1:] / (1 + churn))]
    u = oracles.edm(sigmas, churn, noise, eps_of, x / alphas[0], z)
    got = measured(ours, solvers.Heun(churn, noise), times, "sample")
    close(got, oracles.affine(alphas[1] * u), 1e-4)


@pytest.mark.parametrize("process", ["ve", "vp"])
def test_churn_keeps_the_marginals(process):
    """The std of x_s from x_t of the exact law, with order 2."""
    ours, form = PROCESSES[process]
    (at, st), (ae, se) = form.at(0.8), form.at(0.2)
    errors = []
    for n in (12, 24):
        got = measured(ours, solvers.Heun(0.05), even(0.8, 0.2, n), "sample")
        std = np.hypot(got.gain * np.hypot(at * S, st), got.std)
        errors.append(abs(std / np.hypot(ae * S, se) - 1))
    assert errors[0] < 0.02 and np.log2(errors[0] / errors[1]) > 1.5


def test_churn_has_a_range(rng):
    """S_tmin and S_tmax of EDM: outside of them the step is that of the flow."""
    x, eps = picture(rng), Prediction(picture(rng))
    step = functools.partial(
        one_step, process=sde.VP(), x=x, prediction=eps, predict=lambda x, t: eps
    )
    ratio = float(noise_to_signal(sde.VP(), 0.5)) / 1.2
    flow, churned = step(solvers.Heun()), step(solvers.Heun(0.2))
    assert np.all(churned.std > 0) and not np.any(flow.std)
    for low, high, wanted in [
        (ratio * 1.01, np.inf, flow), (0.0, ratio * 0.99, flow),
        (ratio * 0.99, ratio * 1.01, churned),
    ]:  # fmt: skip
        got = step(solvers.Heun(0.2, churn_from=low, churn_to=high))
        close(got.mean, wanted.mean, 1e-6)
        close(got.std, wanted.std, 1e-6)


# --- tables: the formulas of the originals --------------------------------------------------------


def table_form(alphas, sigmas, n):
    def at(values):
        return lambda t: values[int(round(t * n)) - 1]

    return oracles.Form(at(alphas), at(sigmas), None, None)


def ladder(n, stride=1):
    """All times of a table from the top, in strides; the last step goes to clean."""
    steps = np.arange(n - 1, -1, -stride)
    return (*((steps + 1) / n).tolist(), sde.CLEAN)


TABLES = {
    "linear": (sde.linear_table(), oracles.linear_betas()),
    "scaled": (sde.scaled_linear_table(), oracles.scaled_linear_betas()),
    "cosine": (sde.cosine_table(), oracles.cosine_betas()),
}


@pytest.mark.parametrize("table", TABLES)
def test_ancestral_is_ddpm_on_a_table(table):
    """Ho et al. eq. 7 and 11 over 1000 levels in strides of 111, in float64."""
    process, betas = TABLES[table]
    form = table_form(*oracles.ddpm_levels(betas), 1000)
    times = ladder(1000, 111)
    got = measured(process, solvers.Ancestral(), times, "mean")
    close(got, expected(form, oracles.ddpm_step, times, "mean"))


def test_reverse_diffusion_is_score_sde_on_its_tables():
    """VP: x_mean = 2 x - sqrt(1 - beta) x + beta score, std sqrt(beta), on a table of 30 levels."""
    n, betas = 30, np.linspace(0.1 / 30, 20 / 30, 30)

    def step(form, memory, x, eps, t, s):
        beta = betas[int(round(t * n)) - 1]
        mean = 2 * x - np.sqrt(1 - beta) * x - beta * eps / form.at(t)[1]
        return mean, np.sqrt(beta), memory

    form = table_form(*oracles.ddpm_levels(betas), n)
    got = measured(sde.discretize(sde.VP(), n), solvers.ReverseDiffusion(), ladder(n), "mean")
    close(got, expected(form, step, ladder(n), "mean"))


@pytest.mark.parametrize("solver", ["ancestral", "reverse"])
def test_ve_tables_step_as_score_sde(solver):
    """VE: x_mean = x + (sigma_i^2 - sigma_{i-1}^2) score; two stds (Song et al. eq. 9 and 47)."""
    n, sigmas = 25, np.geomspace(0.02, 20.0, 25)
    form = table_form(np.ones(n), sigmas, n)
    step = oracles.ancestral_ve if solver == "ancestral" else oracles.reverse_diffusion()
    got = measured(sde.discretize(sde.VE(0.02, 20.0), n), SOLVERS[solver][0], ladder(n), "mean")
    close(got, expected(form, step, ladder(n), "mean"))


# --- options --------------------------------------------------------------------------------------


def one_step(solver, process, x, prediction, t=0.6, s=0.5, predict=None):
    t, s = jnp.float32(t), jnp.float32(s)
    return solver.step(process, solver.init(x), x, prediction, t, s, predict)[0]


def picture(rng, *shape):
    return jnp.asarray(rng.normal(size=shape or (4, 4, 3)), jnp.float32)


def test_variance_of_ancestral(rng):
    """small: posterior variance; large: the forward beta; learned: between them in the log."""
    table, betas = sde.linear_table(), oracles.linear_betas()
    t, s = 600, 599
    abar = oracles.ddpm_levels(betas)[0] ** 2
    beta = betas[t - 1]
    small = beta * (1 - abar[s - 1]) / (1 - abar[t - 1])
    x, fraction = picture(rng), jnp.asarray(rng.uniform(size=(4, 4, 3)), jnp.float32)
    prediction = Prediction(picture(rng), fraction)
    step = functools.partial(one_step, process=table, x=x, prediction=prediction, t=0.6, s=0.599)
    for variance, want in [
        ("small", small),
        ("large", beta),
        ("learned", np.exp(fraction * np.log(beta) + (1 - fraction) * np.log(small))),
    ]:
        got = step(solvers.Ancestral(variance=variance))
        np.testing.assert_allclose(got.std**2, np.broadcast_to(want, got.std.shape), rtol=5e-4)
        assert jnp.array_equal(got.mean, step(solvers.Ancestral()).mean)


def test_clipped_solvers_stay_where_x0_is_inside(rng):
    process, z = sde.VP(), picture(rng)
    for make in (solvers.Ancestral, *(functools.partial(solvers.DPMpp, n) for n in (2, 3))):
        inside, outside = (sde.perturb(process, level, 0.6, z) for level in (0.9, 3.0))
        free, clipped = make(), make(clip_x0=True)
        close(
            one_step(clipped, process, inside, Prediction(z)).mean,
            one_step(free, process, inside, Prediction(z)).mean,
        )
        # to the clean end the mean is x0 itself
        end = one_step(clipped, process, outside, Prediction(z), s=sde.CLEAN)
        np.testing.assert_allclose(end.mean, 1.0, rtol=1e-5)


def test_a_step_to_clean_is_x0(rng):
    """All solvers in x0 form give E[x0] and no noise at the clean end."""
    for process, _ in PROCESSES.values():
        x, eps = picture(rng), picture(rng)
        want = sde.x0_from_eps(process, x, 0.3, eps)
        flows = (solvers.Ancestral(0.0), solvers.DPMpp(3, sde=False))
        for solver in (solvers.Ancestral(), solvers.DPMpp(), *flows):
            got = one_step(solver, process, x, Prediction(eps), t=0.3, s=sde.CLEAN)
            close(got.mean, want)
            assert not np.any(got.std)
        learned = solvers.Ancestral(variance="learned")
        got = one_step(learned, process, x, Prediction(eps, 0.5 + 0 * eps), t=0.3, s=sde.CLEAN)
        close(got.mean, want)
        assert not np.any(got.std)
        got = one_step(
            solvers.Heun(), process, x, Prediction(eps), t=0.3, s=sde.CLEAN,
            predict=lambda x, t: Prediction(jnp.full_like(x, jnp.nan)),
        )  # fmt: skip
        close(got.mean, want)


def test_steps_of_no_length_stay_finite(rng):
    """Two equal times (a grid at the smallest strengths) change nothing and make no NaN."""
    x, eps = picture(rng), Prediction(picture(rng))
    t = jnp.float32(0.4)
    for name, (solver, _) in SOLVERS.items():
        memory = solver.init(x)
        for s in (0.4, 0.4, 0.3):
            law, memory = solver.step(sde.VP(), memory, x, eps, t, jnp.float32(s), lambda x, t: eps)
            assert np.isfinite(law.mean).all() and np.isfinite(law.std).all(), name
            if s == 0.4:
                close(law.mean, x)


def test_inversion_replays_the_path(rng):
    """z = (x_s - mean) / std, put back in, gives x_s: for every solver with std > 0."""
    x, aim, eps = picture(rng), picture(rng), picture(rng)
    for process, _ in PROCESSES.values():
        for name, (solver, _) in SOLVERS.items():
            if name in FLOWS:
                continue
            law = one_step(solver, process, x, Prediction(eps))
            z = (aim - law.mean) / law.std
            close(law.mean + law.std * z, aim)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"eta must be in \[0, 1\], got 1.5"):
        solvers.Ancestral(1.5)
    with pytest.raises(ValueError, match=r"variance must be one of .*'learned'.*got 'tiny'"):
        solvers.Ancestral(variance="tiny")
    with pytest.raises(ValueError, match="order must be 2 or 3, got 4"):
        solvers.DPMpp(4)
    for made, wrong in [
        (lambda: solvers.Heun(0.5), r"churn must be in \[0, sqrt\(2\) - 1\], got 0.5"),
        (lambda: solvers.Heun(noise=0.0), "noise must be above 0 and finite, got 0.0"),
        (lambda: solvers.Heun(churn_from=2.0, churn_to=1.0), "below churn_to, got 2.0 and 1.0"),
        (lambda: solvers.UniPC(1), "order must be 2 or 3, got 1"),
        (lambda: solvers.UniPC(variant="bh3"), "variant must be one of .*'bh2'.*got 'bh3'"),
        (lambda: solvers.SASolver(-0.5), "tau must be at least 0 and finite, got -0.5"),
        (lambda: solvers.SASolver(predictor=4), r"predictor must be one of \[1, 2, 3\], got 4"),
        (lambda: solvers.SASolver(corrector=1), r"corrector must be one of \[0, 2, 3, 4\], got 1"),
        (lambda: solvers.SASolver(form="heun"), "form must be one of .*'exact'.*got 'heun'"),
    ]:
        with pytest.raises(ValueError, match=wrong):
            made()
    with pytest.raises(ValueError, match=r"form must be one of .*'exact'.*got 'heun'"):
        solvers.DPMpp(form="heun")
    x = jnp.zeros((2, 2, 1))
    with pytest.raises(ValueError, match="learned variance"):
        one_step(solvers.Ancestral(variance="learned"), sde.VP(), x, Prediction(x))


@pytest.mark.parametrize(
    "solver", [*(made for made, _ in SOLVERS.values()), solvers.PLMS(), solvers.Adaptive()]
)
def test_evaluations_are_the_loops_calls(solver):
    """A step calls the network as often as it states: the loop once, Heun once more."""
    calls = []

    def predict(x, t):
        jax.debug.callback(calls.append, t)
        return Prediction(0 * x)

    process, n = sde.VP(), 3
    grid = grids.Uniform()(process, jnp.float32(0.5), n)
    sampler.reverse(predict, process, solver, grid, ZeroNoise(), jnp.ones((2, 2, 1)))
    jax.effects_barrier()
    assert len(calls) == n * solver.evaluations
    twice = isinstance(solver, solvers.Heun | solvers.Adaptive)
    assert solver.evaluations == (2 if twice else 1)


def test_members_of_the_families_agree(rng):
    """SA-Solver of one prediction is the ancestral step (tau 1) and DDIM (tau 0), of several the
    exact DPM-Solver++; tau near 0 is near 0."""
    flow = functools.partial(solvers.DPMpp, sde=False, form="exact")
    pairs = [
        (solvers.SASolver(1.0, 1, 0), solvers.Ancestral(), 2e-5),
        (solvers.SASolver(0.0, 1, 0), solvers.Ancestral(0.0), 2e-5),
        (solvers.SASolver(1.0, 3, 0), solvers.DPMpp(3, form="exact"), 1e-6),
        (solvers.SASolver(0.0, 2, 0), flow(2), 1e-6),
        (solvers.SASolver(lambda t: 0.5 + 0 * t, 2, 3), solvers.SASolver(0.5, 2, 3), 1e-6),
        (solvers.SASolver(1e-3, 3, 3), solvers.SASolver(0.0, 3, 3), 5e-3),
    ]
    times = (*even(0.9, 0.1, 9), sde.CLEAN)
    for process in (PROCESSES["ve"][0], sde.linear_table()):
        for one, other, tolerance in pairs:
            got, want = (measured(process, solver, times, "mean") for solver in (one, other))
            close(got, want, tolerance)


DIFFUSERS = {
    "unipc2": solvers.UniPC(),
    "unipc3": solvers.UniPC(3),
    "unipc2_bh1": solvers.UniPC(variant="bh1"),
    "sa22": solvers.SASolver(0.6, form="released"),
    "sa34": solvers.SASolver(1.0, 3, 4, form="released"),
    "sa33_flow": solvers.SASolver(0.0, 3, 3, form="released"),
}


@pytest.mark.parametrize("name", DIFFUSERS)
def test_states_of_the_schedulers_of_diffusers(name):
    """UniPC and SA-Solver of diffusers, run in float64 with these outputs and this noise: 8 steps
    of the scaled-linear table, linspace, the last one to step 0 with the full order."""
    with np.load(HERE / "goldens" / "diffusers_multistep.npz") as file:
        own = {key: channels_last(a) if a.ndim > 2 else a for key, a in file.items()}
    solver, x = DIFFUSERS[name], own["x"][0]
    t = (own[f"{name}_t"] + 1) / 1000
    memory = solver.init(x)
    for i, s in enumerate((*t[1:], 0.001)):
        told = Prediction(own["said"][i, 0])
        law, memory = solver.step(TABLE, memory, x, told, jnp.float32(t[i]), jnp.float32(s))
        x = law.mean + law.std * own["z"][i, 0]
        close(x, own[name][i, 0])


def test_moments_of_the_exponential():
    """Integrals of k e^{-k (h - u)} (u / h)^p by Gauss's rule, for small and large k h."""
    points, weights = np.polynomial.legendre.leggauss(200)
    u = (points + 1) / 2
    for y in (1e-4, 0.1, 1.9, 2.1, 8.0, 40.0):
        got = multistep.moments(jnp.float32(y), 4)
        want = [np.sum(weights / 2 * y * np.exp(-y * (1 - u)) * u**p) for p in range(4)]
        np.testing.assert_allclose(got, want, rtol=2e-6)


# --- updates of the original ----------------------------------------------------------------------

KINDS = {
    "reverse_diffusion_pf0": solvers.ReverseDiffusion(),
    "reverse_diffusion_pf1": solvers.ReverseDiffusion(probability_flow=True),
    "ancestral_sampling_pf0": None,  # by process: the original's VP takes the large variance
    "euler_maruyama_pf0": solvers.EulerMaruyama(),
}


TIMES = {"ve": (1.0, 0.5, 0.01, 1e-5), "vp": (1.0, 0.5, 0.01, 1e-3), "su": (1.0, 0.5, 0.01, 1e-3)}


def updates(kinds):
    return [
        pytest.param(name, i, t, kind, id=f"{name}-{t}-{kind}")
        for name in ("ve_celebahq_ffhq_256", "vp", "subvp")
        for i, t in enumerate(TIMES[name[:2]])
        for kind in kinds
        if name != "subvp" or kind.startswith("euler")  # subVP has no table
    ]


def original(name):
    """(process, its table, levels, to our units): VE of the original lives in [0, 1]."""
    if name.startswith("ve"):
        process, n = sde.VE(0.02, 696.0), 2000
        return process, sde.discretize(process, n), n, lambda x: 2 * x - 1
    process, n = (sde.VP(), 1000) if name == "vp" else (sde.SubVP(), 1000)
    return process, sde.discretize(sde.VP(), n), n, lambda x: x


def analytic(name, label_t):
    """The goldens' score -x / (1 + t) in the original's space, as eps in ours."""

    def predict(process, x, t):
        score = -(x + 1) / 4 / (1 + label_t) if name.startswith("ve") else -x / (1 + label_t)
        return Prediction(sde.eps_from_score(process, t, score))

    return predict


def channels_last(x):
    return jnp.asarray(np.moveaxis(x, -3, -1))


@pytest.mark.parametrize(("name", "i", "t", "kind"), updates(KINDS))
def test_updates_of_the_originals_predictors(golden, name, i, t, kind):
    arrays = np.load(golden("tables_sampler_updates") / "io.npz")
    process, table, n, ours = original(name)
    if kind.startswith("euler"):
        now, after = t, t - 1 / n
    else:  # the original steps from level trunc(t (n - 1)) to the one below
        k = int(t * (n - 1))
        process, now, after = table, (k + 1) / n, k / n if k else sde.CLEAN
    solver = KINDS[kind] or solvers.Ancestral(variance="small" if name[:2] == "ve" else "large")
    x, z = ours(channels_last(arrays["x"])), channels_last(arrays[f"noise_t{i}"])
    law = one_step(solver, process, x, analytic(name, t)(process, x, now), now, after)
    key = f"{name}_t{i}_{kind}"
    close(law.mean, ours(channels_last(arrays[f"{key}_xmean"])), 5e-5)
    close(law.mean + law.std * z, ours(channels_last(arrays[f"{key}_x"])), 5e-5)


@pytest.mark.parametrize(("name", "i", "t", "kind"), updates(["langevin_n1", "langevin_n3"]))
def test_updates_of_the_originals_corrector(golden, name, i, t, kind):
    arrays = np.load(golden("tables_sampler_updates") / "io.npz")
    _, table, n, ours = original(name)
    k, steps = int(t * (n - 1)), int(kind[-1])
    now, after = jnp.float32((k + 1) / n), jnp.float32(k / n if k else sde.CLEAN)
    predict = functools.partial(analytic(name, t), table)
    corrector = Langevin(0.16, steps, norm="batch", axis="rows")

    def correct(x, z):
        draw = functools.partial(ReplayNoise(z[None], steps).draw, At(0), Purpose.BEFORE)
        context = sampler.Context(table, now, after, 0, None, jnp.ones(()), draw, predict)
        return corrector.before(x, context)

    z = channels_last(np.moveaxis(arrays[f"cnoise_t{i}"], 0, 1))[:, :steps]
    x = ours(channels_last(arrays["x"]))
    got = jit(jax.vmap(correct, axis_name="rows"))(x, z)
    close(got, ours(channels_last(arrays[f"{name}_t{i}_{kind}_x"])), 5e-5)


def test_golden_updates_are_the_stated_ones(golden):
    """The settings assumed above: the four times of each process, snr 0.16."""
    listed = json.loads((golden("tables_sampler_updates") / "config.json").read_text())["updates"]
    for u in listed:
        assert u["t"] == TIMES[u["sde"][:2]][int(u["noise"].split("[")[0][-1])]
    assert {u["snr"] for u in listed if u["type"] == "corrector"} == {0.16}

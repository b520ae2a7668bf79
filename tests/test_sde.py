"""Processes against float64 closed forms and the originals' tables."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest

from sdedit_jax.diffusion import sde
from sdedit_jax.diffusion.sde import CLEAN, VE, VP, SubVP

PROCESSES = {
    "ve cifar": (VE(0.02, 100.0), oracles.ve(0.02, 100.0)),
    "ve church": (VE(0.02, 760.0), oracles.ve(0.02, 760.0)),
    "ve ffhq1024": (VE(0.02, 2696.0), oracles.ve(0.02, 2696.0)),
    "ve wide": (VE(0.002, 80.0), oracles.ve(0.002, 80.0)),
    "vp": (VP(), oracles.vp()),
    "vp other": (VP(0.2, 9.0), oracles.vp(0.2, 9.0)),
    "subvp": (SubVP(), oracles.subvp()),
}
TIMES = np.geomspace(1e-5, 1.0, 241).astype(np.float32)


def along(function, times=TIMES):
    return np.asarray(jax.jit(jax.vmap(function))(jnp.asarray(times)), np.float64)


@pytest.mark.parametrize("name", PROCESSES)
def test_closed_forms(name):
    """alpha, sigma, drift, diffusion to 1e-5 relative; log-SNR to 1e-5 of max(1, its size)."""
    process, form = PROCESSES[name]
    t = TIMES.astype(np.float64)
    want = [form.alpha(t), form.sigma(t), 2.5 * form.rate(t), form.g(t)]
    got = along(
        lambda t: jnp.stack(
            [
                *sde.level(process, t),
                sde.drift(process, jnp.float32(2.5), t),
                sde.diffusion(process, t),
            ]
        )
    )
    for a, b in zip(got.T, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=0)
    lam = 2 * np.log(form.alpha(t) / form.sigma(t))
    np.testing.assert_allclose(along(lambda t: sde.log_snr(process, t)), lam, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", PROCESSES)
def test_transition_is_the_forward_law(name):
    """a = alpha_t / alpha_s, q = a sigma_s / sigma_t and sigma_t^2 fresh = sigma_t^2 - a^2
    sigma_s^2, in steps of a thousandth too."""
    process, form = PROCESSES[name]
    for t, s in [(1.0, 0.9), (0.5, 0.01), (0.3, 0.29), (0.501, 0.5), (0.021, 0.02), (1.0, 0.999)]:
        (at, st), (as_, ss) = form.at(np.float32(t)), form.at(np.float32(s))
        a, q, fresh = map(float, sde.transition(process, jnp.float32(t), jnp.float32(s)))
        assert a == pytest.approx(at / as_, rel=1e-5)
        assert q == pytest.approx(at / as_ * ss / st, rel=1e-5)
        assert fresh == pytest.approx(1 - (at / as_ * ss / st) ** 2, rel=1e-5)
    first = along(lambda t: sde.transition(process, t, jnp.zeros_like(t)).fresh)
    assert (first <= 1).all()  # rules take the root of what is left
    a, q, fresh = map(float, sde.transition(process, jnp.float32(0.5), jnp.float32(CLEAN)))
    assert (a, q, fresh) == (pytest.approx(form.at(0.5)[0], rel=1e-5), 0.0, 1.0)


def test_clean_end_differs_from_time_0():
    for process in (VE(), VP(), sde.linear_table()):
        assert tuple(map(float, sde.level(process, CLEAN))) == (1.0, 0.0)
    assert float(sde.level(VE(), 0.0)[1]) == pytest.approx(0.02)
    assert tuple(map(float, sde.level(VP(), 0.0))) == (1.0, 0.0)
    assert tuple(map(float, sde.level(sde.linear_table(), 0.0))) == (1.0, 0.0)


def test_conversions_are_inverse(rng):
    x0, z = (jnp.asarray(rng.normal(size=(4, 4, 3)), jnp.float32) for _ in range(2))
    for process in (VE(0.02, 10.0), VP(), SubVP(), sde.cosine_table()):
        for t in (0.1, 0.5, 0.9):
            alpha, sigma = (float(v) for v in sde.level(process, t))
            x = sde.perturb(process, x0, t, z)
            np.testing.assert_allclose(x, alpha * x0 + sigma * z, rtol=1e-6, atol=1e-6)
            close = {"rtol": 0, "atol": 2e-6 * max(1, sigma) / alpha}
            np.testing.assert_allclose(sde.x0_from_eps(process, x, t, z), x0, **close)
            close = {"rtol": 0, "atol": 2e-6 * max(1, 1 / sigma)}
            np.testing.assert_allclose(sde.eps_from_x0(process, x, t, x0), z, **close)
            score = sde.score_from_eps(process, t, z)
            # the score of N(alpha x0, sigma^2) at x
            np.testing.assert_allclose(score, -(x - alpha * x0) / sigma**2, rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(sde.eps_from_score(process, t, score), z, rtol=1e-6)
            v = sde.v_from_eps(process, x, t, z)
            np.testing.assert_allclose(v, alpha * z - sigma * x0, rtol=0, atol=1e-4)
            np.testing.assert_allclose(sde.eps_from_v(process, x, t, v), z, rtol=0, atol=1e-4)


# --- tables ---------------------------------------------------------------------------------------

TABLES = {
    "linear": (sde.linear_table(), oracles.linear_betas()),
    "linear 50": (sde.linear_table(50, 1e-3, 0.3), oracles.linear_betas(50, 1e-3, 0.3)),
    "scaled linear": (sde.scaled_linear_table(), oracles.scaled_linear_betas()),
    "cosine": (sde.cosine_table(), oracles.cosine_betas()),
    "cosine 64": (sde.cosine_table(64), oracles.cosine_betas(64)),
}


def levels(table):
    """(alpha [N], sigma [N]) at the times (i + 1) / N."""
    n = len(table.log_snrs)
    got = along(lambda t: jnp.stack(sde.level(table, t)), (np.arange(n) + 1) / np.float32(n))
    return got.T


@pytest.mark.parametrize("name", TABLES)
def test_tables_at_their_levels(name):
    table, betas = TABLES[name]
    for got, want in zip(levels(table), oracles.ddpm_levels(betas), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_tables_between_levels():
    """Log-SNR is linear in t between levels; below the first sigma^2 / alpha^2 is."""
    table = sde.linear_table(20, 1e-3, 0.5)
    lam = np.asarray(table.log_snrs)
    for i, part in [(0, 0.25), (7, 0.5), (18, 0.9)]:
        want = lam[i] + part * (lam[i + 1] - lam[i])
        assert float(sde.log_snr(table, (i + 1 + part) / 20)) == pytest.approx(want, abs=1e-4)
    for part in (0.5, 1e-3):
        alpha, sigma = sde.level(table, part / 20)
        assert float((sigma / alpha) ** 2) == pytest.approx(part * np.exp(-lam[0]), rel=1e-4)


@pytest.mark.parametrize("n", [1000, 40])
def test_discretize_vp(n):
    got = levels(sde.discretize(VP(), n))
    for a, b in zip(got, oracles.ddpm_levels(np.linspace(0.1 / n, 20 / n, n)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("n", [2000, 15])
def test_discretize_ve(n):
    alpha, sigma = levels(sde.discretize(VE(0.02, 696.0), n))
    assert np.all(alpha == 1)
    np.testing.assert_allclose(sigma, np.geomspace(0.02, 696.0, n), rtol=1e-5)


# --- tables of the originals ----------------------------------------------------------------------


def check_table(got, golden, exact):
    """1e-5 where the golden itself is within 1e-5 of float64, else 5e-4; relative."""
    own = np.max(np.abs(golden / exact - 1))
    np.testing.assert_allclose(got, golden, rtol=1e-5 if own < 1e-5 else 5e-4, atol=0)


def arrays_of(folder):
    with np.load(folder / "io.npz") as file:
        return dict(file)


@pytest.mark.parametrize(
    ("key", "high"), [("ve_cifar10", 50), ("ve_church", 380), ("ve_ffhq1024", 1348)]
)
def test_original_ve(golden, key, high):
    """The original lives in [0, 1]: our sigma is twice its sigma."""
    a = arrays_of(golden("tables_sde"))
    process, form, t = VE(0.02, 2.0 * high), oracles.ve(0.01, high), a[f"{key}_t"]
    check_table(along(process.sigma, t) / 2, a[f"{key}_marginal_std"], form.sigma(t))
    got = along(lambda t: sde.diffusion(process, t), t) / 2
    check_table(got, a[f"{key}_sde_diffusion"], form.g(t))
    n = len(a[f"{key}_discrete_sigmas"])
    got = levels(sde.discretize(process, n))[1] / 2
    check_table(got, a[f"{key}_discrete_sigmas"], np.geomspace(0.01, high, n))


@pytest.mark.parametrize("key", ["vp", "subvp"])
def test_original_vp_and_subvp(golden, key):
    a = arrays_of(golden("tables_sde"))
    process, form = (VP(), oracles.vp()) if key == "vp" else (SubVP(), oracles.subvp())
    t = a[f"{key}_t"]
    check_table(along(process.alpha, t), a[f"{key}_marginal_mean_on_ones"], form.alpha(t))
    check_table(along(process.sigma, t), a[f"{key}_marginal_std"], form.sigma(t))
    rate = along(lambda t: sde.drift(process, jnp.float32(1.0), t), t)
    check_table(rate, a[f"{key}_sde_drift_on_ones"], form.rate(t))
    g = along(lambda t: sde.diffusion(process, t), t)
    check_table(g, a[f"{key}_sde_diffusion"], form.g(t))


def test_original_vp_table(golden):
    a = arrays_of(golden("tables_sde"))
    alpha, sigma = levels(sde.discretize(VP(), 1000))
    want = oracles.ddpm_levels(np.linspace(1e-4, 0.02, 1000))
    check_table(alpha, a["vp_sqrt_alphas_cumprod"], want[0])
    check_table(sigma, a["vp_sqrt_1m_alphas_cumprod"], want[1])


def test_original_sdedit_table(golden):
    a = arrays_of(golden("tables_sdedit"))
    alpha, sigma = levels(sde.linear_table())
    want = oracles.ddpm_levels(oracles.linear_betas())
    check_table(alpha, a["sqrt_a"], want[0])
    check_table(sigma, a["sqrt_1m_a"], want[1])
    check_table(alpha**2, a["alphas_cumprod_f64"], want[0] ** 2)
    check_table(sigma, a["sqrt_1m_a_f64"], want[1])


def test_original_sigmas(golden):
    """The buffers `sigmas` of the originals' checkpoints, from the largest down."""
    a = arrays_of(golden("tables_sigmas"))
    for key, high in [("cifar10_ncsnpp", 50), ("church_ncsnpp_continuous", 380)]:
        want = a[f"sigmas_{key}"][::-1]
        got = levels(sde.discretize(VE(0.02, 2.0 * high), len(want)))[1] / 2
        check_table(got, want, np.geomspace(0.01, high, len(want)))


# --- objects --------------------------------------------------------------------------------------


def test_processes_are_values():
    """Equal processes are one key and one compiled program; different ones are not."""
    assert VE(0.01, 5.0) == VE(0.01, 5.0) != VE(0.01, 6.0)
    assert len({VP(), VP(), SubVP(), VP(0.2), sde.linear_table(), sde.linear_table()}) == 4
    traces = []

    @jax.jit
    def sigma(process, t):
        traces.append(process)
        return process.sigma(t)

    for process in (VP(), VP(), sde.from_betas([0.1, 0.2]), sde.from_betas([0.1, 0.2])):
        sigma(process, 0.5)
    assert len(traces) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VE(1.0, 0.5), r"VE needs 0 < sigma_min < sigma_max, got sigma_min=1.0"),
        (lambda: VP(-1.0, 5.0), r"VP needs 0 < beta_min < beta_max, got -1.0 and 5.0"),
        (lambda: SubVP(3.0, 2.0), r"SubVP needs .* got 3.0 and 2.0"),
        (lambda: sde.from_betas([0.1, 1.5]), r"betas must .* \(0, 1\), .* got 0.1 .. 1.5"),
        (lambda: sde.Tabulated((1.0, 2.0)), r"log_snrs must hold at least 2 strictly decreasing"),
        (lambda: sde.discretize(SubVP(), 100), r"process must be VE or VP .* got SubVP"),
        (lambda: sde.discretize(VP(), 20), r"n must be above beta_max = 20.0, got 20"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()

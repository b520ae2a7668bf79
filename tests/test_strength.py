"""Strength: the four units of one noise level."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdedit_jax.diffusion import sde, strength

PROCESSES = [
    sde.VE(0.02, 100.0),
    sde.VE(0.02, 696.0),
    sde.VP(),
    sde.SubVP(),
    sde.linear_table(),
    sde.scaled_linear_table(),
    sde.cosine_table(),
    sde.discretize(sde.VE(0.02, 100.0), 1000),
]
CHURCH = sde.VE(0.02, 760.0)  # the church model's 0.01 .. 380 in [0, 1] units

PROCESS = st.sampled_from(PROCESSES)
T0 = st.floats(1e-4, 1.0)


def same_noise(process, a, b):
    """Equal log-SNR to float32, or as near as two neighbouring float32 times say it: the cosine
    table falls by 6.9 in its last thousandth, 4e-4 for one step of float32 in t."""
    a = np.float32(a)
    lam, *beside = (
        float(sde.log_snr(process, t)) for t in (a, np.nextafter(a, 0), np.nextafter(a, 1))
    )
    steps = max(abs(other - lam) for other in beside)
    assert float(sde.log_snr(process, b)) == pytest.approx(lam, rel=1e-5, abs=max(1e-4, steps))


@given(PROCESS, T0)
@settings(max_examples=60, deadline=None)
def test_round_trips_from_t0(process, t0):
    told = strength.describe(process, t0)
    assert told.t0 == t0
    for unit in ("sigma", "snr_db"):
        same_noise(process, strength.to_t0(process, **{unit: getattr(told, unit)}), t0)
    # a DDPM step says no more than its table's range, 0 .. 157 in sigma
    if told.sigma < 150:
        same_noise(process, strength.to_t0(process, step=told.step), t0)


@given(PROCESS, st.floats(0.021, 90.0))
@settings(max_examples=60, deadline=None)
def test_round_trips_from_sigma(process, sigma):
    if sigma > strength.describe(process, 1.0).sigma:
        with pytest.raises(ValueError, match="sigma must be in"):
            strength.to_t0(process, sigma=sigma * 1.01)
        return
    told = strength.describe(process, strength.to_t0(process, sigma=sigma))
    assert told.sigma == pytest.approx(sigma, rel=1e-4)
    assert told.snr_db == pytest.approx(-20 * np.log10(sigma), abs=1e-3)


@given(st.integers(0, 998), st.sampled_from([p for p in PROCESSES if not hasattr(p, "exploding")]))
@settings(max_examples=40, deadline=None)
def test_a_step_is_the_same_noise_in_each_process(step, process):
    table = sde.linear_table()
    sigma = strength.describe(table, (step + 1) / 1000).sigma
    if not strength.describe(process, 1e-6).sigma < sigma < strength.describe(process, 1.0).sigma:
        return
    told = strength.describe(process, strength.to_t0(process, step=step))
    assert told.sigma == pytest.approx(sigma, rel=1e-4)
    assert told.step == pytest.approx(step, abs=0.02)


@pytest.mark.parametrize("process", PROCESSES[2:4])
def test_against_closed_forms(process):
    form = oracles.vp() if isinstance(process, sde.VP) else oracles.subvp()
    for t0 in (1e-4, 0.05, 0.35, 0.5, 1.0):
        alpha, sigma = form.at(t0)
        told = strength.describe(process, t0)
        assert told.sigma == pytest.approx(sigma / alpha, rel=1e-5)
        assert told.snr_db == pytest.approx(20 * np.log10(alpha / sigma), rel=1e-5, abs=1e-4)


def test_the_same_t0_is_not_the_same_noise():
    """t0 = 0.35 is about twice the noise in VP that it is in the church VE model."""
    ve, vp = (strength.describe(process, 0.35).sigma for process in (CHURCH, sde.VP()))
    assert 1.9 < vp / ve < 2.6
    form = oracles.vp()
    assert ve == pytest.approx(0.02 * 38000**0.35, rel=1e-5)
    assert vp == pytest.approx(form.sigma(0.35) / form.alpha(0.35), rel=1e-5)


def test_official_t_500_is_step_499():
    """`--t 500` starts from alphas_cumprod[499], sqrt 0.280334: t0 = 0.5 on the linear table."""
    told = strength.describe(sde.linear_table(), 0.5)
    assert told.step == pytest.approx(499, abs=1e-3)
    assert strength.to_t0(sde.linear_table(), step=499) == pytest.approx(0.5, abs=1e-6)
    assert told.sigma == pytest.approx(0.959902 / 0.280334, rel=1e-5)
    assert "DDPM step 499.0" in str(told)


def test_strength_0():
    for process in PROCESSES:
        told = strength.describe(process, 0)
        assert told == (0.0, 0.0, np.inf, -1.0)
        for unit, value in [("t0", 0), ("sigma", 0), ("snr_db", np.inf), ("step", -1)]:
            assert strength.to_t0(process, **{unit: value}) == 0.0


def test_inversion_is_vectorised_and_traced():
    """t_from_log_snr under jit on an array; out of range gives the ends."""
    process = sde.VP()
    t = jnp.asarray([1e-4, 0.2, 0.7, 1.0])
    lam = jax.vmap(lambda t: sde.log_snr(process, t))(t)
    invert = jax.jit(lambda lam: strength.t_from_log_snr(process, lam))
    np.testing.assert_allclose(invert(lam), t, rtol=1e-5)
    np.testing.assert_array_equal(invert(jnp.asarray([jnp.inf, -1e3])), [0.0, 1.0])


@pytest.mark.parametrize(
    ("process", "given_", "message"),
    [
        (sde.VP(), {"t0": 1.5}, r"t0 must be in \[0, 1\], got 1.5"),
        (sde.VP(), {"t0": float("nan")}, r"t0 must be in \[0, 1\], got nan"),
        (sde.VP(), {}, r"exactly one of t0, sigma, snr_db, step, got none"),
        (sde.VP(), {"t0": 0.5, "step": 3}, r"exactly one of .* got {'t0': 0.5, 'step': 3}"),
        (sde.VE(0.02, 100.0), {"sigma": 0.01}, r"sigma must be in \[0.02, 100\], got 0.01"),
        (sde.VE(0.02, 100.0), {"sigma": 200}, r"sigma must be in \[0.02, 100\], got 200"),
        (sde.VE(0.02, 100.0), {"sigma": -1}, r"sigma must be at least 0, got -1"),
        (sde.VE(0.02, 100.0), {"snr_db": 90}, r"snr_db must be in \[-40, 33.98\], got 90"),
        (sde.VP(), {"snr_db": float("nan")}, r"snr_db must be a finite number, got nan"),
        (sde.linear_table(), {"step": 1000}, r"step must be in \[-1, 999\], got 1000"),
    ],
)
def test_errors_name_unit_value_and_range(process, given_, message):
    with pytest.raises(ValueError, match=message):
        strength.to_t0(process, **given_)

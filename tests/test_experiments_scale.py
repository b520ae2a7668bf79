"""The model of experiments/scale: what a picture costs on N devices."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parent.parent / "experiments" / "scale" / "cost.py"
SPEC = importlib.util.spec_from_file_location("scale_cost", FILE)
cost = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(cost)

KNOWN = cost.Cost(begin=0.5, transfer=0.25, launch=0.1, evaluate=0.05, compile=3.0, write=0.01)


def test_a_job_written_out():
    """10 pictures, 2 on each of 2 devices: 3 rounds of 0.5 + 2 * 0.25 + 4 (0.1 + 2 * 0.05)."""
    assert cost.of_job(KNOWN, 10, 2, 2, 4) == pytest.approx(3 + 3 * 1.8 + 10 * 0.01)
    assert cost.of_job(KNOWN, 10, 2, 2, 4, shared=2) == pytest.approx(3 + 3 * 2.6 + 10 * 0.01)
    assert cost.of_picture(8.5, 2, 10) == pytest.approx(1.7)


def test_n_times_the_devices_edit_n_times_the_pictures_in_the_same_time():
    free = KNOWN._replace(write=0.0)
    seconds = {cost.of_job(free, 8 * n, n, 4, 12) for n in (1, 2, 5, 64)}
    assert len(seconds) == 1
    # more devices than rounds change nothing
    assert cost.of_job(KNOWN, 8, 2, 4, 12) == cost.of_job(KNOWN, 8, 100, 4, 12)


@pytest.mark.parametrize("changes", [{}, {"begin": 0.0, "launch": 0.0}, {"transfer": 0.0}])
def test_the_fit_finds_the_parameters_of_exact_measurements(changes, rng):
    known = KNOWN._replace(compile=0.0, write=0.0, **changes)
    rows = [(b, e, cost.of_batch(known, b, e)) for b in (1, 8) for e in (4, 16)]
    np.testing.assert_allclose(cost.fit(rows), known, rtol=1e-6, atol=1e-9)
    noisy = [(b, e, s * rng.uniform(0.9, 1.1)) for b, e, s in rows]
    assert min(cost.fit(noisy)) >= 0

"""Test settings: four CPU devices, silent rank promotion is an error, goldens by name."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
import pytest

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared"


def golden_folder(name: str) -> Path:
    """The folder of a golden case: tests/goldens first, then ../shared, else the test skips."""
    here = HERE / "goldens" / name
    if here.exists():
        return here
    for folder in ("goldens", "goldens_sd"):
        if (SHARED / folder / name).exists():
            return SHARED / folder / name
    pytest.skip(f"golden {name} is too large for the repository and ../shared is not here")


@pytest.fixture
def golden():
    return golden_folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)

"""Test settings: quick compilation, four CPU devices, silent rank promotion is an error, goldens by
name, one worker for the tests of a file."""

import gc
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# most programs run once: compile them fast, in child processes too
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["SDEDIT_CACHE"] = ""  # no programs on disk, in child processes either

import jax
import numpy as np
import pytest

QUICK = ["--xla_cpu_parallel_codegen_split_count=1"]  # compiles in three quarters of the time
if jax.__version_info__ < (0, 11):  # XLA ends the process at a flag that it does not know
    QUICK += ["--xla_cpu_use_fusion_emitters=false"]
os.environ.setdefault("XLA_FLAGS", " ".join(QUICK))

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")

HERE = Path(__file__).parent
SHARED = HERE.parent.parent / "shared"
FIRST = [  # the longest files, so that the workers end together
    "notebooks", "fuzz", "train_latent", "nets", "selfcheck", "inversion", "train",
    "ledits_program", "text_edit", "img2img", "goldens", "ledits", "guidance", "sega", "adm",
    "programs", "edit_mode", "sdedit", "solvers", "train_mode", "docs", "net_sizes", "single_file",
    "flowers", "zero_snr", "patch",
]  # fmt: skip


def golden_folder(name: str) -> Path:
    """The folder of a golden case: tests/goldens first, then ../shared, else the test skips."""
    here = HERE / "goldens" / name
    if here.exists():
        return here
    for folder in ("goldens", "goldens_sd"):
        if (SHARED / folder / name).exists():
            return SHARED / folder / name
    pytest.skip(f"golden {name} is too large for the repository and ../shared is not here")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file's tests go to one worker, which compiles their programs once; long files first."""
    from xdist.scheduler import LoadFileScheduling

    if config.getvalue("dist") != "load":
        return None
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    def place(item):
        name = item.path.stem.removeprefix("test_")
        return [*FIRST, name].index(name)

    items.sort(key=place)


def pytest_collection_finish():
    """Collect garbage seldom: tracing makes many objects that live, and each pass reads all."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture
def golden():
    return golden_folder


@pytest.fixture
def rng():
    return np.random.default_rng(0)

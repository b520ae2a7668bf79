"""A tiny prior and short runs of the program, for the tests of the modes."""

import contextlib
import functools
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sdedit_jax import modes, registry
from sdedit_jax.data.pictures import Source
from sdedit_jax.modes.train import metadata_of
from sdedit_jax.pipeline.executor import PROGRAMS
from sdedit_jax.weights import store

ROOT = Path(__file__).parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
SIZE = 16
four_devices = pytest.mark.skipif(
    jax.local_device_count() < 4, reason="this machine has fewer than 4 devices of its kind"
)


@functools.cache
def _home():
    return tempfile.TemporaryDirectory(prefix="sdedit_jax_tests_")


def home():
    """A folder that lives as long as the test session."""
    return Path(_home().name)


def config_of(file, /, **changes):
    """A fresh config of configs/ with changes; "a__b" stands for config.a.b."""
    config = import_module(f"configs.{file}").get_config()
    config.cache = ""
    config.lock()
    for field, value in changes.items():
        *parts, last = field.split("__")
        functools.reduce(lambda c, part: c[part], parts, config)[last] = value
    return config


def tiny_net(**changes):
    """The config of a training run with a network of a few thousand parameters at 16 x 16."""
    net = {"image_size": SIZE, "nf": 8, "ch_mult": (1, 1), "attn_resolutions": ()}
    fields = {f"net__{name}": value for name, value in net.items()}
    return config_of("train", name="tiny", **fields, **changes)


@functools.cache
def tiny_card():
    return metadata_of(tiny_net(), Source(np.zeros((1, SIZE, SIZE, 3), np.uint8)))


@functools.cache
def tiny_params():
    """Random weights everywhere, also where training starts from zero."""
    rng = np.random.default_rng(0)
    fresh = registry.initial_params(tiny_card(), 0)
    return jax.tree.map(lambda a: np.asarray(a + rng.normal(0, 0.1, a.shape), np.float32), fresh)


@functools.cache
def tiny_prior():
    """The folder of the tiny prior."""
    folder = home() / "tiny"
    store.save(folder, tiny_params(), tiny_card())
    return str(folder)


@functools.cache
def grey_prior():
    """The folder of an exact prior of one grey picture, the luminance of `known()`."""
    folder = home() / "grey"
    folder.mkdir()
    Image.fromarray(known()).convert("L").save(folder / "known.png")
    card = {"name": "grey", "network": "mixture", "std": 0.05, "size": [SIZE, SIZE, 1]}
    card["process"] = {"name": "vp"}
    (folder / "prior.json").write_text(json.dumps(card))
    return str(folder)


@functools.cache
def exact_prior():
    """The folder of the exact prior of one picture, `known()`."""
    folder = home() / "exact"
    folder.mkdir()
    Image.fromarray(known()).save(folder / "known.png")
    card = {"name": "exact", "network": "mixture", "std": 0.05, "size": [SIZE, SIZE, 3]}
    card["process"] = {"name": "ve", "sigma_min": 0.01, "sigma_max": 80.0}
    (folder / "prior.json").write_text(json.dumps(card))
    return str(folder)


def known():
    """A picture 16 x 16 with all grey levels and colours somewhere."""
    y, x = np.mgrid[:SIZE, :SIZE]
    return np.stack([16 * x, 16 * y, 255 - 8 * (x + y)], axis=-1).astype(np.uint8)


# --- running --------------------------------------------------------------------------------------


def small(file, /, **changes):
    """A config of configs/ with the tiny prior, few steps and two pictures at a time."""
    few = {"prior": tiny_prior(), "samples": 2, "batch": 2, "devices": 1, "sampler__steps": 4}
    return config_of(file, **{**few, **changes})


def run(config, out, name="edit", overwrite=False, **options):
    """Run a mode as main.py does: its exit code."""
    return modes.run(config, out, name, overwrite=overwrite, **options)


def refused(config, out, name="edit", overwrite=False, **options):
    """The one line by which a mode refuses to run."""
    with pytest.raises((ValueError, OSError, FloatingPointError)) as caught:
        modes.run(config, out, name, overwrite=overwrite, **options)
    text = str(caught.value)
    assert text and "\n" not in text
    return text


@contextlib.contextmanager
def compiled():
    """The parts of pipelines that are compiled inside the block, by name."""
    before, found = set(PROGRAMS.kept), []
    yield found
    found += [key[1] for key in PROGRAMS.kept if key not in before]


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def picture(file):
    return np.asarray(Image.open(file))


def levels(a, b):
    """The largest difference of two pictures, in grey levels."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def recipe(file):
    return json.loads(Image.open(file).text["sdedit_jax"])


def noted(out):
    return json.loads((out / "record.json").read_text())

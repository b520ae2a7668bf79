"""Wrong values of every argument of the Python API: one TypeError or ValueError that names it."""

import functools
import inspect
import threading
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from program import ROOT, SIZE, exact_prior, small, tiny_prior
from test_bounds import WRONG

import sdedit_jax as sj
from sdedit_jax.diffusion.noise import SampleNoise
from sdedit_jax.diffusion.solvers import Ancestral
from sdedit_jax.modes.files import plain
from sdedit_jax.registry import bounds

STOPPED = threading.Event()
STOPPED.set()
PICTURE = np.zeros((SIZE, SIZE, 3), np.uint8)
ARRAYS = [
    np.full((SIZE, SIZE, 3), np.nan),
    np.zeros((SIZE, SIZE, 3), complex),
    np.array([object()]),
    np.zeros((0, 4, 3)),
    np.zeros((2, 2, 2, 2, 2)),
    np.array("x"),
    [[1, 2], [3]],
    np.broadcast_to(np.uint8(1), (10**6, 10**6, 3)),
    np.zeros((SIZE, SIZE), "datetime64[s]"),
    jax.random.key(0),
    jnp.full((SIZE, SIZE, 3), jnp.nan, jnp.bfloat16),
    Fraction(10**400, 3),
    range(10**12),
    np,
]
CALLS = {
    "edit": lambda **given: sj.edit(
        **{"prior": prior(), "image": PICTURE, "cancel": STOPPED, **given}
    ),
    "text_edit": lambda **given: sj.text_edit(
        **{"prior": reader(), "image": PICTURE, "prompt": "a", "cancel": STOPPED, **given}
    ),
    "invert": lambda **given: sj.invert(
        **{"prior": reader(), "image": PICTURE, "cancel": STOPPED, **given}
    ),
    "ledits": lambda **given: sj.ledits(
        **{"prior": reader(), "image": PICTURE, "concepts": "+a:7", "cancel": STOPPED, **given}
    ),
    "load_prior": lambda **given: sj.load_prior(**{"folder": exact_prior(), **given}),
    "convert": lambda **given: sj.convert(**{"source": tiny_prior(), "folder": "/no/x", **given}),
    "canvas": sj.canvas,
    "run": lambda **given: sj.run(**{"config": small("strokes"), "mode": "no", **given}),
    "describe": lambda **given: sj.describe(**{"process": sj.VP(), "t0": 0.5, **given}),
    "to_t0": lambda **given: sj.to_t0(**{"process": sj.VP(), **given}),
    "gaussian": lambda **given: sj.gaussian(
        **{"process": sj.VP(), "mean": np.zeros((4, 4, 3)), "std": 0.5, **given}
    ),
    "mixture": lambda **given: sj.mixture(
        **{"process": sj.VP(), "means": np.zeros((2, 4, 4, 3)), "std": 0.5, **given}
    ),
    "uncertainty": lambda **given: sj.uncertainty(**given),
    "reverse": lambda **given: sj.reverse(**{**loop(), "x": jnp.zeros((4, 4, 3)), **given}),
    "VE": sj.VE,
    "VP": sj.VP,
    "SubVP": sj.SubVP,
    "Tabulated": lambda **given: sj.Tabulated(**{"log_snrs": (1.0, 0.0), **given}),
}
READ = ("cannot read", "source: ", "mode must be", "strength takes exactly")
"""The value is a path, or the call comes as far as another argument."""


def loop():
    """The parts of a loop of one step."""
    parts = {"predict": lambda x, t: sj.Prediction(x), "process": sj.VP(), "solver": Ancestral()}
    grid, noise = sj.Grid(jnp.ones(1), jnp.zeros(1)), SampleNoise(jax.random.key(0))
    return {**parts, "grid": grid, "noise": noise}


@functools.cache
def reader():
    """A prior that reads texts."""
    return sj.load_prior(str(ROOT / "checkpoints" / "fruits64-text"))


@functools.cache
def prior():
    return sj.load_prior(exact_prior())


def arguments():
    """Every argument of every call; those of the same name and default are checked once."""
    seen = set()
    for name in CALLS:
        for argument, parameter in inspect.signature(getattr(sj, name)).parameters.items():
            if (argument, parameter.default) not in seen or argument == "image":
                seen.add((argument, parameter.default))
                yield name, argument


@pytest.mark.parametrize(("name", "argument"), arguments())
def test_a_wrong_argument_is_named(name, argument):
    for value in [*WRONG, *ARRAYS]:
        if value is None and argument == "cancel":
            continue
        try:
            CALLS[name](**{argument: value})
        except (TypeError, ValueError, OSError) as error:
            text = str(error)
            assert "\n" not in text and len(text) < 1000, (value, text)
            assert argument in text or text.startswith(READ), text
        except sj.Cancelled:
            pass


def test_an_array_that_jax_traces_is_named():
    exact = prior()
    with pytest.raises(TypeError, match="image must be an array.* traces"):
        jax.jit(functools.partial(sj.edit, exact))(jnp.zeros((SIZE, SIZE, 3)))


def test_a_wrong_type_is_a_type_error_in_python_and_a_value_error_in_a_file():
    for value, error in (("x", TypeError), (0, ValueError)):
        with pytest.raises(error, match="batch must be"):
            sj.edit(prior(), PICTURE, batch=value)
    with pytest.raises(ValueError, match="batch must be a whole number, got 'x'"):
        bounds.check({**plain(small("strokes")), "batch": "x"})


def test_numbers_of_the_data_of_exact_priors_are_checked():
    mean, process = np.zeros((4, 4, 3)), sj.VP()
    for std, told in ((-1.0, "at least 0, got -1"), (np.ones((4, 4, 1)), r"\(4, 4, 3\) as mean")):
        with pytest.raises(ValueError, match=f"std must be {told}"):
            sj.gaussian(process, mean, std)
    with pytest.raises(ValueError, match="weights must be a number or 2, got shape"):
        sj.mixture(process, np.stack([mean, mean]), 0.5, np.ones(3))

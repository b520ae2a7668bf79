"""Wrong values of every argument of the Python API: one TypeError or ValueError that names it."""

import functools
import inspect
import threading

import numpy as np
import pytest
from program import ROOT, SIZE, exact_prior, tiny_prior
from test_bounds import WRONG

import sdedit_jax as sj

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
}


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
            read = ("cannot read", "source: ")  # the value is a path, or the call comes that far
            assert argument in text or text.startswith(read), text
        except sj.Cancelled:
            pass

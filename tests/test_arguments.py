"""Wrong values of every argument of the Python API: one TypeError or ValueError that names it."""

import inspect

import numpy as np
import pytest
from program import SIZE, exact_prior, tiny_prior
from test_bounds import WRONG

import sdedit_jax as sj

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
    "edit": lambda **given: sj.edit(**{"prior": prior(), "image": PICTURE, "steps": 2, **given}),
    "text_edit": lambda **given: sj.text_edit(
        **{"prior": prior(), "image": PICTURE, "prompt": "a", **given}
    ),
    "invert": lambda **given: sj.invert(**{"prior": prior(), "image": PICTURE, **given}),
    "ledits": lambda **given: sj.ledits(**{"prior": prior(), "image": PICTURE, **given}),
    "load_prior": lambda **given: sj.load_prior(**{"folder": exact_prior(), **given}),
    "convert": lambda **given: sj.convert(**{"source": tiny_prior(), "folder": "/no/x", **given}),
}


def prior():
    return sj.load_prior(exact_prior())


def arguments():
    for name in CALLS:
        for argument in inspect.signature(getattr(sj, name)).parameters:
            yield name, argument


@pytest.mark.parametrize(("name", "argument"), arguments())
def test_a_wrong_argument_is_named(name, argument):
    for value in [*WRONG, *ARRAYS]:
        try:
            CALLS[name](**{argument: value})
        except (TypeError, ValueError, OSError) as error:
            text = str(error)
            assert "\n" not in text and len(text) < 1000, (value, text)
            known = (argument, "does not read texts", "guidance", "compute", "strength")
            assert any(word in text for word in known), (value, text)

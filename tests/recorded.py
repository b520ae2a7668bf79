"""Recorded estimates in the place of a network.

`player` is a predictor that says at each time, for each cond (a number), what was recorded; what it
is shown does not matter. Where all it says is right, so must be all that our algebra makes of it.
"""

import json
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from sdedit_jax.diffusion import sde
from sdedit_jax.diffusion.solvers import Prediction
from sdedit_jax.priors.prior import Prior

TABLE = sde.scaled_linear_table()


def arrays(file, prefix=""):
    """Arrays of an npz whose names begin with the prefix, as [..., H, W, C]."""
    with np.load(file) as stored:
        names = [name for name in stored if name.startswith(prefix)]
        return {name.removeprefix(prefix): channels_last(stored[name]) for name in names}


def settings(file, case):
    return json.loads(file.with_suffix(".json").read_text())[case]


def channels_last(a):
    """[..., 1, C, H, W] -> [..., H, W, C]; what is no stack of states stays."""
    if a.ndim < 3 or a.dtype.kind != "f":
        return a
    a = a[..., 0, :, :, :] if a.ndim > 3 and a.shape[-4] == 1 else a
    return np.moveaxis(a, -3, -1).astype(np.float32)


class Codec(NamedTuple):
    """A codec of two functions."""

    encode: Callable
    decode: Callable


def player(steps, said, attention=None, process=TABLE):
    """A Prior that says said[i, cond] at the time of steps[i] of 1000.

    Args:
        said: [N, conds, H, W, C]. attention: [N, conds, h, w, L], or None.
    """
    params = {"t": (np.asarray(steps, np.float32) + 1) / 1000, "eps": said, "attention": attention}

    def predict(params, x, t, cond=None, key=None):
        i = jnp.argmin(jnp.abs(params["t"] - t))
        maps = params["attention"]
        return Prediction(
            jnp.asarray(params["eps"])[i, cond],
            attention=None if maps is None else jnp.asarray(maps)[i, cond],
        )

    return Prior(process, predict, params, said.shape[-3:])


def close(got, want, tolerance):
    """Within the tolerance of the largest absolute value."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    error, largest = np.abs(got - want).max(), np.abs(want).max()
    assert error <= tolerance * largest, f"{error / largest:.2e} of the largest, {largest:.3g}"

"""Edits whose results are known: of a Gaussian prior, through the executor and the one loop.

For data N(mean, std^2) the solution of the probability flow from x at t0 is the picture
mean + std / sqrt(v) (x - alpha mean), v = alpha^2 std^2 + sigma^2. That of the reverse SDE is
normal, with mean m = mean + alpha std^2 / v (x - alpha mean) and deviation s = std sigma / sqrt(v).
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax import devices as parallel
from sdedit_jax.diffusion.noise import image_key
from sdedit_jax.diffusion.sde import VP, level
from sdedit_jax.edits import sdedit
from sdedit_jax.edits.sdedit import Request
from sdedit_jax.images.guide import Guide
from sdedit_jax.pipeline import executor, settings
from sdedit_jax.pipeline.sdedit import SDEditPipeline
from sdedit_jax.priors.analytic import gaussian

SIDE, T0, STEPS = 64, 0.5, 80
GRID = "karras(sigma_end=0.005)"
"""Its last step, to the predicted picture, is far below the allowed deviation."""
ODE, SDE = "heun", "dpmpp_2m_sde(clip_x0=False)"
"""Solvers of the probability flow and of the reverse SDE."""
ODE_ALLOWED = 0.002
"""Of a pixel in [-1, 1]; 80 steps of Heun differ by 0.0008, 40 by four times as much."""
SDE_ALLOWED = 0.06
"""Of the mean and the deviation of 9,216 standard normal numbers: 5 standard errors and a bias."""


class Answer(NamedTuple):
    """A result beside the known one.

    Attributes:
        name: of what was edited. deviation: how far away it is. allowed: how far it may be.
    """

    name: str
    deviation: float
    allowed: float

    @property
    def right(self) -> bool:
        """Whether the deviation is allowed; one that is no number is not."""
        return self.deviation <= self.allowed


def answers(devices: int = 0) -> Iterator[Answer]:
    """Edits on some local devices, a picture on each; 0: on all."""
    count = parallel.count(devices)
    keys = jnp.stack([image_key(0, str(row), 0) for row in range(count)])
    alpha, sigma = (float(a) for a in level(VP(), jnp.float32(T0)))
    mean, std, guide, mask = (a.astype(np.float64) for a in pictures())
    edited, v = mask[..., 0] > 0, alpha**2 * std**2 + sigma**2
    x = alpha * guide + sigma * np.stack([start(key) for key in keys])
    away = x - alpha * mean
    made = edit(ODE, keys)
    flow = made - mean - std / np.sqrt(v) * away
    yield Answer("probability flow", largest(flow[:, edited]), ODE_ALLOWED)
    kept = largest((made - guide)[:, ~edited])
    made = edit(SDE, keys)
    z = ((made - mean - alpha * std**2 / v * away) * np.sqrt(v) / (std * sigma))[:, edited]
    off = [z.mean((1, 2)), z.std((1, 2)) - 1]
    yield Answer("reverse SDE", largest(np.stack(off)), SDE_ALLOWED)
    yield Answer("kept region", max(kept, largest((made - guide)[:, ~edited])), 0.0)


def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(mean, std, guide, mask) of the edits, all of smooth colours; a quarter is kept."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / (SIDE - 1)
    mean = 1.2 * np.stack([x, y, 1 - x], axis=-1) - 0.6
    std = 0.2 + 0.3 * np.stack([y, x, 1 - y], axis=-1)
    mask = np.where(x < 0.25, 0, 1)[..., None]
    return tuple(a.astype(np.float32) for a in (mean, std, mean[::-1], mask))


def edit(rule: str, keys: Array) -> np.ndarray:
    """The edits of a solver, one for each key: [B, SIDE, SIDE, 3]."""
    mean, std, guide, mask = pictures()
    prior = gaussian(VP(), mean, std)
    given = {"rule": rule, "grid": GRID, "steps": STEPS}
    resolved = settings.resolve(prior, settings.sampling(given, "", T0, None, ""), T0)
    requests = parallel.stack([Request(np.float32(T0), Guide(guide, mask))] * len(keys))
    made = executor.run(
        SDEditPipeline(resolved.plan), prior.params, requests, keys,
        devices=len(keys), chunk=STEPS, listen=False,
    )  # fmt: skip
    return executor.finish(made).result.image.astype(np.float64)


def start(key: Array) -> np.ndarray:
    """The noise that takes the guide to t0."""
    return np.asarray(sdedit.sample(key, (SIDE, SIDE, 3)).start(jnp.int32(0)), np.float64)


def largest(away: np.ndarray) -> float:
    """The largest absolute value; not a number where one is not."""
    return float(np.max(np.abs(away)))

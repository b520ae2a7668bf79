"""The self-check of an imported checkpoint: a denoising test, and the likely failure mode.

The test is in `denoise`, the failure modes in `failure_modes`. What the test cannot detect:

    - changes of weights without effect: hidden units or attention heads permuted consistently; a
      convolution scaled before a group norm that removes the scale;
    - exchanged layers that the network hardly uses, such as the deepest ones after a short
      training, or that compute similar functions. The error grows by at most half, as it does on
      pictures that a working prior has not learned;
    - weights that are a few percent too large, or 10 percent too small; raw instead of averaged
      weights, late in training;
    - labels off by one step of 1000; a wrong sigma_max, if the network takes sigma itself as
      label; a table in place of the process that it discretizes, as DDPM's linear table for VP;
    - swapped channels where the data have no typical colours.
"""

from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.priors.prior import Prior
from sdedit_jax.weights.selfcheck.denoise import (
    LATENT_SHARES,
    Guess,
    Point,
    Rows,
    asker,
    badness,
    levels,
    point,
)
from sdedit_jax.weights.selfcheck.drawings import draw
from sdedit_jax.weights.selfcheck.failure_modes import failure_mode, rival
from sdedit_jax.weights.selfcheck.latents import in_latents

__all__ = ["Point", "Verdict", "as_json", "check", "draw"]


class Verdict(NamedTuple):
    """The result of the self-check.

    Attributes:
        passed: whether the prior works.
        curve: a Point for each level, of the first picture that passes, else of the first picture.
        failure_mode: "" or one word, see `failure_modes`.
        message: one sentence.
    """

    passed: bool
    curve: tuple[Point, ...]
    failure_mode: str
    message: str


def check(prior: Prior, pictures: np.ndarray | None = None, seed: int = 0) -> Verdict:
    """The denoising test: 8 to 13 evaluations of the network if a picture passes, else about 30.

    Args:
        prior: in pixels or in latents. Pictures for latents are encoded, and the bounds are those
            of latents. A class-conditional network gets class 0, a text-conditional network the
            empty text.
        pictures: [B, H, W, C] in [-1, 1] of the prior's shape; one of them must pass. None takes
            the drawings of `drawings.draw`.
        seed: of the noise.

    Raises:
        ValueError: pictures of another shape, or a process that has none of the levels.
    """
    pictures = draw(prior.shape) if pictures is None else np.asarray(pictures, np.float32)
    if pictures.ndim != 4 or len(pictures) == 0 or pictures.shape[1:] != tuple(prior.shape):
        wanted = ", ".join(map(str, prior.shape))
        raise ValueError(f"pictures must have the shape [B, {wanted}], got {pictures.shape}")
    shares: tuple[float, ...] = ()
    if prior.latent:
        prior, pictures = in_latents(prior, pictures)
        shares = LATENT_SHARES
    ask, numbers = asker(prior, seed, shares), levels(prior.process)
    first: Rows = ()
    for x0 in pictures:
        rows = [ask(Guess(), x0, level) for level in numbers]
        if badness(rows) <= 1:
            return _verdict(rows, rival(ask, rows))
        first = first or rows
    return _verdict(first, failure_mode(prior.process, ask, first))


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict for prior.json; numbers that are not finite become None."""
    names = ("sigma", "rmse", "at_most", "gain")
    curve = [{name: _short(getattr(p, name)) for name in names} for p in verdict.curve]
    return {**verdict._asdict(), "curve": curve}


def _short(number: float) -> float | None:
    return float(f"{number:.4g}") if np.isfinite(number) else None


def _verdict(rows: Rows, guess: Guess | None) -> Verdict:
    curve = tuple(point(row) for row in rows)
    errors = ", ".join(f"{p.rmse:.3g} ({p.at_most:.3g}) at {p.sigma:.2g}" for p in curve)
    errors = f"rmse of x0 (at most) at sigma: {errors}"
    if guess is None:
        return Verdict(True, curve, "", f"the prior passes the denoise test; {errors}")
    message = f"the prior fails the denoise test: {guess.message}; {errors}"
    return Verdict(False, curve, guess.name, message)

"""Does a prior denoise? The test of an imported checkpoint, and the mistake that it looks like.

The test is in `denoise`, the mistakes in `mistakes`. What the test cannot see:

    - changes of weights without effect: hidden units or attention heads renamed consistently; a
      convolution scaled before a group norm that takes the scale away again;
    - layers exchanged that the network hardly uses, such as the deepest ones after a short
      training, or that do much the same: the error grows by half at most, as it does on pictures
      that a working prior has not learned;
    - weights that are a few percent too large, or 10 percent too small; raw weights instead of
      averaged ones, late in training;
    - labels off by one step of 1000; a wrong sigma_max of a network that is told sigma itself; a
      table mistaken for a process that it stands for, as DDPM's linear table for VP;
    - swapped channels where the data have no typical colours.
"""

from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.prior import Prior
from sdedit_jax.selfcheck.denoise import (
    LATENT_SHARES,
    Guess,
    Point,
    Rows,
    asker,
    badness,
    levels,
    point,
)
from sdedit_jax.selfcheck.drawings import draw
from sdedit_jax.selfcheck.latents import in_latents
from sdedit_jax.selfcheck.mistakes import mistake, rival

__all__ = ["Point", "Verdict", "as_json", "check", "draw"]


class Verdict(NamedTuple):
    """What the test found.

    Attributes:
        passed: whether the prior works.
        curve: a Point for each level, of the first picture that passes, else of the first picture.
        mistake: "" or one word, see `mistakes`.
        message: one sentence for people.
    """

    passed: bool
    curve: tuple[Point, ...]
    mistake: str
    message: str


def check(prior: Prior, pictures: np.ndarray | None = None, seed: int = 0) -> Verdict:
    """The denoise test; 8 to 13 evaluations of the network if a picture passes, else about 30.

    Args:
        prior: of pixels or latents, in which case the pictures go through its codec and the levels
            are those of latents. A network that wants a class gets class 0, one that reads texts
            the empty text.
        pictures: [B, H, W, C] in [-1, 1] of the prior's shape, one of which at least it must know;
            None takes the drawings of `drawings.draw`.
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
    return _verdict(first, mistake(prior.process, ask, first))


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as it stands in prior.json; numbers that are not finite become None."""
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
    message = f"the prior fails the denoise test: {guess.says}; {errors}"
    return Verdict(False, curve, guess.mistake, message)

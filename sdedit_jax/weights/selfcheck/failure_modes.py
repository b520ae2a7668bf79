"""The usual failure modes, each tested by a denoising test that compensates for it.

channels    RGB and BGR are exchanged
range       pictures in [0, 1] and in [-1, 1] are confused
negative    pictures are negated
table       the noise levels of another table, process or sigma_max
labels      noise levels are counted from the other end
prediction  the output is v, x0 or -eps
scale       predictions of the right shape and the wrong scale
untrained   predictions without correlation to the noise
weights     none of these: weights are exchanged, damaged or raw
numbers     predictions that are not finite
"""

import numpy as np

from sdedit_jax.diffusion import sde
from sdedit_jax.weights.selfcheck.denoise import (
    Ask,
    Guess,
    Row,
    Rows,
    badness,
    correlation,
    nearest,
    point,
    shrinkage,
)

FIRST, DATA = 1.6, 6.4
"""The r of the first test of all guesses, and the r at which the training data matter most."""
TESTED = 2
"""Number of guesses that are tested at all levels."""
BETTER = 0.8
"""Another prediction is clearly better if its error is below this fraction."""
EVERYWHERE = 0.9
"""The same for the median of all levels."""
UNSEEN = 0.2
"""A prediction of less correlation with the noise is regarded as untrained."""

RIVALS = (
    Guess("channels", "its channels are swapped (BGR for RGB)", lambda x0: x0[..., ::-1]),
    Guess(
        "range",
        "its pictures are in [0, 1], not in [-1, 1]",
        lambda x0: (x0 + 1) / 2,
        0.5,
    ),
    Guess("range", "its pictures are in [-1, 1], not in [0, 1]", lambda x0: 2 * x0 - 1, 2.0),
)
"""Failure modes of priors that pass the test: only their error at strong noise is larger."""
NEGATIVE = Guess("negative", "it was trained on negatives of pictures", lambda x0: -x0)
REVERSED = Guess("labels", "its labels count the noise levels from the other end", reverse=True)
SIGMA_MAX = tuple(2.0 * top for top in (50, 90, 348, 378, 1348))
"""sigma_max of released checkpoints, in [-1, 1] units."""


def rival(ask: Ask, rows: Rows) -> Guess | None:
    """The guess that clearly improves a passed test, or None.

    It must be clearly better at the level DATA, or better there and in the median of all levels.
    """
    own = nearest(rows, DATA)
    found = [(_share(ask(guess, own.x0, own.number)), guess) for guess in RIVALS]
    best, guess = min(found, key=lambda pair: pair[0])
    if best < BETTER * _share(own):
        return guess
    if best >= _share(own):
        return None
    shares = [_share(ask(guess, row.x0, row.number)) / _share(row) for row in rows]
    return guess if np.median(shares) < EVERYWHERE else None


def failure_mode(process: sde.SDE, ask: Ask, rows: Rows) -> Guess:
    """The guess with which a failed test passes, else the appearance of the predictions."""
    if not all(np.isfinite(row.eps).all() for row in rows):
        return Guess("numbers", "its predictions are not finite")
    tried = [(badness(changed), guess) for guess, changed in other_outputs(rows)]
    at = nearest(rows, FIRST)
    guesses = [*RIVALS, NEGATIVE, REVERSED, *other_processes(process)]
    ranked = sorted(guesses, key=lambda guess: point(ask(guess, at.x0, at.number)).badness)
    for guess in ranked[:TESTED]:
        tried.append((badness([ask(guess, row.x0, row.number) for row in rows]), guess))
    best, guess = min(tried, key=lambda pair: pair[0])
    return guess if best <= 1 else looks(rows)


def other_outputs(rows: Rows) -> list[tuple[Guess, Rows]]:
    """The same outputs taken as another quantity; no evaluation."""
    kinds = {
        "v": lambda r: (r.alpha * r.eps + r.sigma * r.x) / (r.alpha**2 + r.sigma**2),
        "x0": lambda r: (r.x - r.alpha * r.eps) / r.sigma,
        "-eps": lambda r: -r.eps,
    }
    return [
        (
            Guess("prediction", f"its outputs are {name} where eps is expected"),
            [row._replace(eps=convert(row)) for row in rows],
        )
        for name, convert in kinds.items()
    ]


def other_processes(process: sde.SDE) -> list[Guess]:
    """The usual processes that may be confused with this one."""
    if isinstance(process, sde.VE):
        known = {f"sigma_max {top:g}": sde.VE(process.sigma_min, top) for top in SIGMA_MAX}
    else:
        n = len(process.log_snrs) if isinstance(process, sde.Tabulated) else 1000
        tables = (sde.linear_table, sde.scaled_linear_table, sde.cosine_table)
        known = {f"the beta table {table.__name__[:-6]!r}": table(n) for table in tables}
        known["subVP"] = sde.SubVP()
    return [
        Guess("table", f"its labels mean the noise levels of {name}, not of process", process=other)
        for name, other in known.items()
        if other != process
    ]


def looks(rows: Rows) -> Guess:
    """The appearance of predictions that no guess corrects."""
    if np.median([correlation(row) for row in rows]) < UNSEEN:
        message = "it looks untrained: random weights, or an optimizer's state instead of weights"
        return Guess("untrained", message)
    if right_shape(rows):
        message = "its predictions have the right shape and the wrong scale: scaled weights"
        return Guess("scale", f"{message}, or a wrong preconditioning or table")
    message = "some weights are in the wrong place, scaled, or raw instead of averaged"
    return Guess("weights", f"{message}, or its training pictures are unlike these")


def right_shape(rows: Rows) -> bool:
    """Whether a eps + b x + c, with the best a, b, c at each level, passes and is better."""
    points = [point(row) for row in rows]
    left = np.array([shrinkage(row) * np.sqrt(1 - correlation(row) ** 2) for row in rows])
    share = np.median(left / [p.rmse for p in points])
    return bool(np.all(left <= [p.at_most for p in points]) and share < BETTER)


def _share(row: Row) -> float:
    """The error as a fraction of the bound."""
    return point(row).rmse / point(row).at_most

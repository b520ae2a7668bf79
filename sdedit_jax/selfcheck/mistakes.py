"""The usual mistakes, each found by making the denoise test as if it had happened.

channels    RGB and BGR exchanged
range       pictures in [0, 1] and in [-1, 1] taken for each other
negative    pictures negated
table       noise levels of another table, process or sigma_max
labels      noise levels counted from the other end
prediction  the output is v, x0 or -eps
scale       answers of the right shape and the wrong size
untrained   answers that know nothing of the noise
weights     none of these: weights exchanged, damaged, raw
numbers     answers that are not finite
"""

import numpy as np

from sdedit_jax import sde
from sdedit_jax.selfcheck.denoise import (
    Ask,
    Guess,
    Row,
    Rows,
    badness,
    nearest,
    point,
    seen,
    shrinking,
)

SIFT, DATA = 1.6, 6.4
"""The r at which guesses are sifted, and the r at which what the prior learned matters most."""
SIFTED = 2
"""How many guesses are tested at all levels."""
BETTER = 0.8
"""A share of the error to which another answer must lower it to be clearly better."""
EVERYWHERE = 0.9
"""That share for an answer that is better at all levels, in the median."""
UNSEEN = 0.2
"""An answer of less correlation with the noise is none."""

RIVALS = (
    Guess("channels", "its channels are swapped (BGR for RGB)", lambda x0: x0[..., ::-1]),
    Guess("range", "it knows pictures in [0, 1], not in [-1, 1]", lambda x0: (x0 + 1) / 2, 0.5),
    Guess("range", "it knows pictures in [-1, 1], not in [0, 1]", lambda x0: 2 * x0 - 1, 2.0),
)
"""Mistakes that a prior may survive: at strong noise it is only worse than it could be."""
NEGATIVE = Guess("negative", "it knows the negatives of pictures", lambda x0: -x0)
REVERSED = Guess("labels", "its labels count the noise levels from the other end", reverse=True)
SIGMA_MAX = tuple(2.0 * top for top in (50, 90, 348, 378, 1348))
"""Of released checkpoints, in [-1, 1] units."""


def rival(ask: Ask, rows: Rows) -> Guess | None:
    """The guess with which a passed test is clearly better, if there is one: at the level that says
    most, or where it is better there, in the median of all levels."""
    own = nearest(rows, DATA)
    found = [(_share(ask(guess, own.x0, own.number)), guess) for guess in RIVALS]
    best, guess = min(found, key=lambda pair: pair[0])
    if best < BETTER * _share(own):
        return guess
    if best >= _share(own):
        return None
    shares = [_share(ask(guess, row.x0, row.number)) / _share(row) for row in rows]
    return guess if np.median(shares) < EVERYWHERE else None


def mistake(process: sde.SDE, ask: Ask, rows: Rows) -> Guess:
    """The guess with which a failed test passes, else what the answers look like."""
    if not all(np.isfinite(row.eps).all() for row in rows):
        return Guess("numbers", "its answers are not finite numbers")
    tried = [(badness(changed), guess) for guess, changed in other_outputs(rows)]
    at = nearest(rows, SIFT)
    guesses = [*RIVALS, NEGATIVE, REVERSED, *other_processes(process)]
    sifted = sorted(guesses, key=lambda guess: point(ask(guess, at.x0, at.number)).badness)
    for guess in sifted[:SIFTED]:
        tried.append((badness([ask(guess, row.x0, row.number) for row in rows]), guess))
    best, guess = min(tried, key=lambda pair: pair[0])
    return guess if best <= 1 else looks(rows)


def other_outputs(rows: Rows) -> list[tuple[Guess, Rows]]:
    """The same answers taken for another quantity; no evaluation."""
    kinds = {
        "v": lambda r: (r.alpha * r.eps + r.sigma * r.x) / (r.alpha**2 + r.sigma**2),
        "x0": lambda r: (r.x - r.alpha * r.eps) / r.sigma,
        "-eps": lambda r: -r.eps,
    }
    return [
        (
            Guess("prediction", f"its answers are {name} where eps is expected"),
            [row._replace(eps=turn(row)) for row in rows],
        )
        for name, turn in kinds.items()
    ]


def other_processes(process: sde.SDE) -> list[Guess]:
    """The usual processes that may have been mistaken for this one."""
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
    """What answers look like that no guess makes right."""
    if np.median([seen(row) for row in rows]) < UNSEEN:
        says = "it looks untrained: random weights, or an optimizer's state taken for weights"
        return Guess("untrained", says)
    if right_shape(rows):
        says = "its answers have the right shape and the wrong size: scaled weights"
        return Guess("scale", f"{says}, or a wrong preconditioning or table")
    says = "some weights are in the wrong place, scaled, or raw instead of averaged"
    return Guess("weights", f"{says}, or it knows nothing like these pictures")


def right_shape(rows: Rows) -> bool:
    """Whether a eps + b x + c, with the best a, b, c at each level, would pass and is better."""
    points = [point(row) for row in rows]
    left = np.array([shrinking(row) * np.sqrt(1 - seen(row) ** 2) for row in rows])
    share = np.median(left / [p.rmse for p in points])
    return bool(np.all(left <= [p.at_most for p in points]) and share < BETTER)


def _share(row: Row) -> float:
    """The error in units of what it may be."""
    return point(row).rmse / point(row).at_most

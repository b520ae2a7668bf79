"""The denoising test: a picture gets noise at a few levels, and the prior must predict the noise.

Let r = sigma / alpha be the noise-to-signal ratio. For any training data, the gain of eps on the
true noise z is 1 - E|eps - z|^2, as for the optimal denoiser of these data. The error r |eps - z|
of x0 stays well below L = r s / sqrt(r^2 + s^2), the error of the best pixelwise shrinkage of a
picture of std s towards its mean. At weak noise the bound tests edges and surfaces, which all
pictures share. At strong noise the bound is loose, since the prediction there depends on the
training data.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax.diffusion.sde import SDE, Tabulated, level
from sdedit_jax.priors.prior import Prior

LEVELS = ((0.1, 0.65), (0.4, 0.5), (1.6, 0.6), (6.4, 0.85), (25.6, 1.5))
"""(r, the largest error as a fraction of L)."""
LATENT_SHARES = (0.97, 0.85, 0.8, 0.95, 1.5)
"""The fractions for latents. Neighbouring values of a latent are less correlated than pixels, so
denoising at weak noise is harder."""
SLACK = 0.04
"""How far the gain may lie outside the range [1 - (error allowed / r)^2, 1]."""


class Guess(NamedTuple):
    """A failure mode, as the change of the test that compensates it; the default changes nothing.

    Attributes:
        name: one word.
        message: a clause for the user.
        picture: x0 -> the picture in the network's convention.
        span: the range of that picture, in ranges of x0.
        process: the assumed process of the network; None: the prior's own.
        reverse: count the times from the other end.
    """

    name: str = ""
    message: str = ""
    picture: Callable[[np.ndarray], np.ndarray] = lambda x0: x0
    span: float = 1.0
    process: SDE | None = None
    reverse: bool = False


class Row(NamedTuple):
    """One evaluation.

    Attributes:
        x0, z, eps: picture, noise and predicted noise [H, W, C].
        x: alpha picture + sigma z [H, W, C], the input of the prior.
        alpha, sigma: the scales of picture and noise in x.
        r: sigma / alpha in ranges of x0.
        number: of the level in LEVELS.
        share: the largest error as a fraction of L.
    """

    x0: np.ndarray
    z: np.ndarray
    eps: np.ndarray
    x: np.ndarray
    alpha: float
    sigma: float
    r: float
    number: int
    share: float


class Point(NamedTuple):
    """The test at one noise level.

    Attributes:
        sigma: the noise-to-signal ratio r.
        rmse: of x0 in [-1, 1] units.
        at_most: the largest rmse of a working prior.
        gain: of eps on z: <eps, z> / <z, z>.
        badness: at most 1 if rmse and gain are those of a working prior.
    """

    sigma: float
    rmse: float
    at_most: float
    gain: float
    badness: float


Rows = Sequence[Row]
Ask = Callable[[Guess, np.ndarray, int], Row]
"""ask(guess, x0 [H, W, C], number of the level): one evaluation of the network."""


def asker(prior: Prior, seed: int, shares: Sequence[float] = ()) -> Ask:
    """The evaluations of a prior; the noise is a function of seed and level.

    Args:
        shares: replace those of LEVELS.
    """
    shares = shares or [share for _, share in LEVELS]
    run, label = jax.jit(prior.predict), label_of(prior)

    def ask(guess: Guess, x0: np.ndarray, number: int) -> Row:
        process = guess.process or prior.process
        t, alpha, sigma = times(process)
        wanted = np.log(LEVELS[number][0] * guess.span)
        i = int(np.argmin(np.abs(np.log(ratios(alpha, sigma)) - wanted)))
        z = np.random.default_rng([seed, number]).standard_normal(x0.shape, np.float32)
        a, s = float(alpha[i]), float(sigma[i])
        x = a * guess.picture(x0) + s * z
        time = t[-1 - i] if guess.reverse else t[i]
        eps = np.asarray(run(prior.params, x, time, label).eps)
        return Row(x0, z, eps, x, a, s, s / a / guess.span, number, shares[number])

    return ask


def label_of(prior: Prior) -> Any:
    """None, or class 0 for a network that needs a class."""
    x = jax.ShapeDtypeStruct(prior.shape, jnp.float32)
    try:
        jax.eval_shape(prior.predict, prior.params, x, jnp.float32(0.5), None)
    except ValueError:
        return np.int32(0)
    return None


@functools.cache
def times(process: SDE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(t, alpha, sigma) of the levels of a table, or of 1000 times of another process."""
    n = len(process.log_snrs) if isinstance(process, Tabulated) else 1000
    t = (np.arange(n, dtype=np.float32) + 1) / np.float32(n)
    return t, *(np.asarray(a) for a in level(process, t))


def ratios(alpha: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """sigma / alpha; inf at a level without signal."""
    with np.errstate(divide="ignore"):
        return sigma / alpha


def levels(process: SDE) -> list[int]:
    """The numbers of the LEVELS within the range of the process.

    Raises:
        ValueError: no level is in the range.
    """
    _, alpha, sigma = times(process)
    low, high = np.min(ratios(alpha, sigma)), np.max(ratios(alpha, sigma))
    found = [i for i, (r, _) in enumerate(LEVELS) if low <= r <= high]
    if not found:
        wanted = [r for r, _ in LEVELS]
        raise ValueError(f"process must reach a sigma of {wanted}, it has {low:.3g} to {high:.3g}")
    return found


def nearest(rows: Rows, r: float) -> Row:
    """The row whose level is nearest to r."""
    return min(rows, key=lambda row: abs(np.log(row.r / r)))


def point(row: Row) -> Point:
    """The figures of one evaluation."""
    at_most = row.share * shrinkage(row)
    rmse = row.r * float(np.sqrt(np.mean(np.square(row.eps - row.z))))
    gain = float(np.vdot(row.eps, row.z) / np.vdot(row.z, row.z))
    off = (1 - gain) / ((at_most / row.r) ** 2 + SLACK) if gain < 1 else (gain - 1) / SLACK
    badness = max(rmse / at_most, off) if np.isfinite(rmse) else np.inf
    return Point(row.r, rmse, at_most, gain, badness)


def badness(rows: Rows) -> float:
    """The worst badness of the rows."""
    return max(point(row).badness for row in rows)


def shrinkage(row: Row) -> float:
    """L, the error of the best pixelwise shrinkage, see the module."""
    std = max(float(row.x0.std()), 1e-3)
    return row.r * std / float(np.hypot(row.r, std))


def correlation(row: Row) -> float:
    """Partial correlation of eps and z given x.

    L sqrt(1 - correlation^2) is the error of x0 if the noise is taken to be a eps + b x + c with
    the best a, b, c.
    """
    if not np.isfinite(row.eps).all():
        return 0.0
    x, eps, z = (a.ravel() - a.mean() for a in (row.x, row.eps, row.z))
    eps, z = (a - np.vdot(a, x) / np.vdot(x, x) * x for a in (eps, z))
    found, noise = np.linalg.norm(eps), np.linalg.norm(z)
    # an eps that is linear in x leaves only rounding errors
    return float(np.clip(np.vdot(eps, z) / noise / max(found, 1e-4 * noise), -1, 1))

"""Automatic strength: the noise level at which a prior no longer tells a guide from its pictures.

The guide is noised to some levels and denoised. From r = predicted noise - true noise come four
energies at each level: r^2 averaged over the pixel, 2 x 2 and 4 x 4 pixels, and -z r, which equals
r^2 on average where the guide is a picture of the prior. Their logarithms are the statistic.

A `Fit` is calibrated on photos and on guides made of them. It has two parts. A quadratic function
(the log-ratio of two Gaussians) says whether the prior tells the guide from its pictures at all. A
linear function gives the level from which the denoised guide differs from the denoised photo by
less than SHARE of the denoising error. One fit is for whole pictures, another for windows.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.diffusion.sde import level
from sdedit_jax.diffusion.strength import t_from_sigma
from sdedit_jax.images.guide import Guide
from sdedit_jax.priors.prior import Prior

SIGMAS = tuple(float(s) for s in np.round(np.geomspace(0.02, 8, 7), 4))
"""Levels, as noise-to-signal ratios."""
TELLING = 4
"""Lowest levels, at which whole guides differ most from pictures; their quadratic part takes
these. That of windows takes all."""
DRAWS = 2
SHARE = 0.5
"""Of the denoising error, below which a difference does not count."""
POOLS = (1, 2, 4)
"""Sides of the squares of pixels over which r is averaged."""
KINDS = len(POOLS) + 1
"""Energies at a level."""
WINDOWS = 20
"""Windows along the shorter side."""
VOTE = 3
"""Windows whose majority decides whether a pixel is edited."""
LEAST = 1e-5
"""Of an energy, before its logarithm."""
RIDGE = 1.0
SHRINK = 0.05
"""Share of a covariance that is replaced by its diagonal."""
FOLDS = 8
LIMITS = (0.02, 0.98)
"""Quantiles of the levels of a calibration; all levels of a fit lie between them."""


class Observed(NamedTuple):
    """What the denoiser makes of a guide, in the space of the prior.

    Attributes:
        energies: [L, KINDS, h, w]. denoised: [L, h, w, c]. Both are means over draws.
    """

    energies: Array
    denoised: Array


class Fit(NamedTuple):
    """The calibration of a prior, as functions of x = statistic - center.

    Attributes:
        center: [F], the mean statistic of photos.
        quadratic, linear, constant: [G, G], [G] and a number, for the first G entries g of x: the
            prior tells the guide where constant + linear g + g quadratic g is above 0.
        weights, offset: [F] and a number: log sigma is offset + weights x, within limits.
        limits: (lowest, highest) log sigma.
    """

    center: np.ndarray
    quadratic: np.ndarray
    linear: np.ndarray
    constant: float
    weights: np.ndarray
    offset: float
    limits: tuple[float, float]


# --- on the device --------------------------------------------------------------------------------


def prepare(prior: Prior, params: Any, guide: Guide, cond: Any) -> tuple[Array, Any]:
    """The guide in the space of the prior, x0 [h, w, c], and what the predictor takes.

    Args:
        prior: static. cond: as in sdedit.Request, without guidance.
    """
    image = jnp.asarray(guide.image, jnp.float32)
    if prior.prepare_cond is not None:
        cond = prior.prepare_cond(params, image, jnp.asarray(guide.mask, jnp.float32), cond)
    return prior.codec.encode(params, image), cond


def observe(
    prior: Prior, sigma: Array, draws: int, params: Any, x0: Array, cond: Any, key: Array
) -> Observed:
    """Noise x0 [h, w, c] to one level and denoise it. The noise depends on the key alone.

    Args:
        prior, draws: static. sigma: noise-to-signal ratio of the level.

    Returns:
        Observed without the axis of levels.
    """
    t = t_from_sigma(prior.process, sigma)
    alpha, std = level(prior.process, t)

    def draw(own: Array) -> Observed:
        z = jax.random.normal(own, x0.shape)
        r = prior.eps(params, alpha * x0 + std * z, t, cond) - z
        return Observed(_energies(r, z), x0 - std / alpha * r)

    found = jax.vmap(draw)(jax.random.split(key, draws))
    return jax.tree.map(lambda a: jnp.mean(a, axis=0), found)


def _energies(r: Array, z: Array) -> Array:
    """[KINDS, h, w]."""
    squares = [jnp.mean(averaged(r, k) ** 2, axis=-1) for k in POOLS]
    return jnp.stack([*squares, jnp.mean(-r * z, axis=-1)])


def averaged(a: Array, width: int) -> Array:
    """[h, w, c] averaged over a square of `width` pixels at each pixel; edges are repeated."""
    low = (width - 1) // 2
    wide = jnp.pad(a, ((low, width - 1 - low),) * 2 + ((0, 0),), mode="edge")
    sums = jax.lax.reduce_window(wide, 0.0, jax.lax.add, (width, width, 1), (1, 1, 1), "VALID")
    return sums / width**2


# --- statistic and choice, on the host ------------------------------------------------------------


def statistic(energies: np.ndarray, region: np.ndarray | None = None) -> np.ndarray:
    """The statistic [F] of energies [L, KINDS, h, w].

    Args:
        region: the weight [h, w] of each pixel; None: all have the same.
    """
    weight = np.ones(energies.shape[2:]) if region is None else region
    means = (energies.astype(np.float64) * weight).sum((2, 3)) / weight.sum()
    return np.log(np.maximum(means, LEAST)).reshape(-1)


def window(size: tuple[int, ...]) -> int:
    """The side of a window of a state [h, w]."""
    return max(min(size) // WINDOWS, 2)


def in_windows(maps: np.ndarray, count: int = 1) -> np.ndarray:
    """Maps [K, h, w], averaged over `count` windows in each direction at each pixel: [h, w, K]."""
    width = count * window(maps.shape[1:])
    return np.asarray(averaged(jnp.asarray(np.moveaxis(maps, 0, -1), jnp.float32), width))


def statistics(energies: np.ndarray) -> np.ndarray:
    """The statistic [h, w, F] of the window at each pixel."""
    flat = energies.reshape(-1, *energies.shape[2:])
    return np.log(np.maximum(in_windows(flat).astype(np.float64), LEAST))


def score(fit: Fit, found: np.ndarray) -> np.ndarray:
    """Above 0 where the prior tells statistics [..., F] from those of its pictures."""
    x = (found - fit.center)[..., : len(fit.linear)]
    return fit.constant + x @ fit.linear + np.einsum("...i,ij,...j->...", x, fit.quadratic, x)


def sigma_of(fit: Fit, found: np.ndarray) -> np.ndarray:
    """The level that statistics [..., F] ask for, if the prior tells them from its pictures."""
    return np.exp(np.clip(fit.offset + (found - fit.center) @ fit.weights, *fit.limits))


def of_picture(fit: Fit, found: np.ndarray) -> float:
    """The level of a guide with the statistic [F]; 0 for a picture of the prior."""
    return float(sigma_of(fit, found)) if score(fit, found) > 0 else 0.0


def of_pixels(fit: Fit, energies: np.ndarray) -> np.ndarray:
    """The level [h, w] of each pixel, smooth; 0 where the guide is like the prior's pictures.

    A pixel follows the majority of its neighbours, so that a photo keeps no specks and a stroke no
    holes.
    """
    found = statistics(energies)
    own = (score(fit, found) > 0).astype(np.float32)
    share, logs = np.moveaxis(
        in_windows(np.stack([own, own * np.log(sigma_of(fit, found))]), VOTE), -1, 0
    )
    return np.where(share > 0.5, np.exp(logs / np.maximum(share, 0.5)), 0.0)


# --- calibration ----------------------------------------------------------------------------------


def needed(differences: np.ndarray, errors: np.ndarray, sigmas: tuple[float, ...]) -> np.ndarray:
    """log sigma of the level from which differences [..., L] stay below SHARE of the errors [L].

    Both are mean squares. Between levels the ratio is interpolated in logarithms.
    """
    ratio = np.log(np.maximum(differences, 1e-12) / errors) / 2 - np.log(SHARE)
    ratio = np.maximum.accumulate(ratio[..., ::-1], axis=-1)[..., ::-1]
    logs, after = np.log(sigmas), np.clip((ratio > 0).sum(axis=-1), 1, len(sigmas) - 1)
    high, low = (np.take_along_axis(ratio, k[..., None], -1)[..., 0] for k in (after - 1, after))
    share = np.clip(high / np.maximum(high - low, 1e-9), 0, 1)
    return logs[after - 1] + share * (logs[after] - logs[after - 1])


def fitted(
    photos: np.ndarray,
    groups: np.ndarray,
    others: np.ndarray,
    guides: np.ndarray,
    levels: np.ndarray,
    share: float,
    first: int | None = None,
) -> Fit:
    """The fit of statistics of photos [N, F].

    Args:
        groups: [N] the photo of each row.
        others: [K, F], what must be told from photos, by the first entries of the statistic.
        guides: [M, F], with their log sigmas [M], the levels.
        share: of the rows of photos that must count as the prior's. Each is scored by the fit of
            the other photos.
    """
    fit = _gaussians(photos, others, first)
    weights, offset = _ridge(guides - fit.center, levels)
    limits = tuple(float(v) for v in np.quantile(levels, LIMITS))
    fit = fit._replace(weights=weights, offset=offset, limits=limits)
    parts = [groups % FOLDS == k for k in range(FOLDS)]
    fits = (_gaussians(photos[~part], others, first) for part in parts)
    apart = [score(one, photos[part]) for one, part in zip(fits, parts, strict=True)]
    return fit._replace(constant=fit.constant - float(np.quantile(np.concatenate(apart), share)))


def _gaussians(photos: np.ndarray, others: np.ndarray, first: int | None) -> Fit:
    """The quadratic part: twice the log-ratio of the densities of the others and of photos."""
    center = photos.mean(axis=0)
    own, other = (_gaussian((rows - center)[:, :first]) for rows in (photos, others))
    mean, inverse, _ = other
    constant = own[2] - other[2] - mean @ inverse @ mean
    none = np.zeros_like(center)
    return Fit(center, own[1] - inverse, 2 * inverse @ mean, constant, none, 0.0, (0.0, 0.0))


def _gaussian(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """(mean, inverse covariance, log determinant of the covariance)."""
    covariance = np.cov(rows.T)
    covariance += SHRINK * (np.diag(np.diag(covariance)) - covariance)
    covariance += 1e-6 * np.eye(len(covariance))
    return rows.mean(axis=0), np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]


def _ridge(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights and offset of the ridge regression of y [M] on x [M, F]."""
    center, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    a = (x - center) / spread
    inner = a.T @ a + RIDGE * np.eye(a.shape[1])
    weights = np.linalg.solve(inner, a.T @ (y - y.mean())) / spread
    return weights, float(y.mean() - center @ weights)

"""Denoising score matching as a loss on eps: E w(t) mean |eps(x_t, t) - z|^2.

Here x_t = alpha x0 + sigma z. In eps the three usual losses differ by their weight only:

    simple      w = 1                      DDPM eq. 14; score_sde without likelihood weighting
    likelihood  w = g^2 / sigma^2          score_sde with likelihood weighting
    edm         w = (r^2 + d^2) / d^2      EDM table 1: lambda(r) |D - x0|^2, r = sigma / alpha,
                                           lambda = (r^2 + d^2) / (r d)^2 and D - x0 = r (z - eps)

The adapter (priors/) applies EDM's preconditioning; this loss takes its eps.

References:
    Song et al. (2011.13456) eq. 7; Song et al., maximum likelihood training (2101.09258) eq. 7;
    Ho et al. (2006.11239); Karras et al. (2206.00364).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from sdedit_jax.diffusion.sde import SDE, diffusion, level, perturb
from sdedit_jax.diffusion.strength import noise_to_signal, t_from_sigma
from sdedit_jax.text.spelling import one_of

WEIGHTS = ("simple", "likelihood", "edm")
TIMES = ("uniform", "lognormal")

Predict = Callable[..., Any]
"""predict(params, x [H, W, C], t, cond=None, key=None) -> a value with the field eps [H, W, C]."""
Loss = Callable[[Any, dict[str, Array], Array], Array]
"""loss(params, batch, key) -> scalar; batch {"image": [B, H, W, C], "label": int [B], optional}."""


class Objective(NamedTuple):
    """The objective of the training.

    Attributes:
        weight: "simple", "likelihood" or "edm".
        times: "uniform" on [t_min, 1], or "lognormal": log(sigma / alpha) is normal(mean, std).
        t_min: the smallest time.
        mean: of the lognormal; EDM's values -1.2 and 1.2 hold for data of std 0.5.
        std: of the lognormal.
        stratified: picture i of B takes its time from the i-th of B equally likely ranges.
        sigma_data: d of the EDM weight, the std of the data.
        null_label: the label that means "none" (the number of classes); None: do not drop labels.
        drop_label: the probability that a label is replaced by null_label.
    """

    weight: str = "simple"
    times: str = "uniform"
    t_min: float = 1e-5
    mean: float = -1.2
    std: float = 1.2
    stratified: bool = True
    sigma_data: float = 0.5
    null_label: int | None = None
    drop_label: float = 0.1


def check(objective: Objective) -> Objective:
    """The objective itself.

    Raises:
        ValueError: a field is outside its allowed values.
    """
    o = objective
    one_of("objective.weight", o.weight, WEIGHTS)
    one_of("objective.times", o.times, TIMES)
    if not 0 < o.t_min < 1:
        raise ValueError(f"objective.t_min must be in (0, 1), got {o.t_min}")
    for name in ("std", "sigma_data"):
        if getattr(o, name) <= 0:
            raise ValueError(f"objective.{name} must be positive, got {getattr(o, name)}")
    if not 0 <= o.drop_label <= 1:
        raise ValueError(f"objective.drop_label must be in [0, 1], got {o.drop_label}")
    return o


def weight(process: SDE, t: Array, objective: Objective) -> Array:
    """w(t) of the objective (see the module), a scalar."""
    if objective.weight == "likelihood":
        return (diffusion(process, t) / level(process, t)[1]) ** 2
    if objective.weight == "edm":
        return 1 + (noise_to_signal(process, t) / objective.sigma_data) ** 2
    return jnp.ones_like(t)


def time(process: SDE, u: Array, objective: Objective) -> Array:
    """The time in [t_min, 1] at the quantile u in (0, 1) of the objective's distribution."""
    if objective.times == "uniform":
        return objective.t_min + (1 - objective.t_min) * u
    ratio = jnp.exp(objective.mean + objective.std * jax.scipy.stats.norm.ppf(u))
    return jnp.clip(t_from_sigma(process, ratio), objective.t_min, 1.0)


def quantile(key: Array, i: Array, count: int, objective: Objective) -> Array:
    """u of picture i of `count`, in (0, 1)."""
    u = jax.random.uniform(key, minval=1e-6, maxval=1 - 1e-6)
    return (i + u) / count if objective.stratified else u


def denoising_loss(process: SDE, predict: Predict, objective: Objective) -> Loss:
    """The loss of a batch: the mean over its pictures, each with its own key fold_in(key, i).

    Raises:
        ValueError: a field of the objective is outside its allowed values.
    """
    check(objective)

    def one(params: Any, x0: Array, label: Array | None, key: Array, i: Array, count: int) -> Array:
        k_time, k_noise, k_label, k_net = jax.random.split(jax.random.fold_in(key, i), 4)
        t = time(process, quantile(k_time, i, count, objective), objective)
        z = jax.random.normal(k_noise, x0.shape, x0.dtype)
        cond = drop(k_label, label, objective)
        eps = predict(params, perturb(process, x0, t, z), t, cond, k_net).eps
        return weight(process, t, objective) * jnp.mean((eps - z) ** 2)

    def loss(params: Any, batch: dict[str, Array], key: Array) -> Array:
        images, labels = batch["image"], batch.get("label")
        count = images.shape[0]
        axes = (None, 0, None if labels is None else 0, None, 0, None)
        every = jax.vmap(one, in_axes=axes)
        return jnp.mean(every(params, images, labels, key, jnp.arange(count), count))

    return loss


def drop(key: Array, label: Array | None, objective: Objective) -> Array | None:
    """The label, or null_label with probability drop_label."""
    if label is None or objective.null_label is None:
        return label
    dropped = jax.random.bernoulli(key, objective.drop_label)
    return jnp.where(dropped, objective.null_label, label)


def denoising_error(
    process: SDE, predict: Predict, ratios: tuple[float, ...], chunk: int = 16
) -> Callable[[Any, Array, Array | None, Array], Array]:
    """RMSE of the predicted x0 at fixed noise levels.

    Args:
        process: of the prior.
        predict: of the prior.
        ratios: sigma / alpha of each level.
        chunk: pictures evaluated at once.

    Returns:
        error(params, images [B, H, W, C], labels [B] or None, key) -> [len(ratios)], jitted. The
        noise of picture i at level j is a function of (key, j, i).
    """
    times = t_from_sigma(process, jnp.asarray(ratios, jnp.float32))

    def one(params: Any, t: Array, level_key: Array, row: tuple) -> Array:
        x0, label, i = row
        z = jax.random.normal(jax.random.fold_in(level_key, i), x0.shape, x0.dtype)
        eps = predict(params, perturb(process, x0, t, z), t, label).eps
        return jnp.mean((eps - z) ** 2)

    def error(params: Any, images: Array, labels: Array | None, key: Array) -> Array:
        rows = (images, labels, jnp.arange(images.shape[0]))

        def at(j: Array) -> Array:
            level_key = jax.random.fold_in(key, j)
            losses = jax.lax.map(
                lambda row: one(params, times[j], level_key, row), rows, batch_size=chunk
            )
            return jnp.sqrt(jnp.mean(losses)) * noise_to_signal(process, times[j])

        return jax.lax.map(at, jnp.arange(len(ratios)))

    return jax.jit(error)


def held_out_errors(
    process: SDE,
    predict: Predict,
    ratios: tuple[float, ...],
    images: Any,
    labels: Any = None,
) -> Callable[[Any], dict[str, float]]:
    """params -> {"held_out/<ratio>": RMSE of x0}, on the same pictures and noise each time."""
    error, key = denoising_error(process, predict, ratios), jax.random.key(0)

    def errors(params: Any) -> dict[str, float]:
        found = jax.device_get(error(params, images, labels, key))
        return {f"held_out/{at:g}": float(e) for at, e in zip(ratios, found, strict=True)}

    return errors

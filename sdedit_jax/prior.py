"""Priors: a process with a predictor of the noise in x_t, and the exact ones that need no network.

An adapter turns a network with its own convention (label, data range, what it predicts) into
`predict(params, x, t)` in the units of the project: x [H, W, C] in [-1, 1] x alpha + noise, t in
(0, 1]. A network here is `net(params, x [1, H, W, C], label [1], y=None, key=None) -> [1, H, W,
C]`.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sdedit_jax.rules import Prediction
from sdedit_jax.sde import SDE, eps_from_v, eps_from_x0, level

Net = Callable[..., Array]
PredictFn = Callable[..., Prediction]
"""predict(params, x [H, W, C], t, cond=None, key=None) -> Prediction; key is for dropout."""


class Codec(NamedTuple):
    """Between pictures and the space of the prior.

    Attributes:
        encode: (params, image [H, W, C], z=None) -> x0; z None takes the mode.
        decode: (params, x0) -> image [H, W, C].
    """

    encode: Callable[..., Array]
    decode: Callable[..., Array]


IDENTITY = Codec(lambda params, image, z=None: image, lambda params, x0: x0)
"""The codec of pixel space."""


def mask_of_state(mask: Array, shape: tuple[int, ...]) -> Array:
    """A mask [H, W, C] of pixels as one [h, w, 1] of a state [h, w, c]; as it is where H = h.

    A latent may change as much as the freest pixel of its block: thin masks keep their effect, and
    the pixels that are kept are pasted over the result anyway.
    """
    if mask.shape[:2] == tuple(shape[:2]):
        return mask
    (big, wide, _), (h, w) = mask.shape, shape[:2]
    if big % h or wide % w:
        raise ValueError(f"mask must be whole blocks of {(h, w)}, got {(big, wide)}")
    most = jnp.max(mask, axis=-1)
    return most.reshape(h, big // h, w, wide // w).max(axis=(1, 3))[..., None]


class Text(NamedTuple):
    """How a prior reads texts.

    Attributes:
        tokenize: text -> text.tokenizer.Tokens, on the host: `ids` [M], `count` of the text's own,
            `cut`, what found no room.
        encode: (params, ids [M]) -> the embedding [M, K], the prior's cond. Compiled once.
    """

    tokenize: Callable[[str], Any]
    encode: Callable[..., Array]


class Prior(NamedTuple):
    """A process and a predictor of its noise.

    Attributes:
        process: gives alpha(t) and sigma(t); x_t = alpha x0 + sigma z.
        predict: (params, x [H, W, C], t, cond=None, key=None) -> Prediction.
        params: nested dict of arrays.
        shape: (H, W, C) of the pictures it was made for; x has this shape too, unless a codec takes
            pictures into latents.
        codec: between pictures and x0.
        card: what prior.json says of it.
        text: how it reads texts; None: it reads none.
        see: (params, image [H, W, C], mask [H, W, 1], cond) -> cond, for networks that are shown
            the guide (inpainting); None: it is not shown.
    """

    process: SDE
    predict: PredictFn
    params: Any
    shape: tuple[int, int, int]
    codec: Codec = IDENTITY
    card: Mapping[str, Any] = {}
    text: Text | None = None
    see: Callable[..., Any] | None = None

    @property
    def latent(self) -> bool:
        """Whether x is not a picture but a latent."""
        return self.codec is not IDENTITY

    def eps(self, params: Any, x: Array, t: Array | float, cond: Any = None) -> Array:
        """Predicted noise [H, W, C] of x [H, W, C] at t in (0, 1]; for VE this is -sigma score."""
        return self.predict(params, x, jnp.asarray(t, jnp.float32), cond).eps


LABELS = ("log", "sigma")

PREDICTS: Mapping[str, Callable[..., Array]] = {
    "eps": lambda process, x, t, out: out,
    "v": eps_from_v,
    "x0": eps_from_x0,
}
"""What a network may give -> the noise, from (process, x, t, the network's output)."""


# --- adapters: one for each convention of networks ------------------------------------------------


def score_sde_ve(net: Net, process: SDE) -> PredictFn:
    """Continuous VE networks of score_sde: pictures in [0, 1], label sigma / 2, score out."""

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        label = level(process, t)[1] / 2
        score = _call(net, params, (x + 1) / 2, label, cond, key)
        return Prediction(-label * score)

    return predict


def score_sde_ve_discrete(net: Net, process: SDE, levels: int) -> PredictFn:
    """Discrete VE networks of score_sde: the label counts the levels from the noisiest one."""

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        label = jnp.round((1 - t) * (levels - 1))
        score = _call(net, params, (x + 1) / 2, label, cond, key)
        return Prediction(-level(process, t)[1] / 2 * score)

    return predict


def score_sde_vp(net: Net, process: SDE) -> PredictFn:
    """Continuous VP and subVP networks of score_sde: label 999 t, eps out."""

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        return Prediction(_call(net, params, x, 999 * t, cond, key))

    return predict


def ddpm(
    net: Net,
    process: SDE,
    steps: int = 1000,
    learned_variance: bool = False,
    label_scale: float = 1.0,
    predicts: str = "eps",
) -> PredictFn:
    """DDPM networks: label the step round(steps t - 1).

    On a respaced table the label is the step of the table that it was taken from.

    Args:
        steps: of the table that the network was trained on.
        learned_variance: the network gives [eps, v], 2 C channels; v in [-1, 1] is the fraction
            (v + 1) / 2 between the small and the large log variance (2102.09672 eq. 15).
        label_scale: factor of the label (improved-diffusion's rescale_timesteps: 1000 / steps).
        predicts: what the network gives, one of PREDICTS.
    """
    if predicts not in PREDICTS:
        raise ValueError(f"predicts must be one of {list(PREDICTS)}, got {predicts!r}")
    kept = getattr(process, "steps", ())

    def step_of(t: Array) -> Array:
        if not kept:
            return jnp.clip(jnp.round(steps * t - 1), 0, steps - 1)
        levels = jnp.arange(len(kept), dtype=jnp.float32)
        return jnp.round(jnp.interp(len(kept) * t - 1, levels, jnp.asarray(kept, jnp.float32)))

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        out = _call(net, params, x, label_scale * step_of(t), cond, key)
        if not learned_variance:
            return Prediction(PREDICTS[predicts](process, x, t, out))
        out, v = jnp.split(out, 2, axis=-1)
        return Prediction(PREDICTS[predicts](process, x, t, out), (v + 1) / 2)

    return predict


def velocity(net: Net, process: SDE) -> PredictFn:
    """Networks that predict v of x_t; label 999 t."""

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        return Prediction(eps_from_v(process, x, t, _call(net, params, x, 999 * t, cond, key)))

    return predict


def edm(net: Net, process: SDE, sigma_data: float = 0.5, label: str = "log") -> PredictFn:
    """EDM's preconditioning (2206.00364 eq. 7, table 1) on any process.

    With n = sigma / alpha, u = x / alpha and d = sigma_data: D = c_skip u + c_out F(c_in u, label),
    c_skip = d^2 / (n^2 + d^2), c_out = n d / sqrt(n^2 + d^2), c_in = 1 / sqrt(n^2 + d^2).

    Args:
        label: "log" gives the network ln(n) / 4; "sigma" gives n, for networks that take the
            logarithm themselves (Fourier embedding).
    """
    if label not in LABELS:
        raise ValueError(f"label must be one of {list(LABELS)}, got {label!r}")

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        alpha, sigma = level(process, t)
        u, n = x / alpha, sigma / alpha
        total = jnp.sqrt(n**2 + sigma_data**2)
        f = _call(net, params, u / total, n if label == "sigma" else jnp.log(n) / 4, cond, key)
        # (u - D) / n without the cancellation at small n
        return Prediction(n / total**2 * u - sigma_data / total * f)

    return predict


def edm_vp(
    net: Net, process: SDE, beta_d: float = 19.9, beta_min: float = 0.1, steps: int = 1000
) -> PredictFn:
    """EDM's form of VP networks (2206.00364 table 1, VP) on any process: eps out.

    With n = sigma / alpha: D = u - n F(u / sqrt(n^2 + 1), (steps - 1) t(n)), where t(n) is the time
    at which the linear beta schedule reaches n.
    """

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        alpha, sigma = level(process, t)
        u, n = x / alpha, sigma / alpha
        # rounded as the original does, since one ulp of a label near 1000 moves F by 1e-5: no
        # log1p, and a barrier lest XLA merge the two constants
        root = jnp.sqrt(beta_min**2 + 2 * beta_d * jnp.log(1 + n**2))
        label = (steps - 1) * jax.lax.optimization_barrier((root - beta_min) / beta_d)
        return Prediction(_call(net, params, u / jnp.sqrt(n**2 + 1), label, cond, key))

    return predict


def edm_ve(net: Net, process: SDE) -> PredictFn:
    """EDM's form of VE networks (2206.00364 table 1, VE) on any process.

    With n = sigma / alpha: D = u + n F(u, ln(n / 2)).
    """

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        alpha, sigma = level(process, t)
        label = jnp.log(0.5 * (sigma / alpha))
        return Prediction(-_call(net, params, x / alpha, label, cond, key))

    return predict


def edm_iddpm(
    net: Net, process: SDE, steps: int = 1000, c_1: float = 0.001, c_2: float = 0.008
) -> PredictFn:
    """EDM's form of improved-DDPM and ADM networks (2206.00364 table 1, iDDPM) on any process.

    D = u - n F(u / sqrt(n^2 + 1), steps - 1 - j), where level j of `iddpm_sigmas` is the nearest to
    n = sigma / alpha. Of F the first half of the channels is eps; the other half, a learned
    variance in terms of the network's own table, is not used.
    """
    sigmas = np.asarray(iddpm_sigmas(steps, c_1, c_2), np.float32)

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        alpha, sigma = level(process, t)
        u, n = x / alpha, sigma / alpha
        label = steps - 1 - jnp.argmin(jnp.abs(sigmas - n))
        out = _call(net, params, u / jnp.sqrt(n**2 + 1), label, cond, key)
        return Prediction(out[..., : x.shape[-1]])

    return predict


def iddpm_sigmas(steps: int = 1000, c_1: float = 0.001, c_2: float = 0.008) -> np.ndarray:
    """The levels [steps + 1] of `edm_iddpm`, falling to 0 (2206.00364 table 1).

    u_{j-1}^2 + 1 = (u_j^2 + 1) / max(abar_{j-1} / abar_j, c_1), u_steps = 0,
    abar_j = sin^2(pi/2 j / (steps (c_2 + 1))).
    """
    bar = np.sin(np.pi / 2 * np.arange(steps + 1) / (steps * (c_2 + 1))) ** 2
    ratio = np.maximum(bar[:-1] / bar[1:], c_1)
    return np.append(np.sqrt(1 / np.cumprod(ratio[::-1])[::-1] - 1), 0.0)


def _call(net: Net, params: Any, x: Array, label: Array, cond: Any, key: Any) -> Array:
    y = None if cond is None else jnp.asarray(cond)[None]
    return net(params, x[None], jnp.asarray(label, jnp.float32)[None], y=y, key=key)[0]


# --- exact priors ---------------------------------------------------------------------------------


def gaussian(process: SDE, mean: Array, std: Array | float) -> Prior:
    """The prior of data N(mean, diag(std^2)), mean [H, W, C], std [H, W, C] or a number.

    E[z | x_t] = sigma (x - alpha mean) / (alpha^2 std^2 + sigma^2).
    """

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        alpha, sigma = level(process, t)
        variance = alpha**2 * params["std"] ** 2 + sigma**2
        return Prediction(sigma * (x - alpha * params["mean"]) / variance)

    params = {"mean": jnp.asarray(mean, jnp.float32), "std": jnp.asarray(std, jnp.float32)}
    return Prior(process, predict, params, tuple(params["mean"].shape))


def mixture(process: SDE, means: Array, std: Array | float, weights: Array | None = None) -> Prior:
    """The prior of data sum_k w_k N(mean_k, std^2), means [K, H, W, C], std a number or [K].

    E[x0 | x_t] = sum_k r_k (mean_k + alpha std_k^2 / v_k (x - alpha mean_k)) with responsibilities
    r_k and v_k = alpha^2 std_k^2 + sigma^2. With small std it draws the pictures it was given: a
    demo without weights.
    """
    means = jnp.asarray(means, jnp.float32)
    k = means.shape[0]
    weights = jnp.full((k,), 1 / k) if weights is None else jnp.asarray(weights, jnp.float32)

    def predict(params: Any, x: Array, t: Array, cond: Any = None, key: Any = None) -> Prediction:
        alpha, sigma = level(process, t)
        away = x[None] - alpha * params["means"]
        variance = alpha**2 * params["std"] ** 2 + sigma**2
        log_density = -jnp.sum(away**2, axis=(1, 2, 3)) / 2 / variance
        log_density -= x.size / 2 * jnp.log(variance)
        r = jax.nn.softmax(log_density + jnp.log(params["weights"]))
        return Prediction(sigma * jnp.tensordot(r / variance, away, 1, precision="highest"))

    params = {
        "means": means,
        "std": jnp.broadcast_to(jnp.asarray(std, jnp.float32), (k,)),
        "weights": weights / jnp.sum(weights),
    }
    return Prior(process, predict, params, tuple(means.shape[1:]))

"""Whether weights of the right shapes are those of a trained network, as far as statistics tell.

Three signs, for files that are not known by their sha256:

1.  Spread of the filters. With w the weights of a kernel, fan-in n, the mean squares of its filters
    have in a fresh kernel (independent draws of any distribution) the variance Var(w^2) / n. The
    observed variance over this one is 1 +- sqrt(2 / filters) there, and 3 to 100 in trained
    networks, whose filters differ in length. The sign is the 90% quantile over the kernels.
2.  Batch norms. In a trained network the stored means and variances agree with the activations on
    pictures like those of the training. The test pictures (selftest_rule.py) come close to photos:
    where fresh networks measured their norms on photos, the test pictures give 0.2 to 0.3 for the
    means and 0.1 to 0.4 for the variances (see `agreement`), and wrong norms 4 or more in one.
3.  Different pictures have different features.

They tell: fresh weights of the usual initialisers, tensors of another network or in another order
(by 2), batch norms at their initial values, networks that map all pictures to one point. They do
not tell: another training of the same architecture, a network trained briefly, or a fresh network
whose filters were given different lengths and whose batch norms were measured. Only the sha256 or
the stored activations of selftest.py tell that the weights are the published ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sdedit_jax.weights import store

FILTERS = 2.0
"""Least spread of the filters; fresh kernels have about 1.2, our trained priors 5 to 130."""
MEAN = 2.0
"""Most by which activations may miss the stored means, in standard deviations (the median)."""
VARIANCE = 2.0
"""Most that the logarithm of variance over stored variance may be (the median of its size)."""
SAME = 1e-4
"""Least distance of features of different pictures, relative to their length."""
FEWEST = 8

Moments = Sequence[tuple[Any, Any]]


def check(
    name: str, params: Any, features: np.ndarray, moments: Moments | None = None
) -> dict[str, float]:
    """Check that weights look trained.

    Args:
        name: of the network and its file, for messages.
        params: the parameters, kernels with the filters along the last axis.
        features: of different pictures, [B, D].
        moments: of the batch norms on test pictures, see nets/inception.py; None: it has none.

    Returns:
        the signs: "filters", "difference", and with batch norms "mean" and "variance".

    Raises:
        ValueError: the weights are untrained or of something else, with the sign that tells it.
    """
    found = {"filters": filter_spread(params), "difference": _difference(features)}
    if found["filters"] < FILTERS:
        _refuse(name, f"its filters are as alike as fresh ones (spread {found['filters']:.2f})")
    if not found["difference"] >= SAME:
        _refuse(name, "it gives different pictures the same features")
    if moments is None:
        return found
    if _initial(params):
        _refuse(name, "its batch norms have their initial means 0 and variances 1")
    found |= agreement(moments)
    if not (found["mean"] <= MEAN and found["variance"] <= VARIANCE):
        _refuse(
            name,
            "its batch norms do not fit its activations on test pictures (means differ by "
            f"{found['mean']:.2g} deviations, logarithms of variances by {found['variance']:.2g})",
        )
    return found


def filter_spread(params: Any) -> float:
    """Sign 1: the 90% quantile over the kernels; 0 without any kernel of 8 filters or more."""
    kernels = [np.asarray(a) for path, a in store.leaves(params) if path.endswith("kernel")]
    spreads = [
        _spread(kernel.reshape(-1, kernel.shape[-1]))
        for kernel in kernels
        if kernel.shape[-1] >= FEWEST and kernel[..., 0].size >= FEWEST
    ]
    return float(np.quantile(spreads, 0.9)) if spreads else 0.0


def agreement(moments: Moments) -> dict[str, float]:
    """Sign 2: medians over the norms of the medians over their channels."""
    means = [np.median(np.abs(mean)) for mean, _ in moments]
    variances = [np.median(np.abs(np.log(np.asarray(ratio)))) for _, ratio in moments]
    return {"mean": float(np.median(means)), "variance": float(np.median(variances))}


def _spread(kernel: np.ndarray) -> float:
    """Variance of the filters' mean squares over its expectation for independent draws."""
    squares = np.square(kernel, dtype=np.float64)
    expected = squares.var() / len(squares)
    return float(squares.mean(0).var(ddof=1) / expected) if expected > 0 else 0.0


def _difference(features: np.ndarray) -> float:
    """Distance of the nearest two rows over the mean length of a row."""
    x = np.asarray(features, np.float64)
    i, j = np.triu_indices(len(x), 1)
    length = np.linalg.norm(x, axis=1).mean()
    return float(np.linalg.norm(x[i] - x[j], axis=1).min() / length) if length > 0 else 0.0


def _initial(params: Any) -> bool:
    """Whether all stored means are 0, or all stored variances 1."""
    stored = dict(store.leaves(params))
    means = [a for path, a in stored.items() if path.endswith("running_mean")]
    variances = [a for path, a in stored.items() if path.endswith("running_var")]
    return all(not np.any(a) for a in means) or all(np.all(np.asarray(a) == 1) for a in variances)


def _refuse(name: str, reason: str) -> None:
    raise ValueError(f"{name} is not a trained network of this kind: {reason}")

"""The measures of edits in float32, in bfloat16, and in float32 with other noise."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.evaluation import features
from sdedit_jax.evaluation.kid_groups import between_groups
from sdedit_jax.evaluation.network import prior_features

SETS = {"float32": ("float32", 0), "bfloat16": ("bfloat16", 0), "other noise": ("float32", 1)}
"""Name of a set of edits -> compute mode and seed."""
OTHERS = ("bfloat16", "other noise")
"""What is compared with float32."""

Pictures = np.ndarray
"""uint8 [N, H, W, 3]."""
Features = Callable[[Pictures], np.ndarray]


def extractors(network: str) -> dict[str, Features]:
    """Features by name: colours and edges, and those of a prior's network in float32."""
    found = {"hand": lambda pictures: features.hand_made(images.to_unit(pictures))}
    if network:
        prior = sj.load_prior(network)
        found["network"] = lambda pictures: prior_features(prior, images.to_unit(pictures))
    return found


def compared(
    photos: Pictures, made: Mapping[str, Pictures], features_of: Mapping[str, Features]
) -> dict[str, Any]:
    """The measures of the edits SETS of the same guides."""
    first = made["float32"]
    return {
        "difference": {name: difference(made[name], first) for name in OTHERS},
        "channels": {name: channels(own) for name, own in {"photos": photos, **made}.items()},
        "kid": {name: distances(photos, made, own) for name, own in features_of.items()},
    }


def apart(a: Pictures, b: Pictures) -> np.ndarray:
    """|a - b| in 8-bit units."""
    return np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16))


def difference(a: Pictures, b: Pictures) -> dict[str, float]:
    """Mean, 99th percentile and maximum of |a - b| over all values, in 8-bit units."""
    found = apart(a, b)
    numbers = {"mean": found.mean(), "p99": np.percentile(found, 99), "max": found.max()}
    return {name: round(float(value), 3) for name, value in numbers.items()}


def channels(pictures: Pictures) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel over all pixels, in 8-bit units."""
    values = np.asarray(pictures, np.float64)
    found = {"mean": values.mean((0, 1, 2)), "std": values.std((0, 1, 2))}
    return {name: [round(float(v), 2) for v in own] for name, own in found.items()}


def distances(
    photos: Pictures, made: Mapping[str, Pictures], features_of: Features
) -> dict[str, dict[str, list[float]]]:
    """KID of each set to the photos, and of the others to float32, with standard errors.

    Features are in units of the standard deviations of the float32 edits: those of the photos are
    near 0 where all have one background. Pairs of a guide with itself are left out, since an edit
    is like its own photo.
    """
    found = {name: features_of(own) for name, own in {"photos": photos, **made}.items()}
    sets = {name: features.standardised(own, found["float32"]) for name, own in found.items()}
    base, first = sets.pop("photos"), sets["float32"]
    return {
        "photos": {name: kid(own, base, len(photos)) for name, own in sets.items()},
        "float32": {name: kid(sets[name], first, len(photos)) for name in OTHERS},
    }


def kid(x: np.ndarray, y: np.ndarray, groups: int) -> list[float]:
    """KID and its standard error, of features [N, D] and [M, D]; row k is of guide k mod groups."""
    found = between_groups(x, y, np.arange(len(x)) % groups, np.arange(len(y)) % groups)
    return [round(found.value, 5), round(found.error, 5)]

"""Distances between two sets of features, as results.json has them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax.evaluation import features, frechet, kid, kid_groups
from sdedit_jax.evaluation.extractors import Extractor

Groups = tuple[np.ndarray, np.ndarray]
"""The group of each row of x and of y, whole numbers from 0."""
FEW = "distances of sets need two pictures of each set at least"


def distances(
    x: np.ndarray,
    y: np.ndarray,
    extractor: Extractor,
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
    groups: Groups | None = None,
) -> dict[str, Any]:
    """KID and FID of features x [N, D] against the reference y [M, D], with their definitions.

    Args:
        extractor: of the features. Some are taken in units of the reference's spread.
        subsets, size, seed: of KID, see `kid.kid`.
        groups: of the rows of x and of y, where some belong together; KID is then taken over pairs
            of different groups too.

    Raises:
        ValueError: fewer than two rows of x or y.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(FEW)
    if extractor.standardised:
        x, y = (features.standardised(rows, y) for rows in (x, y))
    found = {
        **extractor.facts,
        "dimensions": x.shape[1],
        "units": "standard deviations of the reference" if extractor.standardised else "",
        "kid": _kid(x, y, subsets, size, seed),
        "fid": _fid(x, y),
    }
    if groups is not None and min(len(np.unique(of)) for of in groups) > 1:
        apart = kid_groups.between_groups(x, y, *groups)._asdict()
        found["kid_apart"] = {**apart, "better": "lower", "definition": kid_groups.DEFINITION}
    return found


def _kid(x: np.ndarray, y: np.ndarray, subsets: int, size: int, seed: int) -> Mapping[str, Any]:
    found = kid.kid(x, y, subsets=subsets, size=size, seed=seed)._asdict()
    size = min(size, len(x), len(y))
    subsets = 1 if size == len(x) == len(y) else subsets  # all would be equal
    facts = {"subsets": subsets, "subset_size": size, "seed": seed, "better": "lower"}
    return {**found, **facts, "definition": kid.DEFINITION}


def _fid(x: np.ndarray, y: np.ndarray) -> Mapping[str, Any]:
    caution = frechet.caution(min(len(x), len(y)), x.shape[1])
    facts = {"better": "lower", "definition": frechet.DEFINITION, "caution": caution}
    return {"value": frechet.frechet(x, y), **facts}

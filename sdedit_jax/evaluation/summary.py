"""The final numbers of an evaluation, from its shards in their order.

All sums are float64 in a fixed order, so that equal shards give equal numbers to the last digit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.evaluation import features, frechet, kid
from sdedit_jax.evaluation.averages import mean_and_error
from sdedit_jax.evaluation.extractors import Extractor
from sdedit_jax.evaluation.shards import Store


class Collected(NamedTuple):
    """What the shards hold, without the pictures and recipes.

    Attributes:
        numbers: measure -> values of the finished edits, float64 [N].
        ids: of the finished edits. samples: their numbers. shards: the shard of each.
        failed: the id, the sample and the reason of each edit that failed.
        features: "extractor/edit" (or guide, photo) -> float32 [N, D].
        seconds: of all edits together, on all devices.
    """

    numbers: dict[str, np.ndarray]
    ids: list[str]
    samples: list[int]
    shards: list[int]
    failed: list[dict[str, Any]]
    features: dict[str, np.ndarray]
    seconds: float


def collect(store: Store, run: str) -> Collected:
    """The contents of all shards of a run.

    Raises:
        ValueError: a shard is damaged, or belongs to another run.
    """
    numbers: dict[str, list[float]] = {}
    ids, samples, places, failed, seconds = [], [], [], [], 0.0
    found: dict[str, list[np.ndarray]] = {}
    for number in range(store.count):
        header, lines = store.read(number)
        if header.get("run") != run:
            raise ValueError(
                f"workdir: {store.file(number, 'jsonl')} belongs to another run; a host with other"
                " code, weights, data or settings wrote it: remove it and give the command again"
            )
        for line in lines:
            if "failed" in line:
                failed.append({name: line[name] for name in ("id", "sample", "failed")})
                continue
            ids.append(line["id"])
            samples.append(line["sample"])
            places.append(number)
            seconds += line["seconds"]
            for name, value in line["numbers"].items():
                numbers.setdefault(name, []).append(np.nan if value is None else value)
        for name, rows in store.features(number, header).items():
            found.setdefault(name, []).append(rows)
    columns = {name: np.array(values, np.float64) for name, values in numbers.items()}
    sets = {name: np.concatenate(rows) for name, rows in found.items()}
    return Collected(columns, ids, samples, places, failed, sets, seconds)


def averages(found: Collected) -> dict[str, dict[str, float]]:
    """Of each measure: the mean, and its standard error over the ids."""
    rows = {id: i for i, id in enumerate(dict.fromkeys(found.ids))}
    groups = np.array([rows[id] for id in found.ids])
    return {name: _average(values, groups) for name, values in found.numbers.items()}


def _average(values: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    kept = np.isfinite(values)
    if not kept.any():
        return {"mean": float("nan"), "error": float("nan"), "edits": 0}
    mean, error = mean_and_error(values[kept], groups[kept])
    return {"mean": mean, "error": error, "edits": int(kept.sum())}


def distances(
    found: Collected,
    extractors: Sequence[Extractor],
    reference: Mapping[str, np.ndarray],
    subsets: int,
    size: int,
) -> dict[str, dict[str, Any]]:
    """KID of the edits and of the guides against the reference, for each set of features; FID too.

    Args:
        reference: name of the features -> [M, D]; {}: the photos themselves.
        subsets, size: of KID.
    """
    return {one.name: _distances(found, one, reference, subsets, size) for one in extractors}


def _distances(
    found: Collected,
    extractor: Extractor,
    reference: Mapping[str, np.ndarray],
    subsets: int,
    size: int,
) -> dict[str, Any]:
    photos = found.features.get(f"{extractor.name}/photo", np.zeros((0, 1), np.float32))
    base = reference.get(extractor.name, photos)
    sets = {"edits": "edit", "guides": "guide"} | ({"photos": "photo"} if reference else {})
    made: dict[str, Any] = {"reference": len(base), **extractor.facts}
    for name, part in sets.items():
        rows = found.features.get(f"{extractor.name}/{part}", np.zeros((0, 1), np.float32))
        if min(len(rows), len(base)) < 2:
            made[name] = {"kid": None, "why": "KID needs two pictures of each set at least"}
            continue
        x, y = rows, base
        if extractor.standardised:
            x, y = (features.standardised(each, base) for each in (rows, base))
        value = kid.kid(x, y, subsets=subsets, size=size)
        made[name] = {"pictures": len(rows), "kid": value._asdict()}
        if not extractor.standardised:
            made[name]["fid"] = frechet.frechet(x, y)
    return made

"""The final numbers of an evaluation, from its shards in their order.

All sums are float64 in a fixed order, so that equal shards give equal numbers to the last digit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.evaluation import shards
from sdedit_jax.evaluation.averages import mean_and_error
from sdedit_jax.evaluation.distances import Groups, distances
from sdedit_jax.evaluation.extractors import Extractor
from sdedit_jax.evaluation.shards import Store


class Collected(NamedTuple):
    """What the shards hold, without the pictures and recipes.

    Attributes:
        numbers: measure -> values of the finished edits, float64 [N].
        ids: of the finished edits. samples: their numbers. shards: the shard of each.
        failed: the id, the sample and the reason of each edit that failed.
        features: "extractor/edit" (or guide, photo) -> float32 [N, D].
    """

    numbers: dict[str, np.ndarray]
    ids: list[str]
    samples: list[int]
    shards: list[int]
    failed: list[dict[str, Any]]
    features: dict[str, np.ndarray]


def collect(
    store: Store,
    run: str,
    expected: Callable[[int], Sequence[tuple[str, int]]],
    extractors: Sequence[str],
) -> Collected:
    """The contents of all shards of a run.

    Args:
        run: its short name. expected: number of a shard -> id and sample of each line.
        extractors: the names of those of its features.

    Raises:
        ValueError: a shard is damaged, or belongs to another run.
    """
    numbers: list[dict[str, float | None]] = []
    ids, samples, places, failed = [], [], [], []
    found: dict[str, list[np.ndarray]] = {}
    for number in range(store.count):
        shard = store.of_run(number, run, expected(number))
        for line in shard.lines:
            if "failed" in line:
                given = {"id": line["id"], "sample": line.get("sample", 0)}
                failed.append({**given, "failed": line["failed"]})
                continue
            ids.append(line["id"])
            samples.append(line["sample"])
            places.append(number)
            numbers.append(line["numbers"])
        for name, rows in store.features(number, shard, _rows(shard, extractors)).items():
            found.setdefault(name, []).append(rows)
    names = dict.fromkeys(name for one in numbers for name in one)
    columns = {name: np.array([one.get(name) for one in numbers], np.float64) for name in names}
    return Collected(columns, ids, samples, places, failed, shards.joined(found))


def _rows(shard: shards.Shard, extractors: Sequence[str]) -> dict[str, int]:
    """Name -> rows of the features of a shard: guide and photo belong to the first samples."""
    made = [line["sample"] for line in shard.lines if "picture" in line]
    counts = {"edit": len(made), "guide": made.count(0), "photo": made.count(0)}
    return {f"{one}/{part}": count for one in extractors for part, count in counts.items()}


def averages(found: Collected) -> dict[str, dict[str, float]]:
    """Of each measure: the mean, its standard error over the ids, and the number of edits."""
    groups = _groups(found.ids)
    made = {}
    for name, values in found.numbers.items():
        mean = mean_and_error(np.where(np.isfinite(values), values, np.nan), groups)
        edits = int(np.isfinite(values).sum())
        made[name] = {"mean": mean.value, "error": mean.error, "edits": edits}
    return made


def _groups(ids: Sequence[str]) -> np.ndarray:
    """The number of each id, by its first place: int64 [N]."""
    numbers = {id: i for i, id in enumerate(dict.fromkeys(ids))}
    return np.array([numbers[id] for id in ids], np.int64)


def of_sets(
    found: Collected,
    extractors: Sequence[Extractor],
    reference: Mapping[str, np.ndarray] | None,
    subsets: int,
    size: int,
) -> dict[str, dict[str, Any]]:
    """The distances of the edits and of the guides from the reference, for each set of features.

    Args:
        reference: name of the features -> [M, D]; None: the photos themselves.
        subsets, size: of KID.

    Returns:
        extractor's name -> {"edits": .., "guides": .., "photos": .. with a reference}; a string in
        the place of distances is the reason why there are none.
    """
    of = _groups(found.ids)
    first = of[np.array(found.samples, int) == 0]
    owners = {"edit": of, "guide": first, "photo": first}
    sets = {"edits": "edit", "guides": "guide"} | ({} if reference is None else {"photos": "photo"})
    made: dict[str, dict[str, Any]] = {}
    for one in extractors:
        rows = {part: found.features.get(f"{one.name}/{part}", EMPTY) for part in owners}
        base, of_base = rows["photo"], owners["photo"]
        if reference is not None:
            base, of_base = reference[one.name], len(of) + np.arange(len(reference[one.name]))
        made[one.name] = {
            name: _of_set(rows[part], base, one, subsets, size, (owners[part], of_base))
            for name, part in sets.items()
        }
    return made


EMPTY = np.zeros((0, 1), np.float32)


def _of_set(
    x: np.ndarray, y: np.ndarray, extractor: Extractor, subsets: int, size: int, groups: Groups
) -> dict[str, Any] | str:
    try:
        return {
            "pictures": [len(x), len(y)],
            **distances(x, y, extractor, subsets=subsets, size=size, groups=groups),
        }
    except ValueError as error:
        return str(error)

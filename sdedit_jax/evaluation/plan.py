"""The plan of an evaluation: which edits there are, and how they form batches and shards.

The edits are ordered by the SHA-256 of their ids. Consecutive edits form a batch, and consecutive
batches a shard, the unit that a process computes and writes. Batches are the same for any number of
processes, so each edit runs in the same row of the same program: results do not depend on who
computes them.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Edit(NamedTuple):
    """One edit: the row of the data set, and the number of the sample."""

    row: int
    sample: int


class Plan(NamedTuple):
    """All edits of an evaluation.

    Attributes:
        order: rows of the data set in the order of the plan, int64 [N].
        samples: edits of each row.
        batch: edits at a time. shard: edits in a shard, a multiple of `batch`.
    """

    order: np.ndarray
    samples: int
    batch: int
    shard: int

    @property
    def edits(self) -> int:
        """The number of edits."""
        return len(self.order) * self.samples

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.edits // self.shard)

    def of_shard(self, number: int) -> list[Edit]:
        """The edits of a shard."""
        first = number * self.shard
        count = min(self.shard, self.edits - first)
        places = (divmod(k, self.samples) for k in range(first, first + count))
        return [Edit(int(self.order[place]), sample) for place, sample in places]

    def batches(self, number: int) -> Iterator[list[Edit]]:
        """The edits of a shard, `batch` at a time; the last batch may be smaller."""
        edits = self.of_shard(number)
        return (edits[i : i + self.batch] for i in range(0, len(edits), self.batch))


def plan(ids: Sequence[str], samples: int, batch: int, shard: int) -> Plan:
    """The plan of `samples` edits of each id, in batches and shards of about these sizes.

    Args:
        ids: of the data set; rows are their places.
        shard: edits; it is rounded up to whole batches.
    """
    digests = [hashlib.sha256(id.encode()).digest()[:8] for id in ids]
    order = np.argsort(
        np.array([int.from_bytes(d, "big") for d in digests], np.uint64), kind="stable"
    )
    batch = min(batch, max(len(ids) * samples, 1))
    return Plan(order, samples, batch, -(-max(shard, 1) // batch) * batch)


def share(shards: int, index: int, count: int) -> list[int]:
    """The shards of process `index` of `count` processes.

    Raises:
        ValueError: the index is not in [0, count).
    """
    if not 0 <= index < count:
        raise ValueError(f"index must be in [0, {count}) for {count} processes, got {index}")
    return list(range(index, shards, count))


def parse_share(text: str) -> tuple[int, int]:
    """(index, count), counted from 0, of "2/8", counted from 1.

    Raises:
        ValueError: another form, or a number out of range.
    """
    first, sign, last = text.partition("/")
    numbers = (int(first), int(last)) if sign and first.isdecimal() and last.isdecimal() else (0, 0)
    if not 1 <= numbers[0] <= numbers[1]:
        raise ValueError(f'shard must be K/N with 1 <= K <= N, such as "2/8", got {text!r}')
    return numbers[0] - 1, numbers[1]

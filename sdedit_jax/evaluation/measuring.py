"""Measures of a set of pictures against another one: in pairs, and as sets.

Pictures are read in batches, each set once for features, and pairs once more.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.evaluation.averages import mean_and_error
from sdedit_jax.evaluation.extractors import Extractor
from sdedit_jax.evaluation.paired import Paired
from sdedit_jax.evaluation.picture_sets import PictureSet, Read, check_sizes, digest, read
from sdedit_jax.images import Size

MaskOf = Callable[[str, Read], np.ndarray]
"""The mask [H, W] of a picture, from its name and the picture."""


class Reader(NamedTuple):
    """How pictures are read.

    Attributes:
        size: to which they are fitted; None: they must have the size of `first`. rule: of the fit.
        batch: pictures at a time. first: the size and the name of the first picture.
    """

    size: Size | None
    rule: str
    batch: int
    first: tuple[Size, str]

    def some(self, pictures: PictureSet, rows: Sequence[int]) -> list[Read]:
        """Some pictures of a set.

        Raises:
            ValueError: one cannot be read, or has another size.
        """
        found = [read(pictures, i, self.size, self.rule) for i in rows]
        check_sizes(found, [pictures.names[i] for i in rows], self.first)
        return found


def reader_of(pictures: PictureSet, size: Size | None, rule: str, batch: int) -> Reader:
    """The reader; without a size, that of the first picture of a set holds for all."""
    shape = read(pictures, 0, size, rule).rgb.shape
    return Reader(size, rule, batch, ((shape[0], shape[1]), pictures.names[0]))


class Features(NamedTuple):
    """Features of a set.

    Attributes:
        rows: extractor's name -> [N, D]. left_out: extractor's name -> why it has none.
        sha256: of the set.
    """

    rows: dict[str, np.ndarray]
    left_out: dict[str, str]
    sha256: str


def features_of(pictures: PictureSet, extractors: Sequence[Extractor], reader: Reader) -> Features:
    """The features of all pictures of a set. An extractor that refuses the pictures is left out."""
    found: dict[str, list[np.ndarray]] = {one.name: [] for one in extractors}
    left_out: dict[str, str] = {}
    sha256s: list[str] = []
    for rows in _batches(len(pictures), reader.batch):
        some = reader.some(pictures, rows)
        sha256s += [one.sha256 for one in some]
        rgb = np.stack([one.rgb for one in some])
        for one in extractors:
            if one.name not in left_out:
                try:
                    rows_at_once = min(reader.batch, len(pictures))
                    found[one.name].append(one.in_batch(rgb, rows_at_once))
                except ValueError as error:
                    left_out[one.name] = str(error)
    made = {name: np.concatenate(v) for name, v in found.items() if name not in left_out}
    return Features(made, left_out, digest(pictures.names, sha256s))


def _batches(count: int, batch: int) -> Iterator[range]:
    return (range(i, min(i + batch, count)) for i in range(0, count, batch))


class PairedResults(NamedTuple):
    """Results of paired measures.

    Attributes:
        rows: measure -> value, error, pairs and definition, for JSON. left_out: measure -> why.
    """

    rows: dict[str, dict[str, Any]]
    left_out: dict[str, str]


def measure_pairs(
    a: PictureSet,
    b: PictureSet,
    pairs: Sequence[tuple[int, int]],
    measures: Sequence[Paired],
    reader: Reader,
    mask_of: MaskOf | None = None,
) -> PairedResults:
    """The mean of each measure over pairs, and its standard error over the pictures of b.

    Args:
        pairs: (i, j), see picture_sets.pairs_of.
        mask_of: the mask of a picture of b; None: everything may change.
    """
    values: dict[str, list[float]] = {one.name: [] for one in measures}
    left_out: dict[str, str] = {}
    for rows in _batches(len(pairs), reader.batch):
        some = [pairs[k] for k in rows]
        x, y = reader.some(a, [i for i, _ in some]), reader.some(b, [j for _, j in some])
        names = [b.names[j] for _, j in some]
        mask = None if mask_of is None else np.stack([*map(mask_of, names, y)])
        two = [np.stack([one.rgb for one in side]) for side in (x, y)]
        for one in measures:
            if one.name not in left_out:
                try:
                    values[one.name] += one.of(*two, mask).tolist()
                except ValueError as error:
                    left_out[one.name] = str(error)
    groups = [j for _, j in pairs]
    kept = [one for one in measures if one.name not in left_out]
    return PairedResults({m.name: _row(m, values[m.name], groups) for m in kept}, left_out)


def _row(measure: Paired, values: Sequence[float], groups: Sequence[int]) -> dict[str, Any]:
    mean = mean_and_error(values, groups)
    count = int(np.count_nonzero(~np.isnan(values)))
    return {**mean._asdict(), "pairs": count, **measure.row}

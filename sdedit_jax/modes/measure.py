"""--mode=measure: measures of the pictures `a` of any program against the pictures `b`.

Pictures with the same stem are measured in pairs, and the two as sets.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from sdedit_jax import images, provenance
from sdedit_jax.evaluation.distances import Groups, distances
from sdedit_jax.evaluation.measuring import (
    MaskOf,
    PairedResults,
    Reader,
    features_of,
    measure_pairs,
    reader_of,
)
from sdedit_jax.evaluation.opening import Measures, open_measures
from sdedit_jax.evaluation.paired import Paired
from sdedit_jax.evaluation.picture_sets import PictureSet, Read, open_set, pairs_of
from sdedit_jax.images import Size, size_text
from sdedit_jax.modes.files import Target, plain, refuse_existing
from sdedit_jax.modes.session import parse_size
from sdedit_jax.pipeline.cache import use_cache
from sdedit_jax.text.spelling import counted, one_of

FILE = "results.json"


def measure(config: ConfigDict, target: Target | None) -> int:
    """Measure config.a against config.b, print the numbers, and write them with a workdir.

    Raises:
        ValueError: another config, no pictures, pictures of several sizes, or nothing to measure.
    """
    if "a" not in config or "features" not in config:
        raise ValueError("config: --mode=measure needs --config=measure")
    one_of("fit", config.fit, images.UNMASKED_FITS)
    a, b = open_set(config.a, "a"), open_set(config.b, "b")
    if target:
        refuse_existing([target.folder / FILE], target.overwrite)
    use_cache(config.cache)
    measures = open_measures(config.features.to_dict(), config.compute)
    chosen = chosen_of(config, measures)
    reader = reader_of(a, size_of(config), config.fit, config.batch)
    print(f"a         {config.a}, {counted(len(a), 'picture')}")
    print(f"b         {config.b}, {counted(len(b), 'picture')}")
    pairs = in_pairs(config, a, b, chosen, reader)
    sets = as_sets(config, a, b, measures, reader, pairs.places)
    if not pairs.results.rows and not sets.rows:
        why = "; ".join(f"{n}: {text}" for n, text in (pairs.left_out | sets.left_out).items())
        raise ValueError(f"nothing can be measured: {why}")
    print("\n".join(lines(pairs, sets)))
    if target:
        print(f"written   {target.json(FILE, body(config, a, b, pairs, sets, reader))}")
    return 0


class Pairs(NamedTuple):
    """Results in pairs.

    Attributes:
        places: (i, j) of a picture of a and its partner in b. results: of each measure.
    """

    places: list[tuple[int, int]]
    results: PairedResults

    @property
    def count(self) -> int:  # type: ignore[override]
        """The number of pairs."""
        return len(self.places)

    @property
    def partners(self) -> int:
        """The different pictures of b in them."""
        return len({j for _, j in self.places})

    @property
    def left_out(self) -> dict[str, str]:
        """Measure -> why it was left out."""
        return self.results.left_out


class Sets(NamedTuple):
    """Results of sets.

    Attributes:
        rows: features -> distances, for JSON. left_out: features -> why. sha256: of a and of b.
    """

    rows: dict[str, dict[str, Any]]
    left_out: dict[str, str]
    sha256: tuple[str, str]


# --- settings -------------------------------------------------------------------------------------


def size_of(config: ConfigDict) -> Size | None:
    """(H, W) of config.resize, or None.

    Raises:
        ValueError: another form.
    """
    if not config.resize:
        return None
    return images.check_size(parse_size(config.resize, "resize"), field="resize")


def chosen_of(config: ConfigDict, measures: Measures) -> list[Paired]:
    """The paired measures of the config; without masks, those of a region are left out.

    Raises:
        ValueError: an unknown measure, or one of a region without masks.
    """
    field = "measures.paired"
    names = [name.strip() for text in config.measures.paired for name in text.split(",")]
    found = measures.named(names or list(measures.paired), field)
    if config.masks:
        return found
    regional = [one.name for one in found if one.region]
    if names and regional:
        raise ValueError(f"{field}: {regional[0]} needs masks; give --config.masks=FOLDER")
    return [one for one in found if not one.region]


def mask_of(config: ConfigDict) -> MaskOf | None:
    """The masks of the config: those with the stems of b, fitted as the pictures are."""
    if not config.masks:
        return None

    def found(name: str, picture: Read) -> np.ndarray:
        path = images.paired(config.masks, name, "masks", images.MASK_SUFFIX)
        mask = images.read_mask(path, picture.source)
        return mask if picture.placement is None else images.fit_mask(mask, picture.placement)

    return found


# --- measuring ------------------------------------------------------------------------------------


def in_pairs(
    config: ConfigDict, a: PictureSet, b: PictureSet, chosen: list[Paired], reader: Reader
) -> Pairs:
    """The measures in pairs; without pairs, they are left out with the reason."""
    try:
        pairs = pairs_of(a, b)
    except ValueError as error:
        print(f"pairs     none: {error}")
        return Pairs([], PairedResults({}, {"measures in pairs": str(error)}))
    partners = len({j for _, j in pairs})
    print(
        f"pairs     {len(pairs)} of {counted(len(a), 'picture')} of a have a partner in b,"
        f" {partners} of {len(b)} of b have one in a"
    )
    found = measure_pairs(a, b, pairs, chosen, reader, mask_of(config))
    return Pairs(pairs, found)


def as_sets(
    config: ConfigDict,
    a: PictureSet,
    b: PictureSet,
    measures: Measures,
    reader: Reader,
    pairs: Sequence[tuple[int, int]],
) -> Sets:
    """The distances of the sets on each extractor; those that refuse are left out."""
    given = config.measures
    x, y = (features_of(one, measures.extractors, reader) for one in (a, b))
    left_out, rows = {**x.left_out, **y.left_out}, {}
    options = {"subsets": given.subsets, "size": given.subset_size, "seed": config.seed}
    options |= {"groups": groups_of(a, b, pairs)}
    for one in measures.extractors:
        if one.name in left_out:
            continue
        try:
            rows[one.name] = distances(x.rows[one.name], y.rows[one.name], one, **options)
        except ValueError as error:
            left_out[one.name] = str(error)
    return Sets(rows, left_out, (x.sha256, y.sha256))


def groups_of(a: PictureSet, b: PictureSet, pairs: Sequence[tuple[int, int]]) -> Groups | None:
    """Each picture of b with its partners in a as a group; None without pairs."""
    if not pairs:
        return None
    of_a = len(b) + np.arange(len(a))
    for i, j in pairs:
        of_a[i] = j
    return of_a, np.arange(len(b))


# --- results --------------------------------------------------------------------------------------


def lines(pairs: Pairs, sets: Sets) -> Iterator[str]:
    """The table for the screen."""
    if pairs.results.rows:
        yield f"\n{'in pairs':18}{'mean':>12}{'error':>12}  unit  better"
    for name, row in pairs.results.rows.items():
        numbers = _number(row["value"]) + _number(row["error"])
        yield f"{name:18}{numbers}  {row['unit']:4}  {row['better']}"
    if sets.rows:
        titles = ("KID", "error", "spread", "KID apart", "error", "FID")
        yield f"\n{'as sets, on':18}" + "".join(f"{title:>12}" for title in titles)
    for name, row in sets.rows.items():
        kid, apart = row["kid"], row.get("kid_apart", {"value": math.nan, "error": math.nan})
        values = (kid["value"], kid["error"], kid["spread"], *(apart["value"], apart["error"]))
        yield f"{name:18}" + "".join(map(_number, (*values, row["fid"]["value"])))
    if any("kid_apart" in row for row in sets.rows.values()):
        yield "note      KID apart: over pairs of pictures that are no partners"
    notes = {name: row["fid"]["caution"] for name, row in sets.rows.items()}
    yield from (f"note      {name}: {text}" for name, text in notes.items() if text)
    for name, why in (pairs.left_out | sets.left_out).items():
        yield f"left out  {name}: {why}"


def _number(value: float) -> str:
    return f"{value:12.5g}"


def body(
    config: ConfigDict, a: PictureSet, b: PictureSet, pairs: Pairs, sets: Sets, reader: Reader
) -> Mapping[str, Any]:
    """The body of results.json."""
    return {
        "a": {"path": config.a, "pictures": len(a), "sha256": sets.sha256[0]},
        "b": {"path": config.b, "pictures": len(b), "sha256": sets.sha256[1]},
        "size": size_text(reader.first[0]),
        "pairs": {"count": pairs.count, "partners": pairs.partners},
        "paired": pairs.results.rows,
        "sets": sets.rows,
        "left_out": pairs.left_out | sets.left_out,
        "config": plain(config),
        "environment": provenance.environment(config.compute),
    }

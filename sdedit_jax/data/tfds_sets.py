"""Sets of tensorflow_datasets: prepared folders and names, read without TensorFlow."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Prepared(NamedTuple):
    """A split of a prepared set.

    Attributes:
        rows: {"image": uint8 [H, W, C], ..} each, decoded at each access.
        raw: the same rows with undecoded pictures.
        names: the meaning of the labels; () where there are none.
        places: (split, first row, row after the last) of the parts that the rows are.
    """

    rows: Sequence[dict[str, Any]]
    raw: Sequence[dict[str, Any]]
    names: tuple[str, ...]
    places: tuple[tuple[str, int, int], ...]


def prepared(path: Path, split: str = "train") -> Prepared:
    """A split of a set in a prepared folder, or of a set that tfds knows by its name.

    Raises:
        ValueError: there is no such set or split, it has no pictures, or its file format cannot be
            read row by row.
    """
    import tensorflow_datasets as tfds

    check_known(path)
    here = path.is_dir()
    try:
        builder = tfds.builder_from_directory(path) if here else tfds.builder(str(path))
        if "image" not in builder.info.features:
            raise ValueError(f"data: the tfds set {path} has no feature 'image'")
        rows = builder.as_data_source(split=split)
        undecoded = {"image": tfds.decode.SkipDecoding()}
        raw = builder.as_data_source(split=split, decoders=undecoded)
    except (tfds.core.DatasetNotFoundError, FileNotFoundError, AttributeError) as error:
        raise ValueError(
            f"data: {path} is not a folder, zip or prepared tfds set: {error}"
        ) from error
    except NotImplementedError as error:
        raise ValueError(f"data: {path} must be prepared as array_record: {error}") from error
    features = builder.info.features
    label = features["label"] if "label" in features else None
    names = tuple(getattr(label, "names", None) or ())
    return Prepared(rows, raw, names, _places(builder, split))


def check_known(path: Path) -> None:
    """Check that a path is a folder or the name of a tfds set.

    Raises:
        ValueError: it is neither.
    """
    if not path.is_dir() and not _is_tfds_name(str(path)):
        raise ValueError(f"data: {path} is not a folder, zip or prepared tfds set")


def _places(builder: Any, split: str) -> tuple[tuple[str, int, int], ...]:
    """Where the rows of a split stand: ("train", 100, 200) for "train[100:200]"."""
    import tensorflow_datasets as tfds

    found = tfds.core.ReadInstruction.from_spec(split).to_absolute(builder.info.splits)
    sizes = {name: one.num_examples for name, one in builder.info.splits.items()}
    return tuple((p.splitname, p.from_ or 0, p.to or sizes[p.splitname]) for p in found)


def _is_tfds_name(name: str) -> bool:
    """Whether tfds knows a set; asking it to build another one would search the network."""
    import tensorflow_datasets as tfds

    first = re.split("[/:]", name)[0]
    folders = tfds.core.utils.file_utils.list_data_dirs()
    known = first in tfds.list_builders(with_community_datasets=False)
    return bool(first) and (known or any((Path(folder) / first).is_dir() for folder in folders))

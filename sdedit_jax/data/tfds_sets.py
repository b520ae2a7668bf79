"""Sets of tensorflow_datasets: prepared folders and names, read without TensorFlow."""

import bisect
import contextlib
import functools
import io
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.files import array_record_file, door, json_file
from sdedit_jax.files.wording import brief, reason

CLASSES = ("pythonClassName", "python_class_name")
"""Fields of features.json that name a class."""
MOST_CLASSES = 1_000_000
"""Classes of a set."""
FEATURES = "tensorflow_datasets.core.features."
"""Where the classes of features are; features.json names them, and tfds imports their modules."""


TEXTS = (".json", ".txt")
"""Endings of the files that tfds reads whole."""


class Prepared(NamedTuple):
    """A split of a prepared set.

    Attributes:
        rows: {"image": the bytes of its file, "label": its number, -1 for none} each, read at each
            access; without "label" where there are no names.
        names: the meaning of the labels; () where there are none.
        places: (split, first row, row after the last) of the parts that the rows are.
    """

    rows: "Rows"
    names: tuple[str, ...]
    places: tuple[tuple[str, int, int], ...]


def prepared(path: Path, split: str = "train") -> Prepared:
    """A split of a set in a prepared folder, or of a set that tfds knows by its name.

    Raises:
        ValueError: there is no such set or split, it has no pictures, or its file format cannot be
            read row by row.
    """
    check_known(path)
    here = path.is_dir()
    for folder in [path] if here else _prepared_folders(str(path)):
        _check_folder(folder)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # tfds prints that TensorFlow is missing
            return _prepared(path, here, split)
    except NotImplementedError as error:
        raise ValueError(f"data: {path} must be prepared as array_record: {error}") from error
    except Exception as error:  # tfds raises many kinds for damaged and unknown sets
        raise ValueError(f"data: cannot read the tfds set {path}: {reason(error, 300)}") from error


def _prepared(path: Path, here: bool, split: str) -> Prepared:
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(path) if here else tfds.builder(str(path))
    if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise NotImplementedError(f"it is {builder.info.as_proto.file_format or 'another format'}")
    if "image" not in builder.info.features:
        raise ValueError("it has no feature 'image'")
    _check_splits(builder)
    features = builder.info.features
    if features["image"].np_dtype != np.uint8:
        raise ValueError(f"its feature 'image' is {features['image'].np_dtype}, no uint8 picture")
    names = _names(features["label"]) if "label" in features else ()
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    records = builder.as_data_source(split=split, deserialize_method=raw)
    kept = {name: features[name] for name in ("image", *["label"] * bool(names))}
    parse = tfds.features.FeaturesDict(kept).deserialize_example_np
    undecoded = {"image": tfds.decode.SkipDecoding()}
    parts = [(f.filename, f.skip, f.take) for f in builder.info.splits[split].file_instructions]
    rows = Rows(Bounded(records, parts), functools.partial(parse, decoders=undecoded), names)
    return Prepared(rows, names, _places(builder, split))


class Bounded(Sequence):
    """Records of files, each checked before its chunk is expanded."""

    def __init__(self, records: Sequence, parts: Sequence[tuple[str, int, int]]) -> None:
        """`parts`: (file, first record, records) of all records in their order."""
        self.records, self.parts = records, parts
        self.ends = list(itertools.accumulate(count for _, _, count in parts))
        self.indices: dict[str, array_record_file.Index] = {}

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: Any) -> bytes:
        part = bisect.bisect_right(self.ends, i)
        if 0 <= i < len(self) and part < len(self.parts):
            file, first, count = self.parts[part]
            if file not in self.indices:
                self.indices[file] = array_record_file.index(file, "data")
            number = first + i - (self.ends[part] - count)
            array_record_file.check_record(file, self.indices[file], number, "data")
        return self.records[i]


def _names(label: Any) -> tuple[str, ...]:
    """The names of a feature's classes; () where it has none."""
    if (getattr(label, "num_classes", None) or 0) > MOST_CLASSES:
        raise ValueError(f"it claims {label.num_classes} classes, at most {MOST_CLASSES} may be")
    return tuple(getattr(label, "names", None) or ())


class Rows(Sequence):
    """Rows with undecoded pictures; other features than image and label are not read."""

    def __init__(self, records: Sequence, parse: Callable, names: Sequence[str]) -> None:
        """`parse`: the row of a record. `names`: of the labels."""
        self.records, self.parse, self.names = records, parse, names

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: Any) -> dict[str, Any]:
        try:
            row = self.parse(self.records[i])
            if not isinstance(row["image"], bytes):
                raise ValueError(f"image must be a file, got {brief(row['image'])}")
            if self.names and not -1 <= int(row["label"]) < len(self.names):
                raise ValueError(f"label must be in [-1, {len(self.names)}), got {row['label']}")
            return row
        except Exception as error:  # tfds raises many kinds for damaged rows
            why = reason(error, 300).removeprefix("data: ")
            raise ValueError(f"data: cannot read row {i}: {why}") from error


def _check_folder(path: Path) -> None:
    """Check the description of a prepared set.

    Raises:
        ValueError: it is damaged, or names classes that are none of tfds's own features.
    """
    json_file.read_object(path / "dataset_info.json", "data")
    features = json_file.read_object(path / "features.json", "data")
    for name in _classes(features):
        if not str(name).startswith(FEATURES):
            raise ValueError(
                f"data: {path / 'features.json'} names the class {brief(name)}; allowed are"
                f" those of {FEATURES.removesuffix('.')}"
            )
    for file in path.iterdir():
        if not file.is_dir():
            door.check(file, "data", door.TEXT if file.suffix in TEXTS else door.ANY)


def _classes(features: Any) -> Iterator[Any]:
    """The classes that features.json names, also in texts that hold JSON.

    Raises:
        ValueError: a text begins as a JSON object and is none.
    """
    left = [features]
    while left:
        value = left.pop()
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = json_file.parse_text(value, "a text in features.json", "data")
        if isinstance(value, dict):
            yield from (value[name] for name in CLASSES if name in value)
            if isinstance(value.get("type"), str):  # as older versions write it
                yield value["type"]
        left += json_file.inside(value)


def _check_splits(builder: Any) -> None:
    """Check that the splits claim no more rows than their files have bytes.

    Raises:
        ValueError: they do, or a file cannot be read.
    """
    for name, split in builder.info.splits.items():
        files = [door.check(str(file), "data") for file in split.filepaths]
        size = sum(file.stat().st_size for file in files)
        if not 0 <= split.num_examples <= size:
            raise ValueError(f"the split {name!r} claims {split.num_examples} rows in {size} bytes")


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

    known = _first(name) in tfds.list_builders(with_community_datasets=False)
    return known or any(_homes(name))


def _first(name: str) -> str:
    """The name of a set without config and version."""
    return re.split("[/:]", name)[0]


def _homes(name: str) -> Iterator[Path]:
    """The folders in which tfds keeps a set."""
    import tensorflow_datasets as tfds

    first, folders = _first(name), tfds.core.utils.file_utils.list_data_dirs()
    return (Path(folder, first) for folder in folders if first and Path(folder, first).is_dir())


def _prepared_folders(name: str) -> Iterator[Path]:
    """The folders of the versions and configs of a set that tfds knows by its name."""
    for home in _homes(name):
        for pattern in ("*/features.json", "*/*/features.json"):
            yield from (file.parent for file in home.glob(pattern))

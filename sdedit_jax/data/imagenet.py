"""ImageNet (ILSVRC 2012) in its folders.

    train/nXXXXXXXX/nXXXXXXXX_N.JPEG
    val/ILSVRC2012_val_0000000N.JPEG, or val/nXXXXXXXX/ILSVRC2012_val_0000000N.JPEG
    LOC_val_solution.csv, or ILSVRC2012_validation_ground_truth.txt (with map_clsloc.txt)
    LOC_synset_mapping.txt or synset_words.txt      synset and words; for labels other than synsets

The folders may also stand in ILSVRC/Data/CLS-LOC, as on Kaggle. The ids are the names of the files
without ".JPEG". Russakovsky et al., IJCV 2015 (arXiv:1409.0575).
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from sdedit_jax.data.examples import DataSet, Row, file_set
from sdedit_jax.data.files import Files, picture_names
from sdedit_jax.data.layouts import Choice, Layout
from sdedit_jax.files import json_file, table
from sdedit_jax.text.spelling import one_of

SYNSET = re.compile(r"n\d{8}")
INSIDE = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
SPLITS = ("train", "val", "test")
LABELS = ("", "synset", "class", "words")
SOLUTION = "LOC_val_solution.csv"
NUMBERS = "ILSVRC2012_validation_ground_truth.txt"
SYNSETS = "map_clsloc.txt"
WORDS = ("LOC_synset_mapping.txt", "synset_words.txt")


def fits(path: Path) -> bool:
    """Whether a path has the folders of ImageNet."""
    base = _base(path)
    for split in _splits(base):
        names = os.listdir(base / split)
        if any(SYNSET.fullmatch(name) or name.startswith("ILSVRC2012_") for name in names):
            return True
    return False


def _base(path: Path) -> Path:
    """The folder that has the splits."""
    return next((path / inside for inside in INSIDE if _splits(path / inside)), path)


def _splits(base: Path) -> list[str]:
    return [split for split in SPLITS if (base / split).is_dir()]


def imagenet(path: Path, choice: Choice) -> DataSet:
    """The pictures of a split, by their paths.

    Args:
        choice: split: by default the only one that is there.
            labels: "synset" (default), such as "n01440764"; "class": the number from 0 of the
            synset among all, sorted; "words": its words. A val without folders and ground truth
            has no labels; with numbers alone, the labels are the ILSVRC2012 ids 1 to 1000.

    Raises:
        ValueError: no such split, several and none chosen, no picture, or a file for the labels is
            missing.
    """
    one_of("labels", choice.labels, LABELS)
    base = _base(path)
    split = one_of("split", choice.split, _splits(base)) if choice.split else _only(base)
    files = Files(base / split)
    label = _labels(path, base, split, choice.labels)
    rows = (
        (PurePosixPath(name).stem, Row(name, label=label(PurePosixPath(name))), name)
        for name in picture_names([*files.names()])
    )
    return file_set(f"{path.name}_{split}", rows, files)


def _only(base: Path) -> str:
    found = _splits(base)
    if len(found) != 1:
        raise ValueError(f"data: split must be one of {found or list(SPLITS)} for {base}, got ''")
    return found[0]


def _labels(path: Path, base: Path, split: str, kind: str) -> Callable[[PurePosixPath], str]:
    """The label of a picture by its name."""
    truth = _truth(path, base) if split == "val" else {}
    names = _names(path, base, kind) if kind in ("class", "words") else None

    def label(name: PurePosixPath) -> str:
        folder = name.parent.name
        found = folder if SYNSET.fullmatch(folder) else truth.get(name.stem, "")
        if kind and not SYNSET.fullmatch(found):
            raise ValueError(
                f"data: labels={kind!r} needs the synset of {name}: synset folders, {SOLUTION}, or"
                f" {NUMBERS} with {SYNSETS}"
            )
        return found if names is None else _named(names, found)

    return label


def _named(names: Mapping[str, str], synset: str) -> str:
    if synset not in names:
        raise ValueError(f"data: the synset {synset} is not in {' or '.join(WORDS)}")
    return names[synset]


def _find(name: str, path: Path, base: Path) -> Path | None:
    """A table in the folder of the set, in that of its splits, or in a development kit."""
    kits = [path / kit / "data" for kit in ("devkit", "ILSVRC2012_devkit_t12")]
    folders = dict.fromkeys([path, base, *kits])
    return next((one / name for one in folders if (one / name).is_file()), None)


def _truth(path: Path, base: Path) -> dict[str, str]:
    """The id of a val picture -> its synset, or its ILSVRC2012 id."""
    solution, numbers = _find(SOLUTION, path, base), _find(NUMBERS, path, base)
    if solution:
        rows = table.rows_of(json_file.lines(solution, "data"), SOLUTION, "data")
        return {cells[0]: cells[1].split()[0] for _, cells in rows if len(cells) > 1 and cells[1]}
    if numbers is None:
        return {}
    mapped = _find(SYNSETS, path, base)
    synsets = {number: synset for synset, number in _pairs(mapped)} if mapped else {}
    lines = [line.strip() for line in json_file.lines(numbers, "data")]
    return {
        f"ILSVRC2012_val_{i:08d}": synsets.get(number, number) for i, number in enumerate(lines, 1)
    }


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """(synset, ILSVRC2012 id) of the lines "n02119789 1 kit_fox"."""
    for line in json_file.lines(path, "data"):
        cells = line.split()
        if len(cells) > 1:
            yield cells[0], cells[1]


def _names(path: Path, base: Path, kind: str) -> dict[str, str]:
    """Synset -> its class number or its words."""
    file = next(filter(None, (_find(name, path, base) for name in WORDS)), None)
    if file is None:
        raise ValueError(f"data: labels={kind!r} needs {' or '.join(WORDS)} in {path}")
    lines = (line.strip().partition(" ") for line in json_file.lines(file, "data"))
    words = {synset: text.strip() for synset, _, text in lines if synset}
    numbers = {synset: str(i) for i, synset in enumerate(sorted(words))}
    return numbers if kind == "class" else words


LAYOUT = Layout(fits, imagenet, ("split", "labels"))

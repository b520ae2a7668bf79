"""Data sets of folders, zips and tfds sets.

The id of a picture is its path in the folder or zip, with "/" between folders. The id of a row of a
tfds set is its split and its number in it.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from sdedit_jax.data import captions
from sdedit_jax.data.examples import DataSet, Example, Row, file_set
from sdedit_jax.data.files import (
    Files,
    masks_beside,
    of_split,
    picture_names,
    to_picture,
)
from sdedit_jax.data.layouts import Choice
from sdedit_jax.data.tables import texts
from sdedit_jax.data.tfds_sets import Prepared, prepared
from sdedit_jax.text.spelling import counted, one_of

LABELS = ("", "folder", "captions")


def folder(path: Path, choice: Choice) -> DataSet:
    """The pictures of a folder (searched recursively) or a zip.

    The id of a picture is its path without the ending. `a_mask.png` beside `a.png` is its mask.
    With labels "folder" the label is the folder of a picture. With "captions" label and prompt are
    its caption, see captions.py.

    Raises:
        ValueError: there is no picture, or none of the split; a picture has several masks, or no
            caption; two pictures differ in their endings alone.
    """
    one_of("labels", choice.labels, LABELS)
    files = Files(path)
    names = files.names()
    pictures = picture_names(names)
    masks = _by_photo(masks_beside(pictures, choice.mask_suffix), path)
    beside = set(masks.values())
    photos = [name for name in pictures if name not in beside]
    kept = of_split(photos, choice.split, path)
    if not kept:
        raise ValueError(f"data: no picture in {path}")
    labels = _labels(files, names, photos, kept, choice.labels)
    return file_set(path.name, _rows(kept, masks, labels), files)


def _rows(
    pictures: Sequence[str], masks: Mapping[str, str], labels: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, Row, str]]:
    for name in pictures:
        mask = masks.get(posixpath.splitext(name)[0], "")
        yield posixpath.splitext(name)[0], Row(name, mask, **labels.get(name, {})), name


def _by_photo(masks: Mapping[str, str], path: Path) -> dict[str, str]:
    """The stem of a picture -> its mask."""
    found: dict[str, str] = {}
    for mask, photo in masks.items():
        if photo in found:
            raise ValueError(f"data: {photo} in {path} has two masks: {found[photo]} and {mask}")
        found[photo] = mask
    return found


def _labels(
    files: Files, names: list[str], photos: list[str], kept: list[str], labels: str
) -> dict[str, dict[str, str]]:
    """The label, and with captions the prompt, of each picture."""
    if labels == "folder":
        return {name: {"label": PurePosixPath(name).parent.name} for name in kept}
    if not labels:
        return {}
    written = captions.read(files, names, photos, str(files.path))
    missing = [name for name in kept if name not in written]
    if missing:
        raise ValueError(
            f"data: {files.path} has no caption for {missing[0]} ({len(missing)} of"
            f" {counted(len(kept), 'picture')})"
        )
    return {name: {"label": written[name], "prompt": written[name]} for name in kept}


def tfds_set(path: Path, choice: Choice) -> DataSet:
    """A split of a tfds set, by default "train"; the label is the name of the class.

    Raises:
        ValueError: there is no such set or split, or it is empty.
    """
    found = prepared(path, choice.split or "train")
    ids = [f"{split}_{i:06d}" for split, first, last in found.places for i in range(first, last)]
    if not ids:
        raise ValueError(f"data: {path} has no rows in the split {choice.split or 'train'!r}")
    rows = ((id, str(i)) for i, id in enumerate(ids))
    names, numbers = texts(rows, 2)
    return DataSet(path.name, names, numbers, _TfdsReader(found))


class _TfdsReader:
    """Reads a row of a tfds set by its number."""

    def __init__(self, found: Prepared) -> None:
        self.found = found

    def __call__(self, id: str, reference: str) -> Example:
        row = self.found.rows[int(reference)]
        number = row.get("label", -1)
        label = self.found.names[number] if number >= 0 else ""
        return Example(id, to_picture(row["image"], id), label=label)

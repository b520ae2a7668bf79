"""Pictures by number: a folder, a zip or a tfds name -> a random-access source of one size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sdedit_jax.caution import warn
from sdedit_jax.data import captions
from sdedit_jax.data.files import (
    PICTURES,
    Files,
    masks_beside,
    of_split,
    picture_names,
    to_picture,
)
from sdedit_jax.data.tfds_sets import prepared
from sdedit_jax.files import door
from sdedit_jax.files.paths import user_path
from sdedit_jax.images import LEAST_SHARE, fit, flatten, luminance, share, size_text
from sdedit_jax.text.spelling import counted, one_of

LABELS = (None, "folder", "captions")
ADVICE = ": add --config.data.split= (and --config.data.held_out=)"
"""The end of the message where a split has no picture."""


@dataclass(frozen=True, eq=False, repr=False)
class Source:
    """Pictures by number.

    Attributes:
        images: uint8 [H, W, C] each; one array for small sets, else decoded at each access.
        labels: an int for each picture, or None.
        names: the meaning of the labels: folder names, or the different captions, sorted.
        skipped: one line for each broken picture that was left out.
    """

    images: Sequence[np.ndarray]
    labels: np.ndarray | None = None
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> dict[str, Any]:
        element = {"image": self.images[i]}
        return element if self.labels is None else {**element, "label": self.labels[i]}


def source(
    path: str | Path,
    split: str | None = None,
    labels: str | None = None,
    *,
    size: int | None = None,
    memory: int = 2**30,
    skip_broken: bool = False,
    channels: int = 3,
) -> Source:
    """A random-access source of pictures, all of one size.

    Args:
        path: a folder (searched recursively), a zip, a prepared tfds folder, or a tfds name. A
            file `a_mask.png` beside `a.png` is a mask, and left out with a warning.
        split: keep pictures with this folder in their path, e.g. "train"; for tfds its split.
        labels: None; "folder", the folder of a picture (tfds: its label); "captions",
            those of captions.csv, metadata.jsonl or .txt files, see captions.py. Numbers do not
            depend on `split`.
        size: crop the middle square and resize to size x size; None keeps the pictures unchanged.
            Pictures of which the square is less than a quarter give a warning, in sets that are
            decoded at once.
        memory: sets of at most this many bytes are decoded once and kept. In larger ones a broken
            picture is found when it is read, or with `skip_broken` at once.
        skip_broken: leave out broken pictures.
        channels: 3, or 1 for the luminance.

    Raises:
        ValueError: no such path, no picture, broken pictures (all are named), pictures of several
            sizes, no label.
    """
    one_of("labels", labels, LABELS)
    path = user_path(path)
    with door.reading(path, "data"):
        plain = path.is_dir() and not (path / "dataset_info.json").exists()
        read = _from_files if path.suffix == ".zip" or plain else _from_tfds
        images, numbers, names = read(path, split, labels, size)
    if len(images) == 0:
        raise ValueError(f"data: no picture ({', '.join(PICTURES)}) in {path}, split {split!r}")
    images = replace(images, channels=channels)
    return _checked(images, numbers, names, memory, skip_broken)


def _checked(
    images: "_Decoded",
    numbers: np.ndarray | None,
    names: tuple[str, ...],
    memory: int,
    skip_broken: bool,
) -> Source:
    """The source of the pictures that can be read; see `source`."""
    rows: list[int] = []
    kept: list[np.ndarray] = []
    broken: list[str] = []
    narrow: list[str] = []
    small = True
    for i in range(len(images)):
        try:
            image, shows = images.fitted(i)
        except ValueError as error:
            broken.append(str(error).removeprefix("data: "))
            continue
        narrow += [str(images.keys[i])] * bool(shows < LEAST_SHARE)
        small = small and len(images) * image.nbytes <= memory
        if not small and not skip_broken:
            _warn_narrow(narrow, f"the first {counted(i + 1, 'picture')}")
            return Source(images, numbers, names)
        rows.append(i)
        kept += [image] * small
    if broken and not (skip_broken and rows):
        raise ValueError(
            f"data: {'; '.join(broken)} ({len(broken)} of {counted(len(images), 'picture')}); mend"
            " them, or leave them out with data.skip_broken"
        )
    _warn_narrow(narrow, counted(len(images), "picture"))
    numbers = None if numbers is None else numbers[rows]
    left = replace(images, keys=[images.keys[i] for i in rows])
    return Source(_of_one_size(kept) if small else left, numbers, names, tuple(broken))


def _warn_narrow(narrow: Sequence[str], among: str) -> None:
    """Warn about pictures of which the crop shows little, among those that were read."""
    if narrow:
        share = f"less than {LEAST_SHARE:.0%}"
        warn(f"data: the crop shows {share} of {len(narrow)} of {among}, such as {narrow[0]}")


@dataclass(frozen=True)
class _Decoded(Sequence):
    """Pictures that are decoded at each access."""

    read: Callable[[Any], Any]
    keys: Sequence
    size: int | None
    channels: int = 3

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.fitted(i)[0]

    def fitted(self, i: int) -> tuple[np.ndarray, float]:
        """A picture, and the share of it that the crop shows."""
        rgb, shows = _decode(self.read(self.keys[i]), self.size, str(self.keys[i]))
        return (rgb if self.channels == 3 else luminance(rgb)[..., None]), shows


def _from_files(path: Path, split: str | None, labels: str | None, size: int | None) -> tuple:
    files = Files(path)
    names = files.names()
    pictures = _without_masks(picture_names(names))
    kept = of_split(pictures, split or "", path, ADVICE)
    if labels is None:
        return _Decoded(files, kept, size), None, ()
    texts = _texts(files, names, pictures, labels)
    missing = [name for name in kept if name not in texts]
    if missing:
        raise ValueError(
            f"data: {path} has no caption for {missing[0]} ({len(missing)} of"
            f" {counted(len(kept), 'picture')})"
        )
    classes = tuple(sorted(set(texts.values())))
    number = {text: i for i, text in enumerate(classes)}
    numbers = np.array([number[texts[name]] for name in kept], np.int32)
    return _Decoded(files, kept, size), numbers, classes


def _without_masks(pictures: list[str]) -> list[str]:
    """The pictures without the masks beside them."""
    masks = masks_beside(pictures)
    if masks:
        left_out = counted(len(masks), "mask")
        warn(f"data: left out {left_out} beside pictures, such as {next(iter(masks))}")
    return [name for name in pictures if name not in masks]


def _texts(files: Files, names: list[str], pictures: list[str], labels: str) -> dict[str, str]:
    """The caption or the folder of each picture."""
    if labels == "captions":
        return captions.read(files, names, pictures, str(files.path))
    return {name: PurePosixPath(name).parent.name for name in pictures}


def _from_tfds(path: Path, split: str | None, labels: str | None, size: int | None) -> tuple:
    if labels == "captions":
        raise ValueError("labels must be None or 'folder' for a tfds set, got 'captions'")
    found = prepared(path, split or "train")
    images = _Decoded(lambda i: found.rows[i]["image"], range(len(found.rows)), size)
    if labels is None:
        return images, None, ()
    if not found.names:
        raise ValueError(f"data: the tfds set {path} has no labels")
    numbers = np.array([found.rows[i]["label"] for i in range(len(found.rows))], np.int32)
    if numbers.min(initial=0) < 0:
        raise ValueError(f"data: row {numbers.argmin()} of the tfds set {path} has no label")
    return images, numbers, found.names


def _decode(data: bytes, size: int | None, name: str) -> tuple[np.ndarray, float]:
    try:
        rgb = flatten(to_picture(data, name))
    except ValueError as error:
        raise ValueError(f"data: {error}") from error
    if size is None:
        return rgb, 1.0
    fitted, placement = fit(rgb, (size, size))
    return fitted, share(placement)


def _of_one_size(images: Sequence[np.ndarray]) -> np.ndarray:
    """The pictures as one array.

    Raises:
        ValueError: their sizes differ.
    """
    for image in images:
        if image.shape != images[0].shape:
            sizes = f"{size_text(images[0].shape[:2])} and {size_text(image.shape[:2])}"
            raise ValueError(f"data: pictures of several sizes, {sizes}; give `size`")
    return np.stack(images)

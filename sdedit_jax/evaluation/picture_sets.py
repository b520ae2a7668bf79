"""Sets of pictures of any program, in folders or zips: reading, pairs by stem, digests."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.data.files import Files, picture_names
from sdedit_jax.files import door
from sdedit_jax.files.paths import user_path
from sdedit_jax.images import Placement, Size, size_text

NUMBER = re.compile(r"_\d+$")
"""What the stem of one of several results adds to that of its input."""


class PictureSet(NamedTuple):
    """Pictures by their names.

    Attributes:
        field: of the config, for messages. names: of the files. load: name -> bytes.
    """

    field: str
    names: Sequence[str]
    load: Callable[[str], bytes]

    def __len__(self) -> int:  # type: ignore[override]
        return len(self.names)

    @property
    def stems(self) -> list[str]:
        """The stems of the names."""
        return [PurePosixPath(name).stem for name in self.names]


class Read(NamedTuple):
    """A picture that was read.

    Attributes:
        rgb: uint8 [H, W, 3]. source: (height, width) of the file. sha256: of the file.
        placement: by which it was fitted; None: it was not.
    """

    rgb: np.ndarray
    source: Size
    sha256: str
    placement: Placement | None


def open_set(path: str, field: str) -> PictureSet:
    """The pictures of a folder, a glob or a zip; see images.list_inputs.

    Guides and masks that a run has written beside its results are left out.

    Raises:
        ValueError: no pictures.
    """
    if not path:
        raise ValueError(f"{field}: give a folder, a glob or a zip of pictures")
    if path.lower().endswith(".zip"):
        return _of_zip(path, field)
    try:
        files = [file for file in images.list_inputs(path).inputs if not images.is_own(file)]
    except ValueError as error:
        raise ValueError(f"{field}: {str(error).removeprefix('input: ')}") from None
    return PictureSet(
        field, [str(file) for file in files], lambda name: door.read(name, field, door.PICTURE)
    )


def _of_zip(path: str, field: str) -> PictureSet:
    """The pictures of a zip, subfolders included; each is unpacked when it is read."""
    try:
        file = Files(user_path(path))
    except ValueError as error:
        raise ValueError(f"{field}: {str(error).removeprefix('data: ')}") from None
    names = picture_names(file.names())
    if not names:
        raise ValueError(f"{field}: no picture in {path!r}")
    return PictureSet(field, names, file)


def read(pictures: PictureSet, i: int, size: Size | None, rule: str = "crop") -> Read:
    """Picture i of a set, over white where it is transparent.

    Args:
        size: (height, width) to which it is fitted; None: as it is. rule: see images.fit.

    Raises:
        ValueError: it cannot be read.
    """
    data = pictures.load(pictures.names[i])
    rgb = images.flatten(images.decode(data, pictures.names[i]))
    fitted, placement = (rgb, None) if size is None else images.fit(rgb, size, rule)
    return Read(fitted, rgb.shape[:2], hashlib.sha256(data).hexdigest(), placement)


def digest(names: Sequence[str], sha256s: Sequence[str]) -> str:
    """The sha256 of a set: of the lines "SHA256 NAME" of its files, by name without the folder."""
    named = zip(names, sha256s, strict=True)
    lines = sorted(f"{sha256} {PurePosixPath(name).name}\n" for name, sha256 in named)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def pairs_of(a: PictureSet, b: PictureSet) -> list[tuple[int, int]]:
    """(i, j) of each picture of a with its partner in b, which has the same stem.

    A stem with a number, as one of several results has it, may be that of its input: cherry_0 and
    cherry_1 belong to cherry, where b has no cherry_0.

    Raises:
        ValueError: no pairs, or two pictures of one stem in b.
    """
    counts = Counter(b.stems)
    several = [stem for stem, count in counts.items() if count > 1]
    if several:
        raise ValueError(f"{b.field} has {counts[several[0]]} pictures of the stem {several[0]!r}")
    place = {stem: j for j, stem in enumerate(b.stems)}
    partners = [place.get(stem, place.get(NUMBER.sub("", stem))) for stem in a.stems]
    pairs = [(i, j) for i, j in enumerate(partners) if j is not None]
    if not pairs:
        raise ValueError(
            f"no picture of {a.field} has the stem of one of {b.field}, such as {b.stems[0]!r}"
        )
    return pairs


def check_sizes(found: Sequence[Read], names: Sequence[str], first: tuple[Size, str]) -> None:
    """Check that pictures have the size of the first one.

    Args:
        names: of the files. first: the size and the name of the first picture.

    Raises:
        ValueError: another size.
    """
    size, name = first
    for one, other in zip(found, names, strict=True):
        if one.rgb.shape[:2] != size:
            sizes = f"{size_text(size)} ({name}) and {size_text(one.rgb.shape[:2])} ({other})"
            raise ValueError(
                f"pictures of several sizes, {sizes}; give a size to which all are fitted, such as"
                f" --config.resize={size_text(size)}"
            )

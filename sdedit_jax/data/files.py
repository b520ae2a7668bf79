"""The files of a data set: the members of a folder or a zip, and the pictures among them."""

import os
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path

from sdedit_jax.caution import warn
from sdedit_jax.files import door, zip_file
from sdedit_jax.files.paths import shown, walk
from sdedit_jax.images import FORMATS, MASK_SUFFIX, Picture, decode

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
READABLE = (*FORMATS, "BMP")
HIDDEN = re.compile(r"(^|/)(\.|__MACOSX/)")


class Files:
    """The members of a folder or a zip; can be pickled, and read from several threads.

    Raises:
        ValueError: the zip cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        is_zip = path.suffix == ".zip" and not path.is_dir()
        self.zip = zip_file.open_zip(path, "data") if is_zip else None

    def __reduce__(self) -> tuple:
        return Files, (self.path,)

    def names(self) -> list[str]:
        """The names of the files, sorted, with "/" between folders; without hidden ones."""
        found = self.zip.namelist() if self.zip else _walk(self.path)
        return sorted(name for name in found if not HIDDEN.search(name))

    def __call__(self, name: str, most: int = door.PICTURE) -> bytes:
        """The content of a file.

        Args:
            most: bytes that it may have.

        Raises:
            ValueError: the file cannot be read.
        """
        if self.zip:
            return zip_file.read(self.zip, name, "data", most)
        return door.read(self.path / name, "data", most)


def _walk(folder: Path) -> list[str]:
    """The paths of the files in a folder and its subfolders; links to folders are not followed.

    Warns:
        UserWarning: a folder cannot be listed.
    """
    found: list[str] = []
    for here, _, files in walk(folder, _left_out):
        inside = os.path.relpath(here, folder).replace(os.sep, "/")
        found += files if inside == "." else [f"{inside}/{name}" for name in files]
    return found


def _left_out(error: OSError) -> None:
    warn(f"data: cannot list {shown(error.filename)}: {error.strerror}; its files are left out")


def picture_names(names: Sequence[str]) -> list[str]:
    """The pictures among files by their names, masks included."""
    return [name for name in names if name.lower().endswith(PICTURES)]


def of_split(pictures: Sequence[str], split: str, path: Path, advice: str = "") -> list[str]:
    """The pictures with the folder `split` in their path; "": all.

    Args:
        path: the folder or zip, for messages.
        advice: the end of the message where the split has no picture.

    Raises:
        ValueError: there are pictures, and none of the split.
    """
    kept = [name for name in pictures if not split or f"/{split}/" in f"/{name}"]
    if pictures and not kept:
        raise ValueError(_no_split(path, split, pictures) + advice)
    return kept


def _no_split(path: Path, split: str, pictures: Sequence[str]) -> str:
    """The error for a split without pictures."""
    top = sum("/" not in name for name in pictures)
    inside = "the folder itself" if top else f"its folder {posixpath.dirname(pictures[0])}/"
    return (
        f"data: no picture of the split {split!r} in {path}; {top or len(pictures)} pictures lie in"
        f" {inside}"
    )


def masks_beside(pictures: Sequence[str], suffix: str = MASK_SUFFIX) -> dict[str, str]:
    """Mask -> the stem of its picture: `a_mask.png` beside `a.png`.

    Args:
        suffix: what the stem of a mask adds to that of its picture; "": there are no masks.
    """
    stems = {posixpath.splitext(name)[0] for name in pictures}
    photos = {name: _photo(name, suffix) for name in pictures}
    return {name: photo for name, photo in photos.items() if suffix and photo in stems}


def _photo(mask: str, suffix: str) -> str | None:
    """The stem of the picture to which a mask belongs by its name."""
    stem = posixpath.splitext(mask)[0]
    return stem.removesuffix(suffix) if stem.endswith(suffix) else None


def to_picture(data: bytes, name: str) -> Picture:
    """A picture of a file's bytes.

    Raises:
        ValueError: it cannot be read.
    """
    return decode(data, name, READABLE)

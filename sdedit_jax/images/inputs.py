"""Finding input files by file, folder or glob; output names; files that belong to an input."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sdedit_jax.files import door
from sdedit_jax.files.paths import real, user_path, walk
from sdedit_jax.files.wording import brief
from sdedit_jax.images.files import is_own

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


MASK_SUFFIX = "_mask"
"""What the stem of a mask adds to that of its picture."""


class Listing(NamedTuple):
    """The picture files of a file name, a folder or a glob.

    Attributes:
        inputs: those that are edited. masks: those that are masks of others by their names.
    """

    inputs: list[Path]
    masks: list[Path]


def find_inputs(pattern: str | Path, mask_suffix: str = MASK_SUFFIX) -> list[Path]:
    """The inputs of a file name, a folder or a glob; see `list_inputs`."""
    return list_inputs(pattern, mask_suffix).inputs


def list_inputs(pattern: str | Path, mask_suffix: str = MASK_SUFFIX) -> Listing:
    """The picture files of a file name, a folder or a glob, sorted.

    Folders and globs give the files that end in .png, .jpg, .jpeg or .webp (any case). Hidden files
    are left out, and so are subfolders of a folder. In globs, "**" matches subfolders. A path that
    exists is taken as it is, also where its name has brackets. A file whose stem is that of another
    one with `mask_suffix` is its mask, and no input.

    Raises:
        ValueError: the pattern is empty, or there is no picture.
    """
    if not str(pattern):
        raise ValueError("input: give a picture, a folder or a glob")
    path = user_path(pattern)
    if os.path.isfile(path):
        return Listing([path], [])
    names = _listed(path) if os.path.isdir(path) else _matches(path)
    found = sorted(name for name in names if _is_picture(name))
    if not found:
        kind = "in the folder" if os.path.isdir(path) else "matches"
        raise ValueError(f"input: no PNG, JPEG or WebP picture {kind} {brief(str(pattern))}")
    beside = (file for folder in {path.parent for path in found} for file in _listed(folder))
    stems = {file.with_suffix("") for file in beside if _is_picture(file)}
    masks = [path for path in found if _is_mask_of_one(path, stems, mask_suffix)]
    chosen = set(masks)
    return Listing([path for path in found if path not in chosen], masks)


def named(folder: Path, stem: str) -> list[Path]:
    """The pictures of a folder with this stem; subfolders are not searched, no pattern matched.

    Raises:
        ValueError: the folder cannot be listed.
    """
    files = _listed(door.pass_guard(folder, "input"))
    return sorted(file for file in files if file.stem == stem and _is_picture(file))


def _listed(folder: Path, field: str = "input") -> list[Path]:
    """What lies in a folder.

    Raises:
        ValueError: it cannot be listed.
    """
    with door.reading(folder, field):
        return list(folder.iterdir())


def _is_mask_of_one(path: Path, stems: set[Path], suffix: str) -> bool:
    photo = path.stem.removesuffix(suffix)
    return bool(suffix) and photo != path.stem and bool(photo) and path.with_name(photo) in stems


def mask_beside(path: str | Path, mask_suffix: str = MASK_SUFFIX) -> Path | None:
    """The mask beside a picture: the file with its stem and `mask_suffix`, or None.

    The mask that an earlier run has written beside its results is none.

    Raises:
        ValueError: there are several.
    """
    path = door.pass_guard(path, "input")
    if not mask_suffix or not os.path.isdir(path.parent):
        return None
    stem = path.stem + mask_suffix
    found = sorted(f for f in _listed(path.parent) if f.stem == stem and _is_picture(f))
    found = [file for file in found if not is_own(file)]
    if len(found) > 1:
        raise ValueError(f"mask: {path} has several masks beside it: {[f.name for f in found]}")
    return found[0] if found else None


def _matches(pattern: Path) -> Iterator[Path]:
    """The paths that match a glob. Folders at its beginning that exist are no patterns."""
    beginning = Path()
    for part in pattern.parts:
        if not os.path.exists(beginning / part):
            break
        beginning /= part
    rest = pattern.parts[len(beginning.parts) :]
    return map(Path, _expanded(beginning, (*rest, "*") if rest[-1:] == ("**",) else rest))


def _expanded(beginning: Path, parts: Sequence[str]) -> Iterable[str]:
    """The matches of a pattern below a folder; "**" enters each folder once, whatever links do."""
    found: Iterable[str] = [str(beginning)]
    for part in parts:
        if part == "**":
            found = set(_folders(filter(os.path.isdir, sorted(found))))
        else:
            found = {one for top in found for one in glob.glob(_below(top, part))}
    return found


def _below(folder: str, pattern: str) -> str:
    """The pattern of what lies in a folder."""
    return os.path.join(glob.escape(folder), pattern)


def _folders(tops: Iterable[str]) -> Iterator[str]:
    """Folders and the folders below them, without hidden ones."""
    seen: set[tuple[int, int]] = set()
    for top in tops:
        for here, inside, _ in walk(top, links=True):
            found = os.stat(here)
            new = (found.st_dev, found.st_ino) not in seen
            inside[:] = [name for name in inside if name[0] != "." and new]
            if new:
                yield here
            seen.add((found.st_dev, found.st_ino))


def _is_picture(path: Path) -> bool:
    """Whether a path is a picture by its name; a link that leads nowhere counts, and is named."""
    named = path.suffix.lower() in SUFFIXES and path.name[0] != "."
    dead = named and os.path.islink(path) and not os.path.exists(path)
    return dead or (named and os.path.isfile(path))


def output_names(paths: Sequence[Path]) -> list[str]:
    """A distinct output name for each input: its stem where that is unique.

    Inputs that share a stem (ignoring case) also get their suffix: a.png and a.jpg become a_png and
    a_jpg. Inputs from several folders that share this too are numbered from the second one on, in
    the given order: a_png, a_png_2.
    """
    shared = Counter(path.stem.lower() for path in paths)
    names: list[str] = []
    taken = {path.stem.lower() for path in paths if shared[path.stem.lower()] == 1}
    for path in paths:
        name = path.stem
        if shared[name.lower()] > 1:
            name = _free(f"{path.stem}_{path.suffix[1:].lower()}", taken)
        taken.add(name.lower())
        names.append(name)
    return names


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free.lower() in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def paired(where: str | Path, path: str | Path, name: str, suffix: str = "") -> Path:
    """The file that belongs to an input: `where` itself, or the file with its stem in a folder.

    Args:
        where: a file, which is used for every input, or a folder.
        path: the input picture.
        name: of the option, for messages.
        suffix: what the stem of the file may add to the input's; such a file comes first.

    Raises:
        ValueError: the folder has no such file, or several.
    """
    where, stem = door.pass_guard(where, name), Path(path).stem
    if not os.path.isdir(where):
        return where
    stems = {stem, stem + suffix}
    files = sorted(f for f in _listed(where, name) if f.stem in stems and _is_picture(f))
    found = [file for file in files if suffix and file.stem == stem + suffix]
    found = found or [f for f in files if f.stem == stem and real(f) != real(path)]
    if len(found) != 1:
        what = f"several files: {[file.name for file in found]}" if found else "no picture"
        beside = f", or nothing to use {stem}{suffix}.png beside the input" if suffix else ""
        raise ValueError(
            f"{name}: the folder {where} has {what} for the input {stem!r}; name another file or"
            f" folder by the option {name}{beside}"
        )
    return found[0]

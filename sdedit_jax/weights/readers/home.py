"""Folders of weights before libraries open their files: regular files, no links out of the folder.

The cache of a hub has links of its own: models--OWNER--NAME/snapshots/REVISION/FILE leads to
models--OWNER--NAME/blobs/DIGEST.
"""

from pathlib import Path

from sdedit_jax.files import door

FILES = 50_000
"""Files of a folder of weights."""
SPARSE, LARGE = 64, 2**30
"""Bytes of a file for each byte on the disk, and the size up to which every file may be read."""


def files_in(folder: Path, field: str = "source") -> list[Path]:
    """The files in a folder and its subfolders, sorted.

    Args:
        field: the setting that names the folder, for messages.

    Raises:
        ValueError: a file that is no regular one, a link that leads out of the folder, or too many
            files.
    """
    return door.check_folder(folder, field, _blobs(folder), count=FILES)


def file_in(path: Path, folder: Path, field: str, most: int) -> Path:
    """The path of a file, after the same check.

    Raises:
        ValueError: see `files_in`; or the file has more than `most` bytes.
    """
    return door.check(door.check_inside(path, folder, field, _blobs(folder)), field, most)


def check_stored(path: Path, field: str = "source") -> Path:
    """The path of a file, after a check that its bytes are on the disk, so that reading ends.

    Raises:
        ValueError: most of a large file is a hole.
    """
    found = path.stat()
    stored = 512 * getattr(found, "st_blocks", found.st_size)  # Windows does not count blocks
    if found.st_size > max(LARGE, SPARSE * stored):
        raise ValueError(
            f"{field}: cannot read {path}: of its {found.st_size} bytes {stored} are on the disk"
            " (an incomplete download?)"
        )
    return path


def _blobs(folder: Path) -> list[Path]:
    """The folder to which links may lead, where `folder` is in the cache of a hub."""
    real = folder.resolve()
    caches = (
        up.parent.parent
        for up in (real, *real.parents)
        if up.parent.name == "snapshots" and up.parent.parent.name.startswith("models--")
    )
    return [home / "blobs" for home in caches if not (home / "blobs").is_symlink()]

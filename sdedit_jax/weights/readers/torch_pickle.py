"""Files of torch.save before torch reads them: sizes of the members, opcodes of the pickles."""

import io
from pathlib import Path

from sdedit_jax.files import door, zip_file
from sdedit_jax.files.wording import brief, first_line
from sdedit_jax.weights.readers import mapped, pickles

OLD = 5
"""Pickles of a file before torch 1.6: magic, protocol, system, contents, names of the storages."""
LARGEST = 2**26
"""Bytes of the pickle in a zip."""


def check(path: Path) -> frozenset[int] | None:
    """Check what a file of torch.save claims.

    Returns:
        the sizes of the members of a zip, one of which each storage has; None: another format,
        whose storages torch checks.

    Raises:
        ValueError: members that are compressed, or larger together than the file; a pickle that is
            damaged or claims too much.
    """
    try:
        if door.read_head(path, 2, "source") == b"PK":
            return _check_zip(path)
        stream = mapped.mapping(path)
        for _ in range(OLD):
            pickles.check(stream)
        return None
    except ValueError as error:
        reason = first_line(error)
        raise ValueError(
            f"source: {path} is a torch file that is cut off or damaged: {reason}"
        ) from None


def _check_zip(path: Path) -> frozenset[int]:
    with zip_file.open_zip(path, "source") as archive:
        members = archive.infolist()
        packed = [info.filename for info in members if info.compress_type or info.flag_bits & 1]
        if packed:
            raise ValueError(f"its member {brief(packed[0], 60)} is compressed; torch stores them")
        claimed, size = sum(info.file_size for info in members), path.stat().st_size
        if claimed > size:
            raise ValueError(f"its members claim {claimed} bytes, the file has {size}")
        for name in archive.namelist():
            if name.split("/")[1:] == ["data.pkl"]:
                pickles.check(io.BytesIO(zip_file.read(archive, name, "source", LARGEST)))
        return frozenset(info.file_size for info in members)

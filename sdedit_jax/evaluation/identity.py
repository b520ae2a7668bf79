"""What a run is: the fields that its results depend on, in a file of the workdir.

All processes of a run, and all later ones that finish it, must agree on them.
"""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdedit_jax import images, provenance
from sdedit_jax.files import json_file

FILE = "run.json"
MOST = 6
"""Differences that a message names."""


def agree(folder: Path, identity: Mapping[str, Any], *, begin: bool = True) -> None:
    """Check that a workdir belongs to a run, or make it so.

    Args:
        begin: whether an empty workdir becomes that of the run.

    Raises:
        ValueError: it belongs to no run, or to another one; the message has the differences.
    """
    file = folder / FILE
    if not file.exists():
        if not begin:
            raise ValueError(f"workdir: {folder} holds no evaluation, {FILE} is missing")
        try:
            images.write_bytes(file, provenance.dumps(identity, indent=1).encode() + b"\n")
        except FileExistsError:
            pass  # another process was faster
    found = json_file.read_object(file, "workdir")
    if differing := provenance.differences(found, provenance.as_read(identity)):
        more = f"; and {len(differing) - MOST} more" if len(differing) > MOST else ""
        raise ValueError(
            f"workdir: {folder} belongs to another evaluation: {'; '.join(differing[:MOST])}{more};"
            " give another --workdir"
        )


@functools.cache
def code() -> str:
    """The sha256 of the package's source files, by which hosts with other code are found."""
    home, found = Path(__file__).parents[1], hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        found.update(file.relative_to(home).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]

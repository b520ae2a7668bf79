"""What a conversion is made from, and the prior that an earlier one with the same has left."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sdedit_jax import provenance
from sdedit_jax.files import door, json_file
from sdedit_jax.files.paths import user_path
from sdedit_jax.weights import published, store, whole_folder
from sdedit_jax.weights.readers import files, home


class Settings(NamedTuple):
    """The arguments of `convert` that belong to the new prior."""

    card: str
    architecture: str | Path | Mapping[str, Any] | None
    family: str
    name: str
    prediction: str
    tokenizer: str | Path
    dtype: str
    check: bool
    strict: bool

    def plain(self) -> dict[str, Any]:
        """The settings for prior.json: without paths, which are this machine's."""
        given = self.architecture
        if isinstance(given, str | Path):
            given = json_file.read_object(user_path(given), "architecture")
        own = {"architecture": provenance.short(given) if given else None}
        own["tokenizer"] = Path(self.tokenizer).name if self.tokenizer else ""
        return {**self._asdict(), **own}

    def made_from(self, path: Path) -> dict[str, Any]:
        """The settings and the source of a conversion, for prior.json."""
        return {"settings": self.plain(), "sha256": digest(path)}


def finished(folder: Path, made: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a finished prior.

    Raises:
        ValueError: it was made from another source or with other settings.
    """
    metadata = store.read_metadata(folder)
    source = metadata.get("source")
    then = source if isinstance(source, dict) else {}
    then = {name: then.get(name) for name in made}
    if differing := provenance.differences(then, made):
        raise ValueError(
            f"workdir: {folder} holds a prior of another conversion, {differing[0]}; give another"
            " --workdir, or --overwrite"
        )
    return metadata


def check_folder(folder: Path, overwrite: bool) -> None:
    """Check that a prior may be written to the folder.

    Raises:
        ValueError: the folder holds a prior and `overwrite` is False, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"workdir: {folder} is not a folder")
    whole_folder.check_target(folder, "workdir", "prior.json")
    if (folder / "prior.json").is_file() and not overwrite:
        raise ValueError(f"workdir: {folder} already holds a prior; --overwrite replaces it")


def digest(path: Path) -> str:
    """sha256 of a checkpoint's file, or of the names and contents of a folder's files.

    Raises:
        ValueError: the file is no checkpoint, by its first bytes; or a file cannot be read.
    """
    if not path.is_dir():
        files.detect(path)
        return published.sha256_of(path)
    total = hashlib.sha256()
    for file in home.files_in(path):
        total.update(file.relative_to(path).as_posix().encode())
        with door.open_file(home.check_stored(file), "source") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()

"""Models on a hub: "hf:owner/name[@revision]" is downloaded to a local folder."""

import os
import re
from pathlib import Path
from typing import Any

from sdedit_jax.files.wording import brief, first_line
from sdedit_jax.weights.readers.folder import PARTS, reads_texts

SCHEME = "hf:"
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)
LONGEST = 200
"""Characters of a revision."""
TEXTS = ("*.json", "tokenizer/merges.txt")
"""Files that are always downloaded: descriptions, and the merges of a tokenizer."""
WEIGHTS = ("*.safetensors", "*.bin")
VARIANTS = ("*.fp16.*", "*.bf16.*", "*.non_ema.*")
"""Further copies of the weights, in half precision or not averaged."""
TRIES = tuple((weights, without) for without in (VARIANTS, ()) for weights in WEIGHTS)
"""(weights to download, files to leave out), tried in this order until weights are found. Of a text
pipeline only the weights of its networks are downloaded."""


def local(source: str | Path, *, cache: str | Path | None = None) -> Path:
    """The file or folder of a source, downloaded first if it is on a hub.

    Args:
        source: a path, returned unchanged, or "hf:owner/name", "hf:owner/name@revision" (a branch,
            a tag or a commit). The hub's address is the environment's HF_ENDPOINT, or
            huggingface.co. Downloaded files are kept and need no
            network later.
        cache: folder of the hub's cache; None is huggingface_hub's own.

    Raises:
        ValueError: a malformed name, no huggingface_hub, no network, no such repository or
            revision, a gated repository, or one without weights.
    """
    if not str(source).startswith(SCHEME):
        return Path(source)
    name, _, revision = str(source).removeprefix(SCHEME).partition("@")
    wrong = "@" in str(source) and not REVISION.fullmatch(revision[:LONGEST])
    if not NAME.fullmatch(name) or wrong or len(revision) > LONGEST or ".." in str(source):
        raise ValueError(
            f"source: must be hf:owner/name or hf:owner/name@revision, got {brief(str(source))}"
        )
    folder = _fetch(name, revision or None, TEXTS, (), cache)
    homes = [f"{part}{end}/" for part in PARTS for end in ("", "_ema")]
    at = homes if reads_texts(folder) else [""]
    for weights, without in TRIES:
        allowed = (*TEXTS, *(place + weights for place in at))
        folder = _fetch(name, revision or None, allowed, without, cache)
        if any(any(folder.glob(f"{place}**/{weights}")) for place in at):
            return folder
    raise ValueError(f"source: {source} holds neither {' nor '.join(WEIGHTS)}")


def _fetch(
    name: str,
    revision: str | None,
    allowed: tuple[str, ...],
    without: tuple[str, ...],
    cache: str | Path | None,
) -> Path:
    """The folder with the repository's files whose names fit a pattern."""
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise ValueError(
            f"source: hf:{name} needs huggingface_hub: pip install huggingface_hub"
        ) from None
    try:
        found = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache,
            endpoint=_endpoint(),
            allow_patterns=list(allowed),
            ignore_patterns=list(without),
        )
    except Exception as error:  # its own, those of the file system and of its HTTP client
        raise ValueError(_refusal(errors, error, name, revision)) from None
    return Path(found)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _refusal(errors: Any, error: BaseException, name: str, revision: str | None) -> str:
    """One line with the reason of the failure."""
    at = _endpoint() or "https://huggingface.co"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"source: {name} on {at} is gated: accept its terms there, then log in "
            "(hf auth login, or the environment's HF_TOKEN)"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"source: {at} has no repository {name}, or it is private and you are not logged in"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"source: {name} on {at} has no revision {revision}"
    while error.__cause__:
        error = error.__cause__
    return f"source: {name} could not be downloaded from {at}: {first_line(error)}"

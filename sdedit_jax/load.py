"""Priors by their folders, whoever wrote them: ours, or Stable Diffusion's in diffusers' layout."""

import os
import shutil
from pathlib import Path

from sdedit_jax import build
from sdedit_jax.convert import convert, digest
from sdedit_jax.prior import Prior
from sdedit_jax.weights import store
from sdedit_jax.weights.readers import folder as diffusers_folder

FORMAT = 2
"""Of what `convert` writes; raised when older results must not be taken any more."""


def load_prior(folder: str | Path, compute: str = "float32", attention: int | None = None) -> Prior:
    """The prior in a folder.

    A folder of ours holds prior.json. A folder of diffusers with a text encoder (model_index.json)
    is converted on first use, into the user's cache folder under the digest of its files.

    Args:
        compute: "float32", "tf32" or "bfloat16".
        attention: of priors that read texts: sides of the latent over sides of the attention maps
            that LEDITS++ makes its masks of; None: what the prior says (4; small ones 2).

    Raises:
        ValueError: missing, damaged or contradicting files; an unknown network, process or compute.
    """
    return build.load_prior(ours(Path(folder)), compute, attention)


def sha256_of(folder: str | Path) -> str:
    """The sha256 of the weights in a prior's folder, as load_prior would tell it.

    Raises:
        ValueError: see load_prior.
    """
    folder = ours(Path(folder))
    told = store.read_card(folder).get("sha256")  # exact priors have theirs when they are loaded
    return told or build.load_prior(folder).card["sha256"]


def ours(folder: Path) -> Path:
    """The folder itself, or of a foreign one what it was converted to."""
    foreign = not (folder / "prior.json").is_file() and diffusers_folder.reads_texts(folder)
    return converted(folder) if foreign else folder


def cache_folder() -> Path:
    """The user's cache folder of this program."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "sdedit_jax"


def converted(folder: Path) -> Path:
    """Our folder of a foreign one, made where it is not there yet."""
    target = cache_folder() / "priors" / f"{digest(folder)[:24]}-{FORMAT}"
    if (target / "prior.json").is_file():
        return target
    aside = target.with_name(f"{target.name}.{os.getpid()}")  # another process may be at it too
    try:
        convert(folder, aside, name=folder.resolve().name, dtype="source", check=False)
        _settle(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _settle(aside: Path, target: Path) -> None:
    try:
        aside.rename(target)
    except OSError:
        if not (target / "prior.json").is_file():
            raise

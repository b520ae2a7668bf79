"""Priors from folders: our own, or Stable Diffusion's in diffusers' layout."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import platformdirs

from sdedit_jax import images, registry
from sdedit_jax.priors.analytic import mixture
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import included
from sdedit_jax.weights import dtypes, store
from sdedit_jax.weights.conversion_settings import digest
from sdedit_jax.weights.convert import convert
from sdedit_jax.weights.readers import folder as diffusers_folder

FORMAT = 3
"""Version of what `convert` writes; a new one makes folders in the cache outdated."""


def load_prior(folder: str | Path, compute: str = "float32", attention: int | None = None) -> Prior:
    """The prior in a folder, or the prior of a name.

    Our own folders hold prior.json. A folder of diffusers with a text encoder (model_index.json)
    is converted on first use, into the user's cache folder under the digest of its files. Two loads
    of a folder give equal priors, and a function compiled for one serves the other.

    Args:
        folder: a path, or the name of an included prior or of one in the user's prior folder; see
            registry.included.
        compute: "float32", "tf32" or "bfloat16", see nets.functional.Network. Parameters that
            every use converts to bfloat16 are held in it, the others in float32.
        attention: for priors that read texts: sides of the latent over sides of the attention maps
            from which LEDITS++ makes its masks; None: as in prior.json (4; small ones 2).

    Raises:
        ValueError: missing, damaged or contradicting files; an unknown network, process or compute.
    """
    return load_converted(ours(included.prior(folder)), compute, attention)


def sha256_of(folder: str | Path) -> str:
    """The sha256 of the weights in a prior's folder, as in the metadata of load_prior.

    Raises:
        ValueError: see load_prior.
    """
    folder = ours(included.prior(folder))
    known = store.read_metadata(folder).get("sha256")  # exact priors get one when loaded
    return known or load_converted(folder).metadata["sha256"]


def ours(folder: Path) -> Path:
    """The folder itself, or the converted one of a foreign folder."""
    foreign = not (folder / "prior.json").is_file() and diffusers_folder.reads_texts(folder)
    return converted(folder) if foreign else folder


def cache_folder() -> Path:
    """The user's cache folder of this program."""
    return platformdirs.user_cache_path("sdedit_jax", appauthor=False)


def converted_priors() -> Path:
    """The folder of converted foreign priors in the cache folder."""
    return cache_folder() / "priors"


def place_of(folder: Path) -> Path:
    """Where the converted folder of a foreign one is, or will be."""
    return converted_priors() / f"{digest(folder)[:24]}-{FORMAT}"


def converted(folder: Path) -> Path:
    """The converted folder of a foreign one; it is converted if that is not done yet."""
    target = place_of(folder)
    if (target / "prior.json").is_file():
        return target
    aside = target.with_name(f"{target.name}.{os.getpid()}")  # another process may convert it too
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


def load_converted(
    folder: str | Path, compute: str = "float32", attention: int | None = None
) -> Prior:
    """The prior in a folder with prior.json and params/, checked against each other.

    Args:
        attention: see latent.StableDiffusion; None: as in prior.json.

    Raises:
        ValueError: missing, damaged or contradicting files; an unknown network, process or compute.
    """
    metadata = store.read_metadata(folder)
    if attention is not None:
        metadata = registry.with_attention(metadata, attention, str(folder))
    if metadata.get("network") in registry.EXACT:
        return exact_prior(metadata, Path(folder))
    made = described(metadata, folder, compute)
    stored = store.load(Path(folder), made.params, sha256=metadata["sha256"])
    arrays, tree = jax.tree.flatten(stored)
    kinds = jax.tree.leaves(dtypes.held(made, compute))
    for i, (array, kind) in enumerate(zip(arrays, kinds, strict=True)):
        host = np.asarray(array, kind)  # one by one: not all of them twice
        arrays[i] = jax.block_until_ready(jax.device_put(host))  # jnp.asarray compiles programs
    return made.replace(params=jax.tree.unflatten(tree, arrays))


def described(metadata: Mapping[str, Any], folder: str | Path, compute: str = "float32") -> Prior:
    """The prior in a folder with prior.json and params/; its params are their shapes.

    Raises:
        ValueError: see `load_converted`.
    """
    made = registry.prior_of(metadata, compute, str(folder))
    if metadata["network"] in registry.PARTS:
        made = made.replace(text=registry.text_of(metadata, Path(folder) / "tokenizer", compute))
    if "sha256" not in metadata:
        raise ValueError(f"{folder}: prior.json lacks 'sha256'")
    return made


class Stored(NamedTuple):
    """A prior's folder after all its files were read.

    Attributes:
        bytes: of the parameters. sha256: of the parameters, computed from the arrays.
    """

    metadata: Mapping[str, Any]
    bytes: int
    sha256: str

    @property
    def same(self) -> bool:
        """Whether the sha256 is that of prior.json, which exact priors need not have."""
        return self.metadata.get("sha256", self.sha256) == self.sha256


def stored(folder: Path) -> Stored:
    """What a folder with prior.json holds.

    Raises:
        ValueError: missing, damaged or contradicting files; another sha256 is none of them.
    """
    metadata = store.read_metadata(folder)
    if metadata.get("network") in registry.EXACT:
        params = exact_prior(metadata, folder).params
    else:
        params = store.load(folder, described(metadata, folder).params)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return Stored(metadata, size, store.digest(params))


def exact_prior(metadata: Mapping[str, Any], folder: Path) -> Prior:
    """The exact prior whose data are the folder's pictures, each with noise of std `std`.

    Its params are the pictures; the sha256 in its metadata is that of the params.
    """
    for field in ("process", "size", "std"):
        if field not in metadata:
            raise ValueError(f"{folder}: prior.json lacks {field!r}")
    *size, channels = registry.size_of(metadata, str(folder))
    files = images.find_inputs(folder)
    pictures = [images.fit(images.flatten(images.read(f)), size)[0] for f in files]
    pictures = [p if channels == 3 else images.in_grey(p)[..., :1] for p in pictures]
    means = np.stack([images.to_unit(p) for p in pictures])
    process = registry.process(metadata["process"], f"{folder}: process")
    made = mixture(process, means, metadata["std"])
    return made.replace(metadata={**metadata, "sha256": store.digest(made.params)})

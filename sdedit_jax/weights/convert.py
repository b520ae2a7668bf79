"""Import of released checkpoints: read, describe, convert, check, store."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import registry
from sdedit_jax.files import json_file
from sdedit_jax.files.paths import user_path
from sdedit_jax.files.wording import first_line
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry import included
from sdedit_jax.weights import (
    catalogue,
    conversion,
    readers,
    selfcheck,
    single_file,
    store,
    whole_folder,
)
from sdedit_jax.weights.catalogue import Card
from sdedit_jax.weights.conversion_settings import Settings, check_folder, finished
from sdedit_jax.weights.families import Family, family_of, others
from sdedit_jax.weights.readers import hub
from sdedit_jax.weights.selfcheck import Verdict
from sdedit_jax.weights.single_file import Opened
from sdedit_jax.weights.single_file import tokenizer as tokenizers
from sdedit_jax.weights.source import Source

SOURCE = "source"
"""Name of the dtype that the source's weights have."""


class Report(NamedTuple):
    """The result of an import.

    Attributes:
        folder: of the new prior.
        metadata: its prior.json; "source" gives the origin of the weights, whether averaged (EMA)
            weights were taken, and what was left out.
        verdict: of the self-check; None if it was not run.
        made: whether the prior was made now.
    """

    folder: Path
    metadata: Mapping[str, Any]
    verdict: Verdict | None
    made: bool = True


def convert(
    source: str | Path,
    folder: str | Path,
    *,
    card: str = "",
    architecture: str | Path | Mapping[str, Any] | None = None,
    family: str = "",
    name: str = "",
    prediction: str = "",
    tokenizer: str | Path = "",
    dtype: str = "float32",
    check: bool = True,
    strict: bool = False,
    overwrite: bool = False,
    resume: bool = False,
) -> Report:
    """Convert a released checkpoint to a prior's folder.

    Args:
        source: a file, a folder, the name of a prior that is stored as diffusers does, such as
            "fruits64-text", or "hf:owner/name[@revision]".
        folder: of the new prior, or a name for one of the user's own priors; an interrupted
            conversion leaves no folder.
        card: the name of the source in `weights.catalogue`.
        architecture: instead of `card`, the original's configuration: a mapping or a JSON file
            with `family` and the fields that the family documents (docs/checkpoints.md).
        family: the expected family of the source.
        name: of the prior; the folder's name by default.
        prediction: "eps" or "v", of a single file of Stable Diffusion; "": decided by
            weights/single_file/opened.py, and noted.
        tokenizer: the folder of the tokenizer, for a source that reads texts; "": in the source's
            folder.
        dtype: of the stored weights, "float32", "bfloat16", "float16", or "source": the dtype that
            all weights of the source share, else "float32".
        check: denoise test pictures with the new prior (`selfcheck`).
        strict: a failed check is an error, and nothing is written; otherwise prior.json notes it.
        overwrite: replace a prior that exists in the folder.
        resume: leave a prior as it is that was made from this source with these settings; the
            report then has no verdict, and `made` is False.

    Raises:
        ValueError: the source cannot be read, belongs to another family, or its tensors do not
            match its architecture; the architecture is unknown; the disk is full; a name is
            unknown; another process writes the folder; with resume, the folder holds a prior of
            another source or other settings.
    """
    folder = included.new_prior(folder, "folder")
    check_folder(folder, overwrite or resume)
    registry.pick({**store.DTYPES, SOURCE: ""}, dtype, "dtype")
    path = hub.local(str(included.prior(source)))
    settings = Settings(
        card, architecture, family, name or folder.name, prediction, tokenizer, dtype, check, strict
    )
    if resume and (folder / "prior.json").is_file():
        return Report(folder, finished(folder, settings.made_from(path)), None, False)
    with whole_folder.writing(folder) as aside:
        verdict = _convert(path, aside, settings.made_from(path), settings)
    return Report(folder, store.read_metadata(folder), verdict)


def _convert(
    path: Path, aside: Path, made: Mapping[str, Any], settings: Settings
) -> Verdict | None:
    """Write the prior into the folder `aside`; the verdict of the check."""
    card, architecture, family, name, prediction, tokenizer, dtype, check, strict = settings
    found, sha256 = readers.read(path), made["sha256"]
    others.check(found)
    stored = jnp.dtype(dtype_of(found) if dtype == SOURCE else store.DTYPES[dtype])
    given, entry = given_for(card, architecture, sha256)
    full = stored if not check else jnp.float32  # the check needs full precision
    with refusing(path):
        opened = single_file.open_source(found, given, prediction)
        kind = family_of(opened.source, family or given.get("family", ""))
        metadata = described(opened, kind, name)
        prior, files = shapes_of(metadata, opened, path, tokenizer)
        whole_folder.require_space(aside, size_of(prior.params) * stored.itemsize)
        params = weights(opened.source, kind, metadata, prior.params, full)
        if opened.open:
            opened = single_file.measured(opened, prior.replace(params=params))
            metadata = described(opened, kind, name)
            prior, files = shapes_of(metadata, opened, path, tokenizer)
        metadata["source"] = origin(opened.source, kind, sha256, entry) | made
        del found, opened
        prior = prior.replace(params=params, metadata=metadata)
        verdict = checked(prior, strict) if check else None
    if verdict is not None:
        metadata["check"] = selfcheck.as_json(verdict)
    params = jax.tree.map(lambda a: np.asarray(a.astype(stored)), params)
    store.fill(aside, params, metadata, files, compressed=False)
    return verdict


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn errors of what is inferred from a source into one that names it.

    Families read names, shapes and configurations that nobody has seen before.

    Raises:
        ValueError: see above.
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except ValueError:
        raise
    except (TypeError, AttributeError, LookupError, ArithmeticError, MemoryError) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ValueError(
            f"source: the tensors of {path}, or its configuration, fit no network ({reason})"
        ) from None


def described(opened: Opened, kind: Family, name: str) -> dict[str, Any]:
    """The metadata of a source; the notes say how an open prediction was decided."""
    metadata = {"name": name, **kind.describe(opened.source, opened.given)}
    if opened.note:
        metadata["notes"] = [*metadata.get("notes", ()), opened.note]
    return metadata


def shapes_of(
    metadata: Mapping[str, Any], opened: Opened, path: Path, tokenizer: str | Path
) -> tuple[Prior, Mapping[str, Path]]:
    """The prior, with shapes as params; and the files of its tokenizer, by path in its folder.

    Raises:
        ValueError: a tokenizer that is missing, does not fit, or has no use.
    """
    prior = registry.prior_of(metadata, name=metadata["name"])
    if not prior.latent:
        if tokenizer:
            raise ValueError(f"tokenizer: {path} does not read texts, got {str(tokenizer)!r}")
        return prior, {}
    home = tokenizers.folder_for(path, tokenizer)
    text = registry.text_of(metadata, home)
    generation = opened.source.config["index"].get(single_file.FILE)
    if generation:
        words = metadata["config"]["text_encoder"]["vocab_size"]
        tokenizers.check_padding(text, words, generation, home)
    return prior.replace(text=text), tokenizers.files_of(home)


def checked(prior: Prior, strict: bool) -> Verdict:
    """The verdict of the self-check.

    Raises:
        ValueError: the prior fails, and `strict` is set.
    """
    verdict = selfcheck.check(prior)
    if strict and not verdict.passed:
        raise ValueError(f"strict: nothing is written, {verdict.message}")
    return verdict


def weights(
    found: Source,
    kind: Family,
    metadata: Mapping[str, Any],
    shapes: Any,
    dtype: Any = jnp.float32,
) -> Any:
    """The source's weights as params of the prior, a nested dict of arrays of `dtype`."""
    names, unused = kind.names(found, metadata, shapes), kind.unused(found, metadata)
    return conversion.fill(
        shapes, found, names, unused, lambda a: jnp.asarray(np.asarray(a, dtype, order="C"))
    )


def dtype_of(found: Source) -> str:
    """The common dtype of the source's weights if it can be stored, else "float32"."""
    kinds = {str(a.dtype) for a in found.tensors.values() if a.dtype.kind not in "iub"}
    return kinds.pop() if len(kinds) == 1 and kinds <= set(store.DTYPES) else "float32"


def given_for(
    card: str, architecture: str | Path | Mapping[str, Any] | None, sha256: str
) -> tuple[Mapping[str, Any], Card | None]:
    """The configuration of the source, and its entry in the catalogue.

    Without a name, the entry is found by the sha256 of the source.
    """
    if card and architecture is not None:
        raise ValueError("card, architecture: give one of them")
    entry = catalogue.card(card) if card else catalogue.by_sha256(sha256)
    if card and entry.sha256 and entry.sha256 != sha256:
        raise ValueError(
            f"card: {card} is a file of sha256 {entry.sha256}, the source has {sha256}"
        )
    if architecture is None:
        return (entry.given if entry else {}), entry
    if isinstance(architecture, Mapping):
        return architecture, None
    return json_file.read_object(user_path(architecture), "architecture"), None


def origin(found: Source, kind: Family, sha256: str, entry: Card | None) -> dict[str, Any]:
    """The part of prior.json that gives the origin of the weights."""
    text = {
        "file": found.path.name,
        "sha256": sha256,
        "family": kind.name,
        "ema": found.ema,
        "left_out": dict(found.left_out),
    }
    if found.averaging:
        text["averaging"] = dict(found.averaging)
    if entry is None:
        return text
    return text | {"card": entry.name, "published": entry.published, "licence": entry.licence}


def size_of(shapes: Any) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))

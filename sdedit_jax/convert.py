"""Foreign checkpoints become priors: read, described, turned by one rule, proved, stored."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import build, selfcheck
from sdedit_jax.selfcheck import Verdict
from sdedit_jax.weights import catalogue, readers, rule, store
from sdedit_jax.weights.catalogue import Card
from sdedit_jax.weights.families import Family, family_of
from sdedit_jax.weights.readers import hub
from sdedit_jax.weights.source import Source

SOURCE = "source"
"""The dtype of stored weights that is the source's own."""


class Report(NamedTuple):
    """What an import did.

    Attributes:
        folder: the new prior's.
        card: its prior.json; "source" says where the weights are from, whether averaged (EMA) ones
            were taken and what was left out.
        verdict: of the self-check; None where it was not run.
    """

    folder: Path
    card: Mapping[str, Any]
    verdict: Verdict | None


def convert(
    source: str | Path,
    folder: str | Path,
    *,
    card: str = "",
    architecture: str | Path | Mapping[str, Any] | None = None,
    family: str = "",
    name: str = "",
    dtype: str = "float32",
    check: bool = True,
    strict: bool = False,
    overwrite: bool = False,
) -> Report:
    """Bring a released checkpoint into a prior's folder.

    Args:
        source: a file, a folder, or "hf:owner/name[@revision]".
        folder: of the new prior; it appears whole or not at all.
        card: name in `weights.catalogue` of what the source is.
        architecture: the original's configuration instead: a mapping or a JSON file, with `family`
            and the fields that the family documents (docs/checkpoints.md).
        family: see that the source is of this family.
        name: of the prior; the folder's name by default.
        dtype: of the stored weights, "float32", "bfloat16" or "float16"; "source": the one of these
            that all its weights have, else "float32".
        check: denoise test pictures with the new prior (`selfcheck`).
        strict: a failed check is an error and nothing is written; else prior.json notes it.
        overwrite: replace a prior that stands in the folder.

    Raises:
        ValueError: a source that cannot be read, is of another family, or lacks or exceeds the
            tensors of its architecture; an architecture that neither the tensors nor the user tell;
            a disk without room; an unknown name.
    """
    folder = Path(folder)
    check_folder(folder, overwrite)
    build.pick({**store.DTYPES, SOURCE: ""}, dtype, "dtype")
    path = hub.local(str(source))
    found, sha256 = readers.read(path), digest(path)
    stored = jnp.dtype(dtype_of(found) if dtype == SOURCE else store.DTYPES[dtype])
    given, entry = given_for(card, architecture, sha256)
    kind = family_of(found, family or given.get("family", ""))
    text = {"name": name or folder.name, **kind.describe(found, given)}
    prior, files = build.prior_of(text, name=text["name"]), kind.files(found)
    if prior.latent:
        prior = prior._replace(text=build.text_of(text, path))
    store.require_space(folder, size_of(prior.params) * stored.itemsize)
    made = stored if not check else jnp.float32  # the check needs them in full
    prior = prior._replace(params=weights(found, kind, text, prior.params, made), card=text)
    text["source"] = origin(found, kind, sha256, entry)
    del found
    verdict = selfcheck.check(prior) if check else None
    if verdict is not None:
        text["check"] = selfcheck.as_json(verdict)
        if strict and not verdict.passed:
            raise ValueError(f"strict: nothing is written, {verdict.message}")
    params = jax.tree.map(lambda a: np.asarray(a.astype(stored)), prior.params)
    del prior
    store.save(folder, params, text, files, compressed=False)
    return Report(folder, store.read_card(folder), verdict)


def weights(
    found: Source,
    kind: Family,
    card: Mapping[str, Any],
    shapes: Any,
    dtype: Any = jnp.float32,
) -> Any:
    """The source's weights as the prior's params [nested dict of arrays of `dtype`]."""
    names, unused = kind.names(found, card, shapes), kind.unused(found, card)
    return rule.fill(
        shapes, found, names, unused, lambda a: jnp.asarray(np.asarray(a, dtype, order="C"))
    )


def dtype_of(found: Source) -> str:
    """The dtype of a source's weights, if they have one in common that can be stored."""
    kinds = {str(a.dtype) for a in found.tensors.values() if a.dtype.kind not in "iub"}
    return kinds.pop() if len(kinds) == 1 and kinds <= set(store.DTYPES) else "float32"


def given_for(
    card: str, architecture: str | Path | Mapping[str, Any] | None, sha256: str
) -> tuple[Mapping[str, Any], Card | None]:
    """What is known of the source beside its tensors, and its entry in the catalogue.

    A file that the catalogue knows by its sha256 needs no name.
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
    try:
        given = json.loads(Path(architecture).read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"architecture: cannot read {architecture}: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"architecture: {architecture} must hold a JSON object")
    return given, None


def origin(found: Source, kind: Family, sha256: str, entry: Card | None) -> dict[str, Any]:
    """The part of prior.json that says where the weights are from."""
    text = {
        "file": found.path.name,
        "sha256": sha256,
        "family": kind.name,
        "ema": found.ema,
        "left_out": dict(found.left_out),
    }
    if entry is None:
        return text
    return text | {"card": entry.name, "published": entry.published, "licence": entry.licence}


def check_folder(folder: Path, overwrite: bool) -> None:
    """See that a prior may be written to the folder.

    Raises:
        ValueError: a prior is there and `overwrite` is False, or something that is no prior.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"workdir: {folder} is not a folder")
    store.check_target(folder, "workdir", "prior.json")
    if (folder / "prior.json").is_file() and not overwrite:
        raise ValueError(f"workdir: {folder} holds a prior already; --overwrite replaces it")


def digest(path: Path) -> str:
    """sha256 of a file, or of the names and contents of a folder's files."""
    total = hashlib.sha256()
    for file in _files(path):
        if path.is_dir():
            total.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()


def size_of(shapes: Any) -> int:
    """The number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from sorted(p for p in path.rglob("*") if p.is_file())

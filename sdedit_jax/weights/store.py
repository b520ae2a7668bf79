"""Parameters on disk: an orbax folder with a prior.json beside it.

    NAME/prior.json    metadata: network, process, prediction, size, data, sha256
    NAME/params/       the orbax checkpoint, a nested dict of arrays
    NAME/tokenizer/    files of the tokenizer, for a text-conditional prior

Only this module and the training loop write with orbax; `orbax_folder` reads.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sdedit_jax.files import door, json_file, prior_fields
from sdedit_jax.files.paths import shown
from sdedit_jax.files.wording import first_line
from sdedit_jax.registry import included
from sdedit_jax.text import spelling
from sdedit_jax.weights import orbax_folder, quiet, whole_folder

Params = Mapping[str, Any]

DTYPES = {"float32": "float32", "bfloat16": "bfloat16", "float16": "float16"}
"""Dtypes of stored weights."""


def leaves(params: Params) -> list[tuple[str, Any]]:
    """(path, array) of every leaf, sorted by path; names in a path are joined by "/"."""
    flat = jax.tree_util.tree_flatten_with_path(params)[0]
    return sorted((leaf_name(path), leaf) for path, leaf in flat) if flat else []


def leaf_name(path: tuple[Any, ...]) -> str:
    """The keys, numbers or fields that lead to a leaf, joined by "/"."""
    kinds = ("key", "idx", "name")
    return "/".join(str(next(getattr(p, k) for k in kinds if hasattr(p, k))) for p in path)


def digest(params: Params) -> str:
    """sha256 over the leaves in path order: path, dtype, shape, C-order bytes of each."""
    total = hashlib.sha256()
    for path, leaf in leaves(params):
        array = np.asarray(leaf)
        total.update(path.encode())
        total.update(str(array.dtype).encode())
        total.update(str(tuple(array.shape)).encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
    return total.hexdigest()


def save(
    folder: str | Path,
    params: Params,
    metadata: Mapping[str, Any],
    files: Mapping[str, str | Path] | None = None,
    *,
    compressed: bool = True,
) -> None:
    """Write a prior's folder, or replace it. An interrupted call leaves the old folder or none.

    Args:
        metadata: the contents of prior.json; the sha256 of the parameters is added.
        files: path within the folder -> file to copy.
        compressed: smaller by some percent; needs twice the memory of the parameters.
    """
    with whole_folder.writing(folder) as aside:
        fill(aside, params, metadata, files, compressed=compressed)


def fill(
    aside: Path,
    params: Params,
    metadata: Mapping[str, Any],
    files: Mapping[str, str | Path] | None = None,
    *,
    compressed: bool = True,
) -> None:
    """Write the files of a prior into a folder of `whole_folder.writing`; see `save`."""
    import orbax.checkpoint as ocp

    handler = ocp.PyTreeCheckpointHandler(use_compression=compressed)
    tree = jax.tree.map(np.asarray, dict(params))
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(aside / "params", args=ocp.args.PyTreeSave(tree))
    # orbax's marker names the folder it wrote to, on this machine
    (aside / "params" / "commit_success.txt").unlink(missing_ok=True)
    for name, file in (files or {}).items():
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        door.copy(file, aside / name)
    text = as_text({**metadata, "sha256": digest(params)})
    _check(json.loads(text), aside / "prior.json")
    (aside / "prior.json").write_text(text)


def as_text(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON, a list of numbers on one line."""
    text = json.dumps(metadata, indent=1)
    lists = r"\[\n[-+.\deE,\s]+\]"
    return re.sub(lists, lambda found: json.dumps(json.loads(found[0])), text) + "\n"


def add_metadata(folder: Path, field: str, value: Any) -> Path:
    """Add a field to the metadata of a prior's folder, or replace it; the file that was written.

    A folder of diffusers has no prior.json: its model_index.json gets the field, with an underscore
    before the name, which diffusers skips.
    """
    file, own = folder / "prior.json", folder / "model_index.json"
    if not file.is_file() and own.is_file():
        file, field = own, f"_{field}"
    values = {**json_file.read_object(file, "prior"), field: value}
    if file.name == "prior.json":
        _check(values, file)
    aside = file.with_name(f".{file.name}.sdedit_jax-partial")
    aside.write_text(as_text(values))
    aside.replace(file)
    return file


def read_metadata(folder: str | Path) -> dict[str, Any]:
    """The contents of prior.json.

    Raises:
        ValueError: no such folder, no prior.json, not a JSON object, or a wrong field.
    """
    file = Path(folder) / "prior.json"
    if not os.path.isfile(file):  # False for names that no file can have
        priors = (found.parent for found in Path(folder).parent.glob("*/prior.json"))
        known = included.priors()
        near = spelling.hint_path(folder, priors) or spelling.hint(Path(folder).name, known)
        raise ValueError(
            f"prior: {shown(file)} does not exist; a prior is a folder with a prior.json, or one of"
            f" the names {sorted(known)}{near}"
        )
    return _check(json_file.read_object(file, "prior"), file)


def _check(metadata: dict[str, Any], file: Path) -> dict[str, Any]:
    """The metadata, after a check of their fields."""
    try:
        prior_fields.check(metadata)
    except ValueError as error:
        raise ValueError(f"prior: {file}: {error}") from None
    return metadata


def load(
    folder: str | Path,
    shapes: Params,
    *,
    sha256: str | None = None,
    network: str = "the network of prior.json",
) -> Params:
    """The parameters as numpy arrays, with the structure and shapes of `shapes`; dtypes as on disk.

    Args:
        sha256: the expected digest; None checks nothing.
        network: whose `shapes` they are, for messages.

    Raises:
        ValueError: parameters are missing, truncated, not finite, or have another structure, shape
            or sha256. The message names the folder and the leaf.
    """
    path = Path(folder).absolute() / "params"
    if not path.is_dir():
        raise ValueError(f"prior: {path} does not exist")
    stored = _reading(path, checked)
    if found := difference(stored, shapes, network):
        raise ValueError(f"prior: {path} {found}")
    params = _reading(path, lambda _: orbax_folder.read(stored))
    if sha256 is not None and (found := digest(params)) != sha256:
        raise ValueError(differs(path, found, sha256))
    _check_finite(path, params)
    return params


def differs(path: Path, found: str, stated: str) -> str:
    """The message about weights of another sha256 than prior.json states."""
    return f"prior: weights in {path} have sha256 {found}, prior.json says {stated}"


def checked(path: Path) -> Params:
    """The opened tensors of a folder whose files lead nowhere else and hold what they claim."""
    sizes = orbax_folder.check(path)
    found = orbax_folder.opened(path)
    orbax_folder.check_shapes(found, sizes)
    return found


def _reading(path: Path, read: Callable[[Path], Params]) -> Params:
    try:
        with quiet.libraries():
            return read(path)
    except Exception as error:  # orbax and tensorstore raise many kinds for damaged files
        reason = first_line(error).removeprefix("prior: ")
        raise ValueError(f"prior: cannot read {path}: {reason}") from None


def difference(stored: Params, wanted: Params, network: str) -> str:
    """The first tensor in which two trees differ, as the end of a sentence; "" if none does.

    Args:
        network: whose tree `wanted` is, for the message.
    """
    here, there = dict(leaves(stored)), dict(leaves(wanted))
    for name in sorted(here.keys() | there.keys()):
        if name not in here:
            return f"lacks {name}, which {network} has"
        if name not in there:
            return f"holds {name}, which {network} lacks"
        shapes = [tuple(tree[name].shape) for tree in (here, there)]
        if shapes[0] != shapes[1]:
            return f"holds {name} of shape {shapes[0]}, {network} needs {shapes[1]}"
    return ""


def _check_finite(path: Path, params: Params) -> None:
    for name, leaf in leaves(params):
        if not np.isfinite(np.asarray(leaf, np.float32)).all():
            raise ValueError(f"prior: {name} in {path} holds values that are not finite")

"""Names of configs and priors into files: a path, else an included one, else one of the user.

The folders `configs`, `checkpoints` and `examples` are inside the installed package. In a checkout
they stand beside it.
"""

import importlib
import importlib.util
import os
import re
import sys
from pathlib import Path
from typing import Any

import platformdirs

from sdedit_jax.files.paths import user_path
from sdedit_jax.text import spelling

VARIABLE = "SDEDIT_PRIORS"
"""Environment variable with the folder of the user's own priors."""

MARKS = ("prior.json", "model_index.json")
"""Files that make a folder a prior: our own, and that of Stable Diffusion in diffusers' layout."""


def folder(kind: str) -> Path:
    """The folder `configs`, `checkpoints` or `examples` that the package includes."""
    package = Path(__file__).parent.parent
    inside = package / kind
    return inside if inside.is_dir() else package.parent / kind


def user_priors() -> Path:
    """The folder of the user's own priors: SDEDIT_PRIORS, else in the user's data folder."""
    given = os.environ.get(VARIABLE)
    data = platformdirs.user_data_path("sdedit_jax", appauthor=False)
    return user_path(given) if given else data / "priors"


def configs() -> dict[str, Path]:
    """The included configs by name."""
    files = sorted(folder("configs").glob("*.py"))
    return {file.stem: file for file in files if file.stem != "__init__"}


def values(name: str) -> dict[str, Any]:
    """The fields of an included config, as plain values."""
    module = importlib.import_module(f"sdedit_jax.configs.{name}")
    return module.get_config().to_dict()


def priors() -> dict[str, Path]:
    """The priors by name: the included ones, then those of the user."""
    found: dict[str, Path] = {}
    for where in (folder("checkpoints"), user_priors()):
        for one in sorted(where.glob("*/")):
            if _is_prior(one) and not one.name.startswith("."):
                found.setdefault(one.name, one)
    return found


def config(name: str) -> Path:
    """The config file of a name.

    Args:
        name: a path, or the name of an included config.

    Raises:
        ValueError: neither of them exists.
    """
    path, known = user_path(name), configs()
    if path.is_file():
        return path
    if name in known:
        return known[name]
    if path.parent.name == "configs" and path.stem in known:  # a path of a checkout, elsewhere
        near = spelling.hint(path.stem, [path.stem])
    else:
        near = spelling.hint_path(name, path.parent.glob("*.py")) or spelling.hint(path.stem, known)
    raise ValueError(
        f"config: there is no file {name!r}; a config is a file, or one of the names"
        f" {sorted(known)}{near}"
    )


def prior(name: str | Path) -> Path:
    """The folder of a prior: `name` as a path, or the prior of that name.

    A folder that holds no prior does not hide a prior of its name. An unknown name is returned as
    a path, so that its reader reports it.
    """
    path = user_path(name)
    return path if _is_prior(path) else priors().get(str(name), path)


def new_prior(name: str | Path, field: str = "workdir") -> Path:
    """Where a prior is written: `name` as a path, or for a bare name, among the user's own.

    Args:
        name: a path; a string without a slash is a name. field: what gives it, for the message.

    Raises:
        ValueError: an included prior, or one in the current folder, has this name.
    """
    path = user_path(name)
    if isinstance(name, Path) or name.startswith((".", "~")) or re.search(r"[/\\]", name):
        return path
    for taken, what in ((folder("checkpoints"), "an included prior"), (Path(), "a prior here")):
        if _is_prior(taken / name):
            raise ValueError(
                f"{field}: {name!r} is the name of {what}; give another, or a path such as ./{name}"
            )
    return user_priors() / name


def example(path: str) -> str:
    """A path of the included `examples/`; in the root of a checkout it stays as it is."""
    here = Path("examples").resolve() == folder("examples").resolve()
    return path if here else str(folder("examples").parent / path)


def _is_prior(path: Path) -> bool:
    return any(os.path.isfile(path / mark) for mark in MARKS)  # False for names that are too long


def register_configs() -> None:
    """Let a checkout import its configs as `sdedit_jax.configs`, as an installed package does."""
    file, name = folder("configs") / "__init__.py", "sdedit_jax.configs"
    if file.parent.parent == Path(__file__).parent.parent or not file.is_file():
        return
    where = [str(file.parent)]
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[name] = sys.modules["sdedit_jax"].configs = module

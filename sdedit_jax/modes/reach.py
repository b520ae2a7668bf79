"""What a replay may open: a recipe from somebody else opens no files elsewhere."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from sdedit_jax.files.paths import shown, user_path
from sdedit_jax.registry import included
from sdedit_jax.weights import load

WHY = "is outside of the folders that a recipe may open"
REMEDY = "--config.trust=True allows all that the recipe names"
PACKAGE = Path(__file__).parent.parent


class Reach:
    """The guard of a replay: it prints the files of a recipe before they are opened.

    Attributes:
        homes: folders and files that may be opened, links resolved.
        trust: whether everything may be.
    """

    def __init__(self, homes: Iterable[Path], trust: bool = False) -> None:
        found = (real(path) for path in homes)
        self.homes = tuple(dict.fromkeys(path for path in found if path is not None))
        self.trust = trust
        self._printed: set[Path] = set()

    def holds(self, path: str | Path) -> bool:
        """Whether a path may be opened."""
        there = real(user_path(path))
        return there is not None and (self.trust or _inside(there, self.homes))

    def see(self, path: Path, field: str) -> None:
        """Print a path before it is opened; see door.guarded.

        Raises:
            ValueError: it is elsewhere.
        """
        there = real(path)
        if there is None or not self.holds(path):
            before = f"{field}: " if field else ""
            raise ValueError(f"{before}{shown(path)} {WHY}; {REMEDY}")
        own = (PACKAGE, *self._printed)
        if not _inside(there, own) and not there.is_dir():
            self.show(path)

    def show(self, path: Path) -> None:
        """Print a file or folder that will be read; files inside it are not printed again."""
        there = real(path)
        if there is not None and there not in self._printed:
            self._printed.add(there)
            print(f"reads     {shown(path)}")

    def prior(self, name: str) -> Path:
        """The folder of a prior that may be opened.

        Args:
            name: a path, or a name; a path elsewhere does not hide a prior of its name.

        Raises:
            ValueError: it is elsewhere.
        """
        found = [included.prior(name), included.priors().get(name)]
        folder = next((path for path in found if path is not None and self.holds(path)), None)
        if folder is None:
            raise ValueError(f"prior: {shown(name)} {WHY}; --config.prior= names it, or {REMEDY}")
        return folder


def of_replay(config: ConfigDict, result: Path, folder: Path | None) -> Reach:
    """What a replay may open: the result's folder, the workdir, priors and examples.

    Args:
        result: the picture, or the record. folder: the workdir, or None.
    """
    result = user_path(result)
    priors = (included.folder("checkpoints"), included.user_priors(), load.converted_priors())
    known: Sequence[Path] = tuple(included.priors().values())
    homes = [result.parent, result, *priors, *known, included.folder("examples"), PACKAGE]
    homes += [included.prior(config.prior)] if config.prior else []
    return Reach([*homes, *([folder] if folder else [])], bool(config.get("trust")))


def real(path: Path) -> Path | None:
    """A path without links; None: it is no path, or links lead to each other."""
    try:
        return path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None


def _inside(path: Path, homes: Iterable[Path]) -> bool:
    return any(path.is_relative_to(home) for home in homes)

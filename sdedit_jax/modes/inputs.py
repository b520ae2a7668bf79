"""The inputs of edits: what is kept of each, and its pictures, read again when they are needed.

A run checks all of its inputs before the first edit. It then keeps the pictures of a few, so that
its memory does not grow with their number.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from sdedit_jax import caution
from sdedit_jax.files import door
from sdedit_jax.files.paths import shown
from sdedit_jax.images import Size
from sdedit_jax.pipeline.recent import Recent
from sdedit_jax.tasks import TaskInput
from sdedit_jax.tasks.common import Color

T = TypeVar("T")

KEPT = 2**30
"""Bytes of the pictures that a run keeps."""


class Pictures(NamedTuple):
    """What the files of an input hold.

    Attributes:
        item: the input, ready to edit.
        masks: [H, W, 1] of the concepts of LEDITS, None of those without.
    """

    item: TaskInput
    masks: tuple[np.ndarray | None, ...] = ()


class Input(NamedTuple):
    """An input: its pictures, and what is kept of them.

    Attributes:
        name: of its results. id: of its file.
        pictures: returns them; they may be read then.
        size: (H, W) of the picture. background: colour behind its transparent parts.
        masked: whether its mask keeps a pixel.
        beside: the endings of the further files of its results.
        extra: what its kind of edit has beside it, such as prompts.
    """

    name: str
    id: str
    pictures: Callable[[], Pictures]
    size: Size
    background: Color
    masked: bool
    beside: tuple[str, ...]
    extra: Any = None

    @property
    def item(self) -> TaskInput:
        """The input, ready to edit.

        Raises:
            Changed: its files are not those that were checked.
        """
        return self.pictures().item

    @property
    def masks(self) -> tuple[np.ndarray | None, ...]:
        """See Pictures; raises as `item` does."""
        return self.pictures().masks


class Changed(ValueError):
    """A file of an input has changed since the input was checked, or cannot be read any more.

    Attributes:
        name: of the input.
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Source:
    """Reads the pictures of an input when they are needed, and checks that they stay the same.

    Args:
        name: of the input. path: its file. read: reads its pictures.
        recent: keeps the pictures of the inputs that were used last.
    """

    def __init__(self, name: str, path: Path, read: Callable[[], Pictures], recent: Recent) -> None:
        self.name, self.path, self.read, self.recent = name, path, read, recent
        self.files: dict[Path, str] | None = None
        self.key = object()  # not this source, which refers to what keeps its pictures

    def __call__(self) -> Pictures:
        """The pictures.

        Raises:
            ValueError: they cannot be read. Changed: they are not those of the first call.
        """
        return self.recent.get(self.key, self._first if self.files is None else self._again)[0]

    def _first(self) -> Pictures:
        with door.digests() as files:
            found = self.read()
        self.files = files
        return found

    def _again(self) -> Pictures:
        try:
            with caution.quiet(), door.digests() as files:
                found = self.read()
        except Changed:
            raise
        except (ValueError, OSError) as error:
            raise Changed(self.name, text_of(self.path, error)) from None
        if other := {path for path, _ in files.items() ^ self.files.items()}:
            text = f"{shown(min(other))} was changed after its input was checked"
            raise Changed(self.name, text)
        return found


class Each(Sequence[T]):
    """What a function makes of each job, made when it is needed."""

    def __init__(self, jobs: Sequence[Any], make: Callable[[Any], T]) -> None:
        self.jobs, self.make = jobs, make

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, i: int) -> T:
        return self.make(self.jobs[i])


def recent_pictures(batch: int) -> Recent:
    """Keeps pictures of inputs up to KEPT bytes, and in any case those of two batches."""
    return Recent(KEPT, weigh=_bytes, least=2 * batch)


def opened(
    name: str,
    pictures: Callable[[], Pictures],
    beside: Callable[[Pictures], Iterable[str]],
    extra: Any = None,
) -> Input:
    """An input, with what is kept of its pictures.

    Args:
        beside: pictures -> the endings of the further files of the results.

    Raises:
        ValueError: the pictures cannot be read.
    """
    found = pictures()
    item = found.item
    return Input(
        name, item.id, pictures, item.photo.size, item.photo.background,
        bool((item.original_mask < 1).any()), tuple(beside(found)), extra,
    )  # fmt: skip


def text_of(path: Path, error: Exception) -> str:
    """The text of an error about an input, with the path of its file."""
    own, text = shown(path), str(error)
    return text if own in text else f"{own}: {text}"


def _bytes(pictures: Pictures) -> int:
    """The memory of pictures; a mask that is a view of one number has none."""
    arrays = {id(leaf): leaf for leaf in jax.tree.leaves(pictures) if isinstance(leaf, np.ndarray)}
    return sum(array.nbytes for array in arrays.values() if 0 not in array.strides)

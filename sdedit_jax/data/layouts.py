"""What a layout of a data set is, and what of it the user chooses."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sdedit_jax.data.examples import DataSet
from sdedit_jax.images import MASK_SUFFIX


class Choice(NamedTuple):
    """What the user chooses of a set; "" leaves it to the layout."""

    split: str = ""
    labels: str = ""
    mask_suffix: str = MASK_SUFFIX


class Layout(NamedTuple):
    """How a kind of set is found and opened.

    Attributes:
        fits: whether a path looks like one.
        open: the set at a path.
        takes: the fields of `Choice` that it uses; the others must stay as they are.
    """

    fits: Callable[[Path], bool]
    open: Callable[[Path, Choice], DataSet]
    takes: tuple[str, ...] = ()

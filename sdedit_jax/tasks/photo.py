"""A photo as its own guide: a text gives the target, a mask the region that may change."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdedit_jax import images
from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options:
    """The mask.

    Attributes:
        mask: mask file or folder, white may change; "": everything may change.
        invert: black may change instead of white.
        background: colour behind transparent parts and in the margin of fit "pad". "" is white
            behind transparent parts, and repeats the edge in the margin.
    """

    mask: str = ""
    invert: bool = False
    background: str = ""


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The photo `path` as its own guide."""
    chosen = common.read_options(Options, options)
    photo = common.read_flat(path, chosen.background)
    mask = None
    if chosen.mask:
        mask = common.read_mask_beside(chosen.mask, path, photo.shape[:2], chosen.invert)
    placement = images.place(photo.shape[:2], size, fit)
    return common.assemble(path, photo, mask, photo, placement, chosen.background)

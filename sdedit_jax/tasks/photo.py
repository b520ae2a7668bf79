"""A photo as it is: what shall change is said by a text, where by a mask."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdedit_jax import images
from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options:
    """mask: mask file or folder, white = may change; "": everything may.
    invert: black = may change.
    background: colour behind transparent parts and in the margin of fit "pad" ("": white
    behind transparent parts, the edge repeated in the margin)."""

    mask: str = ""
    invert: bool = False
    background: str = ""


def make(path: str, options: Mapping[str, object], size: int, fit: str) -> common.TaskInput:
    """The photo `path` as its own guide."""
    chosen = common.read_options(Options, options)
    photo = common.read_flat(path, chosen.background)
    mask = None
    if chosen.mask:
        mask = common.read_mask_beside(chosen.mask, path, photo.shape[:2], chosen.invert)
        if not mask.any():
            raise ValueError(f"the mask of {path} is black everywhere: nothing may change")
    placement = images.place(photo.shape[:2], size, fit)
    return common.assemble(path, photo, mask, photo, placement, chosen.background)

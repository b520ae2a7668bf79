"""Inpainting: the masked hole of a photo is filled by a simple rule and then edited."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdedit_jax import images
from sdedit_jax.tasks import common
from sdedit_jax.tasks.fill import add_noise, filled

FILLS = ("mean", "smooth", "noise", "original")


@dataclass(frozen=True)
class Options:
    """The mask, and how its hole is filled.

    Attributes:
        mask: mask file (white may change), or a folder of files with the inputs' stems.
        invert: black may change instead of white.
        fill: content of the hole before the edit: "mean" of the kept pixels around it, "smooth"
            (harmonic, from the hole's rim), "noise" with the kept pixels' mean and standard
            deviation (drawn from the input's id), or "original".
        background: colour behind transparent parts and in the margin of fit "pad".
    """

    mask: str = ""
    invert: bool = False
    fill: str = "smooth"
    background: str = ""


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the photo `path` with its hole filled; the mask is the mask file.

    Raises:
        ValueError: there is no mask, it is black, or it leaves no pixels to fill from.
    """
    chosen = common.read_options(Options, options)
    common.one_of("fill", chosen.fill, FILLS)
    if not chosen.mask:
        raise ValueError("inpaint needs the task option mask: a mask file or a folder of masks")
    photo = common.read_flat(path, chosen.background)
    mask = common.read_mask_beside(chosen.mask, path, photo.shape[:2], chosen.invert)
    placement = images.place(photo.shape[:2], size, fit)
    guide = photo if chosen.fill == "original" else filled(photo, mask, chosen.fill)
    ready = common.assemble(path, guide, mask, photo, placement, chosen.background)
    return add_noise(ready) if chosen.fill == "noise" else ready

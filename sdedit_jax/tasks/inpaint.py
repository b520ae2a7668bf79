"""Inpainting: the masked hole of a photo is filled by a simple rule and then edited."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sdedit_jax.tasks import common
from sdedit_jax.tasks.fill import add_noise, filled

FILLS = ("mean", "smooth", "noise", "original")


@dataclass(frozen=True)
class Options(common.MaskOptions):
    """How the hole of the mask is filled.

    Attributes:
        fill: content of the hole before the edit: "mean" of the kept pixels around it, "smooth"
            (harmonic, from the hole's rim), "noise" with the kept pixels' mean and standard
            deviation (drawn from the input's id), or "original".
    """

    fill: str = "smooth"


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the photo `path` with its hole filled; the mask is the mask file.

    Raises:
        ValueError: there is no mask, it is black, or it leaves no pixels to fill from.
    """
    chosen = common.read_options(Options, options)
    common.one_of("fill", chosen.fill, FILLS)
    photo = common.read_photo(path, chosen)
    mask = common.read_mask(chosen, path, photo.size)
    if mask is None:
        raise ValueError(
            "inpaint needs the task option mask: a mask file or a folder of masks; or a mask beside"
            f" {path}, {Path(path).stem}{chosen.mask_suffix}.png"
        )
    return inpainted(path, photo, mask, chosen.fill, size, fit)


def inpainted(
    path: str, photo: common.Photo, mask: np.ndarray, fill: str, size: common.Size, fit: str
) -> common.TaskInput:
    """The input of a photo that is read, with its mask, float32 [H, W], and one of FILLS."""
    placement = common.place(path, photo, size, fit, mask)
    guide = photo.rgb if fill == "original" else filled(photo.rgb, mask, fill)
    ready = common.assemble(path, guide, mask, photo, placement)
    return add_noise(ready) if fill == "noise" else ready

"""A photo as its own guide: a text gives the target, a mask the region that may change."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options(common.MaskOptions):
    """The mask; without one everything may change."""


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The photo `path` as its own guide."""
    chosen = common.read_options(Options, options)
    photo = common.read_photo(path, chosen)
    return bounded(path, photo, common.read_mask(chosen, path, photo.size), size, fit)


def bounded(
    path: str, photo: common.Photo, mask: np.ndarray | None, size: common.Size, fit: str
) -> common.TaskInput:
    """The input of a photo that is read, with its mask, float32 [H, W] or None."""
    placement = common.place(path, photo, size, fit, mask)
    return common.assemble(path, photo.rgb, mask, photo, placement)

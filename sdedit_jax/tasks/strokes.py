"""Stroke paintings: the painting is the guide, and everything may change."""

from collections.abc import Mapping

import numpy as np

from sdedit_jax.tasks import common

Options = common.Options


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the stroke painting `path`; the mask is 1 everywhere."""
    chosen = common.read_options(Options, options)
    return painted(path, common.read_photo(path, chosen), size, fit)


def painted(
    path: str,
    painting: common.Photo,
    size: common.Size,
    fit: str,
    mask: np.ndarray | None = None,
) -> common.TaskInput:
    """The input of a painting that is read, with its mask, float32 [H, W] or None."""
    placement = common.place(path, painting, size, fit, mask)
    return common.assemble(path, painting.rgb, mask, painting, placement, detail=False)

"""Stroke paintings: the painting is the guide, and everything may change."""

from collections.abc import Mapping

from sdedit_jax.tasks import common

Options = common.Options


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the stroke painting `path`; the mask is 1 everywhere."""
    chosen = common.read_options(Options, options)
    return painted(path, common.read_photo(path, chosen), size, fit)


def painted(path: str, painting: common.Photo, size: common.Size, fit: str) -> common.TaskInput:
    """The input of a painting that is read."""
    placement = common.place(path, painting, size, fit)
    return common.assemble(path, painting.rgb, None, painting, placement, detail=False)

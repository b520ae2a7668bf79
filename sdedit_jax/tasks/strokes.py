"""Stroke paintings: the painting is the guide, and everything may change."""

from collections.abc import Mapping

from sdedit_jax.tasks import common

Options = common.Options


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the stroke painting `path`; the mask is 1 everywhere."""
    chosen = common.read_options(Options, options)
    painting = common.read_photo(path, chosen)
    placement = common.place(path, painting, size, fit)
    return common.assemble(path, painting.rgb, None, painting, placement, detail=False)

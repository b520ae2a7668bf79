"""Stroke paintings: the painting is the guide, and everything may change."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdedit_jax import images
from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options:
    """The background.

    Attributes:
        background: colour behind transparent parts and in the margin of fit "pad". "" is white
            behind transparent parts, and repeats the edge in the margin.
    """

    background: str = ""


def make(path: str, options: Mapping[str, object], size: common.Size, fit: str) -> common.TaskInput:
    """The guide is the stroke painting `path`; the mask is 1 everywhere."""
    chosen = common.read_options(Options, options)
    painting = common.read_flat(path, chosen.background)
    placement = images.place(painting.shape[:2], size, fit)
    return common.assemble(path, painting, None, painting, placement, chosen.background)

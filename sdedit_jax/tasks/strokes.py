"""Stroke painting -> picture: the painting is the guide and everything may change."""

from collections.abc import Mapping
from dataclasses import dataclass

from sdedit_jax import images
from sdedit_jax.tasks import common


@dataclass(frozen=True)
class Options:
    """background: colour behind transparent parts and in the margin of fit "pad" ("": white
    behind transparent parts, the edge repeated in the margin)."""

    background: str = ""


def make(path: str, options: Mapping[str, object], size: int, fit: str) -> common.TaskInput:
    """The stroke painting `path` as a guide; the mask is 1 everywhere."""
    chosen = common.read_options(Options, options)
    painting = common.read_flat(path, chosen.background)
    placement = images.place(painting.shape[:2], size, fit)
    return common.assemble(path, painting, None, painting, placement, chosen.background)

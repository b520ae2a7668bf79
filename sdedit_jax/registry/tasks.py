"""Tasks by name."""

from collections.abc import Callable, Mapping
from typing import Any

from sdedit_jax import images
from sdedit_jax.registry.names import pick
from sdedit_jax.tasks import (
    composite,
    inpaint,
    outpaint,
    photo,
    recolor,
    scribble,
    simulate,
    sketch,
    strokes,
)
from sdedit_jax.tasks.common import Size, TaskInput

TASKS: dict[str, Callable[[str, Mapping[str, Any], Size, str], TaskInput]] = {
    "strokes": strokes.make,
    "scribble": scribble.make,
    "composite": composite.make,
    "inpaint": inpaint.make,
    "outpaint": outpaint.make,
    "photo": photo.make,
    "recolor": recolor.make,
    "sketch": sketch.make,
    "simulate": simulate.make,
}


def task(name: str) -> Callable[[str, Mapping[str, Any], Size, str], TaskInput]:
    """The task of a name: (path, options, size, fit) -> TaskInput with its mask in 1/255 steps."""
    make = pick(TASKS, name, "task")

    def made(path: str, options: Mapping[str, Any], size: Size, fit: str) -> TaskInput:
        item = make(path, options, size, fit)
        mask = images.in_levels(item.mask)  # as the PNG beside the result stores it
        return item._replace(mask=mask, guide=item.guide._replace(mask=mask[..., None]))

    return made

"""Tasks by name, and the changes of training pictures."""

from collections.abc import Callable, Mapping
from typing import Any

from sdedit_jax import images
from sdedit_jax.augment import Augment
from sdedit_jax.build.names import pick
from sdedit_jax.tasks import composite, inpaint, photo, recolor, scribble, simulate, sketch, strokes
from sdedit_jax.tasks.common import TaskInput

TASKS: dict[str, Callable[[str, Mapping[str, Any], int, str], TaskInput]] = {
    "strokes": strokes.make,
    "scribble": scribble.make,
    "composite": composite.make,
    "inpaint": inpaint.make,
    "photo": photo.make,
    "recolor": recolor.make,
    "sketch": sketch.make,
    "simulate": simulate.make,
}


def task(name: str) -> Callable[[str, Mapping[str, Any], int, str], TaskInput]:
    """The task of this name: (path, options, size, fit) -> TaskInput, its mask in 1/255 steps."""
    make = pick(TASKS, name, "task")

    def made(path: str, options: Mapping[str, Any], size: int, fit: str) -> TaskInput:
        item = make(path, options, size, fit)
        mask = images.in_levels(item.mask)  # what a PNG beside it can hold
        return item._replace(mask=mask, guide=item.guide._replace(mask=mask[..., None]))

    return made


def augment(values: Mapping[str, Any]) -> Augment:
    """The changes of training pictures; lists become tuples."""
    return Augment(**{**values, "scale": tuple(values["scale"])})

"""Tasks by name."""

from collections.abc import Callable, Mapping
from typing import Any

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
    """The task of a name: (path, options, size, fit) -> TaskInput."""
    return pick(TASKS, name, "task")

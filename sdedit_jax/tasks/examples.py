"""Inputs of tasks from the rows of a data set."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax import images
from sdedit_jax.data.examples import Example
from sdedit_jax.images import Size
from sdedit_jax.tasks import common, composite, inpaint, photo, scribble, simulate, strokes
from sdedit_jax.tasks.common import Photo, TaskInput

GIVEN = {"scribble": scribble, "composite": composite}
"""Tasks that need the guide of a row."""
TASKS = {"simulate": simulate, "strokes": strokes, "photo": photo, "inpaint": inpaint} | GIVEN
"""Tasks whose inputs a row can give."""


def of_example(
    example: Example, task: str, options: Mapping[str, Any], size: Size, fit: str
) -> TaskInput:
    """The input of a row. A guide that the row has is used as it is.

    Args:
        task: one of TASKS. options: of the task; those that name files are not read.

    Raises:
        ValueError: another task, a guide or a mask that is missing, or a guide of another size.
    """
    check_task(task)
    chosen = common.read_options(TASKS[task].Options, options)
    background = images.color(chosen.background or "#ffffff")
    flat = images.flatten(example.picture, background)
    margin = background if chosen.background else None
    given = Photo(flat, example.picture, background, margin, chosen.opaque, chosen.detail)
    return _made(example, task, chosen, given, size, fit)._replace(id=example.id)


def check_task(task: str) -> None:
    """Raise ValueError unless rows can give the inputs of a task."""
    if task not in TASKS:
        raise ValueError(f"task: an evaluation takes one of {list(TASKS)}, got {task!r}")


def check_options(task: str, options: Mapping[str, Any]) -> None:
    """Check the options of a task on a small grey picture.

    Raises:
        ValueError: an unknown option, or a value out of its range.
    """
    grey = images.Picture(np.full((16, 16, 3), 128, np.uint8), None)
    mask = np.zeros((16, 16), np.float32)
    mask[4:12, 4:12] = 1
    example = Example("", grey, mask, grey if task in GIVEN else None)
    of_example(example, task, options, (16, 16), "crop")


def _made(
    example: Example, task: str, chosen: Any, given: Photo, size: Size, fit: str
) -> TaskInput:
    if example.guide is not None:
        seam = chosen.seam if task == "composite" else 0
        return _with_guide(example, example.guide, given, size, fit, seam)
    if task in GIVEN:
        raise ValueError(f"{example.id}: the task {task} needs the guide of each row")
    if task == "inpaint":
        if example.mask is None:
            raise ValueError(f"{example.id}: the task inpaint needs the mask of each row")
        return inpaint.inpainted("", given, example.mask, chosen.fill, size, fit)
    if task == "simulate":
        return simulate.simulated("", given, chosen, size, fit, example.mask)
    if task == "strokes":
        return strokes.painted("", given, size, fit, example.mask)
    return photo.bounded("", given, example.mask, size, fit)


def _with_guide(
    example: Example, guide: images.Picture, given: Photo, size: Size, fit: str, seam: float
) -> TaskInput:
    """A row with its guide; its mask grows by `seam` pixels at the size of the edit."""
    painted = images.flatten(guide, given.background)
    if painted.shape != given.rgb.shape:
        sizes = (images.size_text(p.shape[:2]) for p in (painted, given.rgb))
        raise ValueError("{}: the guide has {} pixels, the picture {}".format(example.id, *sizes))
    mask, detail = example.mask, example.mask is not None
    placement = common.place("", given, size, fit, mask, seam)
    if detail and seam:
        mask = np.maximum(mask, common.grow(mask > 0, seam, placement))
    return common.assemble("", painted, mask, given, placement, detail=detail)


def fitted_photo(item: TaskInput) -> np.ndarray:
    """The photo of an input at the size of the edit, uint8 [h, w, 3]."""
    photo = images.fit_rgb(item.photo.rgb, item.placement, item.photo.margin)
    return photo if item.channels == 3 else images.in_grey(photo)

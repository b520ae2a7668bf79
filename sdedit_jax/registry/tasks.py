"""Tasks by name."""

import dataclasses
from collections.abc import Callable, Mapping
from types import ModuleType
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
from sdedit_jax.tasks.common import MaskOptions, Size, TaskInput

TASKS: Mapping[str, ModuleType] = {
    "strokes": strokes,
    "scribble": scribble,
    "composite": composite,
    "inpaint": inpaint,
    "outpaint": outpaint,
    "photo": photo,
    "recolor": recolor,
    "sketch": sketch,
    "simulate": simulate,
}
"""Modules with `Options` and `make`."""


def task(name: str) -> Callable[[str, Mapping[str, Any], Size, str], TaskInput]:
    """The task of a name: (path, options, size, fit) -> TaskInput."""
    return pick(TASKS, name, "task").make


def default_options(name: str) -> dict[str, Any]:
    """The options of a task with their defaults."""
    return dataclasses.asdict(pick(TASKS, name, "task").Options())


def reads_mask_beside(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a task with these options reads the mask beside an input."""
    takes = issubclass(pick(TASKS, name, "task").Options, MaskOptions)
    return takes and not options.get("mask")

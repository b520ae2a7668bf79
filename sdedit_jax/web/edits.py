"""Edits of the page: settings and what is painted -> the executor's events, and a result."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import api, images
from sdedit_jax.pipeline.base import Done, Event
from sdedit_jax.web.canvas import Painted


@dataclass(frozen=True)
class Settings:
    """The settings of an edit."""

    prior: str = "fruits64"
    task: str = "strokes"
    t0: float | str = 0.5
    seed: int = 0
    samples: int = 1
    preset: str | None = None


class Result(NamedTuple):
    """A finished edit."""

    pictures: np.ndarray
    guide: np.ndarray
    t0: float
    seconds: float
    chunks: list[dict[str, str]]


@functools.lru_cache(4)
def prior_of(name: str) -> Any:
    return api.load_prior(name)


def events(
    settings: Settings, painted: Painted, *, cancel: Any = None, preview_every: int = 0
) -> Iterator[Event | Result]:
    """The events of an edit, and its result."""
    rgb, alpha = painted.paint[..., :3], painted.paint[..., 3]
    below = np.full_like(rgb, 255) if painted.picture is None else painted.picture
    guide = images.over(rgb, alpha, below)
    seconds = 0.0
    stream = api.stream(
        api.edit, prior_of(settings.prior), guide, t0=settings.t0, seed=settings.seed,
        samples=settings.samples, preset=settings.preset or "",
        cancel=cancel, preview_every=preview_every,
    )  # fmt: skip
    for event in stream:
        if isinstance(event, Done):
            chunks = [{}] * settings.samples
            yield Result(event.result, guide, settings.t0, seconds, chunks)
        else:
            seconds = event.seconds
            yield event


def size_of(prior: str) -> tuple[int, int]:
    """The size of the edits of a prior."""
    return tuple(prior_of(prior).shape[:2])


def restore(data: bytes) -> Settings | None:
    """The settings of a result, from the recipe in its PNG; None: it has none."""
    del data
    return None

"""What a visitor sees first: an example that is already edited, and the colours of the prior."""

import functools
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax import images
from sdedit_jax.registry import included
from sdedit_jax.tasks.colors import to_oklab
from sdedit_jax.tasks.simulate import simulate
from sdedit_jax.web import canvas, edits
from sdedit_jax.web.canvas import Painted

EXAMPLES = {"fruits64": "strokes/red_apple.png", "flowers64": "flowers/sunflower.png"}
"""Prior -> its painting among the included examples."""
SAMPLES = 6
"""Of the prior, for its colours."""
COLOURS = 10


class First(NamedTuple):
    """The first visit.

    Attributes:
        settings, painted: of the example. result: its edit. palette: colours as "#rrggbb".
    """

    settings: edits.Settings
    painted: Painted
    result: edits.Result
    palette: tuple[str, ...]


def first(prior: str) -> First:
    """The first visit of a page that begins with a prior."""
    settings = edits.Settings(prior=prior, preset="live")
    painted = example(prior)
    return First(settings, painted, last(settings, painted), palette(prior))


def last(settings: edits.Settings, painted: Painted) -> edits.Result:
    """The result of an edit that nothing cancels."""
    *_, result = edits.events(settings, painted, cancel=threading.Event())
    return result


def example(prior: str) -> Painted:
    """The painting of a prior: an included one, else that of a sample of its own."""
    size = canvas.size_for(edits.size_of(prior))
    if prior in EXAMPLES:
        rgb = images.read(Path(included.folder("examples")) / EXAMPLES[prior]).rgb
        rgb = images.fit_rgb(rgb, images.place(rgb.shape[:2], size, "crop"))
    else:
        rgb = np.asarray(Image.fromarray(simulate(samples(prior)[0])).resize(size[::-1]))
    return Painted(None, np.dstack([rgb, np.full(size, 255, np.uint8)]))


@functools.lru_cache(16)
def samples(prior: str) -> tuple[np.ndarray, ...]:
    """Pictures of a prior, uint8 [h, w, 3]."""
    grey = np.full((*canvas.size_for(edits.size_of(prior)), 4), 128, np.uint8)
    grey[..., 3] = 255
    many = (edits.Settings(prior=prior, preset="live", t0=1.0, seed=i) for i in range(SAMPLES))
    return tuple(last(settings, Painted(None, grey)).pictures[0] for settings in many)


@functools.lru_cache(16)
def palette(prior: str) -> tuple[str, ...]:
    """The colours of a prior's pictures, from light to dark."""
    sheet = Image.fromarray(np.concatenate([_rgb(one) for one in samples(prior)], axis=1))
    few = sheet.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    found = np.unique(np.array(few.getpalette()[: 3 * COLOURS], np.uint8).reshape(-1, 3), axis=0)
    order = np.argsort(-to_oklab(found)[:, 0], kind="stable")
    return tuple("#" + "".join(f"{level:02x}" for level in found[i]) for i in order)


def _rgb(picture: np.ndarray) -> np.ndarray:
    return np.broadcast_to(picture, (*picture.shape[:2], 3))


def choices(prior: str) -> list[str]:
    """The priors that a visitor may choose: the one of the page, and those of --list."""
    return list(dict.fromkeys([prior, *included.priors()]))


def fitted(picture: Any, size: tuple[int, int]) -> np.ndarray:
    """A visitor's picture at the size of the canvas, uint8 [h, w, 3]."""
    rgb = images.flatten(picture)
    return images.fit_rgb(rgb, images.place(rgb.shape[:2], size, "crop"))

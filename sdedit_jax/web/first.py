"""What a visitor sees first: an example that is already edited, and the colours of the prior."""

import threading
from typing import NamedTuple

import numpy as np
from PIL import Image

from sdedit_jax import images, registry
from sdedit_jax.images import Picture
from sdedit_jax.registry import included
from sdedit_jax.tasks.colors import to_oklab
from sdedit_jax.tasks.simulate import simulate
from sdedit_jax.web import canvas
from sdedit_jax.web.edits import Editor, Result
from sdedit_jax.web.guides import Painted
from sdedit_jax.web.settings import Settings

EXAMPLES = {"fruits64": "strokes/red_apple.png", "flowers64": "flowers/sunflower.png"}
"""Prior -> its painting among the included examples."""
SAMPLES = 6
"""Of the prior, for its colours."""
COLOURS = 10
T0 = 0.5


class First(NamedTuple):
    """The first visit.

    Attributes:
        settings, painted: of the example. result: its edit. palette: colours as "#rrggbb".
    """

    settings: Settings
    painted: Painted
    result: Result
    palette: tuple[str, ...]


class Priors:
    """The priors of a page: their sizes, colours and examples."""

    def __init__(self, editor: Editor) -> None:
        self.editor, self.lock = editor, threading.Lock()
        self.samples: dict[str, tuple[np.ndarray, ...]] = {}

    def first(self, prior: str) -> First:
        """The first visit of a page that begins with a prior."""
        settings, painted = Settings(prior, t0=T0, preset="live"), self.example(prior)
        return First(settings, painted, self.edited(settings, painted), self.palette(prior))

    def size(self, prior: str) -> tuple[int, int]:
        """The size of the canvas for a prior."""
        return canvas.size_for(self.editor.prior(prior).edit_size())

    def classes(self, prior: str) -> list[str]:
        """The names of the classes of a prior; none of one without classes."""
        found = registry.classes(self.editor.prior(prior))
        count = 0 if found is None else found.count or 0
        return list(found.names) if count and found.names else [str(i) for i in range(count)]

    def edited(self, settings: Settings, painted: Painted) -> Result:
        """An edit that nothing cancels."""
        *_, result = self.editor.events(settings, painted)
        return result

    def example(self, prior: str) -> Painted:
        """The painting of a prior: an included one, else that of a sample of its own."""
        if prior in EXAMPLES:
            rgb = images.read(included.folder("examples") / EXAMPLES[prior]).rgb
        else:
            rgb = simulate(_rgb(self.pictures(prior)[0]))
        rgb = fitted(images.Picture(rgb), self.size(prior))
        return Painted(None, np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]))

    def pictures(self, prior: str) -> tuple[np.ndarray, ...]:
        """Samples of a prior, uint8 [h, w, C]."""
        with self.lock:
            if prior not in self.samples:
                grey = np.full((*self.size(prior), 4), (128, 128, 128, 255), np.uint8)
                many = (Settings(prior, t0=1.0, preset="live", seed=i) for i in range(SAMPLES))
                made = [self.edited(one, Painted(None, grey)).pictures[0] for one in many]
                self.samples[prior] = tuple(made)
            return self.samples[prior]

    def known(self, prior: str) -> bool:
        """Whether the colours of a prior are there without an edit."""
        return prior in self.samples

    def palette(self, prior: str) -> tuple[str, ...]:
        """The colours of a prior's pictures, from light to dark."""
        sheet = np.concatenate([_rgb(one) for one in self.pictures(prior)], axis=1)
        kind = {"method": Image.Quantize.MAXCOVERAGE, "dither": Image.Dither.NONE}
        few = Image.fromarray(sheet).quantize(COLOURS, **kind).getpalette()[: 3 * COLOURS]
        found = np.unique(np.array(few, np.uint8).reshape(-1, 3), axis=0)
        order = np.argsort(-to_oklab(found)[:, 0], kind="stable")
        return tuple("#" + "".join(f"{level:02x}" for level in found[i]) for i in order)


def _rgb(picture: np.ndarray) -> np.ndarray:
    return np.broadcast_to(picture, (*picture.shape[:2], 3))


def fitted(picture: Picture, size: tuple[int, int]) -> np.ndarray:
    """A picture over white at the size of the canvas, uint8 [h, w, 3]."""
    rgb = images.flatten(picture)
    return images.fit_rgb(rgb, images.place(rgb.shape[:2], size, "crop"))

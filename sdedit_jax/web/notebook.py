"""A canvas for notebooks: strokes by hand or by code, the picture and the mask that they make."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from sdedit_jax import images
from sdedit_jax.files.arrays import finite
from sdedit_jax.files.values import Real
from sdedit_jax.images import Size
from sdedit_jax.pipeline.arguments import named
from sdedit_jax.tasks import arrays

SIZE, BACKGROUND = (256, 256), "white"
PALETTE = ("#c81e1e", "#f4c81a", "#e8731a", "#d03a7a", "#6f4aa8", "#2f6fd0", "#3c6b2a", "#8fb35a")
PALETTE += ("#5a3212", "#f4f1ea", "#808080", "#101010")
WIDTH = Real(1, 16_384)
Stroke = Mapping[str, Any]
"""{"colour": "#rrggbb", "width": pixels, "points": [[x, y], ...]}."""


class Canvas:
    """A picture with strokes on it; made by `sj.canvas`, and shown as the result of a cell.

    Without anywidget, or outside of a notebook, the strokes are those of `stroke` alone.
    """

    def __init__(self, image: np.ndarray) -> None:
        """image: uint8 [H, W, 3], below the strokes."""
        self._image = image
        self._strokes: list[Stroke] = []
        self._widget = _widget(image)

    @property
    def strokes(self) -> list[Stroke]:
        """The strokes that are drawn, by hand or by `stroke`."""
        return list(self._strokes if self._widget is None else self._widget.strokes)

    def stroke(self, colour: str, width: float, points: Sequence[tuple[float, float]]) -> None:
        """Draw a line with round ends.

        Args:
            colour: "#rrggbb" or a CSS name.
            width: in pixels.
            points: (x, y), from the upper left corner; one point makes a dot.

        Raises:
            TypeError: a width that is no number. ValueError: an unknown colour, a width below 1, or
                points that are not (x, y).
        """
        WIDTH.check(width, "width")
        found = finite(points, "points", "(x, y), one or more")
        if found.ndim != 2 or found.shape[1] != 2 or not len(found):
            raise ValueError(f"points must be (x, y), one or more, got shape {found.shape}")
        made = {
            "colour": "#{:02x}{:02x}{:02x}".format(*images.color(colour, "colour")),
            "width": width,
        }
        made["points"] = found.tolist()
        self._set([*self.strokes, made])

    def clear(self) -> None:
        """Take away all strokes."""
        self._set([])

    @property
    def picture(self) -> np.ndarray:
        """The picture with the strokes, uint8 [H, W, 3]."""
        drawn = Image.fromarray(self._image)
        for one in self.strokes:
            _draw(drawn, one, one["colour"])
        return np.array(drawn)

    @property
    def mask(self) -> np.ndarray:
        """255 where there is a stroke, else 0: uint8 [H, W]."""
        drawn = Image.new("L", self._image.shape[1::-1])
        for one in self.strokes:
            _draw(drawn, one, 255)
        return np.array(drawn)

    def _set(self, strokes: list[Stroke]) -> None:
        if self._widget is None:
            self._strokes = strokes
        else:
            self._widget.strokes = strokes

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        """What a cell shows: the widget, and the picture where widgets are not shown."""
        still = base64.b64encode(images.png(self.picture)).decode()
        shown = {"image/png": still, "text/plain": "Canvas"}
        if self._widget is None:
            return shown
        bundle = self._widget._repr_mimebundle_(**options)
        return shown | (bundle[0] if isinstance(bundle, tuple) else bundle)


@named
def canvas(image: Any = None, size: Size | None = None, background: str | None = None) -> Canvas:
    """A canvas to paint on in a notebook.

    Args:
        image: a picture below the strokes, as in `edit`; None: an empty one.
        size: (H, W) of an empty canvas; None: (256, 256).
        background: the colour of an empty canvas, "#rrggbb" or a CSS name; None: white.

    Returns:
        a `Canvas`. Its `picture` is a guide for `edit`. On a photo, its `mask` is the place of the
        strokes.

    Raises:
        ValueError: an image with a size or background, an unknown colour, a size below 1 x 1.
    """
    if image is not None:
        if size is not None or background is not None:
            raise ValueError("image, size, background: the last two are of a canvas without image")
        (picture,) = arrays.read(image).pictures
        return Canvas(images.flatten(picture))
    height, width = images.check_size(SIZE if size is None else size)
    color = images.color(BACKGROUND if background is None else background, "background")
    plain = np.array(color, np.uint8)
    return Canvas(np.tile(plain, (height, width, 1)))


def _draw(drawn: Image.Image, stroke: Stroke, fill: Any) -> None:
    """A stroke with round joints and ends."""
    draw, width = ImageDraw.Draw(drawn), stroke["width"]
    points = [tuple(point) for point in stroke["points"]]
    draw.line(points, fill=fill, width=max(round(width), 1))
    for x, y in points:
        r = width / 2
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)


def _widget(image: np.ndarray) -> Any:
    """The widget of a picture; None where anywidget is not installed."""
    try:
        from sdedit_jax.web.widget import Drawing
    except ModuleNotFoundError as error:
        if error.name not in ("anywidget", "traitlets"):
            raise
        return None
    url = "data:image/png;base64," + base64.b64encode(images.png(image)).decode()
    return Drawing(picture=url, size=list(image.shape[:2]), palette=list(PALETTE))

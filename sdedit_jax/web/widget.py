"""The widget of a notebook's canvas, by anywidget; see notebook.py."""

from pathlib import Path

import anywidget
import traitlets


class Drawing(anywidget.AnyWidget):
    """A picture to draw on.

    Attributes:
        picture: its data URL. size: [height, width].
        palette: colours as "#rrggbb".
        strokes: {"colour", "width", "points": [[x, y], ...]}, shared with the page.
    """

    _esm = Path(__file__).parent / "notebook.js"
    picture = traitlets.Unicode().tag(sync=True)
    size = traitlets.List().tag(sync=True)
    palette = traitlets.List().tag(sync=True)
    strokes = traitlets.List().tag(sync=True)

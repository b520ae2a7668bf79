"""The input of an edit: a picture and a mask."""

from typing import Any, NamedTuple


class Guide(NamedTuple):
    """The picture where an edit starts, and the mask of what may change.

    Attributes:
        image: [H, W, C] in [-1, 1].
        mask: [H, W, 1] or [H, W, C] in [0, 1]. The edit may change pixels where it is 1; the image
            is kept where it is 0; fractions blend.
    """

    image: Any
    mask: Any

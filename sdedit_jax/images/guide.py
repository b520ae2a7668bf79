"""The input of an edit: a picture, a mask and a strength map."""

from typing import Any, NamedTuple

import numpy as np


class Guide(NamedTuple):
    """The picture where an edit starts, and what may change how much.

    Attributes:
        image: [H, W, C] in [-1, 1].
        mask: [H, W, 1] or [H, W, C] in [0, 1]. The edit may change pixels where it is 1; the image
            is kept where it is 0; fractions blend.
        strength_map: [H, W, 1] in [0, 1]: the share of t0 with which each pixel is edited; None: 1
            everywhere. Pixels with share 0 are kept.
    """

    image: Any
    mask: Any
    strength_map: Any = None

    def with_map(self) -> "Guide":
        """The guide with a strength map, of ones where it has none: one program then serves both,
        to the last digit."""
        if self.strength_map is not None:
            return self
        return self._replace(strength_map=np.ones((*self.image.shape[:2], 1), np.float32))

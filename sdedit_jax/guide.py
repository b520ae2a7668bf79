"""What the user wants changed, as the editors take it."""

from typing import Any, NamedTuple


class Guide(NamedTuple):
    """A picture to start from and where it may change.

    Attributes:
        image: [H, W, C] in [-1, 1].
        mask: [H, W, 1] or [H, W, C] in [0, 1]; 1 where the edit may change pixels, 0 where the
            image is kept, fractions blend.
    """

    image: Any
    mask: Any

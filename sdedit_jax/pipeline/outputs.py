"""From the result of an edit to the picture that is kept."""

from typing import NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import TaskInput

OUTPUTS = ("prior", "original")
"""The size of a result: that of the edit, or the input's own."""


class Output(NamedTuple):
    """A finished picture.

    Attributes:
        picture: uint8 [H, W, 3], at the requested size.
        fitted: uint8 [h, w, 3], at the size of the edit.
    """

    picture: np.ndarray
    fitted: np.ndarray


def given_out(picture: np.ndarray, item: TaskInput) -> np.ndarray:
    """A picture uint8 [H, W, 3] with the channels of the prior; a mask [H, W] as it is."""
    return picture if picture.ndim == 2 else picture[..., : item.channels]


def finished(image: np.ndarray, item: TaskInput, output: str = "prior", feather: int = 0) -> Output:
    """Paste what the mask keeps over the result, exactly.

    Args:
        image: the result [h, w, 3], or [h, w, 1] of a grey prior, in [-1, 1].
        output: one of OUTPUTS. feather: pixels of soft seam inside the editable region.

    Raises:
        FloatingPointError: the result is not finite.
    """
    if not np.isfinite(image).all():
        raise FloatingPointError("the prior gave values that are not finite (NaN or infinity)")
    result = np.broadcast_to(images.from_unit(image), item.fitted.shape)
    free = (item.mask > 0).astype(np.float32)
    fitted = images.paste(result, item.fitted, free, feather)
    if output == "prior":
        return Output(fitted, fitted)
    wide = (item.original_mask > 0).astype(np.float32)
    return Output(images.unfit(result, item.original, wide, item.placement, feather), fitted)

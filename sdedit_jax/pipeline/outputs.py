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
        picture: uint8 [H, W, 3], at the requested size; at the input's own size [H, W, 4] where
            the input has alpha.
        fitted: uint8 [h, w, 3], at the size of the edit.
    """

    picture: np.ndarray
    fitted: np.ndarray


def given_out(picture: np.ndarray, item: TaskInput) -> np.ndarray:
    """A picture uint8 [H, W, 3 or 4] with the channels of the prior; a mask [H, W] as it is."""
    grey = item.channels == 1 and picture.ndim == 3
    return picture[..., [0, *range(3, picture.shape[-1])]] if grey else picture


def finished(image: np.ndarray, item: TaskInput, output: str = "prior", feather: int = 0) -> Output:
    """Paste the result into the input by the mask; what the mask keeps is exact.

    Args:
        image: the result [h, w, 3], or [h, w, 1] of a grey prior, in [-1, 1].
        output: one of OUTPUTS. feather: pixels of soft seam inside the editable region.

    Raises:
        FloatingPointError: the result is not finite.
    """
    if not np.isfinite(image).all():
        raise FloatingPointError("the prior gave values that are not finite (NaN or infinity)")
    result = np.broadcast_to(images.from_unit(image), item.fitted.shape)
    fitted = images.paste(result, item.kept, item.mask, feather)
    if output == "prior":
        return Output(fitted, fitted)
    detail = None if item.detail is None else (item.detail, item.fitted)
    wide = images.unfit(result, item.original, item.original_mask, item.placement, feather, detail)
    return Output(_with_alpha(wide, item), fitted)


def _with_alpha(flat: np.ndarray, item: TaskInput) -> np.ndarray:
    """A result uint8 [H, W, 3] with the input's alpha channel, uint8 [H, W, 4], if it has one.

    Over the background it looks as without alpha. Pixels that may not change are those of the file.
    """
    source, alpha = item.photo.source, item.photo.source.alpha
    if alpha is None:
        return flat
    mask = images.in_window(item.original_mask, item.placement)
    if item.photo.opaque:
        alpha = np.rint(alpha + mask * (255.0 - alpha)).astype(np.uint8)
    seen = ((mask > 0) & (alpha > 0))[..., None]
    rgb = np.where(seen, images.under(flat, alpha, item.photo.background), source.rgb)
    return np.dstack([rgb, alpha])

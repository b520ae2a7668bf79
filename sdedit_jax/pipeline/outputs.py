"""From the result of an edit to the picture that is kept."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import TaskInput
from sdedit_jax.tasks.common import Color

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


class Stored(NamedTuple):
    """A finished picture that is read from its file when it is needed."""

    file: Path

    @property
    def picture(self) -> np.ndarray:
        """See `Output`.

        Raises:
            ValueError: the file cannot be read any more.
        """
        return images.read(self.file).pixels


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
    return Output(_with_alpha(wide, item, feather), fitted)


def _with_alpha(flat: np.ndarray, item: TaskInput, feather: int) -> np.ndarray:
    """A result uint8 [H, W, 3] with the input's alpha channel, uint8 [H, W, 4], if it has one.

    Over the background it looks as without alpha, where levels can show that. Pixels that do not
    change are those of the file.
    """
    photo, source = item.photo, item.photo.source
    if source.alpha is None:
        return flat
    alpha = source.alpha
    if photo.opaque:
        mask = images.feathered(images.in_window(item.original_mask, item.placement), feather)
        alpha = np.rint(alpha + mask * (255.0 - alpha)).astype(np.uint8)
    rgb = images.change_under(source, photo.background, flat.astype(int) - photo.rgb, alpha)
    return np.dstack([rgb, alpha])


def check_opaque(opaque: bool, output: str) -> None:
    """Raise ValueError where `opaque` has no effect: without an alpha channel of the input's."""
    if opaque and output != "original":
        raise ValueError(f"opaque is for output 'original', got output {output!r}")


def check_visible(item: TaskInput, output: str) -> TaskInput:
    """An input whose edit shows.

    Raises:
        ValueError: all that may change is transparent, and stays so.
    """
    alpha = item.photo.source.alpha
    if output == "original" and alpha is not None and not item.photo.opaque:
        if not alpha[item.original_mask > 0].any():
            raise ValueError(
                f"{item.id or 'image'}: all that may change is transparent, and output 'original'"
                " keeps the alpha channel; set opaque to True (--config.options.opaque=True)"
            )
    return item


def on_background(picture: np.ndarray, background: Color) -> np.ndarray:
    """A result as it looks over the input's background: uint8 [H, W, 3]."""
    if picture.shape[-1] != 4:
        return picture
    return images.flatten(images.Picture(picture[..., :3], picture[..., 3]), background)

"""What is painted on the canvas, and the task input that it makes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax import images
from sdedit_jax.tasks import (
    TaskInput,
    arrays,
    common,
    composite,
    inpaint,
    outpaint,
    photo,
    recolor,
    scribble,
    strokes,
)
from sdedit_jax.tasks.common import Photo, Size


class Painted(NamedTuple):
    """The layers of the canvas, all of its size but the patch.

    Attributes:
        picture: uint8 [h, w, 3], the photo beneath; None: a blank canvas.
        paint: uint8 [h, w, 4], the strokes.
        mask: uint8 [h, w], 255 = may change; None: none is painted.
        patch: uint8 [ph, pw, 4] or None.
        place: of the patch: x and y of its centre and its width, as shares of the canvas.
    """

    picture: np.ndarray | None
    paint: np.ndarray
    mask: np.ndarray | None = None
    patch: np.ndarray | None = None
    place: tuple[float, float, float] | None = None

    @property
    def size(self) -> Size:
        """(h, w)."""
        return self.paint.shape[:2]

    @property
    def photo(self) -> Photo:
        """The picture beneath, white where there is none."""
        blank = np.full((*self.size, 3), images.WHITE, np.uint8)
        rgb = blank if self.picture is None else np.ascontiguousarray(self.picture)
        return Photo(rgb, images.Picture(rgb))

    @property
    def together(self) -> Photo:
        """The picture with the strokes on it."""
        rgb = images.over(self.paint[..., :3], self.paint[..., 3], self.photo.rgb)
        return Photo(rgb, images.Picture(rgb))

    @property
    def free(self) -> np.ndarray | None:
        """The mask, float32 [h, w] in [0, 1].

        Raises:
            ValueError: nothing may change.
        """
        return None if self.mask is None else arrays.mask_of(self.mask, self.size)


def guide(
    task: str, painted: Painted, options: Mapping[str, Any], size: Size, fit: str, id: str
) -> TaskInput:
    """The input of an edit.

    Args:
        task: one of GUIDES. options: of the task, without files. size, fit: of the edit.

    Raises:
        ValueError: something is not painted that the task needs; the message starts with the
            layer.
    """
    _check(painted)
    return GUIDES[task](painted, options, size, fit, id)


def options_of(task: str, painted: Painted) -> dict[str, Any]:
    """The options of a task that the canvas gives."""
    if task == "composite" and painted.patch is not None and painted.place is not None:
        x, y, width = map(float, painted.place)
        return {"x": x, "y": y, "scale": width * painted.size[1] / painted.patch.shape[1]}
    return {"mask": ""} if task == "recolor" and painted.mask is not None else {}


def _check(painted: Painted) -> None:
    """Raise ValueError unless the layers have one size."""
    for name, channels in (("picture", (3,)), ("mask", ())):
        layer = getattr(painted, name)
        if layer is not None and layer.shape != (*painted.size, *channels):
            raise ValueError(
                f"{name} must have the size of the canvas, {images.size_text(painted.size)}"
                f" (height x width), got {images.size_text(layer.shape)}"
            )


def _strokes(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    return strokes.painted(id, painted.together, size, fit)


def _scribble(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    drawn, mask = painted.paint[..., 3] > 0, painted.free
    if mask is None and not drawn.any():
        raise ValueError("paint: draw some strokes on the picture")
    return scribble.scribbled(
        id, painted.photo, painted.together.rgb, drawn, mask, options["grow"], size, fit
    )


def _inpaint(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    mask = painted.free
    if mask is None:
        raise ValueError("mask: paint the region that may change")
    return inpaint.inpainted(id, painted.together, mask, options["fill"], size, fit)


def _outpaint(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    chosen = common.read_options(outpaint.Options, options)
    if not any(getattr(chosen, side) for side in outpaint.SIDES):
        raise ValueError("margins: choose how far the picture grows on at least one side")
    return outpaint.outpainted(id, painted.together, chosen, size, fit)


def _composite(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    if painted.patch is None or painted.place is None:
        raise ValueError("patch: drop a picture on the canvas, or load one as a patch")
    chosen, patch = common.read_options(composite.Options, options), painted.patch
    layer = images.Picture(np.ascontiguousarray(patch[..., :3]), patch[..., 3])
    return composite.composed(id, painted.together, layer, chosen, size, fit)


def _recolor(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    mask = painted.free
    chosen = common.read_options(recolor.Options, options)
    if not chosen.palette:
        raise ValueError("palette: choose at least one colour")
    return recolor.recolored(id, painted.together, mask, chosen, size, fit)


def _img2img(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    return photo.bounded(id, painted.together, painted.free, size, fit)


def _ledits(painted: Painted, options: Mapping, size: Size, fit: str, id: str) -> TaskInput:
    return photo.bounded(id, painted.together, None, size, fit)


GUIDES: Mapping[str, Callable[..., TaskInput]] = {
    "strokes": _strokes,
    "scribble": _scribble,
    "inpaint": _inpaint,
    "outpaint": _outpaint,
    "composite": _composite,
    "recolor": _recolor,
    "img2img": _img2img,
    "ledits": _ledits,
}
"""Task -> the input of what is painted."""

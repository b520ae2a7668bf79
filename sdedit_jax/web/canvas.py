"""The canvas of the page: what it sends, decoded and limited, and what it is sent to show."""

import base64
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from sdedit_jax import images, provenance
from sdedit_jax.files import json_file
from sdedit_jax.files.wording import brief
from sdedit_jax.web.guides import Painted

HERE = Path(__file__).parent
MOST_BYTES = 16 * 2**20
"""Of a file that a visitor opens, and of all that the canvas sends."""
MOST_PIXELS = 40_000_000
"""Of a picture that a visitor opens."""
LONG_SIDE = 256
"""Pixels of the canvas's longer side, at least."""
PNG = "data:image/png;base64,"
DECODING = threading.BoundedSemaphore(2)
"""Visitors whose layers are decoded at the same time."""


def component(value: str, size: tuple[int, int], palette: list[str]) -> gr.HTML:
    """The canvas; its value is JSON, see `decoded` and `shown`."""
    return gr.HTML(
        value,
        html_template=(HERE / "canvas.html").read_text(),
        css_template="",
        js_on_load=(HERE / "canvas.js").read_text(),
        apply_default_css=False,
        elem_id="canvas",
        size=list(size),
        palette=palette,
        tools=["brush"],
        answered=0,
        again=0,
        most_bytes=MOST_BYTES,
    )


def size_for(size: tuple[int, int]) -> tuple[int, int]:
    """The size of the canvas for edits of a size: a multiple of it, not below LONG_SIDE."""
    times = max(-(-LONG_SIDE // max(size)), 1)
    return size[0] * times, size[1] * times


# --- from the page --------------------------------------------------------------------------------


def decoded(text: Any, size: tuple[int, int]) -> Painted:
    """The layers that the canvas sends.

    Args:
        text: JSON with PNGs as data URLs. size: of the canvas.

    Raises:
        ValueError: more bytes or pixels than are allowed, or something else than the canvas sends.
    """
    sent = _sent(text)
    layers = {name: sent.get(name) for name in ("picture", "paint", "mask", "patch")}
    place = sent.get("place") if layers["patch"] else None
    try:
        place = None if place is None else tuple(float(n) for n in place)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(UNREADABLE) from None
    near = place is None or (len(place) == 3 and all(-4 < n < 4 for n in place) and place[2] > 0)
    if not near:
        raise ValueError(f"canvas: the patch must lie on the picture, got {brief(place)}")
    with DECODING:
        picture, paint, mask = (
            _layer(layers[name], name, size) for name in ("picture", "paint", "mask")
        )
        patch = _layer(layers["patch"], "patch", size, exact=False)
    return Painted(
        None if picture is None else picture[..., :3],
        np.zeros((*size, 4), np.uint8) if paint is None else paint,
        None if mask is None else np.where(mask[..., 3] > 127, 255, 0).astype(np.uint8),
        patch,
        place if patch is not None else None,
    )


UNREADABLE = "canvas: what it sent cannot be read; load the page again"


def _sent(text: Any) -> dict[str, Any]:
    """The object in what the canvas sends.

    Raises:
        ValueError: too many bytes, or another value.
    """
    if not isinstance(text, str) or len(text) > MOST_BYTES:
        raise ValueError(f"canvas: what it sends must be below {MOST_BYTES >> 20} MiB")
    try:
        sent = json_file.parse_text(text, "it", "canvas")
    except ValueError:
        raise ValueError(UNREADABLE) from None
    if not isinstance(sent, dict):
        raise ValueError(UNREADABLE)
    return sent


def _layer(url: Any, name: str, size: tuple[int, int], exact: bool = True) -> np.ndarray | None:
    """A PNG of the canvas, uint8 [h, w, 4]; None where there is none.

    Args:
        exact: whether it must have this size; else its sides are at most the longer one.
    """
    if url is None:
        return None
    picture = opened(_bytes(url, PNG, name), name, ("PNG",), max(size) ** 2)
    found = picture.rgb.shape[:2]
    if found != tuple(size) if exact else max(found) > max(size):
        wanted = images.size_text(size) if exact else f"at most {max(size)} pixels on each side"
        raise ValueError(
            f"canvas: {name} must be {wanted}, got {images.size_text(found)}; load the page again"
        )
    opaque = np.full(picture.rgb.shape[:2], 255, np.uint8)
    return np.dstack([picture.rgb, opaque if picture.alpha is None else picture.alpha])


def _bytes(url: Any, head: str, name: str) -> bytes:
    if not isinstance(url, str) or not url.startswith(head):
        raise ValueError(f"canvas: {name} must be a data URL")
    try:
        return base64.b64decode(url[len(head) :], validate=True)
    except ValueError:
        raise ValueError(f"canvas: {name} is damaged") from None


def file(sent: Any) -> bytes:
    """The bytes of a file that a visitor opens: of JSON {"data": base64}.

    Raises:
        ValueError: too many bytes.
    """
    data = sent.get("data") if isinstance(sent, Mapping) else None
    if not isinstance(data, str) or len(data) > MOST_BYTES * 4 // 3 + 4:
        raise ValueError(f"canvas: a file must be below {MOST_BYTES >> 20} MiB")
    return _bytes(data, "", "the file")


def opened(
    data: bytes,
    name: str = "file",
    formats: tuple[str, ...] = images.FORMATS,
    most: int = MOST_PIXELS,
) -> images.Picture:
    """The picture of a visitor's file.

    Raises:
        ValueError: it cannot be read, or has too many pixels.
    """
    try:
        return images.decode(data, "the file", formats, most=most)
    except ValueError as error:
        raise ValueError(f"canvas: {name}: {error}") from None


# --- to the page ----------------------------------------------------------------------------------


def url(png: bytes) -> str:
    """The data URL of a PNG."""
    return PNG + base64.b64encode(png).decode()


def shown(painted: Painted, *, edit: bool = True, undo: bool = True, touched: bool = True) -> str:
    """The value that makes the canvas show layers.

    Args:
        edit: whether the picture is then made again. undo: whether one can undo it.
        touched: whether it is the visitor's, not an example.
    """
    mask = painted.mask
    drawn = {"picture": painted.picture, "paint": painted.paint, "patch": painted.patch}
    drawn["mask"] = None if mask is None else np.dstack([*[mask] * 3, mask])
    layers: dict[str, Any] = {n: url(images.png(a)) for n, a in drawn.items() if a is not None}
    about = {"edit": edit, "undo": undo, "touched": touched}
    return json.dumps({"show": {**layers, "place": painted.place}, **about})


def is_touched(text: Any) -> bool:
    """Whether the canvas shows something of the visitor, not an example alone."""
    try:
        return bool(_sent(text).get("touched", True))
    except ValueError:
        return True


def number(text: Any) -> int:
    """The number under which the canvas sent its layers; 0 where it cannot be read."""
    try:
        found = _sent(text).get("number")
    except ValueError:
        return 0
    return found if type(found) is int and 0 <= found < 2**53 else 0


def is_result(data: bytes) -> bool:
    """Whether a file is a result with its settings."""
    try:
        return provenance.RECIPE in images.decode_text(data, "the file")
    except ValueError:
        return False


def with_patch(painted: Painted, picture: images.Picture) -> Painted:
    """What is painted with a picture as its patch, in the middle, not larger than the canvas."""
    size = picture.rgb.shape[:2]
    share = min(max(painted.size) / max(size), 1)
    small = images.resize_layer(picture, tuple(max(round(share * side), 1) for side in size))
    return painted._replace(patch=np.dstack([small.rgb, small.alpha]), place=(0.5, 0.5, 0.5))

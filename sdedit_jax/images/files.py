"""Picture files: reads PNG, JPEG and WebP, masks and PNG text; writes files atomically.

Colour profiles are kept and not applied. Only the first frame of an animation is read.
"""

import io
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from sdedit_jax.caution import warn
from sdedit_jax.files import door, picture_file
from sdedit_jax.files.json_file import SURROGATE
from sdedit_jax.files.paths import shown, user_path
from sdedit_jax.files.picture_file import FORMATS, JPEGS
from sdedit_jax.files.wording import of_system, reason
from sdedit_jax.images.fitting import mask_at
from sdedit_jax.images.pixels import Picture, flatten, from_levels, luminance

CHANNELS = ("auto", "luminance", "alpha")
"""What a mask is read from, see `mask_levels`."""
ONE_COLOR = 8
"""Levels by which the luminance of a brush may vary. Premultiplied colours are rounded."""
NEAR = 16
"""Levels by which JPEG may miss black and white in a mask."""
ORIENTATION = 0x0112  # the EXIF tag
TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
STRIP = 2**20
"""Pixels that are turned into an array at a time."""


def read(path: str | Path, field: str = "") -> Picture:
    """Read a PNG, JPEG or WebP file; see `decode`.

    Args:
        field: the setting that names the file, for messages.

    Raises:
        ValueError: the file is missing, empty, damaged, too large or of another format.
    """
    with door.naming(field):
        return decode(_bytes(path), str(path))


def decode(data: bytes, name: str, formats: Sequence[str] = FORMATS, most: int = 0) -> Picture:
    """Decode a picture file's bytes and apply its EXIF orientation.

    Grey, palette, 1-bit and CMYK pictures become RGB. 16-bit grey is rounded to 8 bits. Of 16-bit
    colour Pillow keeps the upper 8 bits.

    Args:
        data: content of the file.
        name: of the file, for messages.
        formats: the accepted ones, by Pillow's names.
        most: the accepted pixels; 0: Pillow's own limit.

    Raises:
        ValueError: empty, damaged, too large or of another format.
    """
    found = _picture(picture_file.load(data, name, formats, most))
    deep = ("16 bits per channel",) * picture_file.is_deep(data)
    return found._replace(lost=(*deep, *found.lost))


def from_pil(image: Image.Image, name: str = "image") -> Picture:
    """The picture of a PIL image, turned to its EXIF orientation.

    Raises:
        ValueError: it is empty, damaged, or of a mode with other values than levels.
    """
    if 0 in image.size or image.mode in ("F", "La", "RGBa", "LAB", "HSV"):
        raise ValueError(
            f"{name} must be a PIL image with pixels of mode L, LA, P, RGB, RGBA, CMYK or I;16,"
            f" got {image.size[0]}x{image.size[1]} of mode {image.mode}"
        )
    try:
        picture_file.decode(image)
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise ValueError(f"{name}: damaged or truncated ({reason(error)})") from error
    return _picture(image)


def _picture(image: Image.Image) -> Picture:
    """A Pillow image with its EXIF orientation applied."""
    exif = picture_file.exif(image)
    transpose = TRANSPOSES.get(exif.pop(ORIENTATION, None))
    profile, dpi, lost = _beside_pixels(image)
    if transpose is not None:
        size, image = image.size, image.transpose(transpose)
        dpi = dpi[::-1] if dpi and image.size != size else dpi
    lost = (*["EXIF"] * bool(exif), *lost)
    return _to_picture(image)._replace(profile=profile, dpi=dpi, lost=lost)


def _beside_pixels(image: Image.Image) -> tuple[bytes | None, tuple | None, tuple[str, ...]]:
    """The RGB profile and the resolution of a Pillow image, and names of its other data."""
    info, lost = image.info, []
    profile = info.get("icc_profile") or None
    if profile and profile[16:20] != b"RGB ":
        space = profile[16:20].decode("latin-1").strip()
        lost.append(f"the colour profile, which is for {space}")
        profile = None
    dpi = info.get("dpi")
    right = isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < d < 1e6 for d in dpi)
    names = {"xmp": "XMP", "XML:com.adobe.xmp": "XMP", "gamma": "gamma"}
    names |= {picture_file.LEFT_OUT: "text and a profile, one of them of more than 1 MiB"}
    names |= {"chromaticity": "chromaticity", "comment": "a comment", "photoshop": "IPTC"}
    lost += dict.fromkeys(words for name, words in names.items() if name in info)
    if getattr(image, "text", None):
        lost.append("text")
    if getattr(image, "n_frames", 1) > 1:
        lost.append(f"{image.n_frames - 1} further frames")
    return profile, tuple(map(float, dpi)) if right else None, tuple(lost)


def _bytes(path: str | Path) -> bytes:
    path = user_path(path)
    if SURROGATE.search(path.name):
        raise ValueError(f"cannot read {shown(path)}: the name is not UTF-8; rename the file")
    return door.read(path, most=door.PICTURE)


def _to_picture(image: Image.Image) -> Picture:
    """Colours and alpha of an image, a strip of it at a time: more would need much memory."""
    if image.mode.startswith("I"):
        return _from_deep(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    alpha = np.empty(rgb.shape[:2], np.uint8) if image.has_transparency_data else None
    for rows, part in _strips(image):
        if alpha is None:
            rgb[rows] = np.asarray(part.convert("RGB"))
        else:
            rgba = np.asarray(part.convert("RGBA"))
            rgb[rows], alpha[rows] = rgba[..., :3], rgba[..., 3]
    return Picture(rgb, alpha)


def _from_deep(image: Image.Image) -> Picture:
    """16-bit grey, rounded to 8 bits; values 0 and 1 are a label map, and stay."""
    clear = image.info.get("transparency")
    labels = max(int(np.asarray(part).max()) for _, part in _strips(image)) == 1
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    alpha = None if clear is None else np.empty(rgb.shape[:2], np.uint8)
    for rows, part in _strips(image):
        values = np.asarray(part).astype(np.int64)
        levels = np.clip(values, 0, 65535)
        grey = levels if labels else (levels + 128) // 257
        rgb[rows] = grey.astype(np.uint8)[..., None]
        if alpha is not None:
            alpha[rows] = np.where(values == clear, 0, 255)
    return Picture(rgb, alpha)


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    """Rows of an image with about STRIP pixels, and the image of these."""
    step = max(STRIP // image.width, 1)
    for top in range(0, image.height, step):
        end = min(top + step, image.height)
        yield slice(top, end), image.crop((0, top, image.width, end))


def read_mask(
    path: str | Path,
    size: tuple[int, int],
    invert: bool = False,
    channel: str = "auto",
    name: str = "mask",
) -> np.ndarray:
    """Read a mask file as float32 [H, W] in [0, 1]: white may change, greys are fractions.

    A mask of the levels 0 and 1 is a label map: 1 is white, see `from_levels`. A mask of another
    size and the same proportions is resized.

    JPEG cannot store pure black and white next to an edge. In JPEG data, levels within 16 of black
    or white are therefore moved there, and a label map is no mask. The format is detected from the
    data, not from the file's name.

    Args:
        path: picture file.
        size: (height, width) of the mask's picture, after EXIF rotation.
        invert: black (or transparent) may change instead of white (or opaque).
        channel: one of CHANNELS, see `mask_levels`.
        name: what it is, for messages.

    Raises:
        ValueError: the file cannot be read, has other proportions, or is JPEG and dark everywhere.
    """
    with door.naming(name):
        return decode_mask(_bytes(path), str(path), size, invert, channel, name)


def decode_mask(
    data: bytes,
    file: str,
    size: tuple[int, int],
    invert: bool = False,
    channel: str = "auto",
    name: str = "mask",
    formats: Sequence[str] = FORMATS,
) -> np.ndarray:
    """Decode a mask file's bytes; see `read_mask`.

    Args:
        file: its name, for messages.
        formats: the accepted ones, by Pillow's names.
    """
    image, name = picture_file.load(data, file, formats), f"{name} {file}"
    grey = mask_levels(_picture(image), name, channel)
    return mask_at(from_levels(pure_ends(grey, image.format, name), invert), size, name)


def pure_ends(grey: np.ndarray, format: str | None, name: str = "mask") -> np.ndarray:
    """The levels of a mask, uint8 [H, W]; in JPEG data those near black and white are moved there.

    Args:
        format: of the data; None: they are no file's.

    Raises:
        ValueError: all levels of JPEG data are near black, as in a label map.
    """
    if format not in JPEGS:
        return grey
    if 0 < grey.max(initial=0) <= NEAR:
        raise ValueError(
            f"{name}: its brightest level is {grey.max()} of 255, which JPEG does not keep apart"
            " from black; save a PNG of black and white (255)"
        )
    return np.where(grey <= NEAR, 0, np.where(grey >= 255 - NEAR, 255, grey)).astype(np.uint8)


def mask_levels(picture: Picture, name: str = "mask", channel: str = "auto") -> np.ndarray:
    """The levels of a mask, uint8 [H, W].

    Args:
        picture: of the mask.
        name: for messages.
        channel: "luminance" of its colours, with transparent pixels as black; its "alpha"; or
            "auto": alpha where it varies and the luminance of what is visible does not, but for
            a few levels.

    Raises:
        ValueError: "alpha" without an alpha channel.

    Warns:
        UserWarning: "auto" takes alpha, and the colour would not have given the same.
    """
    if channel not in CHANNELS:
        raise ValueError(
            f"task option mask_channel must be one of {list(CHANNELS)}, got {channel!r}"
        )
    grey = luminance(flatten(picture, (0, 0, 0)))
    if channel == "luminance" or (channel == "auto" and picture.alpha is None):
        return grey
    if picture.alpha is None:
        raise ValueError(
            f"{name} has no alpha channel; task option mask_channel must be 'auto' or 'luminance'"
        )
    visible = luminance(picture.rgb)[picture.alpha >= 128].astype(int)
    shape_in_alpha = np.ptp(picture.alpha) > 0 and visible.size and np.ptp(visible) <= ONE_COLOR
    if channel == "auto" and not shape_in_alpha:
        return grey
    if channel == "auto" and not np.array_equal(grey, picture.alpha):
        warn(
            f"{name}: its shape is in the alpha channel alone, so opaque may change;"
            " mask_channel 'luminance' reads the colours instead"
        )
    return picture.alpha


def read_region(
    path: str | Path, color: tuple[int, int, int], size: tuple[int, int], invert: bool = False
) -> np.ndarray:
    """Read the region of one colour in a segmentation map: float32 [H, W] of 0 and 1.

    Args:
        path: PNG or lossless WebP. In a grey map, the label 3 is the colour (3, 3, 3).
        color: of the region.
        size: see `read_mask`.
        invert: everything except this region.

    Raises:
        ValueError: the file cannot be read, has other proportions, is JPEG or 16-bit, or lacks the
            colour.
    """
    with door.naming("mask"):
        data = _bytes(path)
        image = picture_file.load(data, str(path), FORMATS)
    if image.format in JPEGS or picture_file.is_deep(data):
        what = "JPEG" if image.format in JPEGS else "16-bit"
        raise ValueError(f"segmentation map {path} is {what}; save it as 8-bit PNG")
    rgb = flatten(_picture(image), (0, 0, 0))
    where = (rgb == np.array(color, np.uint8)).all(axis=-1)
    if not where.any():
        some = rgb.reshape(-1, 3)[:: max(rgb.size // 2**22, 1)]
        found, counts = np.unique(some, axis=0, return_counts=True)
        most = ", ".join(_hex(found[i]) for i in np.argsort(-counts, kind="stable")[:8])
        raise ValueError(f"segmentation map {path} has no pixel of {_hex(color)}; it has {most}")
    return mask_at((where != invert).astype(np.float32), size, f"segmentation map {path}")


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(level):02x}" for level in color)


def read_text(path: str | Path) -> dict[str, str]:
    """Read the text chunks of a PNG file."""
    return decode_text(_bytes(path), str(path))


def decode_text(data: bytes, name: str) -> dict[str, str]:
    """The text chunks of a PNG file's bytes; `name` is for messages."""
    return picture_file.png_text(data, name)


def read_head(path: str | Path) -> dict[str, str]:
    """The text chunks before the pixels of a PNG file, which may be cut off after them.

    Raises:
        ValueError: it is no PNG file, or damaged.
    """
    info = picture_file.header(path).info
    return {str(key): str(value) for key, value in info.items() if isinstance(value, str)}


PART = "sdedit_jax part"
"""The PNG text chunk of guides and masks that are written beside results."""


def is_own(path: Path) -> bool:
    """Whether a picture was written beside results by an earlier run."""
    try:
        return PART in read_head(path)
    except ValueError:
        return False


def write_png(
    path: str | Path,
    pixels: np.ndarray,
    text: Mapping[str, str] | None = None,
    overwrite: bool = False,
    source: Picture | None = None,
) -> None:
    """Write a PNG; see `png` and `write_bytes`."""
    write_bytes(path, png(pixels, text, source), overwrite)


def png(
    pixels: np.ndarray, text: Mapping[str, str] | None = None, source: Picture | None = None
) -> bytes:
    """The bytes of a PNG of uint8 [H, W] or [H, W, C] with text chunks.

    Channels are grey, grey and alpha, RGB, or RGB and alpha.

    Args:
        source: the picture that the pixels were made from. Its resolution, and its profile where
            the pixels have colours, are written too.
    """
    pixels = np.asarray(pixels)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(f"pixels must be uint8 [H, W(, C)], got {pixels.dtype} {pixels.shape}")
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    more: dict[str, object] = {}
    if source is not None and source.dpi and pixels.shape[:2] == source.rgb.shape[:2]:
        more["dpi"] = source.dpi
    if source is not None and source.profile and pixels.ndim == 3 and pixels.shape[-1] > 2:
        more["icc_profile"] = source.profile
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=chunks, **more)
    return buffer.getvalue()


def webp(pixels: np.ndarray, quality: int = 90) -> bytes:
    """The bytes of a WebP of uint8 [H, W] or [H, W, C], smaller than a PNG and not exact.

    Args:
        quality: 0 to 100.
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


def write_bytes(path: str | Path, data: bytes, overwrite: bool = False) -> None:
    """Write a temporary file and rename it, so that the file is complete or absent.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the folder is missing, unwritable or full; the message names the path.
    """
    path = user_path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(_EXISTS.format(path))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            _write_through(temporary, data)
            _move(temporary, path, overwrite)
        finally:
            temporary.unlink(missing_ok=True)
    except FileExistsError:
        raise FileExistsError(_EXISTS.format(path)) from None
    except OSError as error:
        raise OSError(f"cannot write {path}: {of_system(error)}") from error


def remove_parts(folder: Path) -> None:
    """Remove the unfinished files that dead processes left in a folder that this process locks."""
    for file in folder.glob(".*.part"):
        if PART_OF.fullmatch(file.name) and not file.is_dir():
            file.unlink(missing_ok=True)


PART_OF = re.compile(r"\..+\.[0-9a-f]{8}\.part")
"""The name of an unfinished file."""

_EXISTS = "{} exists already; pass overwrite to replace it"


def _move(temporary: Path, path: Path, overwrite: bool) -> None:
    """Rename a finished file; without `overwrite` not even over one that has just appeared."""
    if not overwrite:
        try:
            os.link(temporary, path)
            return
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            pass
    os.replace(temporary, path)


def _write_through(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

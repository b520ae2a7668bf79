"""Picture files: reads PNG, JPEG and WebP, masks and PNG text; writes files atomically.

Colour profiles are not applied. Only the first frame of an animation is read.
"""

import io
import os
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, UnidentifiedImageError

from sdedit_jax.images.pixels import Picture, flatten, from_levels, luminance, size_text

FORMATS = ("PNG", "JPEG", "WEBP")
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
# exceptions that Pillow's decoders raise on damaged files
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError)
DAMAGE += (OverflowError, struct.error, zlib.error)


def read(path: str | Path) -> Picture:
    """Read a PNG, JPEG or WebP file; see `decode`.

    Raises:
        ValueError: the file is missing, empty, damaged, too large or of another format.
    """
    return decode(_bytes(Path(path)), str(path))


def decode(data: bytes, name: str, formats: Sequence[str] = FORMATS) -> Picture:
    """Decode a picture file's bytes and apply its EXIF orientation.

    Grey, palette, 1-bit and CMYK pictures become RGB. 16-bit grey is rounded to 8 bits. Of 16-bit
    colour Pillow keeps the upper 8 bits.

    Args:
        data: content of the file.
        name: of the file, for messages.
        formats: the accepted ones, by Pillow's names.

    Raises:
        ValueError: empty, damaged, too large or of another format.
    """
    return _picture(_open(data, name, formats))


def from_pil(image: Image.Image) -> Picture:
    """The picture of a PIL image, turned to its EXIF orientation."""
    return _picture(image)


def _picture(image: Image.Image) -> Picture:
    """A Pillow image with its EXIF orientation applied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF
        try:
            transpose = TRANSPOSES.get(image.getexif().get(ORIENTATION))
        except DAMAGE:  # the pixels are fine
            transpose = None
    turned = image if transpose is None else image.transpose(transpose)
    return _to_picture(turned, image.info)


def _bytes(path: Path) -> bytes:
    if not path.exists():
        raise ValueError(f"cannot read {path}: no such file")
    if path.is_dir():
        raise ValueError(f"cannot read {path}: it is a folder, not a picture")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error


def _open(data: bytes, name: str, formats: Sequence[str] = FORMATS) -> ImageFile.ImageFile:
    """The decoded Pillow image, or a ValueError that names the file and what is wrong."""
    if not data:
        raise ValueError(f"cannot read {name}: the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged EXIF, and above half of its size limit
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=formats)
            image.load()
        return image
    except UnidentifiedImageError as error:
        known = [format.replace("WEBP", "WebP") for format in formats]
        listed = " or ".join([", ".join(known[:-1]), known[-1]])
        raise ValueError(
            f"cannot read {name}: not a {listed} picture, or its header is damaged"
        ) from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise ValueError(f"cannot read {name}: larger than {most} megapixels") from error
    except DAMAGE as error:
        raise ValueError(f"cannot read {name}: damaged or truncated ({error})") from error


def _to_picture(image: Image.Image, info: Mapping) -> Picture:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        grey = ((np.clip(values, 0, 65535) + 128) // 257).astype(np.uint8)
        clear = info.get("transparency")
        alpha = None if clear is None else np.where(values == clear, 0, 255).astype(np.uint8)
        return Picture(np.repeat(grey[..., None], 3, axis=-1), alpha)
    if image.has_transparency_data:
        rgba = np.array(image.convert("RGBA"))
        return Picture(np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3]))
    return Picture(np.array(image.convert("RGB")))


def same_size(name: str, found: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Raise ValueError unless two sizes (height, width) are equal; `name` is that of `found`."""
    if tuple(found) != tuple(wanted):
        sizes = f"{size_text(found)} pixels (height x width), the picture has {size_text(wanted)}"
        raise ValueError(f"{name} has {sizes}; both must have the same size")


def read_mask(path: str | Path, size: tuple[int, int], invert: bool = False) -> np.ndarray:
    """Read a mask file as float32 [H, W] in [0, 1]: white may change, greys are fractions.

    A mask of the levels 0 and 1 is a label map: 1 is white, see `from_levels`.

    Colours are converted to luminance, transparent pixels to black. JPEG cannot store pure black
    and white next to an edge. In JPEG data, levels within 16 of black or white are therefore moved
    there. The format is detected from the data, not from the file's name.

    Args:
        path: picture file.
        size: (height, width) of the mask's picture, after EXIF rotation.
        invert: black may change instead of white.
    """
    image = _open(_bytes(Path(path)), str(path))
    grey = luminance(flatten(_picture(image), (0, 0, 0)))
    same_size(f"mask {path}", grey.shape, size)
    if image.format == "JPEG":
        grey = np.where(grey <= 16, 0, np.where(grey >= 239, 255, grey))
    mask = from_levels(grey, f"mask {path}")
    return 1 - mask if invert else mask


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
        ValueError: the file cannot be read, has another size, is JPEG or 16-bit, or lacks the
            colour.
    """
    image = _open(_bytes(Path(path)), str(path))
    if image.format == "JPEG" or image.mode.startswith("I"):
        what = "JPEG" if image.format == "JPEG" else "16-bit"
        raise ValueError(f"segmentation map {path} is {what}; save it as 8-bit PNG")
    rgb = flatten(_picture(image), (0, 0, 0))
    same_size(f"segmentation map {path}", rgb.shape[:2], size)
    where = (rgb == np.array(color, np.uint8)).all(axis=-1)
    if not where.any():
        found, counts = np.unique(rgb.reshape(-1, 3), axis=0, return_counts=True)
        most = ", ".join(_hex(found[i]) for i in np.argsort(-counts, kind="stable")[:8])
        raise ValueError(f"segmentation map {path} has no pixel of {_hex(color)}; it has {most}")
    return (where != invert).astype(np.float32)


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{int(level):02x}" for level in color)


def read_text(path: str | Path) -> dict[str, str]:
    """Read the text chunks of a PNG file."""
    image = _open(_bytes(Path(path)), str(path))
    if image.format != "PNG":
        raise ValueError(f"cannot read text from {path}: not a PNG file but {image.format}")
    return {str(key): str(value) for key, value in image.text.items()}


def write_png(
    path: str | Path,
    pixels: np.ndarray,
    text: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> None:
    """Write uint8 [H, W] or [H, W, C] of 1, 3 or 4 channels as PNG with text chunks.

    One channel is a grey PNG. See `write_bytes`.
    """
    pixels = np.asarray(pixels)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(f"pixels must be uint8 [H, W(, C)], got {pixels.dtype} {pixels.shape}")
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=chunks)
    write_bytes(path, buffer.getvalue(), overwrite)


def write_bytes(path: str | Path, data: bytes, overwrite: bool = False) -> None:
    """Write a temporary file and rename it, so that the file is complete or absent.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the folder is missing, unwritable or full; the message names the path.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; pass overwrite to replace it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            _write_through(temporary, data)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _write_through(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

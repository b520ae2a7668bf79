"""Picture files: reading PNG, JPEG and WebP, masks, PNG text; writing without half-written files.

Colour profiles are not applied; of an animation the first frame is read.
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

from sdedit_jax.images.pixels import Picture, flatten, luminance

FORMATS = ("PNG", "JPEG", "WEBP")
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError)
DAMAGE += (OverflowError, struct.error, zlib.error)


def read(path: str | Path) -> Picture:
    """The picture in a PNG, JPEG or WebP file; see `decode`.

    Raises:
        ValueError: the file is missing, empty, damaged, too large or of another format.
    """
    return decode(_bytes(Path(path)), str(path))


def decode(data: bytes, name: str, formats: Sequence[str] = FORMATS) -> Picture:
    """The picture in a file's bytes, turned as its EXIF orientation says.

    Grey, palette, 1-bit and CMYK pictures become RGB; 16-bit grey is rounded to 8 bits (Pillow
    itself reduces 16-bit colour to its upper 8 bits).

    Args:
        name: for messages. formats: allowed ones, as Pillow names them.

    Raises:
        ValueError: empty, damaged, too large or of another format.
    """
    return _picture(_open(data, name, formats))


def _picture(image: Image.Image) -> Picture:
    """A Pillow image, turned as its EXIF orientation says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of damaged EXIF
        try:
            turn = TURNS.get(image.getexif().get(ORIENTATION))
        except DAMAGE:  # the pixels are fine
            turn = None
    return _to_picture(image if turn is None else image.transpose(turn), image.info)


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
    """The decoded Pillow image, or a ValueError that says whose bytes are wrong, and how."""
    if not data:
        raise ValueError(f"cannot read {name}: the file is empty")
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged EXIF, and above half of the size that it refuses
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data), formats=formats)
            image.load()
        return image
    except UnidentifiedImageError as error:
        known = [format.replace("WEBP", "WebP") for format in formats]
        told = " or ".join([", ".join(known[:-1]), known[-1]])
        raise ValueError(
            f"cannot read {name}: not a {told} picture, or its header is damaged"
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
        hidden = info.get("transparency")
        alpha = None if hidden is None else np.where(values == hidden, 0, 255).astype(np.uint8)
        return Picture(np.repeat(grey[..., None], 3, axis=-1), alpha)
    if image.has_transparency_data:
        rgba = np.array(image.convert("RGBA"))
        return Picture(np.ascontiguousarray(rgba[..., :3]), np.ascontiguousarray(rgba[..., 3]))
    return Picture(np.array(image.convert("RGB")))


def same_size(name: str, found: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Raise ValueError unless two sizes (height, width) are equal; `name` says whose is `found`."""
    if tuple(found) != tuple(wanted):
        sizes = f"{found[1]}x{found[0]} pixels, the picture has {wanted[1]}x{wanted[0]}"
        raise ValueError(f"{name} has {sizes}; both must have the same size")


def read_mask(path: str | Path, size: tuple[int, int], invert: bool = False) -> np.ndarray:
    """A mask file as float32 [H, W] in [0, 1]: white = may change, greys are fractions.

    Colours count by their luminance, transparent pixels as black. JPEG cannot hold pure black
    and white beside an edge, so in JPEG files (whatever they are called) levels within 16 of the
    ends are moved there.

    Args:
        path: picture file.
        size: (height, width) of the picture that the mask belongs to, after EXIF rotation.
        invert: black = may change.
    """
    image = _open(_bytes(Path(path)), str(path))
    grey = luminance(flatten(_picture(image), (0, 0, 0)))
    same_size(f"mask {path}", grey.shape, size)
    if image.format == "JPEG":
        grey = np.where(grey <= 16, 0, np.where(grey >= 239, 255, grey))
    mask = grey.astype(np.float32) / np.float32(255)
    return 1 - mask if invert else mask


def read_region(
    path: str | Path, color: tuple[int, int, int], size: tuple[int, int], invert: bool = False
) -> np.ndarray:
    """The region of one colour in a segmentation map, as float32 [H, W] of 0 and 1.

    Args:
        path: PNG or WebP without loss; of a grey map the label 3 is the colour (3, 3, 3).
        color: of the region. size: see `read_mask`. invert: all but this region.

    Raises:
        ValueError: an unreadable file, of another size, with loss or 16 bits, or without this
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
    """The text chunks of a PNG file."""
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
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4] as PNG with text chunks; see `write_bytes`."""
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ValueError(f"pixels must be uint8 [H, W(, C)], got {pixels.dtype} {pixels.shape}")
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=chunks)
    write_bytes(path, buffer.getvalue(), overwrite)


def write_bytes(path: str | Path, data: bytes, overwrite: bool = False) -> None:
    """Write a file aside, then rename it, so that no half-written file ever bears its name.

    Raises:
        FileExistsError: the file is there and `overwrite` is False.
        OSError: the folder is missing, unwritable or full; the message names the path.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; it is replaced only with overwrite")
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            _write_through(aside, data)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _write_through(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

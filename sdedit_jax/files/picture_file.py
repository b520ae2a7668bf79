"""Picture files by Pillow: what a picture needs is known, and limited, before it is decoded."""

import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from sdedit_jax.files import door
from sdedit_jax.files.paths import shown
from sdedit_jax.files.wording import reason

FORMATS = ("PNG", "JPEG", "WEBP")
JPEGS = ("JPEG", "MPO")
"""Pillow's names of JPEG; MPO has more pictures behind the first one, as phones write it."""
MEMORY = 2**30
"""Bytes of memory that a picture may need while it is decoded, see `needed`."""
STORED = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes in which Pillow stores a pixel; those of other modes have four."""
ARRAY = 4
"""Bytes of a pixel in our arrays: colours and alpha."""
WEBP = 14
"""Bytes for a pixel in which libwebp decodes: canvases, coded pixels and a copy."""
MOST_RUNS = 2**24
"""Bytes, and pixels, of a BMP with run lengths, which Pillow decodes slowly."""
MOST_EXIF = 2**22
"""Bytes of the values of EXIF."""
EXIF = b"Exif\0\0"
"""The beginning of EXIF in a JPEG."""
RAW_EXIF = "Raw profile type exif"
"""The PNG text with EXIF as hexadecimal digits behind three lines."""
PNG_RATIO = 1032
"""Bytes of pixels for each byte of a PNG; deflate reaches no more."""
JPEG_SHARE = 2048
"""Pixels for each byte of a JPEG: a block of 8x8 has at least one bit, and four blocks one."""
APP1, SCAN = b"\xe1", b"\xda"
"""Kinds of segments of a JPEG: EXIF or XMP, and the pixels."""
EMPTY = (b"\0", b"\xc8", *(bytes([n]) for n in (*range(0xD0, 0xDA), *range(0xF0, 0x100))))
"""Kinds without content."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"tEXt", b"zTXt", b"iTXt")
LEFT_OUT = "left out"
"""See `load`."""


def load(data: bytes, name: str, formats: Sequence[str], most: int = 0) -> ImageFile.ImageFile:
    """The decoded image of a file's bytes.

    A PNG whose texts or profile are larger than Pillow's limits is decoded without them, and has
    LEFT_OUT in its `info`.

    Args:
        name: of the file, for messages. formats: the accepted ones, by Pillow's names.
        most: the accepted pixels; 0: Pillow's own limit.

    Raises:
        ValueError: empty, damaged, too large or of another format.
    """
    try:
        return _decoded(data, name, formats, most)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
    chunks = (chunk for kind, chunk in _chunks(data, name) if kind not in (*TEXTS, b"iCCP"))
    image = _decoded(SIGNATURE + b"".join(chunks), name, formats, most)
    image.info[LEFT_OUT] = True
    return image


def _decoded(data: bytes, name: str, formats: Sequence[str], most: int) -> ImageFile.ImageFile:
    """The image of a file's bytes, with all that they hold; see `load`."""
    if not data:
        raise ValueError(f"cannot read {shown(name)}: the file is empty")
    image = opened(data, name, formats, most)
    try:
        with _quiet():
            decode(image)
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise _damaged(name, error) from error
    if image.format == "PNG" and "transparency" in image.info:
        image.info["transparency"] = _clear(image, data[24])
    return image


def is_deep(data: bytes) -> bool:
    """Whether the bytes of a file are those of a PNG with 16 bits per channel."""
    return data.startswith(SIGNATURE) and data[24:25] == b"\x10"


def _clear(image: Image.Image, depth: int) -> object:
    """The transparent level or colour of a PNG, in 8 bits as its pixels; Pillow keeps its depth."""
    clear = image.info["transparency"]
    if image.mode == "L" and depth < 8:
        return clear * 255 // (2**depth - 1)
    return tuple(level >> 8 for level in clear) if image.mode == "RGB" and depth == 16 else clear


def decode(image: Image.Image) -> None:
    """Decode the pixels of an image; Pillow raises many kinds of errors for damaged ones.

    Raises:
        ValueError: they are numbers of colours, and the file has no colours.
    """
    image.load()
    if image.mode in ("P", "PA") and not (image.palette and image.palette.palette):
        raise ValueError("it has no palette")


def header(path: str | Path) -> ImageFile.ImageFile:
    """The image of a PNG file whose pixels are not decoded, with what stands before them.

    Raises:
        ValueError: see door.check and `load`.
    """
    with door.open_file(path, most=door.PICTURE) as file:
        return _opened(file, str(path), ("PNG",))


def opened(data: bytes, name: str, formats: Sequence[str], most: int = 0) -> ImageFile.ImageFile:
    """The image of a file's bytes, checked and not decoded; see `load`."""
    _check_exif(data, name)
    image = _opened(io.BytesIO(data), name, formats, most)
    _check(image, data, name)
    return image


def png_text(data: bytes, name: str) -> dict[str, str]:
    """The text chunks of a PNG; its pixels are not decoded.

    Raises:
        ValueError: no PNG, or a damaged one.
    """
    if not data.startswith(SIGNATURE):
        format = _opened(io.BytesIO(data), name, FORMATS).format if data else "empty"
        raise ValueError(f"cannot read text from {shown(name)}: not a PNG file but {format}")
    texts = b"".join(chunk for kind, chunk in _chunks(data, name) if kind in TEXTS)
    dot = io.BytesIO()
    Image.new("L", (1, 1)).save(dot, "PNG")
    end = len(dot.getvalue()) - 12
    image = _decoded(dot.getvalue()[:end] + texts + dot.getvalue()[end:], name, ("PNG",), 0)
    return {str(key): str(value) for key, value in image.text.items()}  # type: ignore[attr-defined]


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """(kind, whole chunk) of a PNG up to its end."""
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        head = data[at : at + 8]
        size = struct.unpack(">I", head[:4])[0] if len(head) == 8 else 0
        if len(head) < 8 or at + size + 12 > len(data):
            raise _damaged(name, "it ends within a chunk")
        kind = head[4:]
        yield kind, data[at : at + size + 12]
        at += size + 12


def exif(image: Image.Image) -> dict[int, object]:
    """The EXIF tags of an image; {} where they are damaged, for the pixels are fine."""
    try:
        raw = image.info.get(RAW_EXIF, "").split("\n")[3:]
        if _claimed(image.info.get("exif") or bytes.fromhex("".join(raw))) > MOST_EXIF:
            return {}
        with _quiet():
            return dict(image.getexif())
    except Exception:  # Pillow raises many kinds for damaged EXIF
        return {}


def _check_exif(data: bytes, name: str) -> None:
    """Raise ValueError for a JPEG with too much EXIF, which Pillow reads as it opens the file."""
    parts = (part for kind, part in _segments(data) if kind == APP1)
    found = b"".join(part[len(EXIF) :] for part in parts if part.startswith(EXIF))
    if _claimed(found) > MOST_EXIF:
        raise _damaged(name, f"its EXIF claims more than {MOST_EXIF} bytes")


def _segments(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, content) before the pixels of a JPEG; bytes between them are skipped, as by Pillow."""
    at = 2 if data.startswith(b"\xff\xd8") else len(data)
    while (at := data.find(b"\xff", at)) >= 0:
        kind = data[at + 1 : at + 2]
        if kind in (b"", SCAN):
            return
        at += 1 if kind == b"\xff" else 2
        if kind not in EMPTY:
            size = max(int.from_bytes(data[at : at + 2], "big"), 2)
            yield kind, data[at + 2 : at + size]
            at += size


def _claimed(data: bytes) -> int:
    """Bytes of the values in the first directory of EXIF; values may lie on each other."""
    for _ in range(2):  # some programs write it twice
        data = data.removeprefix(EXIF)
    if data.startswith(EXIF):  # Pillow removes each, in a time that grows with the square
        return MOST_EXIF + 1
    order = "<" if data[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
    except struct.error:
        return 0
    tags = data[at + 2 : at + 2 + 12 * count]
    found = struct.iter_unpack(f"{order}HHII", tags[: len(tags) // 12 * 12])
    return sum(min(8 * length, len(data)) for _, _, length, _ in found)


def needed(image: Image.Image) -> int:
    """Bytes of memory that an image needs while it is decoded and turned into our arrays."""
    return image.width * image.height * _per_pixel(image.mode, image.format, len(image.getbands()))


def _per_pixel(mode: str, format: str | None, bands: int) -> int:
    # JPEG of several scans keeps two bytes for each level
    decoder = {**dict.fromkeys(JPEGS, 2 * bands), "WEBP": WEBP}.get(format or "", 0)
    return STORED.get(mode, 4) + max(ARRAY, decoder)


def most_pixels(mode: str = "RGBA", format: str = "PNG") -> int:
    """Pixels of the largest picture that `load` accepts."""
    own = MEMORY // _per_pixel(mode, format, Image.getmodebands(mode))
    return min(own, 2 * (Image.MAX_IMAGE_PIXELS or own))


def _check(image: Image.Image, data: bytes, name: str) -> None:
    """Raise ValueError for a picture that needs too much, or whose bytes are too few for it."""
    pixels, size = image.width * image.height, f"{image.height}x{image.width}"
    what = f"{size} pixels (height x width) of mode {image.mode}"
    if needed(image) > MEMORY:
        raise ValueError(
            f"cannot read {shown(name)}: {what} need {needed(image) >> 20} MiB while they are"
            f" decoded, at most {MEMORY >> 20} MiB are allowed"
        )
    runs = image.format == "BMP" and image.info.get("compression") in (1, 2)
    if runs and max(pixels, len(data)) > MOST_RUNS:
        raise ValueError(
            f"cannot read {shown(name)}: {what} as run lengths; at most {MOST_RUNS} may be"
        )
    if len(data) < _least(image, data):
        raise _damaged(name, f"{len(data)} bytes are too few for {what}")


def _least(image: Image.Image, data: bytes) -> int:
    """Bytes that the file of an image has at least."""
    pixels = image.width * image.height
    if image.format == "PNG":
        channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(data[25], 1)
        return pixels * channels * data[24] // 8 // PNG_RATIO
    return pixels // JPEG_SHARE if image.format in JPEGS else 0


def _opened(file: object, name: str, formats: Sequence[str], most: int = 0) -> ImageFile.ImageFile:
    try:
        with _quiet():
            image = Image.open(file, formats=tuple(formats))  # type: ignore[arg-type]
            if most and image.width * image.height > most:
                raise Image.DecompressionBombError
        return image
    except UnidentifiedImageError as error:
        known = [format.replace("WEBP", "WebP") for format in formats]
        listed = " or ".join(filter(None, [", ".join(known[:-1]), known[-1]]))
        raise ValueError(
            f"cannot read {shown(name)}: not a {listed} picture, or its header is damaged"
        ) from error
    except Image.DecompressionBombError as error:
        bound = most or 2 * (Image.MAX_IMAGE_PIXELS or 0)
        most_text = f"{bound // 10**6} megapixels" if bound >= 10**6 else f"{bound} pixels"
        raise ValueError(f"cannot read {shown(name)}: larger than {most_text}") from error
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise _damaged(name, error) from error


def _quiet() -> warnings.catch_warnings:
    """Pillow warns of damaged EXIF, and above half of its own limit."""
    return warnings.catch_warnings(action="ignore")


def _damaged(name: str, error: Exception | str) -> ValueError:
    return ValueError(f"cannot read {shown(name)}: damaged or truncated ({reason(error)})")

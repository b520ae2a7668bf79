"""Picture files: what they need is known before they are decoded, and damage is one error."""

import io
import os
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sdedit_jax import images
from sdedit_jax.files import picture_file

READABLE = ("PNG", "JPEG", "WEBP", "BMP")


def encoded(mode="RGB", kind="PNG", size=(20, 24), **more):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    image = Image.fromarray(rng.integers(0, 256, (*size, 4), np.uint8)).convert(mode)
    image.save(buffer, kind, **more)
    return buffer.getvalue()


def chunk(kind, data):
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png(height, width, *chunks, depth=8, color=2):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def with_size(jpeg, height, width):
    """A JPEG that claims another size."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


@pytest.mark.parametrize(
    ("mode", "format", "megapixels"),
    [("RGB", "PNG", 100), ("RGB", "JPEG", 100), ("L", "JPEG", 170), ("RGB", "WEBP", 50)],
)
def test_large_photos_are_accepted(mode, format, megapixels):
    assert picture_file.most_pixels(mode, format) >= megapixels * 10**6


def test_a_picture_that_needs_too_much_memory_is_refused_before_it_is_decoded():
    filler = chunk(b"IDAT", b"\0" * 10**6)
    with pytest.raises(ValueError, match="13000x13000 .* of mode RGBA need 1289 MiB .* 1024 MiB"):
        images.decode(png(13000, 13000, filler, color=6), "x.png")


@pytest.mark.parametrize(
    "data",
    [png(8000, 8000, chunk(b"IDAT", b"\0" * 100)), with_size(encoded(kind="JPEG"), 8000, 8000)],
    ids=["png", "jpeg"],
)
def test_a_file_with_too_few_bytes_for_its_size_is_refused(data):
    with pytest.raises(ValueError, match="bytes are too few for 8000x8000 pixels"):
        images.decode(data, "x")


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_plain_picture_has_enough_bytes(kind):
    """The smallest files that encoders write."""
    buffer = io.BytesIO()
    Image.new("L", (3000, 3000)).save(buffer, kind, quality=1, optimize=True, progressive=True)
    assert images.decode(buffer.getvalue(), "x").rgb.shape == (3000, 3000, 3)


def test_run_lengths_of_a_bmp_are_limited():
    head = b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 1024)
    head += struct.pack("<IiiHHIIiiII", 40, 10000, 10000, 1, 8, 1, 0, 0, 0, 256, 0)
    with pytest.raises(ValueError, match="as run lengths; at most"):
        images.decode(head + bytes(1024) + b"\0\1", "x.bmp", READABLE)


def test_text_is_read_without_the_pixels():
    """Before and behind the pixels; the pixels here cannot be decoded."""
    before, behind = chunk(b"tEXt", b"a\0one"), chunk(b"zTXt", b"b\0\0" + zlib.compress(b"two"))
    data = png(50000, 50000, before, chunk(b"IDAT", b"torn"), behind)
    assert images.decode_text(data, "x") == {"a": "one", "b": "two"}
    with pytest.raises(ValueError, match="damaged or truncated"):
        images.decode_text(data[:-6], "x")


def test_text_and_exif_that_grow_are_no_harm():
    bomb = chunk(b"zTXt", b"b\0\0" + zlib.compress(bytes(10**8)))
    with pytest.raises(ValueError, match="too large"):
        images.decode_text(png(1, 1, bomb), "x")
    tags = b"".join(struct.pack("<HHII", n, 7, 10**6, 8) for n in range(60000))
    exif = b"II*\0" + struct.pack("<IH", 8, 60000) + tags + bytes(10**6)
    pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
    assert images.decode(png(1, 1, chunk(b"eXIf", exif), pixels), "x").rgb.shape == (1, 1, 3)


def test_results_are_found_by_their_header(tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    images.write_png(tmp_path / "own.png", pixels, {images.PART: "mask"})
    images.write_png(tmp_path / "other.png", pixels)
    os.mkfifo(tmp_path / "pipe.png")
    found = [path.name for path in sorted(tmp_path.iterdir()) if images.is_own(path)]
    assert found == ["own.png"]


@pytest.mark.parametrize("kind", READABLE)
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK"])
def test_damaged_files_raise_one_kind_of_error(mode, kind):
    try:
        whole = encoded(mode, kind)
    except OSError:
        pytest.skip(f"{kind} has no {mode}")
    draws = random.Random(0)
    damaged = [whole[:k] for k in range(0, len(whole), max(len(whole) // 20, 1))]
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(draws.choice([1, 3])):
            data[draws.randrange(min(len(data), 200))] = draws.randrange(256)
        damaged.append(bytes(data))
    for data in damaged:
        try:
            images.decode(data, "x", READABLE)
            images.decode_text(data, "x")
        except ValueError as error:
            assert str(error).startswith("cannot read") and "\n" not in str(error)


def test_a_glob_of_links_in_circles_ends(tmp_path):
    (tmp_path / "in/deep").mkdir(parents=True)
    for folder in (tmp_path / "in", tmp_path / "in/deep"):
        images.write_png(folder / "a.png", np.zeros((2, 2, 3), np.uint8))
        for name in ("x", "y"):
            (folder / name).symlink_to(tmp_path / "in")
    found = images.find_inputs(tmp_path / "in/**/*.png")
    assert found == [tmp_path / "in/a.png", tmp_path / "in/deep/a.png"]

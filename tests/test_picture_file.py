"""Picture files: what they need is known before they are decoded, and damage is one error."""

import io
import os
import random
import struct
import time
import tracemalloc
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


def exif_of(size, offset=8):
    """EXIF of so many bytes, with 3000 tags that each claim half of them."""
    tags = b"".join(struct.pack("<HHII", n, 7, size // 2, offset) for n in range(3000))
    return (b"II*\0" + struct.pack("<IH", 8, 3000) + tags).ljust(size, b"\0")


def test_exif_in_many_segments_of_a_jpeg_is_refused_before_it_is_read():
    """Pillow joins the segments; bytes between them do not hide them."""
    plain, whole = encoded(kind="JPEG"), exif_of(200_000)
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x/>"
    xmp = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    assert images.decode(plain[:2] + xmp + plain[2:], "x").lost == ("XMP",)
    for between in (b"", b"\xff", b"xyz", b"\xff\0", b"\xff\xd0"):
        parts = [b"Exif\0\0" + whole[at : at + 50_000] for at in range(0, len(whole), 50_000)]
        parts[0] = b"Exif\0\0" + parts[0]
        marked = (b"\xff\xe1" + struct.pack(">H", len(p) + 2) + p + between for p in parts)
        data = plain[:2] + xmp + b"".join(marked) + plain[20:]
        with pytest.raises(ValueError, match="its EXIF claims more than"):
            images.decode(data, "x")


def test_exif_of_many_beginnings_ends():
    pixels = chunk(b"IDAT", zlib.compress(bytes(4)))
    data = png(1, 1, chunk(b"eXIf", b"Exif\0\0" * 10**6), pixels)
    start = time.monotonic()
    assert images.decode(data, "x").rgb.shape == (1, 1, 3)
    assert time.monotonic() - start < 5


def test_exif_in_a_text_is_limited_too():
    text = "\nexif\n1\n" + exif_of(400_000).hex()
    packed = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text.encode()))
    data = png(1, 1, packed, chunk(b"IDAT", zlib.compress(bytes(4))))
    tracemalloc.start()
    assert images.decode(data, "x").rgb.shape == (1, 1, 3)
    assert tracemalloc.get_traced_memory()[1] < 2**25
    tracemalloc.stop()


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP"])
def test_a_picture_with_a_large_text_or_profile_is_read_without_them(kind, behind):
    start = {"zTXt": b"a\0\0", "iTXt": b"a\0\1\0\0\0", "iCCP": b"a\0\0"}[kind]
    large = chunk(kind.encode(), start + zlib.compress(bytes(2 * 10**6)))
    pixels = chunk(b"IDAT", zlib.compress(b"\0abc"))
    found = images.decode(png(1, 1, *((pixels, large) if behind else (large, pixels))), "x")
    assert found.rgb.tobytes() == b"abc"
    assert found.lost == ("text and a profile, one of them of more than 1 MiB",)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png_has_its_depth(depth):
    """One pixel for each level; of 16 bits, 256 of them. The one of level 1 is transparent."""
    count, step = min(2**depth, 256), 257 if depth == 16 else 1
    bits = "".join(f"{n * step:0{depth}b}" for n in range(count))
    bits = bits.ljust(-(-len(bits) // 8) * 8, "0")
    row = b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    clear = chunk(b"tRNS", struct.pack(">H", step))
    data = png(1, count, clear, chunk(b"IDAT", zlib.compress(row)), depth=depth, color=0)
    found = images.decode(data, "x")
    assert found.alpha.tolist() == [[0 if n == 1 else 255 for n in range(count)]]
    levels = [round(n * 255 / (count - 1)) for n in range(count)]
    assert found.rgb[0, :, 0].tolist() == levels


def test_the_transparent_colour_of_16_bits_is_that_of_the_pixels():
    row = b"\0" + struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0x3434, 0x7878, 0xBCBC)
    clear = chunk(b"tRNS", struct.pack(">3H", 0x1234, 0x5678, 0x9ABC))
    data = png(1, 2, clear, chunk(b"IDAT", zlib.compress(row)), depth=16)
    assert images.decode(data, "x").alpha.tolist() == [[0, 255]]
    buffer = data.replace(clear, b"")
    assert images.decode(buffer, "x").alpha is None


def test_a_jpeg_with_a_second_picture_is_a_jpeg(tmp_path):
    """Phones write it, with a gain map. Its masks get pure ends, and it is no map of segments."""
    mask = Image.fromarray(np.kron([[0, 1], [1, 0]], np.full((16, 16), 255)).astype(np.uint8))
    mask.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[mask], quality=20)
    levels = np.asarray(Image.open(tmp_path / "two.jpg").convert("L"))
    read = images.read_mask(tmp_path / "two.jpg", (32, 32))
    assert (read[levels <= 16] == 0).all() and (read[levels >= 239] == 1).all()
    with pytest.raises(ValueError, match="is JPEG; save it as 8-bit PNG"):
        images.read_region(tmp_path / "two.jpg", (255, 255, 255), (32, 32))


def test_a_map_of_segments_of_16_bits_is_refused(tmp_path):
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + bytes(6)))
    (tmp_path / "map.png").write_bytes(png(1, 1, pixels, depth=16))
    with pytest.raises(ValueError, match="is 16-bit; save it as 8-bit PNG"):
        images.read_region(tmp_path / "map.png", (0, 0, 0), (1, 1))


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


def test_a_pattern_of_many_parts_ends(tmp_path):
    folder = tmp_path / "/".join("abcdefghijkl")
    folder.mkdir(parents=True)
    images.write_png(folder / "a.png", np.zeros((2, 2, 3), np.uint8))
    for pattern in ("**/" * 40 + "*.png", "**/*/" * 6 + "a.png", "**"):
        assert images.find_inputs(f"{tmp_path}/{pattern}") == [folder / "a.png"]
    with pytest.raises(ValueError, match="input: no PNG, JPEG or WebP picture matches"):
        images.find_inputs("*/" * 2000 + "x")

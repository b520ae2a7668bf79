"""Pictures: each chunk damaged, sizes that lie, bombs, and what only looks like a picture."""

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

from fuzz.case import PHOTO, edit, kind
from fuzz.mutate import damaged

PNG = b"\x89PNG\r\n\x1a\n"


def place(rng, data, ending, note):
    """The picture in the place of an input, a mask or another picture of an edit."""
    name = f"bad.{ending}"
    Path(name).write_bytes(data)
    where = rng.choice(("input", "input", "input", "mask", "patch", "map", "sketch", "recolor"))
    argv = {
        "input": edit(input=name),
        "mask": edit("inpaint", options__mask=name, options__fill="original"),
        "patch": edit("composite", options__patch=name),
        "map": edit(options__strength_map=name),
        "sketch": edit("sketch", input=name),
        "recolor": edit("recolor", options__reference=name),
    }[where]
    from fuzz.case import Case

    return Case(argv, ("bad", "task option", "patch at"), f"{where}: {note}")


def chunk(name, data, crc=None):
    crc = zlib.crc32(name + data) if crc is None else crc
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)


def chunks(data):
    """[name, content] of the chunks of a PNG."""
    found, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        found.append([data[at + 4 : at + 8], data[at + 8 : at + 8 + size]])
        at += 12 + size
    return found


def joined(parts):
    return PNG + b"".join(chunk(name, content) for name, content in parts)


def header(width, height, depth=8, color=2, compression=0, filtering=0, interlace=0):
    return struct.pack(">IIBBBBB", width, height, depth, color, compression, filtering, interlace)


@kind
def png_chunks(rng):
    """Each chunk damaged, removed, doubled or moved; checksums are right in most."""
    parts = chunks(Path(PHOTO).read_bytes())
    parts[1:1] = [[b"tEXt", b"sdedit_jax\0{}"], [b"pHYs", bytes(9)], [b"gAMA", b"\0\0\xb1\x8f"]]
    i, how = rng.below(len(parts)), rng.choice(("damage", "remove", "double", "move", "crc"))
    told = f"{how} {parts[i][0].decode()}"
    if how == "damage":
        parts[i][1], more = damaged(rng, parts[i][1])
        told += f" {more}"
    elif how == "remove":
        del parts[i]
    elif how == "double":
        parts.insert(rng.below(len(parts)), parts[i])
    elif how == "move":
        parts.insert(rng.below(len(parts)), parts.pop(i))
    data = joined(parts)
    if how == "crc":
        data, _ = damaged(rng, data)
    return place(rng, data, "png", told)


@kind
def png_header(rng):
    """Sizes, depths and colours that the pixels do not have."""
    sizes = (0, 1, 16, 17, 5000, 13_380, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
    width, height = rng.choice(sizes), rng.choice(sizes)
    depth, color = rng.choice((1, 2, 4, 8, 16, 16, 0, 32)), rng.choice((0, 2, 3, 4, 6, 6, 1, 9))
    one = [rng.choice((0, 0, 0, 0, 1, 255)) for _ in range(3)]
    pixels = zlib.compress(bytes(rng.choice((10, 900, 10**7))))
    parts = [(b"IHDR", header(width, height, depth, color, *one)), (b"IDAT", pixels)]
    parts += [(b"IEND", b"")]
    return place(rng, joined(parts), "png", f"IHDR {width}x{height} {depth} bits, colour {color}")


@kind
def png_bomb(rng):
    """Many megapixels out of a small file, and texts and profiles that unpack to much."""
    how = rng.choice(("pixels", "pixels", "zTXt", "iTXt", "iCCP", "many texts", "long tEXt"))
    zeros = zlib.compress(bytes(2 * 10**8), 9) if how in ("zTXt", "iTXt", "iCCP") else b""
    parts = chunks(Path(PHOTO).read_bytes())
    if how == "pixels":
        side = rng.choice((5000, 9000, 13_300))
        depth, color, bytes_ = rng.choice(((8, 2, 3), (16, 6, 8), (8, 6, 4), (1, 0, 1 / 8)))
        rows = packed_zeros(int(side * (side * bytes_ + 1)))
        parts = [[b"IHDR", header(side, side, depth, color)], [b"IDAT", rows], [b"IEND", b""]]
        how += f" {side}x{side} {depth} bits"
    elif how == "zTXt":
        parts.insert(1, [b"zTXt", b"sdedit_jax\0\0" + zeros])
    elif how == "iTXt":
        parts.insert(1, [b"iTXt", b"sdedit_jax\0\1\0\0\0" + zeros])
    elif how == "iCCP":
        parts.insert(1, [b"iCCP", b"icc\0\0" + zeros])
    elif how == "many texts":
        parts[1:1] = [[b"tEXt", b"k%d\0v" % i] for i in range(100_000)]
    else:
        parts.insert(1, [b"tEXt", b"sdedit_jax\0" + b"x" * 5 * 10**7])
    return place(rng, joined(parts), "png", how)


def packed_zeros(count):
    """zlib data of many zeros, made in pieces."""
    pack = zlib.compressobj(1)
    piece, out = bytes(10**7), []
    for _ in range(count // len(piece)):
        out.append(pack.compress(piece))
    out += [pack.compress(bytes(count % len(piece))), pack.flush()]
    return b"".join(out)


@kind
def png_modes(rng):
    """Palettes that are missing or short, animated pictures, transparency of a wrong length."""
    how = rng.choice(("no palette", "short palette", "apng", "tRNS", "interlaced", "1x1", "thin"))
    parts = chunks(Path(PHOTO).read_bytes())
    if how in ("no palette", "short palette"):
        rows = zlib.compress(b"".join(b"\0" + rng.bytes(16) for _ in range(16)))
        parts = [[b"IHDR", header(16, 16, 8, 3)], [b"IDAT", rows], [b"IEND", b""]]
        if how == "short palette":
            parts.insert(1, [b"PLTE", rng.bytes(rng.choice((0, 1, 3, 5, 769)))])
    elif how == "apng":
        control = struct.pack(">II", rng.choice((0, 1, 2**31 - 1, 2**32 - 1)), 0)
        frame = struct.pack(">IIIIIHHBB", 0, rng.choice((0, 16, 2**31)), 16, 0, 0, 1, 0, 9, 9)
        parts[1:1] = [[b"acTL", control], [b"fcTL", frame]]
        parts.insert(-1, [b"fdAT", struct.pack(">I", 1) + rng.bytes(50)])
    elif how == "tRNS":
        parts.insert(1, [b"tRNS", rng.bytes(rng.choice((0, 1, 2, 5, 6, 300)))])
    elif how == "interlaced":
        parts[0][1] = header(16, 16, interlace=1)
    else:
        size = (1, 1) if how == "1x1" else rng.choice(((1, 60_000), (60_000, 1), (1, 17)))
        buffer = io.BytesIO()
        Image.new(rng.choice(("RGB", "1", "L", "LA", "RGBA", "P", "I;16")), size).save(
            buffer, "PNG"
        )
        return place(rng, buffer.getvalue(), "png", f"{how} {size}")
    return place(rng, joined(parts), "png", how)


def segments(data):
    """[marker, content] of the segments of a JPEG up to its pixels, and the rest."""
    found, at = [], 2
    while data[at + 1] != 0xDA:
        (size,) = struct.unpack(">H", data[at + 2 : at + 4])
        found.append([data[at + 1], data[at + 4 : at + 2 + size]])
        at += 2 + size
    return found, data[at:]


def jpeg(parts, rest):
    out = b"\xff\xd8"
    for marker, content in parts:
        out += bytes([0xFF, marker]) + struct.pack(">H", (len(content) + 2) % 65536) + content
    return out + rest


@kind
def jpegs(rng):
    """Segments damaged, sizes that lie, EXIF and profiles that are broken."""
    parts, rest = segments(Path("stock/photo.jpg").read_bytes())
    how = rng.choice(("damage", "damage", "size", "size", "exif", "icc", "rest", "bytes", "order"))
    told = how
    if how == "damage":
        i = rng.below(len(parts))
        parts[i][1], more = damaged(rng, parts[i][1])
        parts[i][1] = parts[i][1][:65_000]
        told += f" {parts[i][0]:x} {more}"
    elif how == "size":
        side = rng.choice((0, 1, 13_000, 65_535)), rng.choice((0, 16, 13_000, 65_535))
        frame = next(one for one in parts if one[0] in (0xC0, 0xC2))
        frame[1] = frame[1][:1] + struct.pack(">HH", *side) + frame[1][5:]
        told += f" {side}"
    elif how == "exif":
        exif = b"Exif\0\0" + rng.choice((b"II*\0", b"MM\0*", b"")) + rng.bytes(rng.choice((0, 40)))
        parts.insert(1, [0xE1, exif])
    elif how == "icc":
        number, count = rng.choice((0, 1, 255)), rng.choice((0, 1, 2, 255))
        parts.insert(1, [0xE2, b"ICC_PROFILE\0" + bytes([number, count]) + rng.bytes(200)])
    elif how == "rest":
        rest, more = damaged(rng, rest)
        told += f" {more}"
    elif how == "order":
        parts.insert(0, parts.pop(rng.below(len(parts))))
    data = jpeg(parts, rest)
    if how == "bytes":
        data, told = damaged(rng, data)
    return place(rng, data, rng.choice(("jpg", "jpeg", "JPG", "png")), told)


@kind
def webps(rng):
    """RIFF chunks damaged, canvases of other sizes, animations."""
    data = Path("stock/photo.webp").read_bytes()
    how = rng.choice(("bytes", "bytes", "early", "canvas", "animation", "size"))
    if how == "bytes":
        data, how = damaged(rng, data)
    elif how == "early":
        head, more = damaged(rng, data[:40])
        data = head + data[40:]
    elif how == "size":
        size = rng.choice((0, 1, 2**31, 2**32 - 1))
        data = data[:4] + struct.pack("<I", size) + data[8:]
    elif how == "canvas":
        size = rng.choice((0, 15, 16_383, 2**24 - 1))
        extended = bytes([rng.below(64), 0, 0, 0]) + struct.pack("<I", size)[:3] * 2
        body = b"WEBPVP8X" + struct.pack("<I", 10) + extended + data[12:]
        data = b"RIFF" + struct.pack("<I", len(body)) + body
    else:
        frames = [Image.new("RGB", (16, 16), (40 * i, 0, 0)) for i in range(3)]
        buffer = io.BytesIO()
        frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
        data = buffer.getvalue()
        data = damaged(rng, data)[0] if rng.chance(0.7) else data
    return place(rng, data, "webp", how)


OTHERS = (
    *(b"", b"\0" * 100, b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7"),
    *(b"<!doctype html><html></html>", b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]>"),
    *(b"GIF89a\1\0\1\0\0\0\0", b"BM" + b"\0" * 60, b"II*\0\x08\0\0\0", b"PK\5\6" + b"\0" * 18),
    *(b"\xff\xd8", b"\xff\xd8\xff", PNG, b"RIFF\0\0\0\0WEBP", b"P6 9999999 9999999 255\n"),
    *(b"8BPS\0\1", b"\x80\x02N.", b"\0\0\0 ftypavif", b"\0\0\1\0\1\0", b"%!PS\n(/etc/passwd) run"),
)


@kind
def other_pictures(rng):
    """Data of another kind under the name of a picture, and names that are odd."""
    data = rng.choice(OTHERS)
    if rng.chance(0.3):
        buffer = io.BytesIO()
        format = rng.choice(("BMP", "GIF", "TIFF", "PPM", "ICO"))
        Image.new("RGB", (16, 16)).save(buffer, format)
        data = buffer.getvalue()
    if rng.chance(0.2):
        data += rng.bytes(1000)
    return place(rng, data, rng.choice(("png", "jpg", "webp", "PNG")), f"{data[:20]!r}")

"""ArrayRecord files: what the library writes is indexed, what expands too far is refused."""

import numpy as np
import pytest

from sdedit_jax.files import array_record_file

pytest.importorskip("array_record")


def written(file, rows, options="group_size:1"):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(file), options)
    for row in rows:
        writer.write(row)
    writer.close()
    return file


def refused(file, most=2**40):
    with pytest.raises(ValueError) as caught:
        array_record_file.check(file, "data", most)
    text = str(caught.value)
    assert text.startswith("data: ") and "\n" not in text and str(file) in text, text
    return text


@pytest.mark.parametrize("options", ["", ",uncompressed", ",zstd:9"])
@pytest.mark.parametrize("group", [1, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 7, 20])
def test_files_of_the_library(count, group, options, tmp_path):
    """All records are found, and their bytes counted, wherever headers of blocks stand."""
    rng = np.random.default_rng(0)
    rows = [rng.bytes(int(size)) for size in rng.integers(0, 50_000, count)]
    file = written(tmp_path / "rows", rows, f"group_size:{group}{options}")
    size = sum(map(len, rows))
    array_record_file.check(file, "data", size)
    if size:
        assert f"have {size} bytes, allowed are {size - 1}" in refused(file, size - 1)
    found = array_record_file.index(file, "data")
    assert len(found.places) == 1 + -(-count // group)
    for i in range(count):
        array_record_file.check_record(file, found, i, "data")
    with pytest.raises(ValueError, match="it has no chunk"):
        array_record_file.check_record(file, found, count + group, "data")


def test_many_chunks(tmp_path):
    """A footer of several blocks."""
    file = written(tmp_path / "rows", [b"ab"] * 30_000)
    array_record_file.check(file, "data", 60_000)
    assert len(array_record_file.index(file, "data").places) == 30_001


def test_a_record_that_expands_too_far(tmp_path, monkeypatch):
    monkeypatch.setattr(array_record_file, "ANYWAY", 2**22)
    zeros = written(tmp_path / "zeros", [b"a" * 100, bytes(2**23), b"b"])
    assert zeros.stat().st_size < 2**18
    assert f"to {2**23} bytes, at most {2**22} are allowed" in refused(zeros)
    found = array_record_file.index(zeros, "data")
    array_record_file.check_record(zeros, found, 0, "data")
    with pytest.raises(ValueError, match="expands from"):
        array_record_file.check_record(zeros, found, 1, "data")
    noise = written(tmp_path / "noise", [np.random.default_rng(0).bytes(2**23)])
    array_record_file.check(noise, "data", 2**23)
    monkeypatch.setattr(array_record_file, "MOST", 2**22)
    assert "at most" in refused(noise)


@pytest.mark.parametrize("options", ["group_size:1,brotli", "group_size:1,transpose:true"])
def test_other_compressions_are_named(options, tmp_path):
    assert "allowed is" in refused(written(tmp_path / "rows", [b"a" * 1000] * 3, options))


def test_flips_and_cuts_are_refused_or_harmless(tmp_path):
    rng, file = np.random.default_rng(0), tmp_path / "rows"
    whole = written(file, [rng.bytes(3000) for _ in range(40)]).read_bytes()
    for _ in range(200):
        data = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.integers(0, 4)):
            last = len(data) - 2**16 if rng.random() < 0.5 else 0
            data[min(max(last, 0) + int(rng.integers(200)), len(data) - 1)] ^= 1 << rng.integers(8)
        file.write_bytes(data)
        try:
            array_record_file.check(file, "data", 2**40)
        except ValueError as error:
            assert str(error).startswith(f"data: cannot read {file}: ")
            assert "\n" not in str(error)


# --- files made by hand, whose hashes only the library compares -----------------------------------


def varint(value):
    more = b""
    while value > 127:
        more += bytes([value & 127 | 128])
        value >>= 7
    return more + bytes([value])


def message(*fields):
    """A protocol buffer of (number, whole number or bytes) pairs."""
    found = b""
    for number, value in fields:
        text = isinstance(value, bytes)
        found += varint(number * 8 + 2 * text) + (varint(len(value)) + value if text else b"")
        found += b"" if text else varint(value)
    return found


def chunk(rows, kind=b"r", compression=b"\0", count=None, expanded=None, size=None):
    sizes = b"".join(varint(len(row)) for row in rows)
    data = compression + varint(len(sizes)) + sizes + b"".join(rows)
    count = len(rows) if count is None else count
    expanded = sum(map(len, rows)) if expanded is None else expanded
    head = bytes(8) + (len(data) if size is None else size).to_bytes(8, "little") + bytes(8)
    return head + kind + count.to_bytes(7, "little") + expanded.to_bytes(8, "little") + data


def rows_of(places, counts=None):
    counts = counts or [1] * len(places)
    return [message((1, p), (2, 5), (3, n)) for p, n in zip(places, counts, strict=True)]


def made(file, footer=None, last=None, body=None, metadata=None, rows=None):
    """A file of two records at 64 and 200, or of other parts."""
    body = body or (chunk([b"a" * 5]).ljust(136, b"\0") + chunk([b"b" * 5]).ljust(100, b"\0"))
    rows = rows_of([64, 200]) if rows is None else rows
    metadata = message((1, 1), (2, 2), (3, 2)) if metadata is None else metadata
    footer = footer or chunk([message((1, metadata)), *rows])
    data = bytes(64) + body
    place = len(data)
    data = (data + footer).ljust(2**16, b"\0")
    last = last or chunk([message((1, place), (2, 0x71930E704FDAE05E))] * 3)
    file.write_bytes(data + (bytes(24) + last).ljust(2**16, b"\0"))
    return file


def test_a_file_made_by_hand(tmp_path):
    array_record_file.check(made(tmp_path / "rows"), "data", 10)


HUGE = 2**63
BAD = {
    "large record": {"body": chunk([b"a" * 5], expanded=2**40).ljust(236, b"\0")},
    "many records": {"body": chunk([b"a" * 5], count=2**50).ljust(236, b"\0")},
    "large data": {"body": chunk([b"a" * 5], size=HUGE).ljust(236, b"\0")},
    "transposed": {"body": chunk([b"a" * 5], kind=b"t").ljust(236, b"\0")},
    "other type": {"body": chunk([b"a" * 5], kind=b"x").ljust(236, b"\0")},
    "backwards": {"rows": rows_of([200, 64])},
    "twice": {"rows": rows_of([64, 64])},
    "in the footer": {"rows": rows_of([64, 310])},
    "behind": {"rows": rows_of([64, HUGE])},
    "no place": {"rows": [message((3, 1))] * 2},
    "no records": {"rows": rows_of([64, 200], [0, 0])},
    "other groups": {"rows": rows_of([64, 200], [1, 2])},
    "field twice": {"rows": [message((1, 64), (1, 64), (3, 1)), rows_of([200])[0]]},
    "long tag": {"rows": [b"\x88\x80\x80\x80\x10\x40", *rows_of([200])]},
    "text as number": {"rows": [message((1, b"ab"), (3, 1)), *rows_of([200])]},
    "cut off": {"rows": [b"\x0a\x7f", *rows_of([200])]},
    "fixed": {"rows": [b"\x09" + bytes(8), *rows_of([200])]},
    "large count": {"metadata": message((1, 1), (2, 2**60), (3, 2))},
    "large rows": {"metadata": message((1, 1), (2, 2), (3, 2**60))},
    "number as metadata": {"footer": chunk([message((1, 3)), *rows_of([64, 200])])},
    "no footer": {"footer": chunk([])},
    "large footer": {"footer": chunk([message((1, b"")), *rows_of([64])], expanded=2**40)},
    "longer sizes": {"footer": chunk([b"ab"], count=3)},
    "another size": {"footer": chunk([b"ab"], expanded=3)},
    "zstandard": {"footer": chunk([b"ab"], compression=b"z")},
    "brotli": {"footer": chunk([b"ab"], compression=b"b")},
    "snappy": {"footer": chunk([b"ab"], compression=b"s")},
    "no postscript": {"last": bytes(100)},
    "footer behind": {"last": chunk([message((1, HUGE))])},
    "footer in the last": {"last": chunk([message((1, 2**16))])},
    "footer is it": {"last": chunk([message((1, 2**16 + 24))])},
    "footer is the file": {"last": chunk([message()])},
}


@pytest.mark.parametrize("kind", BAD)
def test_footers_that_claim_what_is_not_there(kind, tmp_path):
    refused(made(tmp_path / "rows", **BAD[kind]))


@pytest.mark.parametrize("size", [0, 100, 2**16, 2**17, 2**42])
def test_files_of_zeros(size, tmp_path):
    with open(tmp_path / "rows", "wb") as file:
        file.truncate(size)
    refused(tmp_path / "rows")


def test_a_gap_between_chunks_is_not_read(tmp_path):
    """The library reserves what is between the places of two chunks."""
    with open(tmp_path / "rows", "wb") as file:
        for place, data in (
            (64, chunk([b"a" * 5])),
            (2**34, chunk([message((1, message((1, 1), (2, 1), (3, 1)))), *rows_of([64])])),
            (2**35 - 2**16 + 24, chunk([message((1, 2**34))])),
        ):
            file.seek(place)
            file.write(data)
        file.truncate(2**35)
    refused(tmp_path / "rows")

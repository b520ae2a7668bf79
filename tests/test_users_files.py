"""Zips, arrays and copies of users' files: what they claim is checked."""

import io
import os
import struct
import subprocess
import tracemalloc
import zipfile
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from sdedit_jax import images
from sdedit_jax.data.files import Files
from sdedit_jax.files import array_file, door, json_file, table, zip_file


def zipped(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return path


def test_a_member_and_a_directory_with_wrong_claims_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", a=b"12345", b=bytes(100_000))
    with zip_file.open_zip(path, "data") as archive:
        assert zip_file.read(archive, "a", "data", 5) == b"12345"
        with pytest.raises(ValueError, match="data: cannot read a in .*a.zip: it claims 5 bytes"):
            zip_file.read(archive, "a", "data", 4)
        archive.getinfo("b").file_size = 1000
        with pytest.raises(ValueError, match="other bytes|CRC"):
            zip_file.read(archive, "b", "data", 10**6)
    data = bytearray(path.read_bytes())
    end = data.rindex(b"PK\5\6")
    data[end + 12 : end + 16] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(data)
    with pytest.raises(ValueError, match="data: cannot open .*a.zip"):
        zip_file.open_zip(path, "data")


def test_a_directory_of_many_members_is_refused_before_they_are_made(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", **{f"{i:05d}": b"" for i in range(400)})
    monkeypatch.setattr(zip_file, "MEMBERS", 300)
    with pytest.raises(ValueError, match="more than 300 members"):
        zip_file.open_zip(path, "data")


def test_damaged_zips_raise_one_kind_of_error(tmp_path, rng):
    path = zipped(tmp_path / "a.zip", a=b"12345" * 50, b=b"x")
    whole = path.read_bytes()
    for case in range(400):
        data = bytearray(whole)
        for at in rng.integers(0, len(whole), 1 + case % 4):
            data[at] = rng.integers(256)
        path.write_bytes(data if case % 5 else data[: rng.integers(len(data))])
        try:
            with zip_file.open_zip(path, "data") as archive:
                for name in archive.namelist():
                    zip_file.read(archive, name, "data", 10**6)
        except ValueError as error:
            assert str(error).startswith("data: cannot") and "\n" not in str(error)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_compressions_that_can_be_read_in_pieces_are_allowed(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as made:
        made.writestr("a", b"12345")
    with zip_file.open_zip(tmp_path / "a.zip", "data") as archive:
        with pytest.raises(ValueError, match="its compression is not allowed; save the zip with"):
            zip_file.read(archive, "a", "data", 10)


def test_a_member_is_read_in_pieces(tmp_path, monkeypatch, rng):
    """One of more bytes than the directory may have, and one with more behind its claim."""
    monkeypatch.setattr(zip_file, "DIRECTORY", 50_000)
    monkeypatch.setattr(door, "PIECE", 1000)
    whole = rng.bytes(100_000)
    with zip_file.open_zip(zipped(tmp_path / "a.zip", a=whole, b=bytes(10**7)), "data") as archive:
        assert zip_file.read(archive, "a", "data", 10**6) == whole
        archive.getinfo("b").file_size = 10
        tracemalloc.start()
        with pytest.raises(ValueError, match="CRC"):
            zip_file.read(archive, "b", "data", 10**8)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < 10**6


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """The folder with "top", in which a.png lies deeper than Python's limit of recursion.

    It is removed by rm, for Python's own removal is recursive.
    """
    (tmp_path / "top").mkdir()
    monkeypatch.chdir(tmp_path / "top")
    for _ in range(1100):
        os.mkdir("d")
        os.chdir("d")
    Path("a.png").write_bytes(b"")
    os.chdir(tmp_path)
    yield tmp_path
    subprocess.run(["rm", "-rf", tmp_path / "top"], check=True)


@pytest.mark.usefixtures("deep")
def test_folders_may_lie_deep():
    inside = "/".join(["top", *["d"] * 1100, "a.png"])
    assert [str(path) for path in door.check_folder("top")] == [inside]
    assert list(map(str, images.find_inputs("top/**/*.png"))) == [inside]
    assert Files(Path("top")).names() == [inside.removeprefix("top/")]


def test_a_folder_that_cannot_be_listed_gives_a_warning(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.png").write_bytes(b"")
    scan = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("/in"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.warns(UserWarning, match="cannot list .*/in: Permission denied; its files are"):
        assert Files(tmp_path).names() == ["a.png"]


def test_files_that_cannot_be_read_now_are_named():
    """A regular file for the check; each read of it fails."""
    for read in (lambda file: door.read_head(file, 4, "data"), door.read):
        with pytest.raises(ValueError, match="cannot read /proc/self/mem: Input/output error"):
            read("/proc/self/mem")
    with pytest.raises(ValueError, match="data: cannot read /proc/self/mem: Input/output error"):
        next(json_file.lines("/proc/self/mem", "data"))


def test_blank_lines_before_a_table_take_no_memory():
    blank = (line for line in ["\n"] * 10**6)
    tracemalloc.start()
    rows = table.rows_of(chain(blank, ["a;b\n", "1;2\n"]), "x", "data")
    assert list(rows) == [(10**6 + 1, ["a", "b"]), (10**6 + 2, ["1", "2"])]
    assert tracemalloc.get_traced_memory()[1] < 10**6
    tracemalloc.stop()


def npy(array, **more):
    buffer = io.BytesIO()
    np.save(buffer, array, **more)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", ["f4", "<i8", ">f8", "?", "u1"])
def test_arrays_are_those_of_numpy(tmp_path, rng, dtype):
    array = rng.integers(0, 2, (3, 4)).astype(dtype)
    (tmp_path / "a.npy").write_bytes(npy(array))
    found = array_file.read(tmp_path / "a.npy", "workdir")
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    buffer = io.BytesIO()
    np.savez(buffer, **{"x/y": array, "z": array[:0]})
    both = array_file.members(buffer.getvalue(), "a.npz", "workdir", 10**6)
    assert sorted(both) == ["x/y", "z"] and both["z"].shape == (0, 4)


@pytest.mark.parametrize(
    "data",
    [
        npy(np.zeros(4)).replace(b"(4,)", b"(10**12,)"),
        npy(np.zeros(4)).replace(b"(4,), }" + b" " * 11, b"(1000000000000,), }"),
        npy(np.zeros(4)).replace(b"(4,)", b"(-4)"),
        npy(np.array([print, 1], object), allow_pickle=True),
        npy(np.zeros(3, [("a", "f4")])),
        npy(np.zeros(4))[:-1],
        npy(np.zeros(4)) + b"x",
        b"",
    ],
)
def test_arrays_with_wrong_claims_are_refused(tmp_path, data):
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ValueError, match="workdir: cannot read .*a.npy: "):
        array_file.read(tmp_path / "a.npy", "workdir")


def test_a_copy_is_that_of_a_regular_file(tmp_path):
    (tmp_path / "a").write_bytes(b"123")
    door.copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"123"
    with pytest.raises(ValueError, match="credits: cannot read .*a: it has 3 bytes, at most 2"):
        door.copy(tmp_path / "a", tmp_path / "c", "credits", 2)
    os.mkfifo(tmp_path / "pipe")
    for source in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(ValueError, match="not a file"):
            door.copy(source, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_a_file_that_has_nothing_now_is_an_empty_one(monkeypatch, tmp_path):
    """Python gives None for one of /proc that would block."""

    class Waiting(io.BytesIO):
        def read(self, size=-1):
            return None

    monkeypatch.setattr(door, "open_file", lambda *_: Waiting())
    assert door.read_head(tmp_path, 8) == door.read(tmp_path) == b""

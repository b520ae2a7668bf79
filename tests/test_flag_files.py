"""Flag files stand for their lines; whatever else they are is one line with their name."""

import os

import pytest

from sdedit_jax.modes import flag_files


def test_a_file_stands_for_its_lines(tmp_path):
    (tmp_path / "a").write_text(f"# x\n\n--b=1\n  --c\n// y\n--flagfile={tmp_path / 'b'}\n")
    (tmp_path / "b").write_text("--d=2\n")
    given = ["--first", f"--flagfile={tmp_path / 'a'}", "-flagfile", str(tmp_path / "b"), "--last"]
    wanted = ["--first", "--b=1", "--c", "--d=2", "--d=2", "--last"]
    assert flag_files.expanded(given) == wanted
    assert flag_files.expanded(["--", "--flagfile=no"]) == ["--", "--flagfile=no"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("missing", "no such file"),
        ("folder", "it is a folder"),
        ("pipe", "it is a named pipe"),
        ("/dev/zero", "it is a device"),
        ("", "it is a folder"),
        ("itself", "names itself"),
        ("circle", "names itself"),
        ("bytes", "is not UTF-16 text"),
        ("large", "at most 1048576 are allowed"),
        ("many", "more than 10000 arguments"),
        ("doubling0", "more than 1000 files"),
        ("deep0", "inside each other"),
    ],
)
def test_a_wrong_flag_file_is_named(name, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    texts = {"itself": "--flagfile=itself", "circle": "--flagfile=back"}
    texts |= {"back": "--flagfile=circle", "doubling29": "", "deep200": "--x"}
    texts |= {"many": "--x\n" * 10_002}
    texts |= {f"doubling{i}": f"--flagfile=doubling{i + 1}\n" * 2 for i in range(29)}
    texts |= {f"deep{i}": f"--flagfile=deep{i + 1}" for i in range(200)}
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "bytes").write_bytes(b"\xff\xfe--x")
    (tmp_path / "large").write_bytes(b"#" * 2**21)
    with pytest.raises(ValueError, match=told) as caught:
        flag_files.expanded([f"--flagfile={name}"])
    assert str(caught.value).startswith("flagfile: ") and "\n" not in str(caught.value)

"""Shards of an evaluation and of its reference: damaged, or of others, with digests that match."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
from tfds_files import records, write_records

from fuzz.case import PHOTO, Case, kind, program
from fuzz.folders import copied
from fuzz.mutate import changed, damaged, dumps, hostile, json_bytes
from fuzz.pictures import packed_zeros
from fuzz.special import base_fields, odd
from fuzz.zips import bomb
from sdedit_jax.evaluation import identity

EVALUATION = base_fields("evaluate_strokes", "evaluate")
EVALUATION |= {"samples": 2, "batch": 2, "shard_size": 4, "reference": "stock/photos/a"}
EVALUATION |= {"measures__subsets": 2, "measures__subset_size": 2}
"""Eight edits in two shards, and one shard of the reference."""
WAYS = ({}, {}, {"merge": True}, {"unpack": "all"}, {"unpack": "a/a0"}, {"retry": True})


def begun():
    """A finished evaluation as the workdir of a case, without its results."""
    one_code()
    copied("evaluated").rename("out")
    for one in Path("out").glob("*.*"):
        if one.name != "run.json":
            one.unlink()


def one_code():
    """Let a stock that is kept belong to the code of every day."""
    identity.code = lambda: "code"


class Files:
    """The files of a shard in the folder of a case."""

    def __init__(self, rng, folder):
        self.lines = rng.choice(sorted(Path("out", folder).glob("*.jsonl")))
        self.rows = [json.loads(line) for line in self.lines.read_text().splitlines()]

    def of(self, ending):
        return self.lines.with_suffix(f".{ending}")

    def write(self, text=None):
        """The lines, with the digests of the other files as they are now."""
        if isinstance(self.rows[0], dict) and isinstance(self.rows[0].get("files"), dict):
            for ending in ("npz", "array_record"):
                data = self.of(ending).read_bytes() if self.of(ending).is_file() else b""
                self.rows[0]["files"][ending] = hashlib.sha256(data).hexdigest()
        text = text or "".join(dumps(row) + "\n" for row in self.rows)
        self.lines.write_bytes(text.encode("utf-8", "surrogatepass"))


def line(rng, files):
    """A field of a line, or of the header."""
    i = rng.below(len(files.rows))
    files.rows[i], words = changed(rng, files.rows[i])
    return f"line {i + 1} {words}"


LINE = ("id", "sample", "picture", "channels", "numbers", "recipe", "failed", "strength", "sha256")
HEADER = ("shard", "run", "recipe", "files")


def field(rng, files):
    """A field of a line that is read."""
    i = rng.below(len(files.rows))
    name = rng.choice(LINE if i else HEADER)
    value = rng.choice((hostile(rng), None, -1, 0, 10**9, "x", {}, [], {"x": None}))
    files.rows[i][name] = value
    return f"line {i + 1} {name} = {value!r:.60}"


def number_of_lines(rng, files):
    """Lines that are missing, doubled, or in another order."""
    i = rng.between(1, len(files.rows) - 1)
    how = rng.choice(("missing", "double", "order", "header alone", "all failed"))
    if how == "missing":
        del files.rows[i]
    elif how == "double":
        files.rows.insert(i, files.rows[i])
    elif how == "order":
        files.rows[1:] = files.rows[:0:-1]
    elif how == "header alone":
        del files.rows[1:]
    else:
        files.rows[1:] = [
            {"id": row["id"], "sample": row.get("sample", 0), "failed": "x"}
            for row in files.rows[1:]
        ]
    return how


def arrays(rng, files):
    """Features of other names, sizes, types or values."""
    found = dict(np.load(files.of("npz")))
    name = rng.choice(found)
    rows = found.pop(name)
    wide = np.concatenate([rows, rows], axis=1)
    strange = np.full_like(rows, rng.choice((np.nan, np.inf, -np.inf, 3e38, 0)))
    many = np.zeros((3 * 10**6, 4), np.float32)
    found |= rng.choice(
        (
            *({}, {f"{name}x": rows}, {name: rows[:1]}, {name: rows[:0]}, {name: wide}),
            *({name: np.concatenate([rows, rows])}, {name: rows.astype(float)}, {name: strange}),
            *({name: rows[0]}, {name: rows[:, :0]}, {name: rows[None]}, {"": rows}, {name: many}),
            *({name: rows, "\0": rows}, {name: rows.astype("<U8")}, {name: rows.astype(">f4")}),
        )
    )
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    files.of("npz").write_bytes(buffer.getvalue())
    return f"{name} of " + str({n: f"{a.dtype} {a.shape}" for n, a in found.items()})[:200]


def archive(rng, files):
    """The bytes of the features."""
    data, words = damaged(rng, files.of("npz").read_bytes())
    if rng.chance(0.1):
        data, words = bomb(packed_zeros(10**9)[2:-4], 10**9, True), "bomb"
    files.of("npz").write_bytes(data)
    return words


def pictures(rng, files):
    """Pictures that are damaged, of another size or kind, missing, or too many."""
    file = files.of("array_record")
    if not file.stat().st_size:
        return "no pictures"
    found = records(file)
    if not found:
        return "no pictures"
    i = rng.below(len(found))
    how = rng.choice(("damage", "other", "png", "empty", "fewer", "more", "none", "large"))
    if how == "damage":
        found[i], how = damaged(rng, found[i])
    elif how in ("other", "large"):
        from PIL import Image

        size = (60, 3) if how == "other" else (12_000, 12_000)
        buffer = io.BytesIO()
        Image.new(rng.choice(("RGB", "RGBA")), size).save(buffer, "WEBP", lossless=True, method=0)
        found[i] = buffer.getvalue()
    elif how in ("png", "empty"):
        found[i] = Path(PHOTO).read_bytes() if how == "png" else b""
    else:
        found = {"fewer": found[:i], "more": found + found, "none": []}[how]
    write_records(file, found)
    return f"picture {i}: {how}"


def record(rng, files):
    """The bytes of the file of pictures."""
    data, words = damaged(rng, files.of("array_record").read_bytes())
    files.of("array_record").write_bytes(data)
    return words


def others(rng, files):
    """The files of another shard, of the reference, or of another run."""
    every = sorted(Path("out").glob("*/*.jsonl"))
    other = rng.choice([one for one in every if one != files.lines])
    for ending in rng.choice((("npz",), ("array_record",), ("npz", "array_record", "jsonl"))):
        shutil.copy(other.with_suffix(f".{ending}"), files.of(ending))
    files.rows = [json.loads(one) for one in files.lines.read_text().splitlines()]
    if rng.chance(0.3):
        files.rows[0]["run"] = "0" * 16
    return f"{files.lines.name} of {other}"


def missing(rng, files):
    """A file that is gone or not regular."""
    file = files.of(rng.choice(("npz", "array_record", "jsonl")))
    file.unlink()
    if rng.chance(0.5):
        path = odd(rng, True)
        file.symlink_to(Path.cwd() / path)
        return f"{file.name} -> {path[:40]}"
    return f"{file.name} is missing"


CHANGES = (line, line, field, field, field, number_of_lines, arrays, arrays, archive, pictures)
CHANGES += (pictures, record, others)


@kind
def shards(rng):
    """Of the edits."""
    return damaged_shard(rng, "shards")


@kind
def references(rng):
    """Of the reference."""
    return damaged_shard(rng, "reference")


def damaged_shard(rng, folder):
    begun()
    if rng.chance(0.1):
        value = json.loads(Path("out/run.json").read_text())
        data, words = json_bytes(rng, value)
        Path("out/run.json").write_bytes(data)
        return Case(argv(rng, folder), (), f"run.json: {words}", WRITES)
    files = Files(rng, folder)
    how = missing if rng.chance(0.1) else rng.choice(CHANGES)
    words = how(rng, files)
    if how is not missing:
        text = "".join(dumps(row) + "\n" for row in files.rows)
        torn = rng.chance(0.05)
        files.write(damaged(rng, text.encode())[0].decode(errors="replace") if torn else None)
    return Case(argv(rng, folder), (), f"{files.lines.name}: {how.__name__} {words}", WRITES)


WRITES = ("out/shards", "out/reference", "out/processes")
"""Where missing shards are computed again, and a run notes that it is there."""


def argv(rng, folder):
    ways = [way for way in WAYS if folder == "shards" or "unpack" not in way]
    return program("evaluate", "evaluate_strokes", **(EVALUATION | rng.choice(ways)))

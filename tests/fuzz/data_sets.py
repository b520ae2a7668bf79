"""Data sets as published: LSUN, sets of tfds, ImageNet, CelebA-HQ and PIE-Bench, with damage."""

import io
import json
import tarfile
from pathlib import Path

from tfds_files import records, write_records

from fuzz.case import Case, kind, program
from fuzz.folders import copied
from fuzz.mutate import damaged, hostile, json_bytes
from fuzz.special import base_fields, odd

SOURCES = {"train": "data__source", "evaluate": "input", "measure": "a"}
LAYOUTS = ("lsun", "tfds", "imagenet", "celeba_hq", "pie")
"""Folders of the stock; `zips.zips` and `tables` have further kinds."""
SPLITS = ("", "train", "val", "test", "x", "train[:1]", "train[9:]", "train[", "1,8", "../x")


def read_set(rng, path, words, often="evaluate"):
    """A run that reads a data set: its training, its evaluation, or its measurement.

    Args:
        often: the mode of most cases.
    """
    mode = rng.choice(SOURCES) if rng.chance(0.2) else often
    name = {"evaluate": "evaluate_strokes"}.get(mode, mode)
    fields = base_fields(name) | {SOURCES[mode]: path}
    if mode == "train":
        fields |= {"data__held_out": "", "data__split": ""}
        fields |= {"data__labels": rng.choice(("folder", "captions"))} if rng.chance(0.3) else {}
    return Case(program(mode, name, **fields), (), f"{mode} {path}: {words}")


def hurt(rng, top):
    """Damage, remove, rename or replace a file of a folder: what was done."""
    file = rng.choice(sorted(one for one in Path(top).rglob("*") if one.is_file()))
    how = rng.choice(("bytes",) * 7 + ("remove", "rename", "odd"))
    if how == "bytes":
        value = json.loads(file.read_text()) if file.suffix == ".json" else None
        data = file.read_bytes()
        data, how = json_bytes(rng, value) if value and rng.chance(0.7) else damaged(rng, data)
        file.write_bytes(data)
    elif how == "rename":
        name = rng.choice(("x", f"a\nb{file.suffix}", f".{file.name}", f"n00000000_{file.name}"))
        file.rename(file.with_name(name))
    else:
        file.unlink()
    if how == "odd":
        path = odd(rng)
        file.symlink_to(path if path.startswith(("/", "~")) else Path.cwd() / path)
        how += f" {path[:30]}"
    return f"{file}: {how}"


def chosen(rng, top, often="evaluate", **fields):
    """A run that reads the folder, with another split, layout or kind of labels in some cases."""
    case = read_set(rng, top, "", often)
    fields = {name: value for name, value in fields.items() if value and "measure" not in case.note}
    if "evaluate" in case.note:
        more = {"split": SPLITS, "layout": LAYOUTS, "labels": ("class", "words", "synset", "x")}
        for name, values in more.items():
            if rng.chance(0.04):
                fields[f"data__{name}"] = rng.choice(values)
    return case._replace(argv=[*case.argv, *program("edit", "x", "", **fields)[1:]])


def noted(case, words):
    return case._replace(note=case.note + words)


@kind
def lsun(rng):
    """The pages, the numbers and the pictures of an LMDB file."""
    copied("lsun")
    if rng.chance(0.2):
        return noted(chosen(rng, "lsun"), hurt(rng, "lsun"))
    file = Path("lsun/church_outdoor_val_lmdb/data.mdb")
    data = file.read_bytes()
    start = rng.choice((0, 4096, 8192, data.rfind(b"\x89PNG")))
    length = rng.choice((40, 200, 4096))
    piece, words = damaged(rng, data[start : start + length])
    if rng.chance(0.8):
        piece = piece[:length].ljust(length, b"\0")
    file.write_bytes(data[:start] + piece + data[start + length :])
    return noted(chosen(rng, "lsun"), f"{words} at {start}")


@kind
def tfds(rng):
    """A prepared set: its descriptions, its file of rows, and its rows."""
    copied("tfds")
    case = chosen(rng, "tfds", rng.choice(("train", "evaluate")))
    if rng.chance(0.6):
        return noted(case, hurt(rng, "tfds"))
    file = next(Path("tfds").glob("*array_record*"))
    rows = records(file)
    i = rng.below(len(rows))
    how = rng.choice(("damage", "damage", "picture", "empty", "many", "fewer"))
    if how == "damage":
        rows[i], how = damaged(rng, rows[i])
    elif how == "picture":
        at = rows[i].index(b"\x89PNG")
        rows[i] = rows[i][:at] + damaged(rng, rows[i][at:])[0][: len(rows[i]) - at]
    elif how == "empty":
        rows[i] = b""
    else:
        rows = rows * 100 if how == "many" else rows[:i]
    write_records(file, rows)
    return noted(case, f"rows: {how}")


@kind
def imagenet(rng):
    """Synset folders and the tables of labels, or a tar of them."""
    copied("imagenet")
    fields = {"data__split": rng.choice(("train", "val"))}
    fields["data__labels"] = rng.choice(("", "", "synset", "class", "words"))
    if rng.chance(0.8):
        words = hurt(rng, "imagenet")
        return noted(chosen(rng, "imagenet", **fields), words)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=rng.choice(("w", "w:gz"))) as tar:
        tar.add("imagenet/train")
    data = buffer.getvalue()
    name = rng.choice(("set.tar", "set.zip", "set.tar.gz", "set"))
    Path(name).write_bytes(damaged(rng, data)[0] if rng.chance(0.3) else data)
    return noted(chosen(rng, name), "a tar")


@kind
def celeba_hq(rng):
    """Faces, their masks, and the table of their numbers."""
    copied("celeba_hq")
    fields = {"data__split": rng.choice(("", "train", "val"))}
    fields["options__mask_suffix"] = rng.choice(("_hair", "hair,hat", "hair,hat", "x"))
    words = hurt(rng, "celeba_hq")
    case = chosen(rng, "celeba_hq", **({} if rng.chance(0.3) else fields))
    return noted(case._replace(argv=[a for a in case.argv if not a.endswith("=")]), words)


@kind
def pie_bench_files(rng):
    """The files of PIE-Bench; tables.pie_bench changes its mapping."""
    copied("pie")
    words = hurt(rng, "pie")
    if rng.chance(0.2):
        mapping = Path("pie/mapping_file.json")
        entries = {"a": hostile(rng), "b": {"image_path": hostile(rng)}}
        mapping.unlink(missing_ok=True)
        mapping.write_text(json.dumps(entries, default=str))
    fields = {"data__split": rng.choice(("", "0", "1", "0,8"))}
    return noted(chosen(rng, "pie", **fields), words)

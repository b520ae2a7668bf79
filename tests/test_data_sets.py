"""Data sets of evaluation: each source against the pictures written, and every error message."""

import csv
import hashlib
import io
import json
import os
import pickle
import struct
import threading
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from tfds_files import prepared, records, write_records

from sdedit_jax.data import LAYOUTS, celeba_hq, open_data_set, pie_bench, source
from sdedit_jax.data.lmdb_file import MAGIC, Lmdb
from sdedit_jax.data.tables import texts
from sdedit_jax.files import array_record_file


def picture(rng, size=(8, 8)):
    return rng.integers(0, 256, (*size, 3), np.uint8)


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def encoded(pixels, format):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format, **({"lossless": True} if format == "WEBP" else {}))
    return buffer.getvalue()


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for one in sorted(folder.rglob("*")):
            file.write(one, one.relative_to(folder))
    return path


def refused(source, **options):
    with pytest.raises(ValueError) as caught:
        open_data_set(source, **options)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path, rng):
    """a/x.png with a mask, b/y.jpg, z.bmp; the pictures by id."""
    root = tmp_path / "set"
    found = {"a/x": write(root / "a/x.png", picture(rng))}
    write(root / "a/x_mask.png", np.diag([255] * 8).astype(np.uint8))
    write(root / "b/y.jpg", picture(rng))
    found["b/y"] = np.asarray(Image.open(root / "b/y.jpg"))
    found["z"] = write(root / "z.bmp", picture(rng))
    return root, found


# --- folders, zips, tfds sets -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_rows_are_the_pictures_with_the_masks_beside_them(folder, tmp_path, kind):
    root, found = folder
    data = open_data_set(root if kind == "folder" else zipped(root, tmp_path / "set.zip"))
    assert list(data.ids) == sorted(found) and len(data) == 3
    for example in data:
        np.testing.assert_array_equal(example.picture.rgb, found[example.id])
    assert data[0].mask.dtype == np.float32 and (data[0].mask == np.eye(8)).all()
    assert data[1].mask is None and data[1].guide is None and data[1].prompt == ""
    assert data.name == ("set" if kind == "folder" else "set.zip")


def test_a_zip_and_its_folder_have_one_digest_that_follows_its_definition(folder, tmp_path):
    data = open_data_set(folder[0])
    assert data.digest == open_data_set(zipped(folder[0], tmp_path / "set.zip")).digest
    wanted = hashlib.sha256()
    for pair in zip(data.ids, data.references, strict=True):
        for text in pair:
            wanted.update(len(text.encode()).to_bytes(8, "big") + text.encode())
    assert data.digest == wanted.hexdigest()
    assert json.loads(data.references[0]) == ["a/x.png", "a/x_mask.png"]
    assert data.first(2).digest != data.digest == data.first(9).digest


def test_first_rows_pickles_and_threads_give_the_same_examples(folder, tmp_path):
    data = open_data_set(zipped(folder[0], tmp_path / "set.zip"))
    assert list(data.first(2).ids) == list(data.ids)[:2]
    again = pickle.loads(pickle.dumps(data))
    for a, b in zip(data.first(2), again, strict=False):
        assert a.id == b.id and (a.picture.rgb == b.picture.rgb).all()
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        data.first(0)
    with pytest.raises(IndexError):
        data[3]
    wanted, wrong = [one.picture.rgb for one in data], []

    def read():
        for i in 20 * [0, 1, 2]:
            if (data[i].picture.rgb != wanted[i]).any():
                wrong.append(i)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_ids_and_rows_do_not_depend_on_other_rows(folder, rng):
    before = {one.id: one for one in open_data_set(folder[0])}
    write(folder[0] / "a/a.png", picture(rng))
    (folder[0] / "b/y.jpg").unlink()
    after = {one.id: one for one in open_data_set(folder[0])}
    assert set(after) == {"a/a", "a/x", "z"}
    for id in ("a/x", "z"):
        assert (after[id].picture.rgb == before[id].picture.rgb).all()


def test_pictures_that_differ_in_their_endings_alone_are_named(folder, rng):
    write(folder[0] / "a/x.jpg", picture(rng))
    assert "a/x.jpg and a/x.png of set have the id 'a/x'" in refused(folder[0])


def test_labels_are_folders_or_captions(folder):
    root = folder[0]
    assert [one.label for one in open_data_set(root, labels="folder")] == ["a", "b", ""]
    assert "needs one of" in refused(root, labels="captions")
    lines = ["path,caption", "a/x.png,a cat", "b/y.jpg,a dog", 'z.bmp,"a cat, two"']
    (root / "captions.csv").write_text("\n".join(lines))
    data = open_data_set(root, labels="captions")
    assert [one.prompt for one in data] == ["a cat", "a dog", "a cat, two"]
    assert [one.label for one in data] == ["a cat", "a dog", "a cat, two"]
    assert open_data_set(root)[0].prompt == open_data_set(root)[0].label == ""
    (root / "captions.csv").write_text("\n".join(lines[:2]))
    assert "no caption for b/y.jpg (2 of 3 pictures)" in refused(root, labels="captions")
    assert open_data_set(root, split="a", labels="captions")[0].prompt == "a cat"
    rows = [{"file_name": line.split(",")[0], "text": "t"} for line in lines[1:]]
    (root / "captions.csv").unlink()
    (root / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert [one.prompt for one in open_data_set(root, labels="captions")] == ["t"] * 3


def test_splits_and_mask_suffixes_are_chosen(folder):
    assert list(open_data_set(folder[0], split="b").ids) == ["b/y"]
    assert list(open_data_set(folder[0], mask_suffix="").ids)[:2] == ["a/x", "a/x_mask"]
    (folder[0] / "a/x_mask.png").rename(folder[0] / "a/x-alpha.png")
    assert open_data_set(folder[0], mask_suffix="-alpha")[0].mask is not None
    told = refused(folder[0], split="c")
    assert "no picture of the split 'c'" in told and "--config" not in told


def test_a_tfds_set_is_read_without_tensorflow(tmp_path, rng):
    images = [picture(rng) for _ in range(4)]
    path = prepared(tmp_path, "tiny_rows", images)
    data = open_data_set(path)
    assert list(data.ids) == [f"train_{i:06d}" for i in range(4)]
    found = {(one.picture.rgb.tobytes(), one.label) for one in data}
    assert found == {(image.tobytes(), "ab"[i % 2]) for i, image in enumerate(images)}
    part = open_data_set(path, split="train[1:3]")
    assert list(part.ids) == ["train_000001", "train_000002"]
    for a, b in zip(part, (data[1], data[2]), strict=True):
        assert (a.picture.rgb == b.picture.rgb).all()
    assert "labels has no effect for the layout 'tfds'" in refused(path, labels="none")


def test_a_damaged_picture_of_a_tfds_set_is_refused(tmp_path, rng):
    path = prepared(tmp_path, "damaged_rows", [picture(rng) for _ in range(3)])
    file = next(path.glob("*array_record*"))
    rows = records(file)
    at = rows[1].index(b"IDAT") + 12  # checksums are wrong after it
    rows[1] = rows[1][:at] + bytes(4) + rows[1][at + 4 :]
    write_records(file, rows)
    data = open_data_set(path)
    assert data[0].picture.rgb.shape == data[2].picture.rgb.shape == (8, 8, 3)
    with pytest.raises(ValueError, match="row 'train_000001' of .*: damaged or truncated"):
        data[1]


def test_a_record_of_a_tfds_set_expands_to_little(tmp_path, rng, monkeypatch):
    path = prepared(tmp_path, "large_rows", [picture(rng) for _ in range(3)])
    file = next(path.glob("*array_record*"))
    rows = records(file)
    write_records(file, [rows[0], rows[1] + bytes(2**23), rows[2]])
    monkeypatch.setattr(array_record_file, "ANYWAY", 2**22)
    data = open_data_set(path, split="train[1:]")
    assert data[1].picture.rgb.shape == (8, 8, 3)
    with pytest.raises(ValueError, match="cannot read row 0: .*its chunk at .* expands from"):
        data[0]
    (path / "dataset_info.json").write_text(
        (path / "dataset_info.json").read_text().replace("array_record", "parquet")
    )
    assert "must be prepared as array_record: it is parquet" in refused(path)


TFDS = "tensorflow_datasets.core.features."


def older(image, kind="features_dict.FeaturesDict", **label):
    """features.json as older versions of tfds write it."""
    names = {"type": f"{TFDS}class_label_feature.ClassLabel", "content": label, "proto_cls": ""}
    return {"type": TFDS + kind, "content": {"image": image, "label": names}, "proto_cls": ""}


def image_of(dtype="uint8", kind="image_feature.Image"):
    content = {"shape": [8, 8, 3], "dtype": dtype, "encoding_format": "png", "encoding": "none"}
    return {"type": TFDS + kind, "content": content, "proto_cls": ""}


def test_a_tfds_set_imports_no_module_and_claims_no_more_than_it_has(tmp_path, rng, monkeypatch):
    path = prepared(tmp_path, "claims", [picture(rng) for _ in range(2)])
    (tmp_path / "foreign_module.py").write_text("raise SystemExit('it ran')")
    monkeypatch.syspath_prepend(tmp_path)
    foreign = "foreign_module.X"
    hidden = {"features": {"image": {"pythonClassName": foreign}}}
    nested = {"a": {"type": foreign, "content": {}}}
    text = {"proto_cls": "tensorflow_datasets.FeaturesDict", "content": json.dumps(hidden)}
    as_json = {"jsonFeature": {"json": json.dumps(nested)}}
    features = f"{TFDS}features_dict.FeaturesDict"
    for content, told in (
        ({"type": foreign, "content": None}, "names the class 'foreign_module.X'; allowed are"),
        ({"type": features, **text}, "names the class 'foreign_module.X'"),
        ({"pythonClassName": features, **as_json}, "names the class 'foreign_module.X'"),
        ({"pythonClassName": features, "description": "{torn"}, "cannot read a text in features"),
        (older(image_of(), num_classes=10**12), "it claims 1000000000000 classes, at most"),
        (older(image_of("uint16"), num_classes=2), "its feature 'image' is uint16, no uint8"),
        (older(image_of(kind="tensor_feature.Tensor"), num_classes=2), "cannot read row 0"),
    ):
        (path / "features.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=told):
            open_data_set(path)[0]
    (path / "features.json").write_text(json.dumps(older(image_of(), num_classes=2)))
    assert sorted(one.label for one in open_data_set(path)) == ["a", "b"]


# --- manifests ------------------------------------------------------------------------------------


def manifest(path, rows):
    columns = list(rows[0])
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, rows)) + "\n")
        return path
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, columns, delimiter="\t" if path.suffix == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture
def full(tmp_path, rng):
    """A row with all columns, and one with few; the pictures by path."""
    names = ("pictures/p.png", "pictures/g.png", "q.webp")
    found = {name: write(tmp_path / name, picture(rng)) for name in names[:2]}
    (tmp_path / "q.webp").write_bytes(encoded(picture(rng), "WEBP"))
    found["q.webp"] = np.asarray(Image.open(tmp_path / "q.webp"))
    write(tmp_path / "m.png", np.diag([255] * 8).astype(np.uint8))
    texts = {"label": "3", "prompt": 'a "red", ripe\napple', "negative_prompt": "blur"}
    texts |= {"source_prompt": "äpfel 林檎", "concepts": "+red:7,-green"}
    first = {"id": "one", "picture": "pictures/p.png", "mask": "m.png", "guide": "pictures/g.png"}
    empty = dict.fromkeys([*first, *texts], "")
    return [{**first, **texts}, {**empty, "id": "zwei/ü", "picture": "q.webp"}], found


@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.jsonl"])
def test_a_manifest_gives_every_column(tmp_path, full, name):
    rows, found = full
    data = open_data_set(manifest(tmp_path / name, rows))
    assert list(data.ids) == ["one", "zwei/ü"] and data.name == name
    one, two = data
    assert (one.picture.rgb == found["pictures/p.png"]).all() and (one.mask == np.eye(8)).all()
    assert (one.guide.rgb == found["pictures/g.png"]).all()
    for column in ("label", "prompt", "negative_prompt", "source_prompt", "concepts"):
        assert getattr(one, column) == rows[0][column] and getattr(two, column) == ""
    assert (two.picture.rgb == found["q.webp"]).all() and two.mask is None and two.guide is None


def test_a_manifest_reads_numbers_null_and_paths_outside(tmp_path, rng):
    there = write(tmp_path / "p.png", picture(rng))
    (tmp_path / "inside").mkdir()
    rows = [{"id": 7, "picture": "../p.png", "label": 3, "mask": None}]
    rows += [{"id": "b", "picture": str(tmp_path / "p.png")}]
    data = open_data_set(manifest(tmp_path / "inside/m.jsonl", rows))
    assert list(data.ids) == ["7", "b"] and data[0].label == "3" and data[0].mask is None
    assert all((one.picture.rgb == there).all() for one in data)


def test_the_kinds_of_manifests_have_one_digest(tmp_path, full):
    digests = {
        open_data_set(manifest(tmp_path / f"m{end}", full[0])).digest for end in (".csv", ".jsonl")
    }
    assert len(digests) == 1
    other = [full[0][0], {**full[0][1], "label": "x"}]
    assert open_data_set(manifest(tmp_path / "m.csv", other)).digest not in digests


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.csv", "", "m.csv has no rows"),
        ("m.csv", "id,picture\n", "m.csv has no rows"),
        ("m.jsonl", "\n", "m.jsonl has no rows"),
        ("m.csv", "id,picture,promt\n", "unknown column 'promt'; .*; did you mean 'prompt'"),
        ("m.jsonl", '{"id": "a", "picture": "b", "masks": ""}', "line 1 .* did you mean 'mask'"),
        ("m.csv", "id,mask\n", r"m.csv needs a column 'picture', has \['id', 'mask'\]"),
        ("m.jsonl", '{"picture": "b"}', "line 1 of m.jsonl needs a column 'id'"),
        ("m.csv", "id,picture,id\n", "m.csv has the column 'id' twice"),
        ("m.csv", "id,picture\na,b\n\n,c\n", "line 4 of m.csv has no id"),
        ("m.csv", "id,picture\na,\n", "line 2 of m.csv has no picture"),
        ("m.csv", "id,picture\na,b,c\n", "line 2 of m.csv has 3 cells for 2 columns; .*quotes"),
        ("m.csv", "id,picture\na,b\nc,b\na,d\n", "line 2 and line 4 of m.csv have the id 'a'"),
        ("m.csv", 'id,picture\na,"b\n', "cannot read m.csv: line 2 is no row of a table"),
        ("m.jsonl", '{"id": "a"', "line 1 of m.jsonl: the file is not JSON"),
        ("m.jsonl", '{"id": true, "picture": "b"}', "id must be a text or a whole number"),
        ("m.csv", "id,picture\na,\xff\n", "cannot read .*m.csv: after line . .* no UTF-8 text"),
    ],
)
def test_damaged_manifests_are_one_sentence(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"data: .*{told}"):
        open_data_set(tmp_path / name)


def test_options_without_effect_and_missing_sources_are_named(tmp_path, folder):
    path = manifest(tmp_path / "m.csv", [{"id": "a", "picture": "b"}])
    for option in ("split", "labels", "mask_suffix"):
        told = refused(path, **{option: "x"})
        assert f"{option} has no effect for the layout 'manifest', got 'x'" in told
    assert "did you mean 'lsun'" in refused(folder[0], layout="lsum")
    assert "m2.csv does not exist" in refused(tmp_path / "m2.csv")
    assert "is not a folder, zip or prepared tfds set" in refused(tmp_path / "no", labels="folder")
    assert "no does not exist" in refused(tmp_path / "no", layout="folder")
    (tmp_path / "x.txt").write_text("")
    assert "x.txt is not a folder, a .zip file or a manifest" in refused(tmp_path / "x.txt")
    (tmp_path / "empty").mkdir()
    assert "no picture in" in refused(tmp_path / "empty")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04")
    assert "cannot open" in refused(tmp_path / "torn.zip")
    assert "labels must be one of" in refused(folder[0], labels="caption")


@pytest.mark.parametrize("kind", ["folder", "zip", "manifest"])
def test_a_picture_that_cannot_be_read_is_named_by_its_id(folder, tmp_path, kind):
    root = folder[0]
    (root / "b/y.jpg").write_bytes(b"no picture")
    path = root if kind == "folder" else tmp_path / "set.zip"
    if kind == "zip":
        zipped(root, path)
    if kind == "manifest":
        path = manifest(root / "m.csv", [{"id": i, "picture": i} for i in ("z.bmp", "b/y.jpg")])
    data = open_data_set(path)
    id = "b/y.jpg" if kind == "manifest" else "b/y"
    row = list(data.ids).index(id)
    with pytest.raises(ValueError, match=f"data: row '{id}' of .*: cannot read b/y.jpg: not a"):
        data[row]
    assert data[row - 1].picture is not None


def test_missing_files_dead_links_and_wrong_masks_are_named(tmp_path, rng):
    write(tmp_path / "p.png", picture(rng))
    write(tmp_path / "wide.png", np.full((8, 20), 255, np.uint8))
    (tmp_path / "dead.png").symlink_to("nowhere.png")
    rows = [{"id": "a", "picture": "none.png", "mask": ""}]
    rows += [{"id": "b", "picture": "dead.png", "mask": ""}]
    rows += [{"id": "c", "picture": "p.png", "mask": "wide.png"}]
    data = open_data_set(manifest(tmp_path / "m.csv", rows))
    for i, told in enumerate(
        [
            "row 'a' of m.csv: cannot read .*none.png: no such file",
            "row 'b' of m.csv: .*symbolic link to nowhere.png, which does not exist",
            "row 'c' of m.csv: mask wide.png has .*; both must have the same proportions",
        ]
    ):
        with pytest.raises(ValueError, match=told):
            data[i]
    inside = open_data_set(tmp_path)
    with pytest.raises(ValueError, match="row 'dead' .*nowhere.png, which does not exist"):
        inside[list(inside.ids).index("dead")]


def test_two_masks_of_one_picture_are_named(folder):
    write(folder[0] / "a/x_mask.jpg", np.zeros((8, 8), np.uint8))
    assert "a/x in " in (told := refused(folder[0])) and "two masks" in told


def test_columns_of_texts_are_sequences(rng):
    rows = [("a", ""), ("ü林", "x" * 300), ("", "\udcfc"), ("d", "e")]
    for column, wanted in zip(texts(rows, 2), zip(*rows, strict=True), strict=True):
        assert list(column) == list(wanted) and column[-1] == wanted[-1]
        assert list(column[1:3]) == list(wanted[1:3]) and list(column[::-2]) == list(wanted[::-2])
        assert list(column[1:3][1:]) == list(wanted[2:3]) and len(column[2:2]) == 0


@pytest.mark.long
@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_a_manifest_of_100_000_rows_is_small_and_quick(tmp_path, name):
    """All columns are full: 260 bytes a row in CSV."""

    def row(i):
        names = {c: f"{c}s/{i % 100:02d}/image_{i:09d}.png" for c in ("picture", "mask", "guide")}
        prompts = {"prompt": f"a photo of the number {i} on a wooden table before a brick wall"}
        prompts |= {"negative_prompt": "blurry, bad", "source_prompt": f"the number {i + 1}"}
        return {"id": f"image_{i:09d}", **names, "label": f"n{i % 1000:08d}", **prompts}

    path = manifest(tmp_path / name, [row(i) for i in range(100_000)])
    begin = time.perf_counter()
    open_data_set(path)
    assert time.perf_counter() - begin < 3
    tracemalloc.start()
    data = open_data_set(path)
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()
    assert len(data) == 100_000 and data.ids[99_999] == "image_000099999"


# --- published layouts ----------------------------------------------------------------------------


def lmdb_folder(path, values):
    lmdb = pytest.importorskip("lmdb")
    path.mkdir(parents=True)
    with lmdb.open(str(path), map_size=2**22) as made, made.begin(write=True) as rows:
        for key, value in values.items():
            rows.put(key.encode(), value)
    return path


def test_lsun_is_read_from_its_lmdb_folder(tmp_path, rng):
    shown = {key: picture(rng) for key in ("c3", "a1", "b2")}
    kinds = zip(shown.items(), ("WEBP", "PNG", "WEBP"), strict=True)
    values = {key: encoded(pixels, kind) for (key, pixels), kind in kinds}
    path = lmdb_folder(tmp_path / "church_outdoor_val_lmdb", {**values, "d4": b"torn"})
    for where, split in ((path, ""), (tmp_path, "val"), (tmp_path, "")):
        data = open_data_set(where, split=split)
        assert list(data.ids) == ["a1", "b2", "c3", "d4"]
        for example in data.first(3):
            np.testing.assert_array_equal(example.picture.rgb, shown[example.id])
            assert example.label == "church_outdoor"
    with pytest.raises(ValueError, match="row 'd4' of church_outdoor_val_lmdb: cannot read d4"):
        data[3]
    again = pickle.loads(pickle.dumps(data))
    assert (again[0].picture.rgb == data[0].picture.rgb).all()
    assert "not the split 'train' by its name" in refused(path, split="train")
    lmdb_folder(tmp_path / "bedroom_val_lmdb", values)
    assert "must have one LMDB folder of the split 'val', has" in refused(tmp_path, split="val")
    (tmp_path / "torn_lmdb").mkdir()
    (tmp_path / "torn_lmdb/data.mdb").write_bytes(b"x" * 5000)
    assert "no LMDB file" in refused(tmp_path / "torn_lmdb")
    lmdb_folder(tmp_path / "empty_lmdb", {})
    assert "has no rows" in refused(tmp_path / "empty_lmdb")


def test_lmdb_files_are_read_as_by_the_library(tmp_path, rng):
    """Large values have pages of their own, and 3000 keys need pages of two levels."""
    values = {f"k{i}": rng.bytes(5000 if i % 100 == 0 else i % 40) for i in range(3000)}
    file = Lmdb(lmdb_folder(tmp_path / "many", values) / "data.mdb")
    assert list(file.keys()) == sorted(key.encode() for key in values)
    assert all(file.get(key.encode()) == value for key, value in values.items())
    assert file.get(b"k") is None and file.get(b"none") is None


def test_a_damaged_lmdb_file_raises_no_other_error(tmp_path, rng):
    values = {f"k{i}": rng.bytes(30) for i in range(200)}
    file = lmdb_folder(tmp_path / "small", values) / "data.mdb"
    whole, errors = file.read_bytes(), 0
    for case in range(300):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 20 if case % 3 else 200):
            damaged[at] = rng.integers(256)
        file.write_bytes(damaged if case % 5 else damaged[: rng.integers(len(whole))])
        try:
            found = Lmdb(file)
            assert all(found.get(key) is not found for key in found.keys())
        except ValueError as error:
            errors += str(file) in str(error)
    assert errors > 50


def test_keys_of_an_lmdb_file_do_not_lie_on_each_other(tmp_path):
    """A page of 2000 nodes that are all the same one, with a key of 4 KiB."""
    size, count = 8192, 2000
    facts, leaf = bytearray(size), bytearray(size)
    for place, kind, value in ((0, "II", (MAGIC, 1)), (24, "I", (size,)), (112, "Q", (2,))):
        struct.pack_into(f"<{kind}", facts, 16 + place, *value)
    first = 16 + 2 * count
    struct.pack_into(f"<HHH{count}H", leaf, 10, 2, first, first, *[first] * count)
    struct.pack_into("<HHHH", leaf, first, 1, 0, 0, size - first - 8)
    (tmp_path / "data.mdb").write_bytes(facts + facts + leaf)
    assert "page 2 is damaged" in refused(tmp_path)


def test_an_lmdb_file_that_shrinks_while_it_is_open_is_damaged(tmp_path, rng):
    file = lmdb_folder(tmp_path / "small", {"a": rng.bytes(30)}) / "data.mdb"
    found = Lmdb(file)
    os.truncate(file, 100)
    with pytest.raises(ValueError, match="data: cannot read .*data.mdb: page . is missing"):
        found.get(b"a")


def test_keys_of_an_lmdb_file_are_text(tmp_path, rng):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "x_val_lmdb")) as made, made.begin(write=True) as rows:
        rows.put(b"a\xff", b"x")
    assert r"the id a\xff of" in refused(tmp_path / "x_val_lmdb")


def test_a_path_that_cannot_be_looked_at_is_named():
    assert "data: cannot read xxx" in refused("x" * 5000)
    with pytest.raises(ValueError, match="data: cannot read xxx.*: File name too long"):
        source("x" * 5000)


def faces(root, rng):
    """Faces 0, 2 and 10 of CelebA-HQ, with hair for 0 and 10, and a hat for 2."""
    found = {id: write(root / f"CelebA-HQ-img/{id}.png", picture(rng, (16, 16))) for id in "02"}
    found["10"] = write(root / "CelebA-HQ-img/10.png", picture(rng, (16, 16)))
    parts = {}
    for folder, id, part in ((0, 0, "hair"), (0, 10, "hair"), (0, 2, "hat"), (0, 0, "hat")):
        levels = np.zeros((8, 8, 3), np.uint8)
        levels[rng.integers(0, 8), rng.integers(0, 8)] = 255
        write(root / f"CelebAMask-HQ-mask-anno/{folder}/{id:05d}_{part}.png", levels)
        parts[str(id), part] = levels[..., 0].repeat(2, 0).repeat(2, 1) / 255
    return found, parts


def test_celeba_hq_gives_faces_and_the_union_of_parts(tmp_path, rng):
    found, parts = faces(tmp_path, rng)
    data = open_data_set(tmp_path)
    assert list(data.ids) == ["0", "2", "10"]
    for example in data:
        assert (example.picture.rgb == found[example.id]).all() and example.mask is None
    hair = open_data_set(tmp_path, mask_suffix="_hair")
    assert {one.id: one.mask.sum() for one in hair} == {"0": 4, "10": 4}
    both = open_data_set(tmp_path, mask_suffix="hair,hat")
    assert list(both.ids) == ["0", "2", "10"]
    for example in both:
        wanted = sum(parts.get((example.id, part), 0) for part in ("hair", "hat"))
        np.testing.assert_array_equal(example.mask, np.minimum(wanted, 1))
    assert "did you mean 'hair'" in refused(tmp_path, mask_suffix="_hairs")
    assert "no mask of the parts ['skin']" in refused(tmp_path, mask_suffix="_skin")


def test_celeba_hq_is_split_by_the_numbers_of_celeba(tmp_path, rng):
    faces(tmp_path, rng)
    assert "CelebA-HQ-to-CelebA-mapping.txt: no such file" in refused(tmp_path, split="val")
    lines = ["idx        orig_idx   orig_file", "0 162770 162771.jpg", "2 162771 162772.jpg"]
    (tmp_path / celeba_hq.MAPPING).write_text("\n".join([*lines, "10 182638 182639.jpg"]))
    for split, id in (("train", "0"), ("val", "2"), ("test", "10")):
        assert list(open_data_set(tmp_path, split=split).ids) == [id]
    assert "split must be one of ['train', 'val', 'test']" in refused(tmp_path, split="valid")


SYNSETS = ("n01440764", "n01443537")


def imagenet(root, rng):
    """Two pictures of two synsets in train, and two in a flat val."""
    for synset, number in zip(SYNSETS, (18, 7), strict=True):
        write(root / f"train/{synset}/{synset}_{number}.JPEG", picture(rng))
    for i in (1, 2):
        write(root / f"val/ILSVRC2012_val_{i:08d}.JPEG", picture(rng))


@pytest.mark.parametrize("inside", ["", "ILSVRC/Data/CLS-LOC"])
def test_imagenet_labels_are_synsets_classes_or_words(tmp_path, rng, inside):
    imagenet(tmp_path / inside, rng)
    data = open_data_set(tmp_path, split="train")
    assert list(data.ids) == ["n01440764_18", "n01443537_7"]
    assert [one.label for one in data] == list(SYNSETS)
    assert "needs LOC_synset_mapping.txt or synset_words.txt" in refused(
        tmp_path, split="train", labels="class"
    )
    (tmp_path / "LOC_synset_mapping.txt").write_text(
        "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n"
    )
    labels = {"class": ["0", "1"], "words": ["tench, Tinca tinca", "goldfish, Carassius auratus"]}
    for kind, wanted in labels.items():
        found = open_data_set(tmp_path, split="train", labels=kind)
        assert [one.label for one in found] == wanted
    (tmp_path / "LOC_synset_mapping.txt").write_text("n01440764 tench\n")
    assert "n01443537 is not in" in refused(tmp_path, split="train", labels="words")
    assert "split must be one of ['train', 'val']" in refused(tmp_path)
    assert "split must be one of ['train', 'val']" in refused(tmp_path, split="valid")


def test_imagenet_val_has_the_labels_of_its_ground_truth(tmp_path, rng):
    imagenet(tmp_path, rng)

    def labels(kind=""):
        return [one.label for one in open_data_set(tmp_path, split="val", labels=kind)]

    assert labels() == ["", ""]
    assert "needs the synset of ILSVRC2012_val_00000001.JPEG" in refused(
        tmp_path, split="val", labels="synset"
    )
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("449\n1\n")
    assert labels() == ["449", "1"]
    (tmp_path / "devkit/data").mkdir(parents=True)
    mapped = f"{SYNSETS[0]} 449 tench\n{SYNSETS[1]} 1 goldfish\n"
    (tmp_path / "devkit/data/map_clsloc.txt").write_text(mapped)
    assert labels() == labels("synset") == list(SYNSETS)
    (tmp_path / "LOC_val_solution.csv").write_text(
        "ImageId,PredictionString\nILSVRC2012_val_00000002,n01440764 1 2 3 4 n01440764 5 6 7 8\n"
        "ILSVRC2012_val_00000001,n01443537 1 2 3 4 \n"
    )
    assert labels() == [SYNSETS[1], SYNSETS[0]]


def test_imagenet_val_in_synset_folders_and_double_ids(tmp_path, rng):
    for synset in SYNSETS:
        write(tmp_path / f"val/{synset}/ILSVRC2012_val_{synset[-8:]}.JPEG", picture(rng))
    data = open_data_set(tmp_path)
    assert [one.label for one in data] == list(SYNSETS) and data.name.endswith("_val")
    write(tmp_path / f"val/{SYNSETS[1]}/ILSVRC2012_val_{SYNSETS[0][-8:]}.JPEG", picture(rng))
    assert "n01440764/ILSVRC2012_val_01440764.JPEG and n01443537/" in (told := refused(tmp_path))
    assert "have the id 'ILSVRC2012_val_01440764'" in told


def pie(root, rng, masks, side=512):
    """PIE-Bench with one row for each mask."""
    found, entries = {}, {}
    for i, mask in enumerate(masks):
        id = f"{i}{i:011d}"
        path = f"{i}_type/{id}.png"
        found[id] = write(root / "annotation_images" / path, picture(rng, (side, side)))
        entries[id] = {
            "image_path": path,
            "original_prompt": "a [cat] on a table",
            "editing_prompt": "a [dog] on a [wooden] table",
            "editing_instruction": "make it a dog",
            "editing_type_id": str(i),
            "blended_word": ("cat dog", "table table", "")[i % 3],
            "mask": mask,
        }
    (root / "mapping_file.json").write_text(json.dumps(entries))
    return found


def test_pie_bench_gives_prompts_and_the_published_mask(tmp_path, rng):
    runs = [[0, 5, 1000, 2000, 512 * 512 - 3, 50], [], [3, 4, 5, 1]]
    found = pie(tmp_path, rng, runs)
    data = open_data_set(tmp_path)
    assert list(data.ids) == list(found)
    for example, mask in zip(data, runs, strict=True):
        flat = np.zeros(512 * 512)
        for start, length in zip(mask[::2], mask[1::2], strict=True):
            flat[start : start + length] = 1
        np.testing.assert_array_equal(example.mask, flat.reshape(512, 512))
        assert example.prompt == "a dog on a wooden table" and example.negative_prompt == ""
        assert example.source_prompt == "a cat on a table"
        assert (example.picture.rgb == found[example.id]).all()
    assert [one.concepts for one in data] == ['-"cat",+"dog"', "", ""]
    assert [one.label for one in open_data_set(tmp_path, split="0,2")] == ["0", "2"]
    assert "split must be one of" in refused(tmp_path, split="10")


def test_the_border_of_pie_bench_is_one_pixel():
    mask = np.zeros((5, 6), np.float32)
    mask[2, 2] = 0.5
    bordered = pie_bench.with_border(mask)
    assert bordered[1:-1, 1:-1].sum() == 0.5 and (mask.sum() == 0.5)
    assert bordered.sum() == 0.5 + 2 * 5 + 2 * 6 - 4


@pytest.mark.parametrize("runs", [[1], [512 * 512, 1], [-1, 2], ["a", 1]])
def test_wrong_runs_of_pie_bench_are_named(tmp_path, rng, runs):
    pie(tmp_path, rng, [runs])
    with pytest.raises(ValueError, match="row '000000000000' of .*mask must be pairs of a start"):
        open_data_set(tmp_path)[0]


def test_damaged_mappings_of_pie_bench_are_named(tmp_path, rng):
    pie(tmp_path, rng, [[]])
    mapping = tmp_path / "mapping_file.json"
    entries = json.loads(mapping.read_text())
    for field, told in (("mask", "must be a list"), ("editing_prompt", "must be a text")):
        broken = {id: {**entry, field: None} for id, entry in entries.items()}
        mapping.write_text(json.dumps(broken))
        assert f"{field} of '000000000000' {told}" in refused(tmp_path)
    mapping.write_text("{}")
    assert "has no rows" in refused(tmp_path)


def test_a_folder_that_looks_like_two_layouts_needs_a_choice(tmp_path, rng):
    pie(tmp_path, rng, [[]], 8)
    faces(tmp_path, rng)
    assert "looks like each of ['celeba_hq', 'pie_bench']; choose one" in refused(tmp_path)
    assert list(open_data_set(tmp_path, layout="pie_bench").ids) == ["000000000000"]
    assert len(open_data_set(tmp_path, layout="folder").ids) == 8
    assert set(LAYOUTS) >= {"lsun", "celeba_hq", "imagenet", "pie_bench"}

"""Sources against the pictures written; the stream against its definition; exact warps."""

import json
import warnings
import zipfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from tfds_files import prepared

from sdedit_jax.data.pictures import Source, source
from sdedit_jax.images.pixels import to_unit
from sdedit_jax.training.augment import Augment, draw, warp
from sdedit_jax.training.batches import batch_of, loader

CAPTIONS = {"a_0": "red", "a_1": "green", "b_0": "red", "b_1": "blue"}


def pictures(rng, n=10, size=8):
    return rng.integers(0, 256, (n, size, size, 3), np.uint8)


@pytest.fixture
def folder(tmp_path, rng):
    """set/{train,test}/{a,b}/<class>_<i>.png and set/captions.csv; the pictures by path."""
    written = {}
    lines = ["path,caption,note"]
    for split in ("train", "test"):
        for name in ("a_0", "a_1", "b_0", "b_1"):
            path = tmp_path / "data" / "set" / split / name[0] / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            written[f"{split}/{name}"] = pictures(rng, 1)[0]
            Image.fromarray(written[f"{split}/{name}"]).save(path)
            lines.append(f"{split}/{name[0]}/{name}.png,{CAPTIONS[name]},")
    (tmp_path / "data" / "set" / "captions.csv").write_text("\n".join(lines))
    return tmp_path / "data", written


def zipped(folder):
    path = folder.parent / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
        for p in sorted(folder.rglob("*")):
            file.write(p, p.relative_to(folder))
    return path


@pytest.mark.parametrize("memory", [0, 2**20], ids=["lazy", "kept"])
@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_pictures_and_labels_are_those_written(folder, kind, memory):
    path, written = folder
    path = path if kind == "folder" else zipped(path)
    for split in ("train", "test"):
        data = source(path, split, "folder", memory=memory)
        assert data.names == ("a", "b") and data.labels.tolist() == [0, 0, 1, 1]
        for i, name in enumerate(("a_0", "a_1", "b_0", "b_1")):
            np.testing.assert_array_equal(data[i]["image"], written[f"{split}/{name}"])
    assert len(source(path)) == 8


def test_captions_number_the_different_captions(folder):
    data = source(folder[0], "test", "captions")
    assert data.names == ("blue", "green", "red")
    assert [data.names[data[i]["label"]] for i in range(4)] == list(CAPTIONS.values())


def test_size_takes_the_middle_square(tmp_path):
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = (10, 200, 30)
    Image.fromarray(picture).save(tmp_path / "wide.png")
    image = source(tmp_path, size=5)[0]["image"]
    np.testing.assert_array_equal(image, np.broadcast_to([10, 200, 30], (5, 5, 3)))


def test_transparent_parts_are_white(tmp_path, rng):
    rgba = rng.integers(0, 256, (8, 8, 4), np.uint8)
    rgba[..., 3] = 255 * (np.arange(8) > 3)[:, None]
    Image.fromarray(rgba).save(tmp_path / "x.png")
    image = source(tmp_path)[0]["image"]
    assert (image[:4] == 255).all() and (image[4:] == rgba[4:, :, :3]).all()


def test_grey_of_16_bits_and_files_turned_by_exif(tmp_path, rng):
    """As editing reads them; 257 levels of 16 bits are one of 8."""
    levels = rng.integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(levels.astype(np.uint16) * 257).save(tmp_path / "a.png")
    turned = Image.fromarray(levels)
    exif = turned.getexif()
    exif[0x0112] = 3  # upside down
    turned.save(tmp_path / "b.png", exif=exif)
    turned.save(tmp_path / "c.bmp")
    upright, upside_down, plain = (source(tmp_path)[i]["image"] for i in range(3))
    assert (upright == levels[..., None]).all() and (plain == levels[..., None]).all()
    assert (upside_down == levels[::-1, ::-1, None]).all()


def test_bad_input_is_named(tmp_path, folder):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="no picture"):
        source(empty)
    with pytest.raises(ValueError, match="no picture of the split 'valid'"):
        source(folder[0], "valid")
    with pytest.raises(ValueError, match="captions.csv"):
        source(folder[0] / "set" / "train", labels="captions")
    with pytest.raises(ValueError, match="labels must be one of"):
        source(folder[0], labels="colour")
    with pytest.raises(ValueError, match="cannot read"):
        source(tmp_path / "none.zip")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match="cannot open"):
        source(tmp_path / "torn.zip")
    bad = bytearray(zipped(folder[0]).read_bytes())
    bad[bad.index(b"IHDR") + 4] ^= 255
    (tmp_path / "bad.zip").write_bytes(bad)
    with pytest.raises(ValueError, match="data: cannot read .* in .*bad.zip: .*CRC"):
        source(tmp_path / "bad.zip")
    (empty / "x.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="data: cannot read x.png: not a PNG, JPEG, WebP or BMP"):
        source(empty)


@pytest.mark.parametrize("memory", [2**30, 0])
def test_broken_pictures_are_named_together_or_left_out(tmp_path, rng, memory):
    images = pictures(rng, 3)
    for i, image in enumerate(images):
        (tmp_path / str(i % 2)).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / str(i % 2) / f"{i}.png")
    (tmp_path / "0" / "0.png").write_bytes(b"no picture")  # the first one, and the last one
    (tmp_path / "1" / "9.png").write_bytes(b"")
    told = (
        r"data: cannot read 0/0.png: .*; cannot read 1/9.png: .* \(2 of 4 pictures\).*skip_broken"
    )
    if memory:
        with pytest.raises(ValueError, match=told):
            source(tmp_path, labels="folder", memory=memory)
    found = source(tmp_path, labels="folder", memory=memory, skip_broken=True)
    assert len(found) == 2 and found.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(found[0]["image"], images[2])
    np.testing.assert_array_equal(found[1]["image"], images[1])
    assert [line.split(":")[0] for line in found.skipped] == [
        "cannot read 0/0.png",
        "cannot read 1/9.png",
    ]


def test_a_folder_without_the_split_says_where_its_pictures_lie(tmp_path, rng):
    for i, image in enumerate(pictures(rng, 3)):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    told = "no picture of the split 'train' .* 3 pictures lie in the folder itself: add"
    with pytest.raises(ValueError, match=f"{told} --config.data.split="):
        source(tmp_path, "train")
    with pytest.raises(ValueError, match="3 pictures lie in its folder photos/: add"):
        (tmp_path / "set" / "photos").mkdir(parents=True)
        for i in range(3):
            (tmp_path / f"{i}.png").rename(tmp_path / "set" / "photos" / f"{i}.png")
        source(tmp_path / "set", "train")


def test_a_folder_that_does_not_exist_is_not_looked_for_elsewhere(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    monkeypatch.setattr(tfds, "builder", lambda name: pytest.fail(f"tfds was asked for {name}"))
    for path in (tmp_path / "none", "photos", "./photos/mine"):
        with pytest.raises(ValueError, match="none|photos.* is not a folder, zip or prepared tfds"):
            source(path)


def test_pictures_of_several_sizes_need_size(tmp_path, rng):
    for i, size in enumerate((8, 9)):
        Image.fromarray(pictures(rng, 1, size)[0]).save(tmp_path / f"{i}.png")
    with pytest.raises(ValueError, match="give `size`"):
        source(tmp_path)
    assert source(tmp_path, size=8)[1]["image"].shape == (8, 8, 3)


def test_tfds_set_without_tensorflow(tmp_path, rng):
    images = pictures(rng, 4)
    path = prepared(tmp_path, "tiny_set", images)
    data = source(path, "train", "folder")
    assert data.names == ("a", "b")
    found = {(data[i]["image"].tobytes(), int(data[i]["label"])) for i in range(4)}
    assert found == {(image.tobytes(), i % 2) for i, image in enumerate(images)}
    with pytest.raises(ValueError, match="is not a folder, zip or prepared tfds set"):
        source("no_such_set_at_all")


# --- the stream -----------------------------------------------------------------------------------


def take(stream, n):
    return [next(stream) for _ in range(n)]


@pytest.fixture
def data(rng):
    return Source(pictures(rng), np.arange(10, dtype=np.int32), tuple("abcdefghij"))


def test_each_epoch_holds_each_picture_once_in_another_order(data):
    labels = np.concatenate([b["label"] for b in take(loader(data, 4, seed=1), 5)]).tolist()
    assert Counter(labels[:10]) == Counter(labels[10:]) == Counter(range(10))
    assert labels[:10] != labels[10:]


def test_batches_are_the_pictures_of_their_labels_in_range(data):
    batch = next(loader(data, 8))
    expected = data.images[batch["label"]].astype(np.float64) / 127.5 - 1
    np.testing.assert_allclose(batch["image"], expected, atol=1e-6)
    assert batch["image"].dtype == np.float32


@pytest.mark.parametrize("threads", [0, 2])
def test_a_stream_restarts_at_any_step(data, threads):
    whole = take(loader(data, 4, 7, Augment(shift=2)), 8)
    for start in (1, 5):
        rest = take(loader(data, 4, 7, Augment(shift=2), start, threads=threads), 8 - start)
        for a, b in zip(whole[start:], rest, strict=True):
            np.testing.assert_array_equal(a["image"], b["image"])
            np.testing.assert_array_equal(a["label"], b["label"])
    far = next(loader(data, 4, 7, start_step=10**7))
    assert far["image"].shape == (4, 8, 8, 3)


def test_seeds_give_other_streams(data):
    a, b = (next(loader(data, 8, seed))["label"].tolist() for seed in (0, 1))
    assert a != b


def test_processes_share_a_batch(data):
    whole = next(loader(data, 6, 3, Augment()))
    for p in range(3):
        share = next(loader(data, 6, 3, Augment(), process=(p, 3)))
        np.testing.assert_array_equal(share["label"], whole["label"][p::3])
        np.testing.assert_allclose(share["image"], whole["image"][p::3], atol=1e-6)


def test_batches_of_one_picture_are_those_of_larger_batches(data):
    whole = take(loader(data, 4, seed=1), 3)
    ones = take(loader(data, 1, seed=1), 12)
    for k, batch in enumerate(whole):
        parts = [one["image"] for one in ones[4 * k : 4 * k + 4]]
        np.testing.assert_array_equal(batch["image"], np.concatenate(parts))


def test_loader_refuses_bad_arguments(data):
    with pytest.raises(ValueError, match="empty"):
        loader(Source(np.zeros((0, 8, 8, 3), np.uint8)), 4)
    with pytest.raises(ValueError, match="multiple of 3"):
        loader(data, 4, process=(0, 3))


def test_batch_of_takes_rows(data):
    images, labels = batch_of(data, [3, 1])
    assert labels.tolist() == [3, 1]
    np.testing.assert_array_equal(images, to_unit(data.images[[3, 1]]))


# --- augmentation ---------------------------------------------------------------------------------


def still(n):
    return np.zeros(n, bool), np.zeros((n, 2)), np.ones(n)


def test_identity_flip_and_whole_shifts_are_exact(rng):
    images = pictures(rng, 3)
    flip, shift, scale = still(3)
    np.testing.assert_allclose(warp(images, flip, shift, scale), to_unit(images), atol=1e-6)
    mirrored = warp(images, ~flip, shift, scale)
    np.testing.assert_allclose(mirrored, to_unit(images[:, :, ::-1]), atol=1e-6)
    moved = warp(images, flip, shift + [2, -3], scale, "edge")
    rows, cols = np.clip(np.arange(8) - 2, 0, 7), np.clip(np.arange(8) + 3, 0, 7)
    np.testing.assert_allclose(moved, to_unit(images[:, rows][:, :, cols]), atol=1e-6)


def test_border_fill_is_the_median_colour_of_the_border(rng):
    images = np.full((1, 8, 8, 3), (250, 20, 100), np.uint8)
    images[:, 2:6, 2:6] = rng.integers(0, 256, (4, 4, 3))
    flip, shift, scale = still(1)
    moved = warp(images, flip, shift + [3, 3], scale)
    ground = np.broadcast_to(to_unit(images[0, 0, 0]), (3, 8, 3))
    np.testing.assert_allclose(moved[0, :3], ground, atol=1e-6)
    np.testing.assert_allclose(moved[0, 3:, 3:], to_unit(images[0, :5, :5]), atol=1e-6)


@pytest.mark.parametrize("scale", [0.85, 1.1])
def test_scaling_keeps_a_linear_ramp_linear(scale):
    """Keys' cubic reproduces polynomials of degree 2, so a ramp scales exactly inside."""
    ramp = np.broadcast_to((np.arange(16) * 10 + 40).astype(np.uint8)[:, None, None], (16, 16, 3))
    scaled = warp(ramp[None], np.zeros(1, bool), np.zeros((1, 2)), np.array([scale]), "edge")[0]
    place = 7.5 + (np.arange(16) - 7.5) / scale
    inside = (place >= 1) & (place <= 14)
    expected = (place * 10 + 40) / 127.5 - 1
    np.testing.assert_allclose(scaled[inside, 8, 0], expected[inside], atol=2e-6)


def test_augmented_pictures_stay_in_range(rng):
    images = (pictures(rng, 64) > 127).astype(np.uint8) * 255
    data = Source(images)
    for fill in ("border", "edge"):
        image = next(loader(data, 64, 0, Augment(often=1.0, fill=fill)))["image"]
        assert image.min() >= -1 and image.max() <= 1 and np.isfinite(image).all()
    with pytest.raises(ValueError, match="augment.fill"):
        next(loader(data, 4, 0, Augment(fill="white")))


def test_draws_follow_the_settings(rng):
    """1000 draws: binomial counts within 5 standard deviations (false alarm below 1e-5)."""
    flips, down, right, scales = np.array([draw(Augment(shift=3), rng) for _ in range(1000)]).T
    assert abs(flips.sum() - 500) < 79 and abs((scales == 1).sum() - 500) < 79
    assert set(down) == set(right) == set(range(-3, 4))
    assert 0.85 <= scales.min() < 0.87 and 1.08 < scales.max() <= 1.1
    flips, *_ = np.array([draw(Augment(flip=False), rng) for _ in range(50)]).T
    assert not flips.any()


def test_hidden_files_are_no_pictures(tmp_path, rng):
    """As macOS puts them into zips and folders."""
    folder = tmp_path / "set"
    (folder / "__MACOSX").mkdir(parents=True)
    (folder / ".thumbs").mkdir()
    Image.fromarray(pictures(rng, 1, 8)[0]).save(folder / "a.png")
    for name in ("__MACOSX/._a.png", ".thumbs/a.png", "._a.png"):
        (folder / name).write_bytes(b"no picture")
    assert len(source(folder)) == 1
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as made:
        for file in folder.rglob("*.png"):
            made.write(file, file.relative_to(folder))
    assert len(source(tmp_path / "set.zip")) == 1


def captioned(root, form):
    """Write the captions of `folder` in another form, the "train" and "test" of it apart."""
    (root / "set" / "captions.csv").unlink()
    for file in sorted(root.rglob("*.png")):
        caption = CAPTIONS[file.stem]
        top = root / "set" / file.relative_to(root / "set").parts[0]
        name = file.relative_to(top).as_posix()
        if form in (".txt", ".caption"):
            file.with_suffix(form).write_bytes(f"\ufeff\n {caption} \nmore\n".encode())
        elif form == "metadata.jsonl":
            with (top / form).open("a") as lines:
                lines.write(json.dumps({"file_name": name, "text": caption}) + "\n\n")
        else:
            text = "" if (top / form).exists() else "file_name;text\n"
            with (top / form).open("a") as lines:
                lines.write(text + f"{name};{caption}\n")


@pytest.mark.parametrize("kind", ["folder", "zip"])
@pytest.mark.parametrize("form", ["metadata.jsonl", "metadata.csv", ".txt", ".caption"])
def test_captions_of_other_trainers_are_the_same(folder, form, kind):
    wanted = source(folder[0], "test", "captions")
    captioned(folder[0], form)
    data = source(folder[0] if kind == "folder" else zipped(folder[0]), "test", "captions")
    assert data.names == wanted.names
    np.testing.assert_array_equal(data.labels, wanted.labels)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("metadata.jsonl", '{"file_name": "x.png"}', "line 1 of metadata.jsonl must hold a path"),
        ("metadata.jsonl", '\n{"file_name": ', "line 2 of metadata.jsonl: the file is not JSON"),
        ("metadata.jsonl", "[1]", "line 1 of metadata.jsonl must hold a JSON object"),
        ("metadata.csv", "a,b\nx.png,red\n", r"needs a column of .* has \['a', 'b'\]"),
        ("x.txt", " \n", "x.txt holds no caption"),
        ("y.txt", "a", "needs one of .*or a .txt file beside each picture"),
    ],
)
def test_damaged_captions_are_named(tmp_path, rng, file, content, told):
    Image.fromarray(pictures(rng, 1, 8)[0]).save(tmp_path / "x.png")
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=f"data: .*{told}"):
        source(tmp_path, labels="captions")


def test_pictures_without_caption_are_counted(tmp_path, rng):
    for name in "xyz":
        Image.fromarray(pictures(rng, 1, 8)[0]).save(tmp_path / f"{name}.png")
    (tmp_path / "x.txt").write_text("red")
    with pytest.raises(ValueError, match=r"has no caption for y.png \(2 of 3 pictures\)"):
        source(tmp_path, labels="captions")


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("path,caption\nx.png,a red apple, ripe\n", "line 2 of captions.csv .* quotes around"),
        ("path,caption\nx.png\n", "line 2 of captions.csv must hold a path and a caption"),
        ("path,caption\nx.png, \n", "line 2 of captions.csv must hold a path and a caption"),
    ],
)
def test_captions_that_are_not_whole(tmp_path, rng, table, told):
    Image.fromarray(pictures(rng, 1, 8)[0]).save(tmp_path / "x.png")
    (tmp_path / "captions.csv").write_text('\ufeffpath,caption\nx.png,"a, b"\n', "utf-8")
    assert source(tmp_path, labels="captions").names == ("a, b",)  # as Excel writes it
    (tmp_path / "captions.csv").write_text(table)
    with pytest.raises(ValueError, match=told):
        source(tmp_path, labels="captions")


def test_masks_beside_pictures_are_no_pictures(tmp_path, rng):
    for name in ("a", "a_mask", "b_mask", "c"):
        Image.fromarray(pictures(rng, 1)[0]).save(tmp_path / f"{name}.png")
    with pytest.warns(UserWarning, match="left out 1 mask beside pictures, such as a_"):
        assert len(source(tmp_path)) == 3


@pytest.mark.parametrize(
    ("wide", "memory", "told"),
    [
        (31, 1000, []),
        (33, 1000, ["2 of 3 pictures"]),
        (33, 100, ["1 of the first 1 picture"]),
    ],
)
def test_crops_that_show_less_than_a_quarter_are_counted(wide, memory, told, tmp_path):
    """The square of an 8 x 33 picture is 8 / 33 of it; that of an 8 x 31 picture is 8 / 31.

    A set that is too large for the memory is read later, except for its first picture.
    """
    for name, width in (("a", wide), ("b", 8), ("c", wide)):
        Image.fromarray(np.full((8, width, 3), 9, np.uint8)).save(tmp_path / f"{name}.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source(tmp_path, size=8, memory=memory)
    lines = [f"data: the crop shows less than 25% of {many}, such as a.png" for many in told]
    assert [str(one.message) for one in caught] == lines

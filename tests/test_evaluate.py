"""--mode=evaluate in one process: plan, shards, lines, numbers, failures, unpacking, bad input.

Oracles: --mode=edit of the same pictures, numbers computed anew from the unpacked pictures, and a
run that was not interrupted.
"""

import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from program import ROOT, SIZE, config_of, exact_prior, known, levels, picture, refused, run, small

from sdedit_jax import images
from sdedit_jax.data.examples import Example
from sdedit_jax.data.patches import pasted
from sdedit_jax.data.sets import open_data_set
from sdedit_jax.evaluation import extractors, features, flow, kid, shards
from sdedit_jax.evaluation import plan as plans
from sdedit_jax.evaluation.kid_groups import between_groups
from sdedit_jax.modes import kinds
from sdedit_jax.modes.evaluating import numbers
from sdedit_jax.modes.evaluating.batches import file_name
from sdedit_jax.tasks.simulate import simulate

COUNT = 7


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(COUNT):
        small_one = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        Image.fromarray(small_one).resize((SIZE, SIZE), 0).save(folder / f"p{k}.png")
    return folder


def config(data, **changes):
    few = {"input": str(data), "batch": 4, "shard_size": 4, "features__prior": ""}
    return small("evaluate_strokes", **{**few, "measures__subsets": 4, **changes})


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    """Seven pictures, two edits each, in shards of four."""
    out = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert run(config(data), out, "evaluate") == 0
    return out


def read(out):
    return json.loads((out / "results.json").read_text())


def lines_of(out, count=4):
    store = shards.Store(out / "shards", count)
    return [line for k in range(count) for line in store.read(k).lines]


# --- the plan -------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shares_hold_each_edit_once(count):
    ids = [f"id{k}" for k in range(23)]
    made = plans.plan(ids, 3, 4, 8)
    owned = [plans.share(made.shards, k, count) for k in range(count)]
    edits = [e for own in owned for k in own for batch in made.batches(k) for e in batch]
    assert sorted(edits) == [(row, sample) for row in range(23) for sample in range(3)]
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


def test_the_order_depends_on_the_ids_alone(rng):
    ids = [f"id{k}" for k in range(50)]
    shuffled = [ids[k] for k in rng.permutation(50)]
    orders = [[names[row] for row in plans.plan(names, 1, 4, 4).order] for names in (ids, shuffled)]
    assert orders[0] == orders[1]


@pytest.mark.parametrize("text", ["", "2", "0/2", "3/2", "a/b", "1/2/3", "-1/2", "1.5/2"])
def test_shares_of_another_form_are_refused(text):
    with pytest.raises(ValueError, match="shard must be K/N"):
        plans.parse_share(text)


# --- results --------------------------------------------------------------------------------------


def test_edits_are_those_of_the_edit_mode(data, done, tmp_path):
    """The same noise for the same id, seed and sample, whatever the batch."""
    given = {"input": str(data), "prior": config(data).prior, "samples": 2}
    assert run(small("simulate", **given), tmp_path / "edit") == 0
    assert run(config(data, unpack="all"), done, "evaluate") == 0
    for k in range(COUNT):
        for sample in range(2):
            name = f"p{k}_{sample}.png"
            assert levels(picture(done / "pictures" / name), picture(tmp_path / "edit" / name)) <= 1


def test_numbers_are_those_of_the_pictures(data, done):
    """Means and standard errors over the pictures, from the unpacked files."""
    assert run(config(data, unpack="all"), done, "evaluate") == 0
    found = read(done)["measures"]
    rms = {"guide": [], "photo": []}
    for k in range(COUNT):
        photo = np.asarray(Image.open(data / f"p{k}.png").convert("RGB"))
        against = {"guide": simulate(photo), "photo": photo}
        for name, other in against.items():
            edits = [picture(done / "pictures" / f"p{k}_{s}.png") for s in range(2)]
            away = [(edit.astype(float) - other) / 255 for edit in edits]
            rms[name].append(np.mean([np.sqrt(np.mean(a**2)) for a in away]))
    for name, values in rms.items():
        assert found[f"{name}_rms"]["mean"] == pytest.approx(np.mean(values), rel=1e-12)
        error = np.std(values, ddof=1) / np.sqrt(COUNT)
        assert found[f"{name}_rms"]["error"] == pytest.approx(error, rel=1e-9)


def test_lines_say_what_was_made(done):
    every = lines_of(done)
    assert sorted((line["id"], line["sample"]) for line in every) == [
        (f"p{k}", sample) for k in range(COUNT) for sample in range(2)
    ]
    for line in every:
        assert line["seed"] == 0 and len(line["key"]) == 16 and len(line["sha256"]) == 64
        assert line["evaluations"] == 4 and line["seconds"] > 0
        assert line["strength"]["t0"] == 0.5
    assert len({line["key"] for line in every}) == 2 * COUNT


def test_an_unpacked_picture_is_replayed(done, data, tmp_path):
    assert run(config(data, unpack="p3"), done, "evaluate") == 0
    given = config_of("base", input=str(done / "pictures" / "p3_1.png"), trust=True)
    assert run(given, None, "replay") == 0


def test_a_shard_that_is_removed_is_computed_again(data, done, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(done, out)
    (out / "results.json").unlink()
    kept = (out / "shards" / "00001-of-00004.jsonl").stat().st_mtime_ns
    (out / "shards" / "00002-of-00004.jsonl").unlink()
    assert run(config(data), out, "evaluate") == 0
    assert (out / "results.json").read_bytes() == (done / "results.json").read_bytes()
    assert (out / "shards" / "00001-of-00004.jsonl").stat().st_mtime_ns == kept


def test_a_damaged_shard_is_named(data, done, tmp_path):
    out = tmp_path / "damaged"
    shutil.copytree(done, out)
    file = out / "shards" / "00001-of-00004.npz"
    file.write_bytes(file.read_bytes()[:-7] + b"0" * 7)
    text = refused(config(data), out, "evaluate")
    lines = file.with_suffix(".jsonl")
    assert f"the shard {lines} is damaged" in text and "its .npz" in text
    lines.unlink()
    assert run(config(data), out, "evaluate") == 0
    assert (out / "results.json").read_bytes() == (done / "results.json").read_bytes()


def test_a_shard_with_other_lines_than_its_edits_is_refused(data, done, tmp_path):
    out = tmp_path / "other"
    shutil.copytree(done, out)
    file = out / "shards" / "00001-of-00004.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert "other lines than its edits" in refused(config(data), out, "evaluate")


def swapped(rows, features, pictures):
    pictures[:2] = pictures[1::-1]


def shorter(rows, features, pictures):
    features["hand/edit"] = features["hand/edit"][1:]


def unnamed(rows, features, pictures):
    features["x/edit"] = features.pop("hand/edit")


def of_another_run(rows, features, pictures):
    rows[0]["run"] = "0" * 16


def doubled(rows, features, pictures):
    rows[2]["picture"] = 0


def without_numbers(rows, features, pictures):
    rows[1]["numbers"] = None


TAMPERED = {
    swapped: "has another sha256",
    shorter: "hand/edit is float32 (3, ",
    unnamed: "its features are ['hand/guide', 'hand/photo', 'x/edit']",
    of_another_run: "belongs to another run",
    doubled: "line 3.picture must be 1",
    without_numbers: "line 2.numbers is missing",
}


@pytest.mark.parametrize(("change", "told"), TAMPERED.items())
def test_shards_that_are_changed_with_their_digests_are_refused(change, told, data, done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done, out)
    store = shards.Store(out / "shards", 4)
    lines, packed, recorded = (store.file(1, e) for e in ("jsonl", "npz", "array_record"))
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    features, pictures = dict(np.load(packed)), [*store._records(1, rows[0], 2**30)]
    change(rows, features, pictures)
    np.savez(packed, **features)
    shards._write_records(recorded, pictures)
    digests = {e: hashlib.sha256(store.file(1, e).read_bytes()).hexdigest()
               for e in ("npz", "array_record")}  # fmt: skip
    rows[0]["files"] = digests
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert told in refused(config(data), out, "evaluate")


def test_a_reference_of_another_run_is_refused(data, done, tmp_path):
    given = config(data, reference=str(data), limit=2)
    assert run(given, tmp_path, "evaluate") == 0
    file = tmp_path / "reference" / "00000-of-00001.jsonl"
    head, *rest = map(json.loads, file.read_text().splitlines())
    head["run"] = "0" * 16
    file.write_text("".join(json.dumps(row) + "\n" for row in (head, *rest)))
    assert "belongs to another run" in refused(given, tmp_path, "evaluate")


def test_nothing_is_written_after_a_write_that_failed():
    """The batches that wait behind it belong to the same shard, or to later ones."""
    written = []

    def write(item):
        if item == 1:
            raise OSError("full")
        written.append(item)

    stop = type("Stop", (), {"is_set": staticmethod(lambda: False)})()
    with pytest.raises(OSError, match="full"):
        for _ in flow.run(range(6), lambda i: i, lambda i: i, write, stop):
            pass
    assert written == [0]


def test_results_of_another_program_are_not_replaced(data, tmp_path):
    (tmp_path / "results.json").write_text("{}")
    assert "results.json exists" in refused(config(data), tmp_path, "evaluate")
    assert (tmp_path / "results.json").read_text() == "{}"


@pytest.mark.parametrize("task", ["simulate", "strokes"])
def test_results_at_the_size_of_the_input_are_those_of_the_edit_mode(task, tmp_path, rng):
    """With transparent and with opaque alpha, at twice the size of the edit."""
    folder = tmp_path / "large"
    folder.mkdir()
    for k, alpha in enumerate((255, 100)):
        pixels = rng.integers(0, 256, (2 * SIZE, 2 * SIZE, 4), dtype=np.uint8)
        pixels[..., 3] = alpha
        Image.fromarray(pixels).save(folder / f"p{k}.png")
    same = {"input": str(folder), "task": task, "output": "original", "samples": 1}
    assert run(small(task, **same, batch=2), tmp_path / "edit") == 0
    for unpack in ("", "all"):
        given = config(folder, **{**same, "batch": 2, "unpack": unpack})
        with given.unlocked():
            given.options = small(task).options
        assert run(given, tmp_path / "out", "evaluate") == 0
    for k in range(2):
        unpacked_one = picture(tmp_path / f"out/pictures/p{k}_0.png")
        assert levels(unpacked_one, picture(tmp_path / f"edit/p{k}_0.png")) <= 1


def test_a_share_waits_for_the_shards_of_the_reference(data, tmp_path, capsys):
    """The other share computes the rest of the reference, and then the results are written."""
    shares = {"reference": str(data), "limit": 1, "samples": 1, "batch": 1}
    assert run(config(data, shard="1/2", **shares), tmp_path, "evaluate") == 0
    assert "1 shard of the others" in capsys.readouterr().out
    assert "not computed yet" in refused(config(data, merge=True, **shares), tmp_path, "evaluate")
    assert run(config(data, shard="2/2", **shares), tmp_path, "evaluate") == 0
    assert read(tmp_path)["edits"]["made"] == 1


def test_a_picture_that_fails_is_listed_and_computed_on_request(data, tmp_path, capsys):
    broken = tmp_path / "photos"
    shutil.copytree(data, broken)
    whole = (broken / "p2.png").read_bytes()
    (broken / "p2.png").write_bytes(whole[:40])
    assert run(config(broken), tmp_path / "out", "evaluate") == 1
    found = read(tmp_path / "out")
    assert found["edits"] == {"planned": 14, "made": 12, "failed": 2}
    assert [one["id"] for one in found["failed"]] == ["p2", "p2"]
    assert "p2" in capsys.readouterr().err
    (broken / "p2.png").write_bytes(whole)
    assert run(config(broken), tmp_path / "out", "evaluate") == 1  # failures are not tried again
    assert run(config(broken, retry=True), tmp_path / "out", "evaluate") == 0
    assert read(tmp_path / "out")["edits"]["failed"] == 0


def test_the_exact_prior_gives_its_picture(data, tmp_path):
    """At t0 1 every edit is the one picture that the prior knows."""
    given = {"input": str(data), "prior": exact_prior(), "samples": 1, "batch": 4, "t0": 1.0}
    more = {"features__prior": "", "measures__subsets": 4, "sampler__steps": 12}
    assert run(config_of("evaluate_strokes", **given, **more), tmp_path, "evaluate") == 0
    away = []
    for k in range(COUNT):
        photo = np.asarray(Image.open(data / f"p{k}.png").convert("RGB"))
        away.append(np.sqrt(np.mean(((known().astype(float) - photo) / 255) ** 2)))
    assert read(tmp_path)["measures"]["photo_rms"]["mean"] == pytest.approx(np.mean(away), abs=0.01)


def test_a_manifest_gives_guides_and_masks(data, tmp_path):
    """The kept half of each picture is exact, and the guide is the given one."""
    guide = Image.new("RGB", (SIZE, SIZE), (200, 30, 30))
    guide.save(tmp_path / "guide.png")
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[:, SIZE // 2 :] = 255
    Image.fromarray(mask).save(tmp_path / "half.png")
    rows = [f"row{k},{data / f'p{k}.png'},guide.png,half.png" for k in range(4)]
    (tmp_path / "rows.csv").write_text("\n".join(["id,picture,guide,mask", *rows]) + "\n")
    given = config(tmp_path / "rows.csv", unpack="")
    assert run(given, tmp_path / "out", "evaluate") == 0
    with given.unlocked():
        given.unpack = "row1"
    assert run(given, tmp_path / "out", "evaluate") == 0
    edit = picture(tmp_path / "out/pictures/row1_0.png")
    photo = np.asarray(Image.open(data / "p1.png").convert("RGB"))
    np.testing.assert_array_equal(edit[:, : SIZE // 2], photo[:, : SIZE // 2])
    shown = picture(tmp_path / "out/pictures/row1_guide.png")
    np.testing.assert_array_equal(shown[:, SIZE // 2 :], np.asarray(guide)[:, SIZE // 2 :])


# --- bad input ------------------------------------------------------------------------------------


def test_a_workdir_of_another_config_is_refused_with_the_differences(data, done):
    text = refused(config(data, t0=0.4, seed=5), done, "evaluate")
    assert "config.t0: 0.5 then, 0.4 now" in text and "config.seed: 0 then, 5 now" in text


def test_fields_on_which_no_result_depends_may_differ(data, done):
    assert run(config(data, report_rows=3, devices=1), done, "evaluate") == 0


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"limit": -1}, "limit must be at least 0, got -1"),
        ({"shard_size": -2}, "shard_size must be at least 0, got -2"),
        ({"shard": "3/2"}, "shard must be K/N"),
        ({"shard": "1/2", "merge": True}, "shard, merge: give one of them"),
        ({"merge": True, "retry": True}, "retry: computes edits"),
        ({"measures__subsets": 0}, "subsets must be at least 1"),
        ({"features__resize": "bogus"}, "features.resize"),
        ({"reference_split": "test"}, "reference_split: is of a reference"),
        ({"fit": "mask", "reference": "examples"}, "the pictures of a reference have no masks"),
        ({"report_rows": 500}, "report_rows must be at most 200, got 500"),
        ({"options__colors": 0}, "options.colors must be at least 3, got 0"),
        ({"options__background": "nocolour"}, "nocolour"),
        ({"cluster__timeout": -1.0}, "cluster.timeout must be above 0"),
        ({"seed": -1}, "seed: an evaluation"),
        ({"auto_t0": "map"}, "auto_t0: an evaluation takes no strength maps"),
        ({"input": "", "example__input": ""}, "input: give a data set"),
        ({"unpack": "p99"}, "holds no evaluation"),
        ({"merge": True}, "holds no evaluation"),
        ({"task": "recolor"}, "options.colors: task 'recolor' has no such field"),
        ({"cluster__use": "maybe"}, "cluster.use"),
        ({"cluster__use": "off", "cluster__process": 1}, "cluster.use is off"),
        ({"shard": "1/2", "cluster__use": "on"}, "shard: needs no cluster"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(data, tmp_path, changes, text):
    changes.pop("options", None)
    assert text in refused(config(data, **changes), tmp_path, "evaluate")


def test_options_of_other_modes_are_refused(data, tmp_path):
    assert "overwrite" in refused(config(data), tmp_path, "evaluate", overwrite=True)
    assert "keep" in refused(config(data), tmp_path, "evaluate", keep=True)
    assert "evaluates nothing" in refused(small("strokes"), tmp_path, "evaluate")


def test_an_empty_data_set_is_refused(tmp_path):
    (tmp_path / "none").mkdir()
    assert "none" in refused(config(tmp_path / "none"), tmp_path / "out", "evaluate")


def test_a_full_disk_is_one_line_and_loses_nothing(data, done, tmp_path, monkeypatch):
    out = tmp_path / "full"
    shutil.copytree(done, out)
    (out / "shards" / "00003-of-00004.jsonl").unlink()

    def full(path, data):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(images.files, "_write_through", full)
        text = refused(config(data), out, "evaluate")
    assert "No space left on device" in text
    assert run(config(data), out, "evaluate") == 0
    assert (out / "results.json").read_bytes() == (done / "results.json").read_bytes()


def test_file_names_are_plain_and_unique():
    ids = ["a/b", "a_b", "a b", "..", "é", "x" * 300, "x" * 301]
    found = [file_name(id) for id in ids]
    assert len(set(found)) == len(ids) and not any("/" in name for name in found)
    assert all(len(name.encode()) < 250 and not name.startswith(".") for name in found)


# --- sets, rows and texts -------------------------------------------------------------------------


def unpacked(out, count=COUNT, samples=2):
    names = [(k, s) for k in range(count) for s in range(samples)]
    edits = np.stack([picture(out / "pictures" / f"p{k}_{s}.png") for k, s in names])
    return edits, np.array([k for k, _ in names])


def test_distances_of_sets_are_those_of_the_pictures(data, done):
    """KID on the hand-made features, from the unpacked edits and the photos."""
    assert run(config(data, unpack="all"), done, "evaluate") == 0
    edits, of = unpacked(done)
    photos = np.stack([np.asarray(Image.open(data / f"p{k}.png")) for k in range(COUNT)])
    hand = extractors.hand()
    x, y = (hand.apply(rows) for rows in (edits, photos))
    x, y = (features.standardised(rows, y) for rows in (x, y))
    found = read(done)["sets"]["hand"]["edits"]
    expected = between_groups(x, y, of, np.arange(COUNT))
    assert found["kid_apart"]["value"] == pytest.approx(expected.value, rel=1e-6)
    assert found["kid_apart"]["error"] == pytest.approx(expected.error, rel=1e-6)
    assert found["kid"]["value"] == pytest.approx(kid.mmd2(x, y), abs=3 * found["kid"]["spread"])
    assert found["pictures"] == [2 * COUNT, COUNT]


def test_another_set_can_be_the_reference(data, done, tmp_path):
    """Edits, guides and photos have the distances from the pictures of the reference."""
    other = tmp_path / "other"
    other.mkdir()
    for k, file in enumerate(sorted(data.iterdir())[:5]):
        Image.open(file).transpose(Image.Transpose.ROTATE_90).save(other / f"q{k}.png")
    assert run(config(data, reference=str(other)), tmp_path / "out", "evaluate") == 0
    found = read(tmp_path / "out")["sets"]["hand"]
    hand = extractors.hand()
    photos, rows = (
        hand.apply(np.stack([np.asarray(Image.open(f)) for f in sorted(folder.iterdir())]))
        for folder in (data, other)
    )
    x, y = (features.standardised(each, rows) for each in (photos, rows))
    assert found["photos"]["kid_apart"]["value"] == pytest.approx(kid.mmd2(x, y), rel=1e-6)
    assert found["edits"]["pictures"] == [2 * COUNT, 5]
    shards_of = sorted(file.name for file in (tmp_path / "out" / "reference").glob("*.jsonl"))
    assert shards_of == ["00000-of-00001.jsonl"]


def test_one_picture_has_no_distance_of_sets_and_says_why(data, tmp_path):
    assert run(config(data, limit=1, samples=1), tmp_path, "evaluate") == 0
    assert "two pictures" in read(tmp_path)["sets"]["hand"]["edits"]


def test_patches_are_the_guides_and_only_they_and_their_seams_change(data, tmp_path):
    given = {"input": str(data), "batch": 4, "features__prior": "", "measures__subsets": 4}
    given = small("evaluate_composite", **given)
    assert run(given, tmp_path, "evaluate") == 0
    with given.unlocked():
        given.unpack = "all"
    assert run(given, tmp_path, "evaluate") == 0
    rows = pasted(open_data_set(data))
    for k, row in enumerate(rows):
        guide = picture(tmp_path / f"pictures/p{k}_guide.png")
        np.testing.assert_array_equal(guide, row.guide.rgb)
        edit = picture(tmp_path / f"pictures/p{k}_0.png")
        mask = picture(tmp_path / f"pictures/p{k}_mask.png")
        assert (mask[row.mask > 0] == 255).all() and (mask == 255).sum() > (row.mask > 0).sum()
        np.testing.assert_array_equal(edit[mask == 0], row.picture.rgb[mask == 0])
    assert read(tmp_path)["measures"]["photo_rms_kept"]["mean"] == 0


def test_the_label_of_a_row_is_the_class_of_its_edits():
    kind = kinds.open_kind(config_of("evaluate_strokes"))
    photo = images.Picture(np.zeros((64, 64, 3), np.uint8), None)
    names = kind.prior.metadata["data"]["labels"]
    for number, name in enumerate(names):
        one = kind.take(Example("id", photo, label=name), "id")
        assert int(kind.cond_of(one)) == number
    assert kind.cond_of(kind.take(Example("id", photo), "id")) == kind.cond_of()
    with pytest.raises(ValueError, match="tulips"):
        kind.take(Example("id", photo, label="tulips"), "id")


def test_clip_scores_are_taken_of_rows_with_a_text(monkeypatch):
    """With embeddings in closed form: the mean colour of a picture, the axis that a text names."""

    class Clip:
        facts = {}

        def images(self, pictures):
            mean = pictures.mean((1, 2)).astype(float)
            return mean / np.linalg.norm(mean, axis=1, keepdims=True)

        def texts(self, texts):
            axes = {"red": [1, 0, 0], "green": [0, 1, 0], "": [0, 0, 1]}
            return np.array([axes[text] for text in texts], float)

    def flat(*colours):
        return np.array(colours, np.uint8)[:, None, None] * np.ones((1, 4, 4, 1), np.uint8)

    shown = numbers.Pictures(
        flat([200, 0, 0], [100, 100, 0], [9, 9, 9]), flat(*[[9, 9, 9]] * 3),
        flat([0, 200, 0], [100, 0, 0], [9, 9, 9]), np.ones((3, 4, 4), np.float32), [0],
        ["red", "green", ""], ["green", "", "red"],
    )  # fmt: skip
    run_of = type("Run", (), {"measures": type("Measures", (), {"clip": Clip()})})
    found = numbers.by_text(run_of, shown)
    np.testing.assert_allclose(found["clip_score"], [100, 100 / np.sqrt(2), np.nan])
    np.testing.assert_allclose(found["clip_directional"], [1, np.nan, np.nan])


def test_a_reference_whose_pictures_are_equal_has_no_distance():
    rows = extractors.hand().apply(np.stack([known()] * 3))
    with pytest.raises(ValueError, match="features: the pictures of the reference have no diff"):
        features.standardised(rows, rows)

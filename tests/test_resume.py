"""--resume: an interrupted run, finished, is the run that was never interrupted."""

import io
import json

import numpy as np
import pytest
import text_prior
from PIL import Image, PngImagePlugin
from program import config_of, exact_prior, known, names, noted, refused, run, small

from sdedit_jax import images
from sdedit_jax.pipeline import executor
from sdedit_jax.pipeline.base import Finished


class Killed(BaseException):
    """The end of the process."""


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for k, name in enumerate("abc"):
        images.write_png(make(folder) / f"{name}.png", np.roll(known(), k, 0))
    return folder


def make(folder):
    folder.mkdir(exist_ok=True)
    return folder


def edits(photos, **changes):
    """Six jobs in three batches of two; the last input's samples are in two batches."""
    few = {"prior": exact_prior(), "input": str(photos), "samples": 3, "uncertainty": True}
    return small("strokes", **{**few, "report": True, **changes})


def killed_after(batches, monkeypatch, config, out, mode="edit", **options):
    """Run a mode in which the process dies when this many batches are finished."""
    events, ended = executor.run, []

    def dying(*args, **given):
        for event in events(*args, **given):
            if len(ended) == batches:
                raise Killed
            ended.extend([1] * isinstance(event, Finished))
            yield event

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(executor, "run", dying)
        run(config, out, mode, **options)


def timeless(values):
    """A record without its times."""
    if isinstance(values, dict):
        return {k: timeless(v) for k, v in values.items() if k != "seconds"}
    return [timeless(v) for v in values] if isinstance(values, list) else values


def equal(one, other):
    """Whether two workdirs hold the same pictures, bit for bit, and the same records."""
    assert names(one) == names(other)
    for name in names(one):
        if name.endswith(".png"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert timeless(noted(one)) == timeless(noted(other))


CASES = {
    "edit": ({}, "edit"),
    "original": ({"output": "original", "feather": 2}, "edit"),
    "sweep": ({"uncertainty": False, "sweep__t0": (0.2, 0.5), "sweep__seeds": (1, 2)}, "sweep"),
    "target": ({"target_l2": 0.1, "uncertainty": False}, "edit"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batches", [0, 1, 2])
def test_a_finished_run_is_the_uninterrupted_one(case, batches, photos, tmp_path, monkeypatch):
    changes, mode = CASES[case]
    config, whole, out = edits(photos, **changes), tmp_path / "whole", tmp_path / "out"
    code = run(config, whole, mode)  # a target may be out of reach for some
    killed_after(batches, monkeypatch, config, out, mode)
    assert not (out / "record.json").exists()
    assert run(config, out, mode, resume=True) == code
    equal(whole, out)


@pytest.mark.parametrize("batches", [0, 1])
def test_ledits_goes_on_too(batches, photos, tmp_path, monkeypatch):
    """Its sheets have the reconstructions, which are read from their files."""
    few = {"prior": text_prior.text_prior(), "batch": 2, "devices": 1, "steps": 2, "samples": 1}
    config = config_of("ledits", input=str(photos), concepts="+green:5", report=True, **few)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(config, whole) == 0
    killed_after(batches, monkeypatch, config, out)
    assert run(config, out, resume=True) == 0
    equal(whole, out)
    told = refused(
        config_of("ledits", input=str(photos), concepts="-green:5", **few), out, resume=True
    )
    assert "a_edit.png is of another run" in told


def test_a_search_goes_on_with_its_strength(photos, tmp_path, monkeypatch, capsys):
    config, out = edits(photos, report=False), tmp_path / "out"
    monkeypatch.setattr("sys.stdin", io.StringIO("more\ndone\n"))
    assert run(config, out, "search") == 0
    record = noted(out)
    for name in ("c_1.png", "record.json"):
        (out / name).unlink()
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run(config, out, "search", resume=True) == 0
    assert timeless(noted(out)) == timeless(record)
    assert "of the interrupted run" in capsys.readouterr().out


def test_a_partly_finished_batch_keeps_its_files(photos, tmp_path, monkeypatch):
    """The rest of the batch is made in the rows that it had."""
    config, whole, out = edits(photos), tmp_path / "whole", tmp_path / "out"
    assert run(config, whole) == 0
    killed_after(2, monkeypatch, config, out)
    kept = {name: (out / name).stat().st_ino for name in ("a_0.png", "a_2.png", "b_0.png")}
    (out / "a_1.png").unlink()
    assert run(config, out, resume=True) == 0
    equal(whole, out)
    assert {name: (out / name).stat().st_ino for name in kept} == kept


def test_a_finished_run_makes_nothing(photos, tmp_path, monkeypatch, capsys):
    config = edits(photos)
    assert run(config, tmp_path / "out", resume=True) == 0  # an ordinary run
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(executor, "run", None)
    capsys.readouterr()
    assert run(config, tmp_path / "out", resume=True) == 0
    assert "finished  9 results" in capsys.readouterr().out
    assert {f.name: f.stat().st_mtime_ns for f in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(("damage", "end"), [("cut", 20), ("cut", 0), ("gone", None)])
def test_what_is_cut_off_is_made_again(damage, end, photos, tmp_path):
    config, whole, out = edits(photos), tmp_path / "whole", tmp_path / "out"
    for folder in (whole, out):
        assert run(config, folder) == 0
    for name in ("b_1.png", "c_guide.png", "a_uncertainty.png", "sheet.png"):
        data = (out / name).read_bytes()
        (out / name).unlink()
        if damage == "cut":
            (out / name).write_bytes(data[: -end or None] if end else b"")
    for name in (".a_0.png.0123abcd.part", ".record.json.89abcdef.part"):
        (out / name).write_bytes(b"half")
    assert run(config, out, resume=True) == 0
    equal(whole, out)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": 3}, "config.seed: 0 then, 3 now"),
        ({"t0": 0.3}, "config.t0: 0.5 then, 0.3 now"),
        ({"batch": 3}, "config.batch: 2 then, 3 now"),
        ({"sampler__steps": 5}, "config.sampler.steps: 4 then, 5 now"),
    ],
)
def test_other_settings_are_refused(changes, line, photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    killed_after(1, monkeypatch, edits(photos, t0=0.5), out)
    before = {name: (out / name).read_bytes() for name in names(out)}
    told = refused(edits(photos, **{"t0": 0.5, **changes}), out, resume=True)
    assert line in told and "a_0.png is of another run" in told
    assert {name: (out / name).read_bytes() for name in names(out)} == before


def test_other_inputs_priors_and_places_are_refused(photos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    killed_after(1, monkeypatch, edits(photos), out)
    images.write_png(photos / "d.png", known())
    assert run(edits(photos, input=str(photos / "[d]*.png")), tmp_path / "d") == 0
    (photos / "d.png").unlink()
    images.write_png(photos / "a.png", known()[::-1], overwrite=True)
    told = refused(edits(photos), out, resume=True)
    assert "a_guide.png is of another run" in told
    (out / "a_guide.png").unlink()
    assert "guide.sha256" in refused(edits(photos), out, resume=True)


def test_a_drawn_seed_is_that_of_the_interrupted_run(photos, tmp_path, monkeypatch):
    out, config = tmp_path / "out", edits(photos, seed=-1)
    killed_after(1, monkeypatch, config, out)
    assert run(config, out, resume=True) == 0
    assert len({entry["seed"] for entry in noted(out)["pictures"]}) == 1


def strange(file, kind):
    if kind == "folder":
        file.mkdir()
    elif kind == "text":
        file.write_text("mine")
    elif kind == "photo":
        Image.fromarray(known()).save(file)
    else:
        chunks = PngImagePlugin.PngInfo()
        chunks.add_text("sdedit_jax", kind)
        Image.fromarray(known()).save(file, pnginfo=chunks)


STRANGE = ["folder", "text", "photo", "{", "[]", "{}", '{"format": 3}', "[" * 5000, "9" * 5000]


@pytest.mark.parametrize("kind", STRANGE, ids=range(len(STRANGE)))
@pytest.mark.parametrize("name", ["a_0.png", "a_guide.png", "a_uncertainty.png"])
def test_files_of_others_are_refused_and_stay(kind, name, photos, tmp_path):
    out = make(tmp_path / "out")
    strange(out / name, kind)
    assert name in refused(edits(photos), out, resume=True)
    assert names(out) == [name]


@pytest.mark.parametrize("option", ["resume", "overwrite"])
@pytest.mark.parametrize("name", ["record.json", "sheet.png", "report.html", "b_1.png"])
def test_a_folder_in_the_place_of_a_file_is_found_before_any_work(
    name, option, photos, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    assert run(edits(photos), out) == 0
    for gone in (name, "a_0.png"):
        (out / gone).unlink(missing_ok=True)
    (out / name).mkdir()
    monkeypatch.setattr(executor, "run", lambda *_, **__: pytest.fail("work was done"))
    assert f"{name} is no file" in refused(edits(photos), out, **{option: True})


PICTURES = [3, None, [3], [{}], [{"file": []}], [{"file": {}}], [{"file": "a_0.png"}], {"a": 1}]


@pytest.mark.parametrize("pictures", PICTURES, ids=range(len(PICTURES)))
def test_a_damaged_record_is_written_again(pictures, photos, tmp_path):
    config, out = edits(photos), tmp_path / "out"
    assert run(config, out) == 0
    whole = noted(out)
    (out / "record.json").write_text(json.dumps({**whole, "pictures": pictures}))
    assert run(config, out, resume=True) == 0
    assert timeless({**noted(out)}) == timeless(whole)


@pytest.mark.parametrize("field", ["l2", "strength", "file", "seed", None])
@pytest.mark.parametrize("value", ["x", [], {}, None, 10**400])
def test_a_damaged_entry_is_refused(field, value, photos, tmp_path, monkeypatch):
    """An entry comes from a file."""
    out = tmp_path / "out"
    killed_after(1, monkeypatch, edits(photos), out)
    text = dict(Image.open(out / "a_0.png").text)
    entry = json.loads(text["sdedit_jax entry"])
    if value == {} and field in ("strength", None) or (value == 10**400 and field == "l2"):
        pytest.skip("right, or not of another type")
    text["sdedit_jax entry"] = json.dumps({**entry, field: value} if field else value)
    images.write_png(out / "a_0.png", images.read(out / "a_0.png").pixels, text, overwrite=True)
    assert "a_0.png lacks its entry" in refused(edits(photos), out, resume=True)


def test_options_that_exclude_each_other(photos, tmp_path):
    config, out = edits(photos), tmp_path / "out"
    assert "give one of them" in refused(config, out, resume=True, overwrite=True)
    assert "give one of them" in refused(config, out, resume=True, keep=True)
    assert "resume: is for the modes" in refused(config, out, "autotune", resume=True)
    assert "leave it out" in refused(config, out, "train", resume=True)
    assert not out.exists()


def test_existing_results_name_the_option(photos, tmp_path):
    assert run(edits(photos), tmp_path / "out") == 0
    assert "--resume" in refused(edits(photos), tmp_path / "out")

"""Inputs of edits: the memory that they need, files that change, and what is read how often."""

import weakref

import numpy as np
import pytest
import text_prior
from program import config_of, exact_prior, known, names, noted, picture, recipe, run, small
from test_resume import equal

from sdedit_jax import images
from sdedit_jax.modes import autotune, edit, inputs, replay
from sdedit_jax.modes.sdedit import SDEditKind
from sdedit_jax.pipeline.recent import Recent
from sdedit_jax.tasks import common


def photos(folder, count, size=24):
    """Photos of another size than the edit, half of them with a mask beside them."""
    folder.mkdir(exist_ok=True)
    wide = images.resize(known(), (size, size))
    for k in range(count):
        images.write_png(folder / f"{k}.png", np.roll(wide, k + 5, 0))
        if k % 2:
            mask = np.zeros((size, size), np.uint8)
            mask[: 3 + k] = 255
            images.write_png(folder / f"{k}_mask.png", mask)
    return folder


@pytest.fixture
def little(monkeypatch):
    """Pictures of two batches are kept, and no others."""
    monkeypatch.setattr(inputs, "KEPT", 0)


class Reads:
    """Counts the photos that are read, and those that are in memory."""

    def __init__(self, monkeypatch):
        self.files, self.alive, self.most = [], [], 0
        real = common.read_photo

        def read(path, *args):
            found = real(path, *args)
            self.files.append(str(path))
            self.alive = [ref for ref in self.alive if ref() is not None]
            self.alive.append(weakref.ref(found.rgb))
            self.most = max(self.most, len(self.alive))
            return found

        monkeypatch.setattr(common, "read_photo", read)


@pytest.fixture
def reads(monkeypatch):
    return Reads(monkeypatch)


def edits(folder, **changes):
    few = {"prior": exact_prior(), "input": str(folder), "samples": 2, "batch": 1}
    return small("base", task="photo", **{**few, **changes})


def texts(folder, **changes):
    few = {"prior": text_prior.text_prior(), "input": str(folder), "sampler__steps": 2}
    own = {name: value for name, value in few.items() if name != "sampler__steps"}
    return config_of("ledits", **own, concepts="+red:5", steps=2, batch=1, **changes)


MODES = {
    "edit": {"output": "original", "uncertainty": True, "report": True},
    "target": {"target_l2": 0.1},
    "sweep": {"sweep__t0": (0.2, 0.5), "sweep__seeds": (1,), "report": True},
    "autotune": {
        "budget": 1e6,
        "autotune__rules": ("dpmpp_2m",),
        "autotune__grids": ("karras",),
        "autotune__steps": (2,),
        "autotune__reference": 4,
    },
    "search": {},
}
ALL = {"output": "original", "sampler__steps": 2}


def answered(monkeypatch):
    monkeypatch.setattr(autotune, "MOST", 32)
    monkeypatch.setattr("sys.stdin", iter_of("less\n", "done\n"))


def iter_of(*lines):
    class Lines:
        left = list(lines)

        def readline(self):
            return self.left.pop(0) if self.left else ""

    return Lines()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", MODES)
def test_the_photos_in_memory_do_not_grow_with_their_number(
    case, tmp_path, monkeypatch, reads, little
):
    """At most those of two batches, and the one that is read."""
    answered(monkeypatch)
    folder = photos(tmp_path / "in", 7)
    config = edits(folder, **{**ALL, **MODES[case]})
    assert run(config, tmp_path / "out", "edit" if case == "target" else case) == 0
    assert len(reads.files) > 7 and 2 <= reads.most <= 3


def test_nor_do_those_of_ledits_and_of_a_replay(tmp_path, reads, little):
    folder, out = photos(tmp_path / "in", 5), tmp_path / "out"
    assert run(texts(folder), out) == 0
    assert 2 <= reads.most <= 3
    reads.files.clear()
    assert run(config_of("base", input=str(out / "record.json"), trust=True), None, "replay") == 0
    assert len(reads.files) >= 5 and reads.most <= 3


def test_nor_do_those_of_a_replay_of_many_strengths(tmp_path, reads, little):
    """Each strength that was found is a kind of its own."""
    folder, out = photos(tmp_path / "in", 6), tmp_path / "out"
    assert run(edits(folder, samples=1, **MODES["target"]), out) == 0
    assert len({recipe(out / f"{k}_0.png")["strength"]["t0"] for k in range(6)}) == 6
    reads.files.clear()
    reads.most = 0
    config = config_of("base", input=str(out / "record.json"), prior=exact_prior(), trust=True)
    assert run(config, None, "replay") == 0
    assert len(reads.files) >= 6 and reads.most <= 3


@pytest.mark.parametrize("case", MODES)
@pytest.mark.filterwarnings("ignore")
def test_a_small_run_reads_each_photo_once(case, tmp_path, monkeypatch, reads):
    answered(monkeypatch)
    folder = photos(tmp_path / "in", 5)
    config = edits(folder, **{**ALL, **MODES[case]})
    assert run(config, tmp_path / "out", "edit" if case == "target" else case) == 0
    assert sorted(reads.files) == [str(folder / f"{k}.png") for k in range(5)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ["edit", "target", "sweep", "ledits"])
def test_reading_again_changes_no_result(case, tmp_path, monkeypatch):
    folder = photos(tmp_path / "in", 3)
    mode = case if case == "sweep" else "edit"
    config = texts(folder) if case == "ledits" else edits(folder, **{**ALL, **MODES[case]})
    config.samples = 2
    run(config, tmp_path / "all", mode)
    monkeypatch.setattr(inputs, "KEPT", 0)
    run(config, tmp_path / "few", mode)
    equal(tmp_path / "all", tmp_path / "few")


def changed(file):
    images.write_png(file, 255 - images.read(file).rgb, overwrite=True)


def damaged(file):
    file.write_bytes(b"no picture")


def dark(file):
    images.write_png(file, np.zeros((24, 24), np.uint8), overwrite=True)


CHANGES = {
    "changed": ("1.png", changed, "1.png was changed after its input was checked"),
    "the mask": ("1_mask.png", changed, "1_mask.png was changed after its input was checked"),
    "no mask": ("1_mask.png", lambda f: f.unlink(), "1_mask.png was changed after its input was"),
    "a mask more": ("2_mask.png", changed, "2_mask.png was changed after its input was checked"),
    "removed": ("1.png", lambda file: file.unlink(), "1.png: no such file"),
    "damaged": ("1.png", damaged, "1.png"),
    "black": ("1_mask.png", dark, "1_mask.png"),
}


def when(monkeypatch, module, name, change):
    """Let files change when a function is called."""
    real = getattr(module, name)

    def call(*args, **given):
        change()
        return real(*args, **given)

    monkeypatch.setattr(module, name, call)


@pytest.mark.parametrize(
    ("mode", "case"),
    [*(("edit", case) for case in CHANGES), ("target", "changed"), ("sweep", "changed")],
)
def test_a_file_that_changes_before_its_edit_fails_its_edits_alone(
    mode, case, tmp_path, monkeypatch, capsys, little
):
    name, change, line = CHANGES[case]
    folder = photos(tmp_path / "in", 6)
    if case == "a mask more":
        images.write_png(folder / "spare.png", known())
        (folder / "spare.png").rename(tmp_path / "spare.png")
        change = lambda file: (tmp_path / "spare.png").rename(file)  # noqa: E731
    changes = {**MODES[mode], "uncertainty": False, "report": True, "batch": 2, "samples": 1}
    config = edits(folder, **changes)
    used = "edit" if mode == "target" else mode
    assert run(config, tmp_path / "whole", used) == 0
    capsys.readouterr()
    when(monkeypatch, edit, "header", lambda: change(folder / name))
    assert run(config, tmp_path / "out", used) == 1
    err = capsys.readouterr().err
    lost = name[0]
    assert "could not be made:" in err and line in err and "Traceback" not in err
    made = [entry["file"] for entry in noted(tmp_path / "out")["pictures"]]
    every = [entry["file"] for entry in noted(tmp_path / "whole")["pictures"]]
    assert made == [file for file in every if not file.startswith(lost)]
    for file in made:
        one, other = (recipe(tmp_path / out / file) for out in ("out", "whole"))
        assert mode == "target" or one == other  # where jobs fail before, others get their rows
        assert one["value"] == other["value"]
        np.testing.assert_array_equal(
            picture(tmp_path / "out" / file), picture(tmp_path / "whole" / file)
        )


def test_a_file_that_changes_after_its_edit_is_missing_on_the_sheet(
    tmp_path, monkeypatch, capsys, little
):
    folder = photos(tmp_path / "in", 4)
    config = edits(folder, samples=1, report=True)
    assert run(config, tmp_path / "whole") == 0
    when(monkeypatch, edit, "contact_sheet", lambda: changed(folder / "0.png"))
    capsys.readouterr()
    assert run(config, tmp_path / "out") == 0
    err = capsys.readouterr().err
    assert "0.png was changed after its input was checked; sheets and reports do not show" in err
    assert names(tmp_path / "out") == names(tmp_path / "whole")
    one, other = (picture(tmp_path / out / "sheet.png").astype(int) for out in ("whole", "out"))
    cells = (one != other).any(-1).nonzero()
    assert one.shape == other.shape and cells[0].size
    assert cells[0].max() < one.shape[0] / 3 and cells[1].max() < one.shape[1] * 3 / 4


def test_a_file_that_changes_before_its_replay(tmp_path, monkeypatch, capsys, little):
    folder, out = photos(tmp_path / "in", 7), tmp_path / "out"
    assert run(edits(folder, samples=1, batch=2), out) == 0
    config = config_of("base", input=str(out / "record.json"), trust=True)
    config.prior = exact_prior()
    once = []

    def change():
        if not once:
            once.append(changed(folder / "1.png"))

    when(monkeypatch, replay, "again", change)
    assert run(config, None, "replay") == 1
    printed = capsys.readouterr()
    assert "6 of 7 pictures equal" in printed.out
    assert printed.err.count("1_0.png: ") == 1 and "1.png was changed after" in printed.err


def test_a_file_that_changes_before_kept_results_are_compared(
    tmp_path, monkeypatch, capsys, little
):
    """--resume leaves out the result of the changed file, and keeps the others."""
    folder, out = photos(tmp_path / "in", 6), tmp_path / "out"
    config = edits(folder, samples=1, **MODES["target"])
    assert run(config, out) == 0
    (out / "5_0.png").unlink()
    when(monkeypatch, edit.resume, "again", lambda: changed(folder / "1.png"))
    assert run(config, out, resume=True) == 1
    assert "1.png was changed after its input was checked" in capsys.readouterr().err
    made = [entry["file"] for entry in noted(out)["pictures"]]
    assert made == [f"{k}_0.png" for k in (0, 2, 3, 4, 5)]


def test_files_that_change_before_strengths_are_found_are_named_together(
    tmp_path, monkeypatch, capsys, little
):
    """The strengths of the others are found once more, not once for each of them."""
    folder = photos(tmp_path / "in", 6)
    calls, real = [], SDEditKind.with_strengths

    def found(self, jobs, *rest):
        calls.append(len(jobs))
        return real(self, jobs, *rest)

    monkeypatch.setattr(SDEditKind, "with_strengths", found)
    gone = lambda: [changed(folder / f"{k}.png") for k in (1, 3, 4)]  # noqa: E731
    when(monkeypatch, edit, "header", gone)
    assert run(edits(folder, samples=1, **MODES["target"]), tmp_path / "out") == 1
    err = capsys.readouterr().err
    assert calls == [6, 3]
    assert [f"{k}.png was changed" in err for k in range(6)] == [k in (1, 3, 4) for k in range(6)]


def test_a_search_without_an_input_names_why(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in "ab":
        damaged(folder / f"{name}.png")
    for output in ("prior", "original"):
        assert run(edits(folder, samples=1, output=output), tmp_path / output, "search") == 1
        assert "a.png" in (err := capsys.readouterr().err) and "b.png" in err


def test_warnings_of_an_input_are_given_once(tmp_path, little, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(4):
        images.write_png(folder / f"{k}.png", np.full((8, 200, 3), 40 * k, np.uint8))
    run(edits(folder, samples=1), tmp_path / "out")
    assert capsys.readouterr().err.count("fit 'crop' shows") == 4


def test_values_are_kept_by_their_weight():
    kept = Recent(10, weigh=len, least=2)
    for key in "abc":
        kept.get(key, lambda: "1234")
    assert list(kept.kept) == ["b", "c"]
    kept.get("long", lambda: "1" * 30)
    assert list(kept.kept) == ["c", "long"]  # at least two
    kept.get("d", lambda: "1")
    assert list(kept.kept) == ["long", "d"]
    kept.get("e", lambda: "1")
    kept.get("f", lambda: "1")
    assert list(kept.kept) == ["d", "e", "f"] and sum(kept.weights.values()) == 3

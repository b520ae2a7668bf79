"""Edits of the page: the same pictures as by the program and the Python API, settings restored."""

import dataclasses
import functools
import json
import shutil
import threading

import numpy as np
import pytest
import text_prior
from PIL import Image
from program import ROOT, SIZE, config_of, home, known, picture, recipe, run, small, tiny_prior

import sdedit_jax as sj
from sdedit_jax import images, provenance
from sdedit_jax.edits.by_eye import Bracket
from sdedit_jax.pipeline.base import Event
from sdedit_jax.web.edits import Editor, Result
from sdedit_jax.web.guides import Painted
from sdedit_jax.web.settings import TASKS, Concept, Settings

FEW = (("steps", 4),)
PHOTO = [task for task in TASKS if task not in ("strokes", "ledits")]


@functools.cache
def text_folder():
    folder = home() / "page-text"
    text_prior.write(folder)
    return str(folder)


@pytest.fixture(scope="module")
def editor():
    return Editor({"tiny": tiny_prior(), "text": text_folder()})


def painted(**changes):
    """A photo with a stroke, a mask and a patch, of twice the size of the edit."""
    side = 2 * SIZE
    paint, mask = np.zeros((side, side, 4), np.uint8), np.zeros((side, side), np.uint8)
    paint[6:12, 4:20] = (200, 30, 20, 255)
    mask[8:24, 8:20] = 255
    patch = np.full((8, 10, 4), (20, 90, 200, 255), np.uint8)
    patch[:2, :2, 3] = 0
    layers = Painted(images.resize(known(), (side, side)), paint, mask, patch, (0.4, 0.6, 0.3))
    return layers._replace(**changes)


def settings(task, **changes):
    own = {"outpaint": {"margins": (8, 0, 0, 4)}, "recolor": {"palette": ("#501010", "#d0c020")}}
    usual = {"prior": "tiny", "task": task, "sampler": FEW, "seed": 7}
    return Settings(**usual | own.get(task, {}) | changes)


def last(events):
    *progress, result = events
    assert all(isinstance(event, Event) for event in progress)
    assert isinstance(result, Result)
    return result


def by_program(task, layers, folder, **changes):
    """The results of the program from the same pictures in files."""
    folder.mkdir(exist_ok=True)
    files = {"canvas": layers.picture if task == "scribble" else layers.together.rgb}
    files |= {"strokes": layers.paint, "mask": layers.mask, "patch": layers.patch}
    for name, pixels in files.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    x, y, width = layers.place
    scale = width * layers.size[1] / layers.patch.shape[1]
    options = {
        "scribble": {"strokes": "strokes", "mask": "mask"},
        "inpaint": {"mask": "mask"},
        "outpaint": {"left": 8, "bottom": 4},
        "composite": {"patch": "patch", "x": x, "y": y, "scale": scale},
        "recolor": {"palette": "#501010,#d0c020", "mask": "mask"},
        "img2img": {"mask": "mask"},
    }
    for name, value in options.get(task, {}).items():
        own = str(folder / f"{value}.png") if value in files else value
        changes[f"options__{name}"] = own
    if task == "img2img":
        changes["guidance__scale"] = 1.0
    config = small(task, seed=7, input=str(folder / "canvas.png"), devices=0, **changes)
    assert run(config, folder / "out") == 0
    return [folder / "out" / f"canvas_{k}.png" for k in range(2)]


@pytest.mark.parametrize("task", ["strokes", *PHOTO])
def test_the_page_makes_the_pictures_of_the_program(task, editor, tmp_path):
    """Pixels and recipes are equal, the names of files aside."""
    result = last(editor.events(settings(task, samples=2), painted()))
    for k, file in enumerate(by_program(task, painted(), tmp_path)):
        np.testing.assert_array_equal(result.pictures[k], picture(file))
        (tmp_path / "page.png").write_bytes(result.png(k))
        theirs, ours = recipe(file), recipe(tmp_path / "page.png")
        for one in (theirs, ours):
            for name in ("input", "prior", "cache", "batch", "devices"):
                del one["config"][name]
            for name in ("strokes", "mask", "patch"):
                one["config"]["options"].pop(name, None)
        if task == "composite":
            theirs["config"]["options"]["y"] = pytest.approx(theirs["config"]["options"]["y"])
        assert ours == theirs
    assert result.t0 == config_of(task).t0 and 0 < result.seconds


@pytest.mark.parametrize("task", PHOTO)
def test_kept_pixels_stay(task, editor):
    result = last(editor.events(settings(task), painted()))
    kept = result.item.mask == 0
    assert kept.any() and not kept.all()
    np.testing.assert_array_equal(result.pictures[0][kept], result.item.kept[kept])
    assert (result.pictures[0] != result.item.fitted)[~kept].any()


def test_a_blank_canvas_is_white(editor):
    layers = painted(picture=None, mask=None, patch=None, place=None)
    result = last(editor.events(settings("strokes"), layers))
    guide = np.full((*layers.size, 3), 255, np.uint8)
    guide[6:12, 4:20] = (200, 30, 20)
    prior = editor.prior("tiny")
    edited = sj.edit(prior, guide, t0=0.5, steps=4, seed=7, id="canvas")
    np.testing.assert_array_equal(result.pictures[0], edited)


def test_a_result_is_replayed_by_the_program(editor, tmp_path):
    """Of the result, its guide and its mask, under the names that the program gives."""
    result = last(editor.events(settings("inpaint"), painted()))
    (tmp_path / "canvas_0.png").write_bytes(result.png())
    Image.fromarray(result.item.fitted).save(tmp_path / "canvas_guide.png")
    Image.fromarray(images.to_levels(result.item.mask)).save(tmp_path / "canvas_mask.png")
    config = config_of("base", input=str(tmp_path / "canvas_0.png"), prior=tiny_prior())
    assert run(config, None, "replay") == 0


def test_the_live_preset_and_previews(editor):
    own = settings("strokes", preset="live", t0=0.6)
    events = list(editor.events(own, painted(), preview_every=1))
    assert events[0].preview.shape == (1, SIZE, SIZE, 3)
    again = sj.edit(
        editor.prior("tiny"), painted().together.rgb, t0=0.6, steps=4, seed=7, id="canvas",
        preset="live",
    )  # fmt: skip
    np.testing.assert_array_equal(events[-1].pictures[0], again)


def test_a_cancelled_edit_ends_without_a_result(editor):
    cancel = threading.Event()
    events = editor.events(settings("strokes"), painted(), cancel=cancel)
    assert isinstance(next(events), Event)
    cancel.set()
    assert list(events) == []


def test_visitors_at_once_get_their_own_pictures(editor):
    seeds, found = range(4), {}

    def visit(seed):
        own = dataclasses.replace(settings("strokes"), seed=seed)
        found[seed] = last(editor.events(own, painted())).pictures

    threads = [threading.Thread(target=visit, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in seeds:
        alone = last(editor.events(dataclasses.replace(settings("strokes"), seed=seed), painted()))
        np.testing.assert_array_equal(found[seed], alone.pictures)


# --- strength -------------------------------------------------------------------------------------


def test_a_cell_of_a_sheet_is_the_edit_of_its_settings(editor):
    t0s, seeds = Bracket().candidates, (3, 9)
    events = editor.sheet(settings("strokes", samples=2), painted(), t0s, seeds)
    cells = [one for one in events if isinstance(one, Result)]
    assert [cell.t0 for cell in cells] == [t0 for t0 in t0s for _ in seeds]
    for cell, seed in zip(cells, seeds * len(t0s), strict=True):
        own = editor.restored(cell.png())
        assert own == settings("strokes", t0=cell.t0, seed=seed)
        alone = last(editor.events(own, painted()))
        np.testing.assert_array_equal(cell.pictures, alone.pictures)


def test_readings_are_those_of_the_process(editor):
    assert editor.readings("tiny", 0.5) == sj.describe(editor.prior("tiny").process, 0.5)


def test_an_automatic_strength_is_the_one_of_the_api(tmp_path, capsys):
    """Of a prior that is calibrated and tells every guide."""
    folder = shutil.copytree(tiny_prior(), tmp_path / "calibrated")
    card = json.loads((folder / "prior.json").read_text())
    included = json.loads((ROOT / "checkpoints/fruits64/prior.json").read_text())
    card["auto_t0"] = included["auto_t0"]
    card["auto_t0"]["picture"]["constant"] = 1e6
    (folder / "prior.json").write_text(json.dumps(card))
    editor = Editor({"calibrated": str(folder)})
    own = settings("strokes", prior="calibrated", t0="auto")
    layers = painted(picture=None, mask=None)
    result = last(editor.events(own, layers))
    prior = editor.prior("calibrated")
    again = sj.edit(prior, layers.together.rgb, t0="auto", steps=4, seed=7, id="canvas")
    np.testing.assert_array_equal(result.pictures[0], again)
    assert 0 < result.t0 <= 1 and f"t0 {result.t0:.4g}" in capsys.readouterr().out
    assert editor.restored(result.png()).t0 == result.t0
    assert result.recipes[0]["value"] == result.t0


# --- words ----------------------------------------------------------------------------------------


def words(**changes):
    concepts = (Concept("red", scale=5.0), Concept("green", remove=True, masked=True))
    given = {"prior": "text", "task": "ledits", "source_prompt": "a red apple", "seed": 3}
    return Settings(**{**given, "concepts": concepts, **changes})


def from_scratch(editor, own, layers):
    mask = layers.free
    return sj.ledits(
        editor.prior("text"), layers.together.rgb, ["+red:5", "-green:7"], own.prompt,
        own.source_prompt, mask=[None, mask], seed=own.seed, id="canvas",
    )  # fmt: skip


def test_words_are_the_ledits_of_the_api_and_the_inversion_is_kept(editor):
    layers = painted()
    first = list(editor.events(words(), layers))
    assert {event.stage for event in first[:-1]} == {"invert", "edit"}
    np.testing.assert_array_equal(first[-1].pictures[0], from_scratch(editor, words(), layers))
    moved = words(concepts=(Concept("red", scale=9.0), Concept("green", True, 2.0)))
    second = list(editor.events(moved, layers))
    assert {event.stage for event in second[:-1]} == {"edit"}
    fresh = Editor(editor.priors)
    again = last(fresh.events(moved, layers))
    np.testing.assert_array_equal(second[-1].pictures, again.pictures)
    assert (second[-1].pictures != first[-1].pictures).any()
    other = list(editor.events(words(source_prompt="green"), layers))
    assert {event.stage for event in other[:-1]} == {"invert", "edit"}


def test_text_guided_edits_are_those_of_the_api(editor):
    own = settings("img2img", prior="text", prompt="a green apple", scale=3.0, t0=0.7)
    result = last(editor.events(own, painted()))
    again = sj.text_edit(
        editor.prior("text"), painted().together.rgb, "a green apple", scale=3.0,
        mask=painted().free, t0=0.7, steps=4, seed=7, id="canvas",
    )  # fmt: skip
    np.testing.assert_array_equal(result.pictures[0], again)
    assert editor.restored(result.png()) == own


# --- settings out of a result ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "own",
    [
        settings("strokes", t0=0.4, sample=2),
        settings("inpaint", t0=0.3, fill="mean"),
        settings("outpaint", t0=0.8, fill="edge", output="original"),
        settings("recolor", t0=0.25),
        settings("strokes", t0=0.5, preset="live"),
        words(t0=0.9, preset="ledits"),
    ],
    ids=lambda own: f"{own.task}{own.preset}",
)
def test_settings_come_back_from_a_result(own, editor):
    result = last(editor.events(own, painted()))
    assert editor.restored(result.png()) == own
    with pytest.raises(ValueError, match="carries no recipe"):
        editor.restored(result.png(settings=False))


def test_the_preset_comes_back_from_a_result_by_words(editor):
    """The recipe of a result by one preset, under the name of another."""
    result = last(editor.events(words(t0=0.9), painted()))
    body = json.loads(provenance.dumps(result.recipes[0]))
    assert body["config"]["preset"] == "ledits"
    body["config"]["preset"] = "leditspp"
    data = images.png(result.pictures[0], {"sdedit_jax": provenance.dumps(body)})
    assert editor.restored(data) == words(t0=0.9, preset="leditspp")


def test_a_result_of_the_program_restores_its_settings(editor, tmp_path):
    """With the same canvas it is the same picture."""
    file = by_program("inpaint", painted(), tmp_path, t0=0.35, sampler__rule="ancestral")[1]
    own = editor.restored(file.read_bytes())
    assert (own.task, own.seed, own.sample, own.id) == ("inpaint", 7, 1, "canvas")
    result = last(editor.events(own, painted()))
    np.testing.assert_array_equal(result.pictures[0], picture(file))


def test_pictures_of_other_edits_are_refused(editor, tmp_path):
    file = by_program("strokes", painted(), tmp_path)[0]
    with pytest.raises(ValueError, match="prior: .* tiny, which this page does not have"):
        Editor({"text": text_folder()}).restored(file.read_bytes())
    with pytest.raises(ValueError, match="not a PNG"):
        editor.restored(b"GIF89a")
    body = recipe(file)
    for change in ({"task": "simulate"}, {"sampler": {}}, {"strength": 3}, {"config": []}):
        data = images.png(picture(file), {"sdedit_jax": provenance.dumps(body | change)})
        with pytest.raises(ValueError, match="does not have|is damaged"):
            editor.restored(data)


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "layers", "told"),
    [
        (settings("inpaint"), {"mask": None}, "mask: paint the region"),
        (settings("scribble"), {"mask": None, "paint": 0}, "paint: draw some strokes"),
        (settings("composite"), {"patch": None}, "patch: "),
        (settings("recolor", palette=()), {}, "palette: choose"),
        (settings("outpaint", margins=(0, 0, 0, 0)), {}, "margins: choose how far"),
        (settings("inpaint"), {"mask": 0}, "mask is black everywhere"),
        (settings("strokes", t0=1.5), {}, r"t0 must be in \[0, 1\], got 1.5"),
        (settings("strokes", prompt="red"), {}, "prompt: the prior does not read texts"),
        (settings("strokes", prior="../tiny"), {}, "prior must be one of"),
        (settings("strokes", samples=0), {}, "samples must be at least 1"),
        (settings("sketch"), {}, "task must be one of"),
        (settings("strokes", t0="auto"), {}, "is not calibrated"),
        (words(t0="auto"), {}, "t0: words take a number"),
        (words(samples=2), {}, "samples must be 1 for words"),
        (words(concepts=()), {}, "concepts: say what"),
        (words(), {"mask": None}, "mask: paint the region in which"),
        (settings("strokes", prior="text", cond="rose"), {}, "cond: the prior reads prompts"),
    ],
)
def test_errors_name_the_field(own, layers, told, editor):
    given = painted()
    changes = {
        name: value * getattr(given, name) if value == 0 else value
        for name, value in layers.items()
    }
    with pytest.raises(ValueError, match=told):
        list(editor.events(own, given._replace(**changes)))


def test_layers_of_another_size_are_refused(editor):
    with pytest.raises(ValueError, match="picture must have the size of the canvas"):
        list(editor.events(settings("strokes"), painted(picture=known())))


# --- the parts of the page ------------------------------------------------------------------------


def test_controls_read_what_they_show(editor):
    """Settings come back from the values of the components that show them."""
    gradio = pytest.importorskip("gradio")
    from sdedit_jax.web import photo, strength, words

    with gradio.Blocks():
        parts = {name: module.add() for name, module in (("photo", photo), ("words", words))}
        slider = strength.add(editor, Settings(prior="tiny", t0=0.5))
    asked = {
        "photo": [
            settings("scribble"),
            settings("inpaint", fill="mean"),
            settings("outpaint", fill="edge"),
            settings("composite"),
            settings("recolor"),
        ],
        "words": [
            settings("img2img", prompt="a green apple", negative_prompt="red", scale=3.0),
            words_of("ledits", 0.7),
            words_of("leditspp", 0.85),
        ],
    }
    for name, every in asked.items():
        for own in every:
            found = parts[name].read(parts[name].show(own))
            assert found["task"] == own.task
            assert {field: getattr(own, field) for field in found} == found
    empty = [None if value == "" else value for value in parts["words"].show(Settings())]
    assert parts["words"].read(empty)["concepts"] == ()
    assert slider.read([0.4, False]) == {"t0": 0.4} and slider.read([0.4, True]) == {"t0": "auto"}
    assert slider.show(Settings(t0=0.3)) == [0.3, False]


def words_of(preset, t0):
    concepts = (Concept("red", True, 3.0, True, (("threshold", 0.5),)), Concept("green"))
    return words(preset=preset, t0=t0, concepts=concepts)


@pytest.mark.parametrize("text", ["", "0.3, x", "1.5", "nan", ",".join("123456789")])
def test_wrong_strengths_of_a_sheet_are_refused(text):
    pytest.importorskip("gradio")
    from sdedit_jax.web import strength

    with pytest.raises(ValueError, match=r"strengths must be 1 to 8 numbers in \[0, 1\]"):
        strength.numbers(text)
    assert strength.numbers("0.3, 0.3,1") == [0.3, 1.0]


def test_a_picked_colour_is_added_in_hexadecimal():
    pytest.importorskip("gradio")
    from sdedit_jax.web import photo

    assert photo.added_to("#112233,", "rgba(255, 16.4, -2, 1)") == "#112233, #ff1000"
    assert photo.added_to("", "#a1b2c3") == "#a1b2c3"

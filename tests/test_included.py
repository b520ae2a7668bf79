"""Names of configs and priors, and the example that a config edits without an input."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import text_prior
from PIL import Image
from program import ROOT, config_of, exact_prior, refused, small

import sdedit_jax as sj
from sdedit_jax import modes
from sdedit_jax.modes import listing
from sdedit_jax.modes.config import resolve
from sdedit_jax.registry import TASKS, included

INCLUDED = {"exact", "flowers64", "fruits64", "fruits64-text"}
EDITS = sorted(
    file.stem for file in (ROOT / "configs").glob("[a-z]*.py") if "example" in config_of(file.stem)
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the user's own priors with one called `mine`, and an empty current folder."""
    shutil.copytree(exact_prior(), tmp_path / "priors/mine")
    monkeypatch.setenv("SDEDIT_PRIORS", str(tmp_path / "priors"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "priors"


def test_names_of_priors(own):
    assert set(included.priors()) == INCLUDED | {"mine"}
    assert included.prior("fruits64") == ROOT / "checkpoints/fruits64"
    assert included.prior("mine") == own / "mine"
    assert sj.load_prior("mine").metadata["name"] == "exact"
    assert included.prior(str(own / "mine")) == own / "mine"


def test_a_conversion_takes_the_name_of_a_prior(own, tmp_path):
    shutil.copytree(text_prior.source(), own / "released")
    reports = [
        sj.convert(source, tmp_path / str(i), check=False)
        for i, source in enumerate(("released", text_prior.source()))
    ]
    assert reports[0].metadata["sha256"] == reports[1].metadata["sha256"]
    with pytest.raises(ValueError, match="nothing"):
        sj.convert("nothing", tmp_path / "none")


def test_the_examples_are_found_from_elsewhere(own, monkeypatch):
    photo = np.asarray(Image.open(sj.example("examples/recolor/apple.jpg")))
    monkeypatch.chdir(ROOT)
    assert sj.example("examples/recolor/apple.jpg") == "examples/recolor/apple.jpg"
    np.testing.assert_array_equal(photo, Image.open("examples/recolor/apple.jpg"))


def test_a_path_comes_before_a_name_where_it_holds_a_prior(own, tmp_path):
    photos = tmp_path / "here/fruits64"
    photos.mkdir()
    assert included.prior("fruits64") == ROOT / "checkpoints/fruits64"
    shutil.copy(own / "mine/prior.json", photos)
    assert included.prior("fruits64").resolve() == photos


def test_an_included_prior_comes_before_one_of_the_user(own):
    (own / "mine").rename(own / "fruits64")
    assert included.prior("fruits64") == ROOT / "checkpoints/fruits64"


def test_an_unknown_prior_lists_the_names(own):
    told = r"one of the names \[.*'fruits64'.*'mine'\]; did you mean 'flowers64'"
    with pytest.raises(ValueError, match=told):
        sj.load_prior("flower64")


def test_a_conversion_by_name_goes_to_the_priors_of_the_user(own, capsys):
    config = config_of("convert", source=str(ROOT / "tests/goldens/unet2d_trained"), check=False)
    assert modes.run(config, "church", "convert") == 0
    assert (own / "church/prior.json").is_file()
    assert f"prior     {own / 'church'}" in capsys.readouterr().out
    assert included.new_prior("./church").resolve() == own.parent / "here/church"
    assert included.new_prior(own / "a/b") == own / "a/b"
    for path in (Path("church"), "church/"):  # a path, and what a shell completes to
        assert included.new_prior(path).resolve() == own.parent / "here/church"
    assert "'fruits64' is the name of an included prior" in refused(config, "fruits64", "convert")
    sj.convert(config.source, "chapel", check=False)
    assert sj.load_prior("chapel").metadata["name"] == "chapel" and (own / "chapel").is_dir()
    with pytest.raises(ValueError, match="^folder: 'fruits64' is the name of an included prior"):
        sj.convert(config.source, "fruits64", check=False)


def test_a_name_that_a_prior_here_would_hide_is_refused(own, tmp_path):
    shutil.copytree(own / "mine", tmp_path / "here/church")
    with pytest.raises(ValueError, match="'church' is the name of a prior here"):
        included.new_prior("church")


def test_a_broken_prior_does_not_end_the_list(own):
    for name, text in (("bad", "{"), ("odd", '{"size": 5}')):
        (own / name).mkdir()
        (own / name / "prior.json").write_text(text)
    rows = [line for line in listing.lines() if line.split()[:1] in (["bad"], ["odd"])]
    assert len(rows) == 2 and all("cannot be read: " in row for row in rows)


def test_the_folder_examples_of_a_user_is_not_the_included_one(own, tmp_path):
    (tmp_path / "here/examples/strokes").mkdir(parents=True)
    assert included.example("examples/strokes") == str(ROOT / "examples/strokes")


def test_names_of_configs(own):
    assert included.config("strokes") == ROOT / "configs/strokes.py"
    (own.parent / "here/strokes.py").write_text("x = 1\n")
    assert included.config("strokes.py").resolve() == own.parent / "here/strokes.py"
    for name in ("strok", "configs/strokes.py"):
        with pytest.raises(ValueError, match="there is no file .*did you mean '.*strokes"):
            included.config(name)


def test_the_list_names_everything(own):
    text = "\n".join(listing.lines())
    for name in (*INCLUDED, "mine", *included.configs(), "paper-ve", "leditspp", str(own)):
        assert name in text
    assert "classes daisy, dandelion, rose, sunflower, tulip" in text
    for name in ("flowers64", "fruits64", "fruits64-text", "exact"):
        assert str(ROOT / f"checkpoints/{name}/README.md") in text


# --- the example of a config ----------------------------------------------------------------------


@pytest.mark.parametrize("name", EDITS)
def test_an_own_input_takes_no_option_of_the_example(name):
    """Every option has its default in the library, or is a number or word that names no file."""
    config = resolve(config_of(name, input="mine.png"), "edit")
    assert "examples" not in str(config) and "example" not in config
    if "task" in config:
        sources = {"strokes", "mask", "painted", "palette", "reference", "patch", "hints", "colors"}
        options = TASKS[config.task].Options()
        for field, value in dataclasses.asdict(options).items():
            if field in sources | {"left", "right", "top", "bottom"}:
                if not (field == "mask" and config.task == "recolor"):
                    assert (config.options.get(field) or value) == value


@pytest.mark.parametrize("name", [name for name in EDITS if name != "evaluate_church"])
def test_the_example_is_found_from_any_folder(name, own):
    config = resolve(config_of(name), "edit")
    named = [config.input, *(v for v in config.get("options", {}).values() if "/" in str(v))]
    assert all(str(path).startswith(str(ROOT / "examples")) for path in named)


@pytest.mark.parametrize(
    ("name", "changes", "wanted"),
    [
        ("recolor", {}, {"reference": "green.jpg", "palette": ""}),
        ("recolor", {"palette": "red"}, {"reference": "", "palette": "red"}),
        ("recolor", {"reference": "mine.jpg"}, {"reference": "mine.jpg"}),
        ("scribble", {}, {"strokes": "strokes"}),
        ("scribble", {"painted": "copy.png"}, {"strokes": "", "painted": "copy.png"}),
        ("sketch", {"colors": "red"}, {"hints": ""}),
        ("outpaint", {}, {"left": 64, "right": 0}),
        ("outpaint", {"right": 8}, {"left": 0, "right": 8}),
        ("inpaint", {"fill": "mean"}, {"mask": "masks", "fill": "mean"}),
        ("composite", {}, {"patch": "star.png", "y": 0.22}),
        ("composite", {"y": 0.5}, {"patch": "star.png", "y": 0.5}),
        ("composite", {"y": 0.0}, {"patch": "star.png", "y": 0.0}),
        ("recolor", {"task": "strokes"}, {"reference": ""}),
        ("sketch", {"task": "recolor"}, {"hints": ""}),
    ],
)
def test_options_of_the_example_give_way(name, changes, wanted, monkeypatch):
    monkeypatch.chdir(ROOT)
    task = {"task": changes.pop("task")} if "task" in changes else {}
    own = {f"options__{field}": value for field, value in changes.items()}
    config = config_of(name, **task, **own)
    options = resolve(config, "edit").options
    for field, value in wanted.items():
        found = options[field]
        assert found == value or str(found).endswith(f"/{value}")


def test_a_photo_of_ones_own_needs_only_its_own_options(tmp_path, monkeypatch):
    """The mask beside it, and no file of our examples."""
    monkeypatch.chdir(ROOT)
    photo, mask = np.full((16, 16, 3), 90, np.uint8), np.zeros((16, 16), np.uint8)
    mask[4:9, 4:9] = 255
    Image.fromarray(photo).save(tmp_path / "cat.png")
    Image.fromarray(mask).save(tmp_path / "cat_mask.png")
    config = small("inpaint", input=str(tmp_path / "cat.png"), samples=1)
    assert modes.run(config, tmp_path / "out") == 0
    record = json.loads((tmp_path / "out/record.json").read_text())
    assert record["pictures"][0]["max_change_outside_mask"] == 0
    assert "example" not in record["config"]

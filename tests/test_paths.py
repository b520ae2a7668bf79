"""Paths of users: the home folder, in the program and from Python."""

import shutil

import pytest
from ml_collections import ConfigDict
from program import exact_prior, known, names, run, small

import sdedit_jax as sj
from sdedit_jax import images
from sdedit_jax.files import paths, wording
from sdedit_jax.modes.config import at_home


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder with a prior and a picture; the current folder is another one."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copytree(exact_prior(), tmp_path / "home" / "prior")
    images.write_png(tmp_path / "home" / "photo.png", known())
    return tmp_path / "home"


def test_every_path_of_a_field_is_expanded(home):
    assert paths.expand("~/a.png") == f"{home}/a.png"
    assert paths.expand("~") == str(home)
    assert paths.expand("~/a.png, ~/b#ff0000,,c.png") == f"{home}/a.png, {home}/b#ff0000,,c.png"


@pytest.mark.parametrize("text", ["", "a~/b", "~nobody_here/a", "a ~ b", "~5 apples", "red, ~ 3"])
def test_other_texts_stay_as_they_are(home, text):
    assert paths.expand(text) == text


def test_the_program_takes_paths_in_the_home_folder(home, tmp_path):
    config = small("strokes", prior="~/prior", input="~/photo.png", samples=1, cache="~/cache")
    before = config.to_dict()
    assert run(config, "~/out") == 0
    assert {"photo_0.png", "record.json"} <= set(names(home / "out"))
    assert list((tmp_path / "here").iterdir()) == []
    assert config.to_dict() == before


def test_python_takes_paths_in_the_home_folder(home):
    prior = sj.load_prior("~/prior")
    found = sj.edit(prior, "~/photo.png", steps=2, samples=1)
    wanted = sj.edit(prior, known(), steps=2, samples=1, id="photo")
    assert (found == wanted).all()


def test_masks_and_folders_beside_an_input_may_lie_in_the_home_folder(home):
    images.write_png("~/masks.png", known()[..., 0])
    assert (home / "masks.png").is_file()
    assert images.read_mask("~/masks.png", (16, 16)).shape == (16, 16)
    assert images.paired("~", "in/photo.png", "mask") == home / "photo.png"


@pytest.mark.parametrize("name", ["in [1]", "a[b]c", "what?", "st*r"])
def test_a_folder_that_exists_is_no_pattern(name, tmp_path):
    other = {"in [1]": "in 1", "a[b]c": "abc", "what?": "whatt", "st*r": "star"}[name]
    for folder in (name, other):
        (tmp_path / folder).mkdir()
        images.write_png(tmp_path / folder / "x [2].png", known())
    wanted = [tmp_path / name / "x [2].png"]
    for pattern in ("", "*.png", "x [2].png", "**/*.png"):
        assert images.find_inputs(tmp_path / name / pattern) == wanted
    assert len(images.find_inputs(tmp_path / "*" / "x*.png")) == 2


def test_patterns_that_name_no_file_stay_patterns(tmp_path, monkeypatch):
    for k in range(3):
        images.write_png(tmp_path / f"{k}.png", known())
    assert [p.name for p in images.find_inputs(tmp_path / "[01].png")] == ["0.png", "1.png"]
    monkeypatch.chdir(tmp_path)
    assert [str(p) for p in images.find_inputs("[12].png")] == ["1.png", "2.png"]


def test_texts_are_no_paths(home):
    fields = {"input": "~/photo.png", "prompt": "~/a", "options": {"mask": "~/m.png"}}
    found = at_home(ConfigDict(fields))
    assert found.input == f"{home}/photo.png" and found.options.mask == f"{home}/m.png"
    assert found.prompt == "~/a"


@pytest.mark.parametrize("name", ["a\x1b[31mb", "a\u202eb", "a\nb", "a\x9bb", "a\udcffb"])
def test_a_path_in_a_message_moves_no_cursor_and_turns_no_text(name):
    assert paths.shown(name).isprintable()
    assert wording.one_line(f"prior: {name} is no\nfolder").isprintable()


def test_letters_of_all_languages_stay_in_a_message():
    assert wording.one_line("räksmörgås  是 \n ж") == "räksmörgås 是 ж"


def test_inputs_whose_links_run_in_a_circle_are_left_out(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    images.write_png(tmp_path / "in" / "a.png", known())
    (tmp_path / "in" / "b.png").symlink_to("b.png")
    config = small("strokes", prior=exact_prior(), input=str(tmp_path / "in"), samples=1)
    assert run(config, tmp_path / "out") == 1
    assert "left out" in capsys.readouterr().out and "a_0.png" in names(tmp_path / "out")

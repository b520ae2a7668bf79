"""--mode=search: the bracket, and a dialogue on the terminal."""

import io

import numpy as np
import pytest
from PIL import Image
from program import (
    config_of,
    exact_prior,
    known,
    names,
    noted,
    picture,
    recipe,
    refused,
    run,
    small,
)

from sdedit_jax.edits.by_eye import Bracket
from sdedit_jax.modes import check


def test_answers_halve_the_bracket_around_what_was_wanted():
    """A person with one strength in mind gets there; candidates are those of the next round."""
    for wanted in (0.01, 0.37, 0.99):
        bracket = Bracket()
        for i in range(12):
            less, now, more = bracket.candidates
            answer = "less" if wanted < now else "more"
            bracket = bracket.after(answer)
            assert bracket.t0 == {"less": less, "more": more}[answer]
            assert bracket.high - bracket.low == 0.5 ** (i + 1)
            assert bracket.low <= wanted <= bracket.high
    assert bracket.after("done") == bracket
    with pytest.raises(ValueError, match=r"answer must be one of \['less', 'more', 'done'\]"):
        bracket.after("stop")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        Image.fromarray(255 - known()).save(tmp_path / "in" / f"{name}.png")
    return small("strokes", prior=exact_prior(), input=str(tmp_path / "in"), samples=1)


def test_a_dialogue_ends_in_the_edits_of_its_strength(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("less\nmoer\n MORE \ndone\n"))
    out = tmp_path / "out"
    assert run(config, out, "search") == 0
    printed = capsys.readouterr().out
    for k, now, less, more in ((1, 0.5, 0.25, 0.75), (2, 0.25, 0.125, 0.375)):
        line = f"search_{k}.png: t0 {now:g}; less leads to {less:g}, more to {more:g}"
        assert line in printed
    assert "got 'moer'" in printed and "strength  t0 0.375 by eye" in printed
    searched = [name for name in names(out) if name.startswith("search")]
    assert searched == ["search_1.png", "search_2.png", "search_3.png"]
    assert noted(out)["pictures"][0]["strength"]["t0"] == 0.375
    assert recipe(out / "b_0.png")["value"] == 0.375
    config.t0 = 0.375
    assert run(config, tmp_path / "edit") == 0
    for name in ("a_0.png", "b_0.png", "sheet.png"):
        np.testing.assert_array_equal(picture(out / name), picture(tmp_path / "edit" / name))
    assert "exists" in refused(config, out, "search")


def test_sheets_leave_the_names_of_results_free(config, tmp_path, monkeypatch):
    """An input "search" with two samples: its results are search_0.png and search_1.png."""
    (tmp_path / "in" / "a.png").rename(tmp_path / "in" / "search.png")
    (tmp_path / "in" / "b.png").unlink()
    config.samples = 2
    monkeypatch.setattr("sys.stdin", io.StringIO("less\ndone\n"))
    assert run(config, tmp_path / "out", "search") == 0
    found = [name for name in names(tmp_path / "out") if name.startswith("search_")]
    assert found == [f"search_{k}.png" for k in (0, 1, 2, 3, "guide", "mask")]
    assert [entry["file"] for entry in noted(tmp_path / "out")["pictures"]] == found[:2]


def test_an_input_that_ends_is_one_message(config, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("more\n"))
    told = refused(config, tmp_path / "out", "search")
    assert told == 'search: the input ended before the answer "done"; no edit was made'
    assert names(tmp_path / "out") == ["search_1.png", "search_2.png"]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"preset": "official"}, 'preset "official" compiles for each t0; a search needs another'),
        ({"sigma": 2.0}, "sigma: a search finds the strength, got 2.0"),
        ({"target_l2": 0.1}, "target_l2: a search finds the strength, got 0.1"),
    ],
)
def test_a_search_needs_a_strength_to_find(fields, told, config, tmp_path):
    with config.unlocked():
        config.update(fields)
    assert told in refused(config, tmp_path / "out", "search")


def test_what_a_search_does_not_take():
    with pytest.raises(ValueError, match=r"t0: a search finds the strength, got 0.3"):
        check.check("search", config_of("base"), {"t0": 0.3})


def test_a_search_is_not_for_ledits(tmp_path):
    assert "--mode=search is over t0 of SDEdit" in refused(config_of("ledits"), tmp_path, "search")
    assert "this one edits no pictures" in refused(config_of("train"), tmp_path, "search")

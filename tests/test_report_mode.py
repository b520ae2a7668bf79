"""report.html of --mode=edit and sweep: its numbers, pictures, recipes and files."""

import html
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import text_prior
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
from test_report import stored
from text_prior import SIDE

from sdedit_jax import images
from sdedit_jax.modes.report import encoded


def rows_of(page):
    """The rows of a page: name -> text of the cells, and those with recipes -> recipe."""
    parts = re.findall(r"<h3>(.*?)</h3>.*?data-copy=\"(.*?)\".*?<pre>(.*?)</pre>", page, re.S)
    return {html.unescape(n): (html.unescape(c), json.loads(html.unescape(r))) for n, c, r in parts}


@pytest.fixture
def edited(tmp_path):
    """The folder of two inputs with a mask, edited with a report, and the config."""
    (tmp_path / "in").mkdir()
    mask = np.zeros((16, 16), np.uint8)
    mask[4:] = 255
    for name, side in (("a", 16), ("b 'c' & d", 24)):
        Image.fromarray(255 - known()).resize((side, side)).save(tmp_path / "in" / f"{name}.png")
        Image.fromarray(mask).resize((side, side)).save(tmp_path / "in" / f"{name}_mask.png")
    config = small("inpaint", prior=exact_prior(), input=str(tmp_path / "in"), t0=0.3, report=True)
    return config, tmp_path / "out"


def table_of(page):
    """The table of results: name -> column -> the number."""
    parsed = re.search(r'<table id="results".*?</table>', page, re.S)[0]
    columns = re.findall(r"<button[^>]*>(.*?)</button>", parsed)[1:]
    found = {}
    for name, cells in re.findall(r'class="name" data-value="(.*?)">(.*?)</tr>', parsed, re.S):
        values = map(float, re.findall(r'data-value="(.*?)"', cells))
        found[html.unescape(name)] = dict(zip(columns, values, strict=True))
    return found


def test_an_edit_writes_its_distances_pictures_and_recipes(edited):
    config, out = edited
    assert run(config, out) == 0
    page = (out / "report.html").read_text()
    files, table, rows = (
        [images.decode(one, "x").rgb for one in stored(page)],
        table_of(page),
        rows_of(page),
    )
    assert sorted(rows) == sorted(table) == [Path(e["file"]).stem for e in noted(out)["pictures"]]
    for name, (command, own) in rows.items():
        result = picture(out / f"{name}.png")
        away = result / 255 - picture(out / f"{name[:-2]}_guide.png") / 255
        assert table[name]["L2"] == pytest.approx(np.sqrt(np.sum(away**2)))
        assert table[name]["RMS"] == pytest.approx(np.sqrt(np.mean(away**2)))
        assert table[name]["outside the mask (levels)"] == 0 and "t0" not in table[name]
        assert any(np.array_equal(result, file) for file in files)
        assert own == recipe(out / f"{name}.png")
        words = shlex.split(command)
        assert words[:2] == ["sdedit", "--mode=replay"] and len(words) == 3
        assert words[2] == f"--config.input={out / name}.png"
        assert (
            run(config_of("strokes", input=words[2].split("=", 1)[1], trust=True), None, "replay")
            == 0
        )


def labels_of(page, name):
    """What a result can be compared with: label -> the picture."""
    card = re.search(rf"<article(?:(?!<article).)*<h3>{name}</h3>", page, re.S)[0]
    options = re.findall(r'<option value="(\d+)">(.*?)</option>', card)
    return {label: images.decode(stored(page)[int(number)], "x").rgb for number, label in options}


def test_a_result_is_compared_with_what_it_was_made_from(edited):
    """Of results at the size of the input, the input is the first of them."""
    config, out = edited
    with config.unlocked():
        config.output, config.uncertainty = "original", True
    assert run(config, out) == 0
    own = labels_of((out / "report.html").read_text(), "b &#39;c&#39; &amp; d_1")
    heat = f"std 0 to {noted(out)['uncertainty'][0]['top']:.3f}"
    assert list(own) == ["input", "guide", "mask", heat]
    source = Path(config.input)
    np.testing.assert_array_equal(own["input"], picture(source / "b 'c' & d.png"))
    np.testing.assert_array_equal(own["guide"], picture(out / "b 'c' & d_guide.png"))
    np.testing.assert_array_equal(own[heat], picture(out / "b 'c' & d_uncertainty.png"))


def test_ledits_has_its_reconstruction_and_prompts(tmp_path):
    """The guide of LEDITS is the photo. Equal pictures, here the input, are left out."""
    photo = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3)).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "one.png")
    config = config_of(
        "ledits", prior=text_prior.text_prior(), input=str(tmp_path / "one.png"), steps=2,
        devices=1, source_prompt="a <dog>", prompt="a cat", concepts="+cat:7:0", report=True,
    )  # fmt: skip
    assert run(config, tmp_path / "out") == 0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "a &lt;dog&gt; → a cat, +cat:scale=7:warmup=0" in page
    own = labels_of(page, "one_edit")
    assert list(own) == ["guide", "reconstruction"]
    back = picture(tmp_path / "out" / "one_reconstruction.png")
    np.testing.assert_array_equal(own["reconstruction"], back)
    np.testing.assert_array_equal(own["guide"], photo)
    away = np.sqrt(np.mean((back / 255 - photo / 255) ** 2))
    assert table_of(page)["one_edit"]["RMS of the reconstruction"] == pytest.approx(away)


def test_large_pictures_are_small_files(tmp_path):
    """Of a photo of 2000 x 1000 pixels the report has 768 x 384, near to the photo."""
    y, x = np.mgrid[:1000, :2000]
    photo = np.stack([x / 8, y / 4, 255 - x / 8], -1).astype(np.uint8)
    found = Image.open(io.BytesIO(encoded(photo)))
    assert found.size == (768, 384) and found.format == "WEBP"
    small = np.asarray(Image.fromarray(photo).resize((768, 384), Image.Resampling.BOX), float)
    assert np.abs(np.asarray(found) - small).mean() < 2
    assert Image.open(io.BytesIO(encoded(photo[:200, :256]))).format == "PNG"


def test_an_existing_report_is_kept_as_a_record_is(edited):
    config, out = edited
    out.mkdir()
    (out / "report.html").write_text("own")
    assert run(config, out) == 0 and (out / "report.html").read_text() == "own"
    assert "a_0.png exists" in refused(config, out) and "report-2.html" in names(out)
    assert run(config, out, overwrite=True) == 0
    assert "<title>" in (out / "report.html").read_text() and "report-3.html" not in names(out)


def test_a_sweep_has_its_strengths_in_the_report(edited):
    config, out = edited
    with config.unlocked():
        config.sweep.t0, config.sweep.seeds = (0.2, 0.4), (0,)
    assert run(config, out, "sweep") == 0
    table = table_of((out / "report.html").read_text())
    assert sorted(one["t0"] for one in table.values()) == pytest.approx([0.2, 0.2, 0.4, 0.4])
    assert all(name.split("_t")[1] == f"{one['t0']:g}_s0" for name, one in table.items())

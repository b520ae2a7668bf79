"""The canvas of notebooks: strokes by code, by the widget and by a pointer in a browser."""

import base64
import io
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from program import ROOT

import sdedit_jax as sj

MARK = [(20.0, 30.0), (90.0, 30.0)]
PAGE = """
<!doctype html><div id="here"></div>
<script type="module">
import drawing from "./notebook.js";
const values = {VALUES}, heard = {};
window.model = {
  get: (name) => values[name],
  set: (name, value) => { values[name] = value; },
  save_changes: () => { window.saved = (window.saved || 0) + 1; },
  on: (name, act) => { heard[name] = act; },
  off: () => {},
  tell: (name, value) => { values[name] = value; heard["change:" + name](); },
};
drawing.render({model: window.model, el: document.getElementById("here")});
window.ready = true;
</script>
"""


@pytest.fixture(params=[True, False], ids=["anywidget", "no anywidget"])
def made(request, monkeypatch):
    """A green canvas, with and without anywidget."""
    if request.param:
        pytest.importorskip("anywidget")
    else:
        monkeypatch.setitem(sys.modules, "anywidget", None)
        monkeypatch.delitem(sys.modules, "sdedit_jax.web.widget", raising=False)
    return sj.canvas(size=(96, 128), background="#00a000")


def test_a_dot_is_a_disc_and_nothing_else_changes(made):
    made.stroke("red", 40, [(64, 48)])
    y, x = np.mgrid[:96, :128]
    distance = np.hypot(x - 64, y - 48)
    assert (made.mask[distance < 19] == 255).all() and (made.mask[distance > 21] == 0).all()
    assert (made.picture[made.mask == 255] == (255, 0, 0)).all()
    assert (made.picture[made.mask == 0] == (0, 160, 0)).all()
    made.clear()
    assert not made.strokes and not made.mask.any()


def test_a_line_has_its_width_and_round_ends(made):
    made.stroke("#0000ff", 20, MARK)
    y, x = np.mgrid[:96, :128]
    distance = np.hypot(x - np.clip(x, 20, 90), y - 30)
    assert (made.mask[distance < 9] == 255).all() and (made.mask[distance > 11.5] == 0).all()
    made.stroke("#ff0000", 20, MARK[:1])
    assert tuple(made.picture[30, 20]) == (255, 0, 0), "the last stroke is on top"


def test_a_cell_shows_the_picture_where_widgets_are_not_shown(made):
    made.stroke("red", 10, [(10, 10)])
    shown = made._repr_mimebundle_()
    png = Image.open(io.BytesIO(base64.b64decode(shown["image/png"])))
    np.testing.assert_array_equal(png, made.picture)


def test_strokes_of_the_page_are_those_of_code():
    pytest.importorskip("anywidget")
    photo = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    by_code, by_hand = sj.canvas(photo), sj.canvas(photo)
    by_code.stroke("#c81e1e", 7, MARK)
    by_hand._widget.strokes = [{"colour": "#c81e1e", "width": 7, "points": [list(p) for p in MARK]}]
    np.testing.assert_array_equal(by_hand.picture, by_code.picture)
    np.testing.assert_array_equal(by_hand.picture[by_hand.mask == 0], photo[by_hand.mask == 0])
    assert "application/vnd.jupyter.widget-view+json" in by_hand._repr_mimebundle_()


def test_mistakes_are_named(made):
    for args, told in (
        (("nocolour", 5, MARK), "colour must be"),
        (("red", 0, MARK), "width must be"),
        (("red", 5, []), "points must be"),
        (("red", 5, [1, 2]), "points must be"),
    ):
        with pytest.raises(ValueError, match=told):
            made.stroke(*args)
    for wrong in ({"image": made.picture, "size": (8, 8)}, {"size": (0, 4)}, {"background": "no"}):
        with pytest.raises(ValueError):
            sj.canvas(**wrong)


@pytest.fixture
def page(tmp_path):
    """A page of Chromium with the widget on a model of its own."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not shutil.which("chromium"):
        pytest.skip("the page needs chromium")
    canvas = sj.canvas(size=(96, 128), background="#00a000")
    widget = canvas._widget
    values = {name: getattr(widget, name) for name in ("picture", "size", "palette", "strokes")}
    (tmp_path / "page.html").write_text(PAGE.replace("{VALUES}", json.dumps(values)))
    shutil.copy(ROOT / "sdedit_jax/web/notebook.js", tmp_path)
    flags = ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    with sync_api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        opened = browser.new_page(viewport={"width": 390, "height": 700})
        opened.goto(f"file://{tmp_path}/page.html")
        opened.wait_for_function("window.ready")
        yield opened
        browser.close()


def test_a_pointer_draws_what_python_draws(page):
    pytest.importorskip("anywidget")
    box = page.locator("canvas").bounding_box()
    scale = box["width"] / 128
    page.locator('button[title="#2f6fd0"]').click()
    page.mouse.move(box["x"] + 20 * scale, box["y"] + 30 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 90 * scale, box["y"] + 60 * scale, steps=6)
    page.mouse.up()
    (stroke,) = page.evaluate("window.model.get('strokes')")
    assert stroke["colour"] == "#2f6fd0" and len(stroke["points"]) == 7
    np.testing.assert_allclose(stroke["points"][-1], (90, 60), atol=1.5)
    url = page.evaluate("document.querySelector('canvas').toDataURL()")
    there = np.array(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGB"))
    here = sj.canvas(size=(96, 128), background="#00a000")
    here.stroke(stroke["colour"], stroke["width"], stroke["points"])
    assert np.abs(there.astype(int) - here.picture).mean() < 2  # edges are smooth on the page
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate("window.model.get('strokes')") == []
    page.evaluate("window.model.tell('strokes', [{colour: '#ff0000', width: 9, points: [[5, 5]]}])")
    red = page.evaluate(
        "[...document.querySelector('canvas').getContext('2d').getImageData(5, 5, 1, 1).data]"
    )
    assert red == [255, 0, 0, 255]

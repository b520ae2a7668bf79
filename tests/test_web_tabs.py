"""Photos and strengths on the page, in a browser."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from program import home, known
from text_prior import write

web = pytest.importorskip("test_web", reason="the page needs gradio")
browser, served, visit = web.browser, web.served, web.visit


def shown(one, part):
    """The picture of a part of the result, uint8 [h, w, C]."""
    url = one.page.locator(f"#result img[data-part={part}]").get_attribute("src")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix(web.PNG)))))


def open_photo(one):
    """Open the tab for photos, and a picture."""
    one.page.get_by_role("tab", name="Photo").click()
    one.page.wait_for_selector('[data-tool="mask"]:not([hidden])')
    one.open(web.png(np.kron(known(), np.ones((16, 16, 1), np.uint8))))
    one.page.get_by_text("mask: paint the region that may change").first.wait_for()


def test_only_what_the_mask_marks_changes(visit, served):
    one = visit()
    open_photo(one)
    one.stroke((0.5, 0.5), (0.7, 0.6))
    settings = served.page.editor.restored(one.result())
    assert (settings.task, settings.fill) == ("inpaint", "smooth")
    before, after = shown(one, "before"), shown(one, "after")
    changed = (before != after).any(axis=-1)
    assert changed[7:11, 8:12].any() and not changed[:5].any() and not changed[:, :5].any()
    assert one.errors == []


def test_an_edit_that_cannot_be_made_keeps_the_result(visit):
    """The mask is missing: the sentence stands there, and the last result stays whole."""
    one = visit()
    before = one.result()
    open_photo(one)
    one.page.get_by_role("button", name="Finish").click()
    line = one.page.locator("#result [data-part=line]")
    one.page.wait_for_timeout(500)
    one.page.wait_for_function(
        "() => !document.querySelector('#result [data-part=line]').innerText.includes('started')"
    )
    assert "compiles" not in line.inner_text() and one.result() == before
    assert one.page.locator("#result [data-do=download]").is_enabled()


def test_a_task_brings_its_strength_and_says_what_it_lacks(visit):
    one = visit()
    open_photo(one)
    one.page.get_by_text("Grow the picture", exact=True).click()
    one.page.get_by_text("margins: choose how far the picture grows").first.wait_for()
    assert one.page.locator("#t0 input[type=number]").input_value() == "0.75"
    assert one.page.locator("#readings").inner_text().startswith("t0 0.75 | sigma ")


def test_a_cell_of_a_sheet_becomes_the_setting(visit, served):
    one = visit()
    one.page.locator("#compare button").first.click()
    one.page.click("#sheet-make")
    cells = one.page.locator("#sheet button")
    cells.nth(9).wait_for()
    assert cells.count() == 10  # five strengths, two seeds
    number = one.page.locator("#t0 input[type=number]")
    before = one.result()
    cells.nth(8).click()
    one.page.wait_for_function(
        "before => !document.querySelector('#result img[data-part=after]').src.endsWith(before)",
        arg=base64.b64encode(before).decode(),
    )
    settings = served.page.editor.restored(one.result())
    assert (settings.t0, settings.seed) == (0.6, 1) and number.input_value() == "0.6"


def test_a_search_by_eye_halves_the_strengths(visit):
    one = visit()
    one.page.locator("#compare button").first.click()
    one.page.click("#search")
    cells, number = one.page.locator("#sheet button"), "#t0 input[type=number]"
    cells.nth(2).wait_for()
    cells.nth(0).click()
    one.page.get_by_text("more, t0 0.375").wait_for()
    assert one.page.locator(number).input_value() == "0.25"
    cells.nth(1).click()
    one.page.get_by_text("The strength is set.").wait_for()
    assert cells.count() == 0 and one.page.locator(number).input_value() == "0.25"


def test_a_patch_is_dragged_and_scaled_by_the_wheel(visit):
    one = visit()
    open_photo(one)
    one.page.get_by_text("Add a patch", exact=True).click()
    one.page.wait_for_selector('#canvas [data-do="patch"]:not([hidden])')
    one.open(web.png(np.full((40, 40, 3), 9, np.uint8)), kind="patch")
    one.page.wait_for_function("window.sdedit.number >= 2")
    one.answered()
    assert centre(one) == pytest.approx((128, 128), abs=1)
    one.page.mouse.move(*one.spot(0.5, 0.5))
    one.page.mouse.down()
    one.page.mouse.move(*one.spot(0.3, 0.6), steps=4)
    one.page.mouse.up()
    one.answered()
    assert centre(one) == pytest.approx((0.3 * 256, 0.6 * 256), abs=2)
    small = covered(one)
    one.page.mouse.wheel(0, -90)
    one.page.wait_for_function("window.sdedit.number >= 4")
    one.answered()
    assert covered(one) / small == pytest.approx(np.exp(2 * 90 / 600), rel=0.05)
    assert centre(one) == pytest.approx((0.3 * 256, 0.6 * 256), abs=2)


def covered(one):
    """Pixels of the canvas that the patch covers."""
    return (one.drawn("patch")[..., 3] > 127).sum()


def centre(one):
    """The centre (x, y) of the patch in pixels of the canvas."""
    rows, columns = np.nonzero(one.drawn("patch")[..., 3] > 127)
    return (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2


def test_the_tab_of_words_borrows_a_prior_that_reads_texts(visit):
    one, prior = visit(), "#prior input"
    before = one.page.locator(prior).input_value()
    one.page.get_by_role("tab", name="Words").click()
    changed = "was => document.querySelector('#prior input').value != was"
    one.page.wait_for_function(changed, arg=before)
    assert "text" in one.page.locator(prior).input_value()
    one.page.get_by_role("tab", name="Paint").click()
    one.page.wait_for_function(changed.replace("!=", "=="), arg=before)
    one.stroke((0.2, 0.2), (0.7, 0.7))
    assert one.errors == []


def test_concepts_edit_a_photo_and_a_moved_scale_keeps_the_inversion(browser):
    write(home() / "words-text")
    served = web.Served(prior=str(home() / "words-text"))
    one = web.Visit(browser, served.url)
    try:
        one.open(web.png(np.kron(known(), np.ones((16, 16, 1), np.uint8))))
        one.page.wait_for_function("window.sdedit?.number >= 1")
        one.answered()
        one.page.get_by_role("tab", name="Words").click()
        text = one.page.locator("#concept-0 textarea, #concept-0 input[type=text]").first
        text.fill("red")
        before = one.result()
        text.press("Enter")
        first = another(one, before)
        settings = served.page.editor.restored(first)
        assert settings.task == "ledits" and settings.concepts[0].text == "red"
        scale = one.page.locator("#concept-0 input[type=number]")
        scale.fill("12")
        scale.press("Tab")
        second = another(one, first)
        assert served.page.editor.restored(second).concepts[0].scale == 12
        assert len(served.page.editor.inversions.kept) == 1 and one.errors == []
    finally:
        one.context.close()
        served.running.close()


def another(one, before):
    """Wait for a result that is not the one before."""
    one.page.wait_for_function(
        "before => !document.querySelector('#result img[data-part=after]').src.endsWith(before)",
        arg=base64.b64encode(before).decode(),
        timeout=180_000,
    )
    return one.result()

"""The report of a run: its HTML, what a browser makes of it, and the values of an edit in it."""

import base64
import io
import json
import math
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from sdedit_jax import images
from sdedit_jax.evaluation import report
from sdedit_jax.evaluation.report import MOST, Picture, Plot, Report, Row, Table, decimals, shown

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
VOID = {"meta", "link", "img", "input", "br"}
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 128, 0)
EVIL = ['<img src=x onerror="document.title=1">', "</script><script>document.title=1</script>"]
EVIL += ["</pre></title><svg onload=document.title=1>", "\"'><b onclick=x>&amp;{{ 7 * 7 }}"]
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 1"><path d="M0 0h2v1z"/></svg>'


def flat(color, side=8):
    return images.png(np.full((side, side, 3), color, np.uint8))


def row(name, value, **more):
    numbers = {"L2": value, "time (s)": 1.0}
    others = (Picture("input", flat(GREEN)),)
    return Row(
        name, Picture("guide", flat(RED)), Picture("result", flat(BLUE)), others, numbers, **more
    )


def sample():
    """A report with all parts."""
    tables = [Table("Distances", ["prior", "FID", "time (s)"], [["a", 12.345, 1], ["b", None, 20]])]
    plots = [Plot("A triangle", SVG), Plot("A square", flat(GREEN))]
    rows = [
        row("daisy_2", 3.0, recipe='{"seed": 1}', replay="sdedit --mode=replay", text="a daisy")
    ]
    rows += [row("daisy_10", None), row("rose", -20.5), row("tulip", 1e-3)]
    rows += [Row("without", None, None, (), {"L2": 7.0}), row(EVIL[0], 5.0, recipe=EVIL[1])]
    facts = {"prior": "flowers64", "device": "cpu"}
    return Report("A run", facts, tables, plots, rows, ["L2", "time (s)"], ["A note."])


def hostile(text):
    """A report with `text` wherever a text goes."""
    one = Row(text, Picture(text, flat(RED)), Picture(text, flat(BLUE)),
              (Picture(text, flat(GREEN)),), {text: 1.0}, text, text, text)  # fmt: skip
    table, plot = Table(text, [text], [[text]]), Plot(text, SVG)
    return Report(text, {text: text}, [table], [plot], [one], [text], [text])


class Parsed(HTMLParser):
    """The elements, attributes and texts of a page; it refuses tags that do not match."""

    def __init__(self, page):
        super().__init__()
        self.open, self.found, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data.strip())

    def all(self, *tags):
        return [attrs for tag, attrs in self.found if tag in tags]


def stored(page):
    """The pictures of a page, as files."""
    urls = json.loads(re.search(r'id="pictures">(.*?)</script>', page, re.S)[1])
    assert all(url.startswith("data:image/") for url in urls)
    return [base64.b64decode(url.split(",")[1]) for url in urls]


# --- the HTML -------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [sample(), *map(hostile, EVIL)], ids=["sample", *"1234"])
def test_the_page_is_valid_and_needs_no_network(made):
    page = report.render(made)
    parsed = Parsed(page)
    ids = [attrs["id"] for _, attrs in parsed.found if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for attrs in parsed.all("img"):
        assert attrs["src"].startswith("data:image/") and "alt" in attrs
    for tag, attrs in parsed.found:
        assert not any(name.startswith("on") for name in attrs), attrs
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action"):
            assert attrs.get(name, "data:").startswith(("data:", "#"))
        for name in ("aria-labelledby",):
            assert attrs.get(name, ids[0]) in ids
    assert not re.search(r"https?://|url\(|@import|import\(|fetch\(", page)
    anchors = [attrs["href"][1:] for attrs in parsed.all("a")]
    assert anchors and set(anchors) <= set(ids)


@pytest.mark.parametrize("text", EVIL)
def test_texts_are_shown_as_they_are(text):
    plain, page = Parsed(report.render(hostile("plain"))), report.render(hostile(text))
    parsed = Parsed(page)
    assert [tag for tag, _ in parsed.found] == [tag for tag, _ in plain.found]
    assert parsed.texts.count(text) == plain.texts.count("plain")
    assert text not in page
    copied = [attrs["data-copy"] for attrs in parsed.all("button") if "data-copy" in attrs]
    assert copied == [text]


def test_each_picture_is_stored_once():
    page = report.render(sample())
    assert sorted(stored(page)) == sorted(map(flat, (RED, BLUE, GREEN)))
    named = {"after": BLUE, "before": RED, "thumb": BLUE}
    for attrs in Parsed(page).all("img"):
        if color := named.get(attrs.get("class")):
            assert stored(page)[int(attrs["data-picture"])] == flat(color)


def test_rows_without_pictures_have_numbers_only():
    parsed = Parsed(report.render(sample()))
    assert len(parsed.all("article")) == 5
    values = [attrs["data-value"] for attrs in parsed.all("td") if "data-value" in attrs]
    assert [float(v) if v else None for v in values[::2]] == [3.0, None, -20.5, 1e-3, 7.0, 5.0]


def test_what_it_refuses():
    many = [row(str(i), 1.0) for i in range(MOST + 1)]
    empty = Report("a", {}, (), (), (), ())
    assert "<h1>a</h1>" in report.render(empty)
    report.render(empty._replace(rows=many[:MOST]))
    with pytest.raises(ValueError, match="at most 200 rows may have pictures, got 201"):
        report.render(empty._replace(rows=many))
    with pytest.raises(ValueError, match="the table 'x' has 2 columns, and a row of 1 values"):
        report.render(empty._replace(tables=[Table("x", ["a", "b"], [[1.0]])]))
    bad = many[0]._replace(after=Picture("x", b"GIF89a"))
    with pytest.raises(ValueError, match="must be PNG or WebP files, got b'GIF89a'"):
        report.render(empty._replace(rows=[bad]))


def test_numbers_keep_four_digits():
    rng = np.random.default_rng(0)
    for value in [*(10.0 ** rng.uniform(-6, 6, 200) * rng.choice([-1, 1], 200))]:
        text = shown(value).replace("−", "-")
        assert float(text) == pytest.approx(value, rel=5.1e-4)
    assert [shown(v) for v in (0, 3, 120000, -2.5)] == ["0", "3", "120000", "−2.5"]
    missing = [shown(v) for v in (None, math.nan, math.inf, "a")]
    assert missing == ["–", "–", "∞", "a"]


def test_numbers_of_a_column_have_the_same_places():
    column = [13.96, 9.859, 14.51]
    places = decimals(column)
    assert [shown(v, places) for v in column] == ["13.96", "9.86", "14.51"]
    assert decimals([0.2, 0.4]) == decimals([0.1 + 0.2, 12]) == 1 and decimals([0.25, 0.5]) == 2
    assert decimals([0.1259, 0.08894, None, math.nan]) == 4
    assert decimals([1.5, 1e-5]) is None and decimals([1, 2, 300]) is None
    assert decimals([]) is None and decimals([0.0, None]) is None and decimals([12345.6]) == 0


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="the page is tested by playwright")
    if BROWSER is None:
        pytest.skip("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield one
        one.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens a report from the disk; no error and no request may follow."""
    wrong, contexts = [], []

    def open_page(made, before="", **options):
        file = tmp_path / "report.html"
        file.write_text(report.render(made))
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda one: asked(one.url, file))
        page.add_init_script(before)
        page.goto(f"file://{file}")
        return page

    def asked(url, file):
        if not url.startswith("data:") and url != f"file://{file}":
            wrong.append(f"the page asked for {url}")

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def order(page):
    """The names in the table, and those of the cards."""
    cells = page.locator("#results tbody th:visible").all_inner_texts()
    return [text.strip() for text in cells], page.locator(".card:visible h3").all_inner_texts()


def test_it_sorts_both_ways_by_numbers_and_names(opened):
    page = opened(sample())
    numbers = {one.name: one.numbers["L2"] for one in sample().rows}
    known_ones = sorted((n for n in numbers if numbers[n] is not None), key=numbers.get)
    heading = page.get_by_role("columnheader", name="L2")
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    table, cards = order(page)
    assert table == [*known_ones, "daisy_10"], "missing ones last"
    assert cards == [name for name in table if name != "without"]
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert order(page)[0] == [*known_ones[::-1], "daisy_10"]
    page.get_by_role("columnheader", name="name").get_by_role("button").click()
    assert page.locator("[aria-sort]").count() == 1
    table = order(page)[0]
    assert table.index("daisy_2") < table.index("daisy_10") < table.index("rose")


def test_the_filter_hides_rows_and_cards(opened):
    page = opened(sample())
    page.get_by_label("Filter by name").fill("DAISY")
    assert order(page) == (["daisy_2", "daisy_10"], ["daisy_2", "daisy_10"])
    assert page.locator("#count").inner_text() == "2 of 6 results"
    page.get_by_label("Filter by name").fill("<img")
    assert order(page) == ([EVIL[0]], [EVIL[0]])
    page.get_by_label("Filter by name").fill("")
    assert len(order(page)[0]) == 6 and page.locator("#count").inner_text() == "6 results"


def seen(stage, share):
    """The colour of a stage at a share of its width."""
    pixels = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("RGB"))
    return tuple(pixels[pixels.shape[0] // 4, int(share * pixels.shape[1])])


def test_the_slider_shows_before_on_its_left_and_after_on_its_right(opened):
    page = opened(sample(), viewport={"width": 1200, "height": 1600})
    card = page.locator(".card").first
    stage, slider = card.locator(".stage"), card.get_by_role("slider")
    stage.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.before').naturalWidth === 8")
    assert seen(stage, 0.4) == RED and seen(stage, 0.6) == BLUE
    slider.fill("20")
    assert seen(stage, 0.1) == RED and seen(stage, 0.4) == BLUE
    slider.press("End")
    assert seen(stage, 0.1) == RED and seen(stage, 0.95) == RED
    slider.press("Home")
    slider.press("ArrowRight")
    assert slider.input_value() == "1" and seen(stage, 0.1) == BLUE
    box = stage.bounding_box()
    page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + 0.5 * box["height"])
    assert float(slider.input_value()) == pytest.approx(70, abs=1)
    card.get_by_role("combobox").select_option(label="input")
    page.wait_for_function("document.querySelector('.before').complete")
    assert seen(stage, 0.4) == GREEN and seen(stage, 0.9) == BLUE


def test_the_slider_follows_a_finger(opened):
    page = opened(sample(), viewport={"width": 400, "height": 900}, has_touch=True)
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.touchscreen.tap(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    assert float(page.get_by_role("slider").first.input_value()) == pytest.approx(25, abs=2)


def test_small_pictures_are_enlarged_without_blur(opened):
    checks = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)
    one = Picture("result", images.png(np.stack([checks] * 3, -1)))
    page = opened(sample()._replace(rows=[row("a", 1.0)._replace(before=None, after=one)]))
    stage = page.locator(".stage")
    stage.scroll_into_view_if_needed()
    page.wait_for_selector(".after.sharp")
    found = np.asarray(Image.open(io.BytesIO(stage.screenshot())).convert("L"))
    assert np.mean((found < 3) | (found > 252)) > 0.98
    assert page.get_by_role("slider").count() == 0


def clipboard(page):
    return page.evaluate("navigator.clipboard.readText()")


def test_buttons_copy_the_recipe_and_the_command(opened):
    page = opened(sample())
    for name, wanted in (("Copy recipe", '{"seed": 1}'), ("Copy replay", "sdedit --mode=replay")):
        page.locator(".card").first.get_by_role("button", name=name).click()
        page.get_by_text("Copied").wait_for()
        assert clipboard(page) == wanted
        page.get_by_text("Copied").wait_for(state="detached")
    page.locator(".card").last.get_by_role("button", name="Copy recipe").click()
    page.get_by_text("Copied").wait_for()
    assert clipboard(page) == EVIL[1]


NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined});"


def test_without_a_clipboard_a_text_field_is_copied(opened, browser):
    page = opened(sample(), NO_CLIPBOARD)
    page.locator(".card").first.get_by_role("button", name="Copy recipe").click()
    page.get_by_text("Copied").wait_for()
    assert page.locator("textarea:visible").count() == 0
    page.locator("#filter").focus()
    page.keyboard.press("Control+V")
    assert page.locator("#filter").input_value() == '{"seed": 1}'


def test_where_nothing_can_be_copied_the_text_is_selected(opened):
    page = opened(sample(), NO_CLIPBOARD + "Document.prototype.execCommand = () => false;")
    page.locator(".card").first.get_by_role("button", name="Copy recipe").click()
    page.get_by_text("Press Ctrl+C").wait_for()
    assert page.evaluate("getSelection().toString()") == '{"seed": 1}'


@pytest.mark.parametrize("text", EVIL)
def test_no_text_runs_in_a_browser(text, opened):
    """The title, which the texts try to change, stays; the elements are those of a plain page."""
    page = opened(hostile(text))
    page.locator("summary").click()
    assert page.title() == text.strip()
    assert page.locator("h3").inner_text() == text and page.locator("pre").inner_text() == text
    count = page.evaluate("document.querySelectorAll('*').length")
    assert count == opened(hostile("plain")).evaluate("document.querySelectorAll('*').length")


def test_scripts_of_others_are_refused(browser, tmp_path):
    """The policy of the page lets the script of the template run, and no other."""
    page = report.render(sample())
    file = tmp_path / "report.html"
    file.write_text(page.replace("</body>", "<script>document.title = 'changed'</script></body>"))
    one = browser.new_page()
    one.goto(f"file://{file}")
    assert one.title() == "A run" and one.locator("#count").inner_text() == "6 results"
    one.close()


@pytest.mark.parametrize("width", [400, 900, 1600])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_narrow_and_wide_windows(width, scheme, opened):
    page = opened(sample(), viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    levels = [int(level) for level in re.findall(r"\d+", ground)]
    assert max(levels) < 60 if scheme == "dark" else min(levels) > 220


def test_pictures_are_loaded_where_they_are_seen(opened):
    rows = [row(f"r{i}", float(i)) for i in range(MOST)]
    page = opened(sample()._replace(rows=rows), viewport={"width": 900, "height": 700})
    page.wait_for_timeout(200)
    waiting = page.locator("img[data-picture]")
    assert waiting.count() > MOST
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert waiting.count() == 0

"""The page in a browser: painting, finishing, files, visitors; and its parts without one."""

import base64
import dataclasses
import io
import itertools
import json
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import known, tiny_prior

pytest.importorskip("gradio", reason='the page needs gradio: pip install ".[web]"')

from sdedit_jax import images
from sdedit_jax.web import canvas, page, server
from sdedit_jax.web.canvas import PNG, Painted
from sdedit_jax.web.controls import beside
from sdedit_jax.web.queue import Line, Overtaken, Refused
from sdedit_jax.web.settings import Settings, check_work
from sdedit_jax.web.visitor import Kept, Strip, Visitors

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
WAIT = 60_000
"""Milliseconds."""


# --- the line -------------------------------------------------------------------------------------


def test_edits_of_many_visitors_run_one_at_a_time_in_order_or_are_refused():
    line, running, ran, refused = Line(most=8), [], [], []
    gate = threading.Event()

    def edit(visitor):
        try:
            with line.turn(visitor):
                running.append(visitor)
                assert len(running) == 1
                gate.wait(10)
                ran.append(running.pop())
        except Refused as error:
            refused.append((visitor, str(error)))

    threads = []
    for i in range(20):
        threads.append(threading.Thread(target=edit, args=(str(i),)))
        threads[-1].start()
        while len(line.tickets) + len(refused) < i + 1:
            time.sleep(0.001)
    gate.set()
    for thread in threads:
        thread.join(10)
    assert ran == [str(i) for i in range(8)] and line.tickets == []
    assert [name for name, _ in refused] == [str(i) for i in range(8, 20)]
    assert all("8 edits came before" in text for _, text in refused)


def test_the_latest_edit_of_a_visitor_wins():
    line, outcome = Line(), {}
    begun = threading.Event()

    def first():
        with line.turn("a") as cancel:
            begun.set()
            outcome["first"] = cancel.wait(10)

    def second():
        try:
            with line.turn("a"):
                outcome["second"] = "ran"
        except Overtaken:
            outcome["second"] = "overtaken"

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(10)
    assert outcome == {"first": True, "second": "ran"} and line.tickets == []


def test_an_edit_that_was_sent_earlier_does_not_overtake_a_later_one():
    line = Line()
    with line.turn("a", 7) as cancel:
        with pytest.raises(Overtaken), line.turn("a", 6):
            raise AssertionError
        assert not cancel.is_set() and len(line.tickets) == 1


def test_an_edit_that_waits_is_overtaken_without_running():
    line = Line()
    waited = threading.Event()

    def wait():
        with pytest.raises(Overtaken), line.turn("a"):
            raise AssertionError
        waited.set()

    with line.turn("b") as other:
        thread = threading.Thread(target=wait)
        thread.start()
        while len(line.tickets) < 2:
            time.sleep(0.001)
        line.cancel("a")
        assert waited.wait(10) and not other.is_set()


# --- the strip ------------------------------------------------------------------------------------


def kept(size=(2, 2), **result):
    return Kept(None, Painted(None, np.zeros((*size, 4), np.uint8)), result)


def test_a_strip_is_bounded_in_bytes_and_keeps_the_newest_result():
    strip = Strip()
    for i in range(5):
        strip = strip.added(kept((2048, 1024), n=i))  # 8 MiB each
    assert [one.result["n"] for one in strip.kept] == [2, 3, 4] and strip.at == 2
    strip = strip.added(kept((4096, 4096), n=5))  # 64 MiB
    assert [one.result["n"] for one in strip.kept] == [5] and strip.at == 0


def test_an_empty_strip_does_not_move():
    assert Strip().moved(1) == Strip()


def test_a_strip_keeps_the_latest_results_and_moves_within_them():
    strip = Strip()
    for i in range(30):
        strip = strip.added(kept(n=i))
    assert len(strip.kept) == 24 and strip.at == 23 and strip.kept[-1].result == {"n": 29}
    assert strip.moved(-5).at == 0 and strip.moved(99).at == 23


def test_the_least_recent_visitor_is_forgotten():
    visitors = Visitors(most=2)
    for name in "abc":
        visitors.update(name, lambda strip, name=name: strip.added(kept(of=name)))
    assert visitors.strip("a") == Strip() and visitors.strip("c").kept[0].result == {"of": "c"}
    visitors.forget("c")
    assert visitors.strip("c") == Strip()


def test_an_edit_that_ends_after_its_visitor_has_left_is_not_kept():
    visitors = Visitors()
    visitors.forget("a")
    assert len(visitors.update("a", lambda strip: strip.added(kept())).kept) == 1
    assert visitors.strip("a") == Strip()


# --- what the canvas sends ------------------------------------------------------------------------


def sent(**layers):
    urls = {name: PNG + base64.b64encode(images.png(a)).decode() for name, a in layers.items()}
    return urls


def layer(size=(8, 12), color=(255, 0, 0, 255)):
    return np.full((*size, 4), color, np.uint8)


def test_the_canvas_is_decoded_into_its_layers():
    mask = layer(color=(255, 45, 120, 255))
    mask[:, 6:] = 0
    layers = sent(picture=layer()[..., :3], paint=layer(color=(1, 2, 3, 128)), mask=mask)
    layers |= sent(patch=layer((3, 5))) | {"place": [0.5, 0.25, 0.5], "number": 7}
    found = canvas.decoded(json.dumps(layers), (8, 12))
    assert found.picture.shape == (8, 12, 3) and (found.paint == (1, 2, 3, 128)).all()
    assert (found.mask[:, :6] == 255).all() and (found.mask[:, 6:] == 0).all()
    assert found.patch.shape == (3, 5, 4) and found.place == (0.5, 0.25, 0.5)
    assert canvas.number(json.dumps(layers)) == 7


def test_what_the_canvas_shows_is_what_it_would_send():
    mask = np.zeros((8, 12), np.uint8)
    mask[2:4] = 255
    was = Painted(layer()[..., :3], layer(color=(9, 8, 7, 255)), mask, layer((3, 5)), (0.5, 0.5, 1))
    given = json.loads(canvas.shown(was))["show"]
    found = canvas.decoded(json.dumps(given), (8, 12))
    assert all(np.array_equal(a, b) for a, b in zip(found, was, strict=True))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        (None, "must be below 16 MiB"),
        ("x" * (17 << 20), "must be below 16 MiB"),
        (json.dumps({"paint": "http://example.org/a.png"}), "paint must be a data URL"),
        (json.dumps({"paint": "data:image/png;base64,AAAA"}), "not a PNG picture"),
        (json.dumps(sent(paint=layer((9, 9)))), "paint must be 8x12, got 9x9"),
        (json.dumps({"patch": "", "paint": "data:image/png;base64,é"}), "paint is damaged"),
        (json.dumps({"patch": "a", "place": [0, 0, float("nan")]}), "cannot be read"),
        (json.dumps({"patch": "a", "place": [0, 0, 0]}), "must lie on the picture"),
        (json.dumps({"patch": "a", "place": ["a"]}), "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        (json.dumps(sent(paint=layer((2000, 2000)))), "larger than 144 pixels"),
        (json.dumps(sent(patch=layer((1, 100)))), "patch must be at most 12 pixels"),
    ],
)
def test_wrong_layers_are_refused_in_a_sentence(text, message):
    with pytest.raises(ValueError, match=message) as caught:
        canvas.decoded(text, (8, 12))
    assert str(caught.value).startswith("canvas: ") and "\n" not in str(caught.value)


def test_a_number_that_is_none_is_0():
    for text in ("Infinity", '{"number": Infinity}', "[" * 100_000, "{}"):
        assert canvas.number(text) == 0


def test_a_full_line_keeps_the_place_of_who_waits():
    """One more edit of a visitor that waits is not refused; one of another visitor is, and cancels
    nothing."""
    line = Line(most=2)
    with line.turn("a"):
        waiting = threading.Thread(target=lambda: outcome.append(wait(line, "b")))
        outcome = []
        waiting.start()
        while len(line.tickets) < 2:
            time.sleep(0.01)
        with pytest.raises(Refused, match="busy: 2 edits"), line.turn("c"):
            pass
        assert not any(ticket.cancel.is_set() for ticket in line.tickets)
        later = threading.Thread(target=lambda: outcome.append(wait(line, "b", 1)))
        later.start()
        waiting.join(10)
        assert outcome == ["overtaken"]
    later.join(10)
    assert outcome == ["overtaken", "ran"] and not line.tickets


def wait(line, visitor, number=0):
    try:
        with line.turn(visitor, number):
            return "ran"
    except Overtaken:
        return "overtaken"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"samples": 65}, "samples must be at most 64, got 65"),
        ({"sampler": (("steps", 10**4),)}, "steps: the page makes at most 1000 steps"),
        ({"sampler": (("steps", 100), ("repeats", 100))}, "at most 1000 steps, got 10000"),
        ({"sampler": (("corrector", "langevin(steps=900)"),)}, "at most 1000 steps"),
        ({"margins": (0, 10**9, 0, 0)}, r"margins must be in \[0, 1024\]"),
        ({"margins": (0, 0, -1, 0)}, r"margins must be in \[0, 1024\]"),
        ({"prompt": "a" * 2001}, "prompt: a text must have at most 2000 letters"),
        ({"task": "ledits", "source_prompt": "a" * 2001}, "prompt: a text must have at most"),
    ],
)
def test_an_edit_that_would_keep_the_program_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        check_work(Settings(**fields))


def answer_to(served, route, data, method="POST"):
    """The status of a refused request, and its line."""
    request = urllib.request.Request(f"{served.url}{route}", data=data, method=method)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    return caught.value.code, json.load(caught.value)["error"]


@pytest.mark.parametrize(
    "route", ["gradio_api/upload", "gradio_api/deep_link", "gradio_api/call/x"]
)
def test_routes_that_the_page_does_not_use_are_closed(served, route):
    assert answer_to(served, route, b"x") == (404, "there is no such page")
    assert answer_to(served, "", None, "DELETE") == (404, "there is no such page")


EVENT = {"fn_index": 0, "data": [], "session_hash": "a"}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{", "event: cannot read the request: the file is not JSON"),
        (b"[]", "event: the request must hold a JSON object"),
        (EVENT | {"fn_index": 10**6}, "event.fn_index must be that of an event, got 1000000"),
        (EVENT | {"fn_index": None}, "event.fn_index must be a whole number"),
        (EVENT, "event.data must be a list of"),
        (EVENT | {"session_hash": "../x"}, "event.session_hash must be a name of letters"),
        (EVENT | {"batched": True}, "event.batched must be False"),
        (EVENT | {"oauth_token": "x"}, "event.oauth_token is no field"),
    ],
)
@pytest.mark.parametrize("route", ["gradio_api/run/predict", "gradio_api/queue/join"])
def test_an_event_that_the_page_does_not_send_is_one_line(served, route, body, told):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, line = answer_to(served, route, data)
    assert status == 400 and told in line and "\n" not in line


def test_values_of_another_type_name_their_component(served):
    with urllib.request.urlopen(f"{served.url}config", timeout=30) as answer:
        config = json.load(answer)
    known = {one["id"]: one["props"].get("elem_id") for one in config["components"]}
    event = next(one for one in config["dependencies"] if len(one["inputs"]) > 9)
    names = [known[one] for one in event["inputs"]]
    body = EVENT | {"fn_index": event["id"], "data": [None] * len(names)}
    body["data"][names.index("seed")] = "x"
    told = answer_to(served, "gradio_api/run/predict", json.dumps(body).encode())
    assert told == (400, "event.data: seed must be a number, got 'x'")


def test_a_prior_is_named_without_its_path():
    assert server.name_of("fruits64") == "fruits64"
    assert server.name_of("/home/me/models/mine") == "mine"
    assert list(server.known("/home/me/models/mine"))[0] == "mine"


def test_a_picture_of_many_pixels_is_refused_before_it_is_decoded():
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(ValueError, match="larger than 40 megapixels"):
        canvas.opened(buffer.getvalue())


def test_an_error_stands_beside_its_field():
    assert beside("t0 must be <= 1", ["seed", "t0", ""]) == ["", "t0 must be &lt;= 1", ""]
    assert beside("other: wrong", ["seed", "t0", ""]) == ["", "", "other: wrong"]


# --- the server -----------------------------------------------------------------------------------


class Served:
    """A page of a prior of random weights, or of another one."""

    def __init__(self, prior=None, **options):
        built = []
        build = page.Page.build

        def kept(self):
            built.append(self)
            return build(self)

        page.Page.build = kept
        try:
            given = {"prior": prior or tiny_prior(), "compute": "float32", "host": "127.0.0.1"}
            self.running = server.start(**given, port=0, **options)
        finally:
            page.Page.build = build
        self.page, self.url = built[0], self.running.url


@pytest.fixture(scope="module")
def served():
    one = Served()
    yield one
    one.running.close()


def test_a_request_beyond_the_limit_is_refused(served):
    request = urllib.request.Request(
        f"{served.url}gradio_api/run/predict", data=b"x" * (server.MOST_BODY + 1), method="POST"
    )
    with pytest.raises((urllib.error.HTTPError, ConnectionError, urllib.error.URLError)) as caught:
        urllib.request.urlopen(request, timeout=30)
    assert getattr(caught.value, "code", 413) == 413
    with urllib.request.urlopen(served.url, timeout=30) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("port", [None, 70000])
def test_a_port_that_cannot_be_used_is_one_sentence(port):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = port or one.getsockname()[1]
        with pytest.raises(OSError, match=f"web.port: cannot serve on 127.0.0.1:{port}"):
            server.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["\u202e", "a b", "\x1b", "a\0b", "\udcff"])
def test_a_host_that_is_none_is_one_sentence(host):
    with pytest.raises(OSError, match="web.port: cannot serve on"):
        server.listen(host, 7860)


@pytest.mark.parametrize(
    "host, port, expected",
    [
        ("127.0.0.1", 7860, "http://127.0.0.1:7860/"),
        ("0.0.0.0", 80, "http://localhost:80/"),
        ("::", 80, "http://localhost:80/"),
        ("::1", 7861, "http://[::1]:7861/"),
    ],
)
def test_the_address_that_is_printed(host, port, expected):
    assert server.address(host, port) == expected


def test_a_page_starts_behind_a_proxy_that_does_not_answer(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    one = Served()
    try:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(one.url, timeout=30) as answer:
            assert answer.status == 200
    finally:
        one.running.close()


@pytest.mark.parametrize("path", ["gradio_api/file=/etc/passwd", "gradio_api/file=setup.py"])
def test_no_file_of_the_machine_is_served(served, path):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{served.url}{path}", timeout=30)
    assert caught.value.code in (403, 404)


def test_a_page_with_a_password_answers_nothing_without_it():
    one = Served(login=lambda user, given: given == "secret")
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{one.url}config", timeout=30)
        assert caught.value.code == 401
        data = b"username=any&password=secret"
        with urllib.request.urlopen(f"{one.url}login", data=data, timeout=30) as answer:
            assert answer.status == 200
    finally:
        one.running.close()


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


def decoded(data):
    return np.asarray(Image.open(io.BytesIO(data)))


class Visit:
    """A visitor of the page."""

    def __init__(self, browser, url, **options):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.page, self.urls, self.errors = self.context.new_page(), [], []
        self.page.set_default_timeout(WAIT)
        self.page.on("request", lambda request: self.urls.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("#canvas .sd-colour")
        self.page.wait_for_selector("#result img[data-part=after]:not([hidden])")

    def spot(self, x, y):
        box = self.page.locator("#canvas .sd-stage").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def stroke(self, *spots):
        """Draw, and wait for the picture of the last stroke."""
        self.page.mouse.move(*self.spot(*spots[0]))
        self.page.mouse.down()
        for spot in spots:
            self.page.mouse.move(*self.spot(*spot), steps=4)
        self.page.mouse.up()
        self.answered()

    def answered(self):
        """Wait until the result is of what the canvas sent last."""
        self.page.wait_for_function(
            "() => Number(document.querySelector('#result [data-number]')?.dataset.number || 0)"
            " >= (window.sdedit?.number || 0)"
        )

    def result(self):
        """The PNG that the result shows."""
        url = self.page.locator("#result img[data-part=after]").get_attribute("src")
        return base64.b64decode(url.removeprefix(PNG))

    def pixels(self):
        return decoded(self.result())

    def drawn(self, layer="paint"):
        """A layer of the canvas, uint8 [h, w, 4]."""
        found = f"document.querySelector('#canvas canvas[data-layer={layer}]').toDataURL()"
        return decoded(base64.b64decode(self.page.evaluate(found).removeprefix(PNG)))

    def open(self, data, name="a.png", kind="open"):
        """Open a file by the button of the canvas."""
        with self.page.expect_file_chooser() as chosen:
            self.page.click(f"#canvas [data-do={kind}]")
        path = Path(tempfile.mkdtemp()) / name
        path.write_bytes(data)
        chosen.value.set_files(path)

    def said(self):
        """Wait for a sentence about an error."""
        return self.page.wait_for_selector(
            ".sd-error .prose:not(:empty), .prose.sd-error:not(:empty)"
        ).inner_text()

    def line(self):
        return self.page.locator("#result .sd-line").inner_text()

    def finish(self):
        count = self.page.locator("#strip button").count()
        self.page.click("#finish")
        self.page.wait_for_function(
            f"document.querySelectorAll('#strip button').length > {count}", timeout=WAIT
        )


@pytest.fixture
def visit(browser, served):
    visits = []

    def make(**options):
        visits.append(Visit(browser, served.url, **options))
        return visits[-1]

    yield make
    for one in visits:
        assert one.errors == []
        one.context.close()


def png(pixels):
    return images.png(np.ascontiguousarray(pixels))


def test_the_first_visit_shows_an_edited_example_and_asks_no_other_machine(visit, served):
    one = visit()
    assert one.result() == served.page.first.result.png()
    assert (one.drawn()[..., 3] == 255).all()
    one.page.wait_for_timeout(500)
    assert all(url.startswith((served.url, "data:", "blob:")) for url in one.urls), one.urls


def test_a_stroke_changes_the_result_and_undo_brings_it_back(visit):
    one = visit()
    before, drawn = one.result(), one.drawn()
    one.page.locator("#canvas .sd-colour").first.click()
    one.stroke((0.2, 0.2), (0.8, 0.3))
    assert (one.drawn() != drawn).any() and one.result() != before
    one.page.keyboard.press("Control+z")
    one.page.wait_for_function("window.sdedit.number >= 2")
    one.answered()
    assert np.array_equal(one.drawn(), drawn) and np.array_equal(one.pixels(), decoded(before))
    one.page.keyboard.press("Control+Shift+z")
    one.answered()
    assert (one.drawn() != drawn).any()


def test_the_result_is_that_of_the_editor_bit_for_bit(visit, served):
    one = visit()
    one.stroke((0.3, 0.3), (0.6, 0.7))
    painted, settings = Painted(None, one.drawn()), page.quick(served.page.first.settings)
    *_, expected = served.page.editor.events(settings, painted)
    assert np.array_equal(one.pixels(), expected.pictures[0])


def test_two_visitors_get_their_own_pictures(visit, served):
    both = [visit(), visit()]
    for one, y in zip(both, (0.2, 0.8), strict=True):
        one.page.mouse.move(*one.spot(0.1, y))
        one.page.mouse.down()
        one.page.mouse.move(*one.spot(0.9, y), steps=5)
    for one in both:
        one.page.mouse.up()
    for one in both:
        one.answered()
        settings = page.quick(served.page.first.settings)
        *_, expected = served.page.editor.events(settings, Painted(None, one.drawn()))
        assert np.array_equal(one.pixels(), expected.pictures[0])
    both[0].finish()
    assert both[1].page.locator("#strip button").count() == 0


def test_finished_results_stand_in_a_strip_with_their_paintings(visit):
    one = visit()
    one.finish()
    first, drawn = one.result(), one.drawn()
    one.stroke((0.2, 0.5), (0.8, 0.5))
    one.finish()
    assert one.page.locator("#strip button").count() == 2
    one.page.click("#earlier")
    one.page.wait_for_selector("#strip button[aria-pressed=true]:first-child")
    one.page.wait_for_timeout(300)
    assert one.result() == first and np.array_equal(one.drawn(), drawn)


def test_a_download_has_the_recipe_or_not(visit):
    one = visit()
    one.finish()
    for plain in (False, True):
        one.page.locator("#result [data-part=plain]").set_checked(plain)
        with one.page.expect_download() as chosen:
            one.page.click("#result [data-do=download]")
        data = chosen.value.path().read_bytes()
        found = Image.open(io.BytesIO(data))
        assert ("sdedit_jax" in found.text) != plain
        assert np.array_equal(np.asarray(found), one.pixels())


@pytest.fixture
def slow(served, monkeypatch):
    """Edits that take some seconds."""
    events = served.page.editor.events

    def slowed(*args, **options):
        for event in events(*args, **options):
            time.sleep(0.3)
            yield event

    monkeypatch.setattr(served.page.editor, "events", slowed)


UNDER_WAY = "document.querySelector('#result .sd-line').textContent.startsWith('edit: step')"


def test_an_edit_of_a_visitor_that_leaves_ends(browser, served, slow):
    one = Visit(browser, served.url)
    one.page.click("#finish")
    one.page.wait_for_function(UNDER_WAY)
    one.context.close()
    for _ in range(200):
        if not served.page.line.tickets:
            break
        time.sleep(0.1)
    assert served.page.line.tickets == []


def test_a_cancelled_edit_ends_and_says_so(visit, served, slow):
    one = visit()
    before = one.result()
    one.page.click("#finish")
    one.page.wait_for_function(UNDER_WAY)
    assert one.result() != before  # a preview
    one.page.click("#cancel")
    one.page.wait_for_function(
        "document.querySelector('#result .sd-line').textContent.startsWith('cancelled')"
    )
    assert one.page.locator("#strip button").count() == 0 and served.page.line.tickets == []
    assert one.result() == before


def test_an_edit_that_fails_after_a_preview_says_so_and_brings_the_last_result_back(
    visit, served, monkeypatch
):
    events = served.page.editor.events

    def failing(*args, preview_every=0, **options):
        made = events(*args, preview_every=preview_every, **options)
        yield from itertools.islice(made, 3)
        if preview_every:
            raise KeyError("a fault of the page")
        yield from made

    monkeypatch.setattr(served.page.editor, "events", failing)
    one = visit()
    before = one.result()
    one.page.click("#finish")
    assert "could not make this edit: 'a fault of the page'" in one.said()
    one.page.wait_for_timeout(300)
    assert one.result() == before and served.page.line.tickets == []


def test_a_second_finish_of_the_same_painting_takes_the_place_of_the_first(visit, served, slow):
    one = visit()
    one.page.click("#finish")
    one.page.wait_for_function(UNDER_WAY)
    one.page.click("#finish")
    one.page.wait_for_function("document.querySelectorAll('#strip button').length == 1")
    assert "cancelled" not in one.line() and one.line().startswith("t0 ")


def test_an_emptied_number_is_a_sentence_and_the_page_goes_on(visit):
    one = visit()
    one.page.locator("#t0 input[type=number]").fill("")
    one.page.get_by_text("t0: give a number").first.wait_for()
    one.page.locator("#t0 input[type=number]").fill("0.4")
    one.stroke((0.2, 0.6), (0.8, 0.6))
    assert "t0 0.4" in one.line() and not one.page.locator(".sd-error .prose:not(:empty)").count()


def test_a_picture_is_laid_beneath_the_strokes(visit):
    one = visit()
    one.page.click("#canvas [data-do=clear]")
    one.answered()
    one.open(png(known().repeat(4, 0).repeat(8, 1)))
    one.page.wait_for_function("window.sdedit.number >= 2")
    one.answered()
    below = one.drawn("picture")
    assert below.shape == (256, 256, 4) and np.ptp(below[..., 0]) > 100
    assert one.drawn()[..., 3].max() == 0


def test_what_the_mask_does_not_cover_stays_bit_for_bit(visit):
    one = visit()
    one.open(png(known()))
    one.page.wait_for_function("window.sdedit?.number >= 1")
    one.answered()
    one.page.get_by_role("tab", name="Photo").click()
    one.page.wait_for_selector("#canvas [data-tool=mask]:not([hidden])")
    one.page.keyboard.press("m")
    one.stroke((0.3, 0.3), (0.6, 0.6))
    free = one.drawn("mask")[..., 3].reshape(16, 16, 16, 16).any(axis=(1, 3))
    url = one.page.locator("#result img[data-part=before]").get_attribute("src")
    guide, made = decoded(base64.b64decode(url.removeprefix(PNG))), one.pixels()
    assert 0 < free.sum() < 200 and np.array_equal(made[~free], guide[~free])
    assert np.abs(made[~free] - known()[~free].astype(int)).max() <= 4  # resized to the canvas
    assert (made[free] != guide[free]).any()


def test_a_result_that_is_opened_restores_its_settings(visit):
    one = visit()
    one.page.locator("#seed input").fill("41")
    one.page.locator("#seed input").press("Enter")
    one.finish()
    data = one.result()
    other = visit()
    drawn = other.drawn()
    other.open(data)
    other.page.wait_for_function("document.querySelector('#seed input').value == '41'")
    other.page.get_by_text("The settings of this result are restored.").wait_for()
    assert not other.page.locator("#forget").is_visible()
    other.page.wait_for_function("window.sdedit?.number >= 1")
    other.answered()
    assert "seed 41" in other.line() and np.array_equal(other.drawn(), drawn)


def test_restored_settings_without_a_field_are_named_until_they_are_forgotten(visit, served):
    first = served.page.first
    own = dataclasses.replace(first.settings, preset="", sample=3, sampler=(("steps", 7),))
    *_, made = served.page.editor.events(own, first.painted)
    one = visit()
    one.open(made.png())
    one.page.get_by_text("Restored: sample 3, steps 7.").wait_for()
    one.finish()
    assert served.page.editor.restored(one.result()) == own
    one.page.click("#forget")
    one.page.wait_for_selector("#forget", state="hidden")
    one.finish()
    usual = served.page.editor.restored(one.result())
    assert (usual.sample, usual.sampler) == (0, ())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no picture", "not a PNG, JPEG or WebP picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "cannot read the file"),
        (bytes(17 << 20), "a file must be below 16 MiB"),
    ],
)
def test_a_wrong_file_is_a_sentence_and_changes_nothing(visit, data, message):
    one = visit()
    drawn = one.drawn()
    one.open(data)
    assert message in one.said() and np.array_equal(one.drawn(), drawn)


def test_a_dropped_file_is_opened(visit):
    one = visit()
    one.page.evaluate(
        """(data) => {
          const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
          const all = new DataTransfer();
          all.items.add(new File([bytes], "a.png", {type: "image/png"}));
          window.dispatchEvent(new DragEvent("drop", {dataTransfer: all, cancelable: true}));
        }""",
        base64.b64encode(png(known())).decode(),
    )
    one.page.wait_for_function("window.sdedit?.number >= 1")
    one.answered()


def test_a_phone_shows_the_page_without_scrolling_sideways_and_draws_by_touch(visit):
    one = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 390
    before = one.drawn()
    one.page.locator("#canvas .sd-stage").tap()  # waits until the page no longer moves
    one.page.wait_for_function("window.sdedit?.number >= 1")
    one.answered()
    assert (one.drawn() != before).any()


def test_shortcuts_choose_tools_and_leave_text_fields_alone(visit):
    one = visit()
    one.page.keyboard.press("e")
    assert one.page.get_attribute("#canvas [data-tool=eraser]", "aria-pressed") == "true"
    one.page.keyboard.press("b")
    assert one.page.get_attribute("#canvas [data-tool=brush]", "aria-pressed") == "true"
    one.page.locator("#seed input").focus()
    one.page.keyboard.press("e")
    assert one.page.get_attribute("#canvas [data-tool=brush]", "aria-pressed") == "true"

"""Requests to the server of the page: each route, wrong bodies, files that are no pictures."""

import base64
import http.client
import json
import socket
import urllib.parse
from pathlib import Path

from fuzz.case import PHOTO, Case, kind
from fuzz.mutate import BYTES, changed, damaged, dumps, json_bytes
from fuzz.pictures import OTHERS
from fuzz.zips import damaged_zip

REQUESTS = 30
"""Of a case, to one server."""
SECONDS = 20
"""Of an answer. Streams may say nothing for longer."""
STREAMS = ("heartbeat", "queue/data", "startup-events", "dev/reload", "stream", "call")
SECRETS = ("Traceback", '.py\\", line', '.py", line', "canary", "root:x:0")
"""What no answer has."""
FILES = ("/etc/passwd", "../canary/secret.txt", "../../canary/secret.txt", "stock/photo.png", "")
FILES += ("stock/exact/prior.json", "/proc/self/environ", "/dev/zero", ".", "%2e%2e/%2e%2e/x")
FILES += ("http://127.0.0.1:9/", "file:///etc/passwd", "a%00b", "%ff", "x" * 5000, "C:%5Cx")
ROUTES = (
    "file=",
    "file/",
    "proxy=",
    "static/",
    "assets/",
    "svelte/",
    "pwa_icon/",
    "info",
    "config",
)
ROUTES += ("custom_component/a/b/c/", "stream/a/b/c/", "heartbeat/", "queue/data?session_hash=")
ROUTES += ("queue/status", "theme.css", "?deep_link=", "config?deep_link=", "deep_link", "user", "")
ROUTES += ("token", "app_id", "dev/reload", "monitoring", "monitoring/", "runs", "startup-events")
ROUTES += ("run-history/records", "run-history/buckets", "vibe-code", "profiling/traces", "logout")
ROUTES += ("openapi.json", "docs", "robots.txt", "favicon.ico", "manifest.json", "login_check")
ROUTES += (
    "upload_progress?upload_id=",
    "call/live/",
    "gradio_api/gradio_api/",
    "upload",
    "mcp/sse",
)
POSTS = ("run/", "api/", "call/", "call/v2/", "queue/join", "component_server", "cancel", "reset")
POSTS += ("upload", "login", "stream/", "vibe-edit", "undo-vibe-edit", "vibe-starter-queries")
POSTS += ("profiling/clear", "process_recording", "run-history/connect", "run/predict/", "mcp/http")
BODY = {"data": [1], "fn_index": 0, "session_hash": "a", "event_data": {}, "api_name": "live"}
BODY |= {"component_id": 1, "fn_name": "x", "event_id": "a", "batched": False, "trigger_id": 1}
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "PATCH", "X")


class Wrong(Exception):
    """An answer that breaks a rule."""


def asked(port, method, path, body=b"", headers=()):
    """The status and the first bytes of an answer; status 0: the connection was closed."""
    stream = any(name in path for name in STREAMS)
    one = http.client.HTTPConnection("127.0.0.1", port, timeout=1 if stream else SECONDS)
    try:
        one.putrequest(method, urllib.parse.quote(path, safe="/?=&%:.[]{}~"))
        given = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
        for name, value in (given | dict(headers)).items():
            one.putheader(name, value)
        one.endheaders(body)
        answer = one.getresponse()
        return answer.status, read(answer, stream)
    except (ConnectionError, http.client.HTTPException):
        return 0, b""
    except TimeoutError:
        if stream:
            return 0, b""
        raise Wrong(f"no answer in {SECONDS} s: {method} {path[:100]}") from None
    finally:
        one.close()


def read(answer, stream):
    found = b""
    try:
        while len(found) < 2**20 and (piece := answer.read1(2**16)):
            found += piece
    except TimeoutError:
        if not stream:
            raise
    return found


def check(told, status, body):
    """An answer is no fault of the server, and has nothing of its files or its code."""
    text = body.decode(errors="replace")
    if found := [word for word in SECRETS if word in text]:
        raise Wrong(f"{found[0]} in the answer to {told}")
    if status >= 500:
        raise Wrong(f"{status} for {told}: {text[:200]}")


class Page:
    """A server, and what its page sends: the events with their values."""

    def __init__(self):
        from sdedit_jax.web import server

        running = server.start("stock/exact", "float32", "127.0.0.1", 0)
        self.port = urllib.parse.urlsplit(running.url).port
        config = json.loads(asked(self.port, "GET", "/config")[1] or b"{}")
        self.values = {one["id"]: one["props"].get("value") for one in config["components"]}
        self.events = [one for one in config["dependencies"] if one["inputs"] or one["targets"]]

    def body(self, event):
        """What the page sends at an event."""
        data = [self.values.get(one) for one in event["inputs"]]
        target = (event["targets"] or [[None]])[0][0]
        return {
            "data": data, "fn_index": event["id"], "session_hash": "visitor",
            "trigger_id": target, "event_data": None,
        }  # fmt: skip

    def alive(self):
        """The page is served, and its first event is answered."""
        status, _ = asked(self.port, "GET", "/")
        event = next(one for one in self.events if not one["queue"] and len(one["inputs"]) > 9)
        made, body = asked(self.port, "POST", PREDICT, json.dumps(self.body(event)).encode())
        if (status, made) != (200, 200) or b"error" in body[:20]:
            raise Wrong(f"the page is no longer served: {status}, {made}, {body[:100]}")


PREDICT = "/gradio_api/run/predict"


def route(rng, page):
    """Any route with any method."""
    path = rng.choice(("/", "/gradio_api/")) + rng.choice(ROUTES) + rng.choice(FILES)
    path = path.replace("../canary", str(Path.cwd().parent / "canary")) if rng.chance(0.3) else path
    method = rng.choice(METHODS) if rng.chance(0.2) else "GET"
    return method, path, b"", ()


def post(rng, page):
    """Any route that takes a body, with a body that it does not take."""
    path = rng.choice(("/", "/gradio_api/")) + rng.choice(POSTS)
    path += rng.choice(("live", "finish", "predict", "0", "x")) if path.endswith("/") else ""
    data, _ = json_bytes(rng, BODY)
    kinds = ("application/json", "text/plain", "multipart/form-data; boundary=a", "x")
    kinds += ("application/x-www-form-urlencoded", "multipart/form-data", "")
    return "POST", path, data, {"Content-Type": rng.choice(kinds)}


def event(rng, page):
    """An event of the page with one or more values changed."""
    one = rng.choice(page.events)
    body = page.body(one)
    if rng.chance(0.5):
        body["event_data"] = rng.choice((opened, picked))(rng)
    if rng.chance(0.3) and body["data"] and isinstance(body["data"][0], str):
        body["data"][0] = canvas(rng, body["data"][0])
    data = json_bytes(rng, body)[0] if rng.chance(0.8) else dumps(body).encode()
    path = "/gradio_api/queue/join" if one["queue"] else PREDICT
    return "POST", path, data, ()


def canvas(rng, text):
    """What the canvas sends, with damage."""
    try:
        value = json.loads(text)
    except ValueError:
        value = {}
    value = value.get("show", value) | {"number": 1}
    if rng.chance(0.5):
        url = "data:image/png;base64," + base64.b64encode(no_picture(rng)).decode()
        return dumps(value | {rng.choice(("picture", "paint", "mask", "patch")): url})
    return dumps(changed(rng, value)[0])


def opened(rng):
    """A file that a visitor opens."""
    data = base64.b64encode(no_picture(rng)).decode()
    if rng.chance(0.1):
        data = rng.choice(("=", "x", "A" * 30_000_000, "\ud83d\ude00", None, 5, [], {}))
    return {"as": rng.choice(("picture", "result", "patch", "x", None, 5)), "data": data}


def picked(rng):
    """The number of a result of the strip."""
    return {"at": rng.choice((-1, 0, 10**20, 1e308, "x", None, [], float("nan")))}


def no_picture(rng):
    how = rng.below(4)
    if how == 0:
        return rng.choice(OTHERS)
    if how == 1:
        return damaged_zip(rng)[0][: 10**6] if rng.chance(0.2) else rng.bytes(100)
    file = PHOTO if how == 2 else next(iter(sorted(Path("stock/edited").glob("*.png"))))
    return damaged(rng, Path(file).read_bytes())[0]


def raw(rng, page):
    """Bytes that are no request, or one whose head lies."""
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\n"
    body = dumps(page.body(rng.choice(page.events))).encode()
    lengths = ("-1", "1", "9" * 30, "x", str(10**9), "", str(len(body)))
    more = rng.choice((f"Content-Length: {rng.choice(lengths)}", "Transfer-Encoding: chunked", "x"))
    data = f"{head}Content-Type: application/json\r\n{more}\r\n\r\n".encode() + body
    if rng.chance(0.5):
        data = rng.choice(BYTES)(rng, bytearray(data))
    with socket.create_connection(("127.0.0.1", page.port), timeout=1) as one:
        try:
            one.sendall(data)
            check("bytes", 0, one.recv(2**16))
        except (TimeoutError, ConnectionError):
            pass


@kind
def pages(rng):
    """A page, a number of wrong requests, and a right one."""

    def call():
        page = Page()
        for _ in range(REQUESTS):
            how = rng.choice((route, post, event, event, event, raw))
            request = how(rng, page)
            if request is not None:
                method, path, data, headers = request
                told = f"{method} {path[:100]} {data[:300]!r}"
                status, answer = asked(page.port, method, path, data, headers)
                print(status, told[:200], answer[:200])
                check(told, status, answer)
        page.alive()

    return Case([], (), f"{REQUESTS} requests", whole=True, call=call)

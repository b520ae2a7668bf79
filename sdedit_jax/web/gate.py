"""The gate of the server: requests that the page itself sends pass, others are refused in a line.

gradio has many more routes and fields of requests. What it does not expect ends there in an error
of its own, and in a traceback in the log of the server.
"""

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any

import gradio as gr

from sdedit_jax.caution import warn
from sdedit_jax.files import json_file
from sdedit_jax.files.schema import Fields
from sdedit_jax.files.values import Choice, Flag, Kind, Maybe, Real, Text, Whole, error
from sdedit_jax.files.wording import brief, one_line, reason

API = "/gradio_api"
EVENTS = (f"{API}/run/predict", f"{API}/queue/join")
"""Routes that take an event of the page."""
GET = (
    "/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/login_check",
    "/logout", r"/(assets|static|svelte)/[\w./@-]+", f"{API}/startup-events",
    rf"{API}/heartbeat/\w+", f"{API}/queue/data", f"{API}/info",
)  # fmt: skip
POST = (*EVENTS, "/login", f"{API}/reset", f"{API}/cancel")
ROUTES = {method: re.compile("|".join(own)) for method, own in (("GET", GET), ("POST", POST))}
ROUTES["HEAD"] = re.compile("/")
ID = Text(64, form=r"\w+", words="a name of letters and digits")
MOST_TEXT = 2**25
"""Characters of a value."""
QUICK = 2**16
"""Bytes of a body that is checked at once, so that events stay in their order."""
WORDS, NUMBER = Maybe(Text(MOST_TEXT, lines=True)), Maybe(Real())
COMPONENTS: Mapping[type, Kind] = {
    gr.HTML: WORDS,
    gr.Textbox: WORDS,
    gr.Dropdown: WORDS,
    gr.Radio: WORDS,
    gr.ColorPicker: WORDS,
    gr.Slider: NUMBER,
    gr.Number: NUMBER,
    gr.Checkbox: Maybe(Flag()),
}
"""What a component sends. The server keeps the values of others itself."""


class Refused(ValueError):
    """A request that is refused. status: of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Gate:
    """Lets through what the page sends; a middleware of ASGI.

    Attributes:
        page: the blocks of gradio. most: bytes of a request.
    """

    def __init__(self, app: Any, page: gr.Blocks, most: int) -> None:
        self.app, self.page, self.most = app, page, most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        begun = False

        async def answer(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, await self._passed(scope, receive), answer)
        except Refused as refused:
            await _refuse(scope, send, refused)
        except Exception as fault:  # of gradio, which raises many kinds
            warn(one_line(f"web: a request to {scope['path'][:200]} failed: {reason(fault)}"))
            if not begun:
                await _refuse(scope, send, Refused(500, "the server cannot answer this request"))

    async def _passed(self, scope: Any, receive: Any) -> Any:
        """What gives the body of a request that may pass.

        Raises:
            Refused: it may not.
        """
        path = scope["path"] if scope["path"] == "/" else scope["path"].rstrip("/")
        routes = ROUTES.get(scope.get("method"))
        if scope["type"] != "http" or routes is None or not routes.fullmatch(path):
            raise Refused(404, "there is no such page")
        body = await self._body(scope, receive)
        if path in EVENTS:
            try:
                if len(body) < QUICK:
                    check_event(self.page, body)
                else:
                    await asyncio.to_thread(check_event, self.page, body)
            except ValueError as wrong:
                raise Refused(400, str(wrong)) from None
        return _giving(body, receive)

    async def _body(self, scope: Any, receive: Any) -> bytes:
        """The whole body of a request.

        Raises:
            Refused: it is too large, or its length is no number.
        """
        length = dict(scope["headers"]).get(b"content-length", b"0")
        large = Refused(413, f"a request must be below {self.most >> 20} MiB")
        if not length.isdigit() or len(length) > 12 or int(length) > self.most:
            raise large
        parts, seen, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the request ended before its body")
            parts.append(message.get("body", b""))
            seen += len(parts[-1])
            more = message.get("more_body", False)
            if seen > self.most:
                raise large
        return b"".join(parts)


def _giving(body: bytes, receive: Any) -> Any:
    """A function that gives a body that is read already, and then what comes after it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Any:
        return left.pop() if left else await receive()

    return give


async def _refuse(scope: Any, send: Any, refused: Refused) -> None:
    """Answer with a line."""
    if scope["type"] != "http":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = json.dumps({"error": one_line(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def check_event(page: gr.Blocks, body: bytes) -> None:
    """Check the body of an event of the page.

    Raises:
        ValueError: another body than the page sends.
    """
    sent = json_file.parse_object(body, "the request", "event")
    EVENT.check(sent, "event")
    event = page.fns.get(sent["fn_index"])
    if event is None:
        raise ValueError(f"event.fn_index must be that of an event, got {brief(sent['fn_index'])}")
    values, inputs = sent["data"], event.inputs
    if len(values) != len(inputs):
        raise error("event.data", f"a list of {len(inputs)} values", values)
    for one, value in zip(inputs, values, strict=True):
        kind = COMPONENTS.get(type(one))
        if kind is not None:
            kind.check(value, f"event.data: {one.elem_id or getattr(one, 'label', '')}")


class _List:
    """A list."""

    def check(self, value: Any, place: str) -> None:
        if not isinstance(value, list):
            raise error(place, "a list", value)


class _Any:
    """Any value; the function of the event checks it."""

    def check(self, value: Any, place: str) -> None:
        del value, place


EVENT = Fields(
    {"fn_index": Whole(), "data": _List(), "session_hash": ID},
    {
        "event_data": _Any(),
        "trigger_id": Maybe(Whole()),
        "batched": Maybe(Choice((False,))),
        "simple_format": Maybe(Choice((False,))),
    },
)
"""What the page sends at an event."""

"""The server of the page: what it binds to, and what it refuses."""

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fastapi
import gradio as gr
import uvicorn
from starlette.middleware import Middleware

from sdedit_jax.files.wording import of_system
from sdedit_jax.registry import included
from sdedit_jax.web import canvas
from sdedit_jax.web.edits import Editor
from sdedit_jax.web.gate import Gate
from sdedit_jax.web.page import HERE, Page

MOST_BODY = 2 * canvas.MOST_BYTES
"""Bytes of a request."""
THREADS = 40
CLOSING = 1
"""Seconds that open connections have to end when the page closes."""
THEME = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
"""Fonts of the visitor's system, so that the page works without a network."""
USER = "The name may be any; the password is that of web.password."


class Running(NamedTuple):
    """A page that is served. url: where. close: ends it."""

    url: str
    close: Callable[[], None]


def start(prior: str, compute: str, host: str, port: int, login: Any = None) -> Running:
    """Serve the page, in a thread.

    The page is ready when this returns, however long the machine takes for it; nothing is asked
    through a proxy.

    Args:
        prior: with which it begins. compute: as of load_prior. port: 0 takes a free one.
        login: a function (user, password) -> bool; None: no login.

    Raises:
        OSError: the port is taken, or the host is not of this machine.
    """
    listening = listen(host, port)
    page = Page(Editor(known(prior), compute), name_of(prior)).build()
    page.queue(default_concurrency_limit=None, max_size=THREADS)
    app = fastapi.FastAPI(
        middleware=[Middleware(Gate, page=page, most=MOST_BODY)],
        docs_url=None, redoc_url=None, openapi_url=None,
    )  # fmt: skip
    gr.mount_gradio_app(
        app, page, path="/", server_name=host, server_port=listening.getsockname()[1],
        auth=login, auth_message=USER if login else None,
        show_error=False, max_file_size=canvas.MOST_BYTES, footer_links=[], run_history=False,
        ssr_mode=False, mcp_server=False, enable_monitoring=False,
        theme=gr.themes.Base(**THEME), css_paths=HERE / "page.css",
    )  # fmt: skip
    config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=CLOSING)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise OSError(f"web.host: the server on {host} ended at once")
        time.sleep(0.01)

    def close() -> None:
        server.should_exit = True
        thread.join()

    return Running(address(host, listening.getsockname()[1]), close)


def address(host: str, port: int) -> str:
    """The address of a page for a browser on the same machine."""
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound to a port of a host."""
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((host, port))
    except (OSError, OverflowError, UnicodeError, TypeError) as error:
        one.close()
        raise OSError(
            f"web.port: cannot serve on {host}:{port}: {of_system(error)}; give another port or"
            " host"
        ) from None
    return one


def known(prior: str) -> dict[str, Path]:
    """The priors of a page by their names: the one with which it begins, and those of --list."""
    found = included.priors()
    if prior in found:
        return found
    own = name_of(prior)
    others = {name: folder for name, folder in found.items() if name != own}
    return {own: included.prior(prior), **others}


def name_of(prior: str) -> str:
    """The name of a prior on the page: of a path its last part, so that visitors see no path."""
    return prior if prior in included.priors() else Path(prior).name

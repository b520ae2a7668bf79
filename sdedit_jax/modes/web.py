"""--mode=web: a page on which one paints and edits, served to a browser."""

import hmac
import importlib.util
import ipaddress
import os

from ml_collections import ConfigDict

from sdedit_jax.caution import warn
from sdedit_jax.modes.files import Target
from sdedit_jax.pipeline.cache import use_cache
from sdedit_jax.signals import catch


def web(config: ConfigDict, target: Target | None) -> int:
    """Serve the page until a signal.

    Raises:
        ValueError: gradio is missing, or a field is wrong.
    """
    del target
    if "web" not in config:
        raise ValueError("config: --mode=web needs a config of SDEdit, such as base")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    if importlib.util.find_spec("gradio") is None:
        raise ValueError('mode: --mode=web needs gradio: pip install ".[web]"')
    use_cache(config.cache)
    from sdedit_jax.web import server

    own = config.web
    if not own.host:
        raise ValueError("web.host: give a name or an address, such as 127.0.0.1, got ''")
    with catch() as signals:
        running = server.start(
            config.prior, config.compute, own.host, own.port, login(own.password)
        )
        if not (own.password or is_loopback(own.host)):
            warn(f"web.host {own.host} without web.password: all who reach it can use the page")
        print(f"web       {running.url}", flush=True)
        signals.stop.wait()
        running.close()
    return signals.exit_code


def login(password: str) -> object:
    """The check of a login; None without a password."""
    if not password:
        return None
    return lambda user, given: hmac.compare_digest(given.encode(), password.encode())


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

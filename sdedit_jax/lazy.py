"""Names of packages that are imported at their first use (PEP 562).

JAX, Flax and our networks take most of a second to import. `sdedit --help`, an error in a config
and a module that needs few others do not wait for them.
"""

import contextlib
import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any

from sdedit_jax import signals

SPECIAL = ("__all__", "__version__")
"""Names with underscores that a package may take from its module."""


def names(package: str, home: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that has all names in `__all__` of one module.

    A submodule of the package can be used as an attribute too.

    Args:
        package: its `__name__`. home: the full name of the module, imported at the first use.
    """

    def get(name: str) -> Any:
        special = name.startswith("__")
        if not special and importlib.util.find_spec(f"{package}.{name}"):
            return imported(f"{package}.{name}")
        if special and name not in SPECIAL:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = imported(home)
        if name not in (*SPECIAL, *module.__all__) or not hasattr(module, name):
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def names_of() -> list[str]:
        return sorted({*vars(sys.modules[package]), *imported(home).__all__})

    return get, names_of


def imported(home: str) -> Any:
    """A module by its full name."""
    with signals.importing(), uncollected():
        return importlib.import_module(home)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection, which takes a sixth of the time of large imports and finds nothing."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()

"""All kinds, and cases spread over them."""

import importlib
import pkgutil

from fuzz.case import KINDS

PARTS = ("pictures", "special", "jsons", "tables", "zips", "settings")


def load():
    """Import the modules of the kinds, and the whole package: a case then imports little."""
    import sdedit_jax

    for one in pkgutil.walk_packages(sdedit_jax.__path__, "sdedit_jax."):
        if not one.name.endswith("__main__"):
            importlib.import_module(one.name)
    for name in PARTS:
        importlib.import_module(f"fuzz.{name}")
    return KINDS


def spread(count, first, only=""):
    """(kind, seed) pairs: equally many of each kind, kinds in turn."""
    names = [only] if only else list(load())
    load()
    return [(names[i % len(names)], first + i // len(names)) for i in range(count)]

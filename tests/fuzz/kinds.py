"""All kinds, and cases spread over them."""

import importlib
import pkgutil

from fuzz.case import KINDS, Random

PARTS = ("pictures", "special", "jsons", "tables", "zips", "settings", "weights", "calls")
PARTS += ("data_sets", "evaluations", "pages", "sound")
__all__ = ["KINDS", "Random", "spread", "warm"]
for name in PARTS:
    importlib.import_module(f"fuzz.{name}")


def warm():
    """Import the whole package, so that the process of a case imports little."""
    import sdedit_jax

    for one in pkgutil.walk_packages(sdedit_jax.__path__, "sdedit_jax."):
        if not one.name.endswith("__main__"):
            try:
                importlib.import_module(one.name)
            except ImportError:  # an extra that is not installed
                pass


LONG = {"pages": 4}
"""Kinds whose cases take long: one of so many is run."""


def spread(count, first, only=()):
    """(kind, seed) pairs: equally many of each kind, fewer of LONG ones, kinds in turn.

    Args:
        only: names of some kinds; (): all.
    """
    names = [*(only or KINDS)]
    every = ((names[i % len(names)], i // len(names)) for i in range(count))
    return [(name, first + i) for name, i in every if i % LONG.get(name, 1) == 0]

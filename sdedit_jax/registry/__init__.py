"""Names in configs and in prior.json into code, here and nowhere else.

The tables are ordinary dicts. A wrong name gives one ValueError that lists the allowed names.
"""

from typing import TYPE_CHECKING

from sdedit_jax import lazy

if TYPE_CHECKING:
    from sdedit_jax.registry.tables import *

__getattr__, __dir__ = lazy.names(__name__, "sdedit_jax.registry.tables")

"""The modes of the program: a config in, files and lines out."""

from typing import TYPE_CHECKING

from sdedit_jax import lazy
from sdedit_jax.modes.facts import MODES as MODES

if TYPE_CHECKING:
    from sdedit_jax.modes.running import *

__getattr__, __dir__ = lazy.names(__name__, "sdedit_jax.modes.running")

"""Image editing with diffusion (SDE) priors in JAX."""

from typing import TYPE_CHECKING

from sdedit_jax import lazy
from sdedit_jax import signals as signals  # before all imports that take long
from sdedit_jax.registry import included

if TYPE_CHECKING:
    from sdedit_jax.public import *
    from sdedit_jax.public import __version__ as __version__

__getattr__, __dir__ = lazy.names(__name__, "sdedit_jax.public")
included.register_configs()

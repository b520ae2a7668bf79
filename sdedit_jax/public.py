"""The names of `import sdedit_jax`, which are imported at the first use of one of them."""

import importlib.metadata

from sdedit_jax.api import (
    Done,
    convert,
    edit,
    example,
    invert,
    ledits,
    load_prior,
    stream,
    text_edit,
    use_cache,
)
from sdedit_jax.diffusion.grids import Grid
from sdedit_jax.diffusion.sampler import reverse
from sdedit_jax.diffusion.sde import VE, VP, SubVP, Tabulated
from sdedit_jax.diffusion.solvers import Prediction, Step
from sdedit_jax.diffusion.strength import Strength, describe, to_t0
from sdedit_jax.images import uncertainty
from sdedit_jax.modes import run
from sdedit_jax.pipeline.base import Cancelled, Event
from sdedit_jax.priors.analytic import gaussian, mixture
from sdedit_jax.priors.prior import Prior
from sdedit_jax.web.notebook import canvas

__version__ = importlib.metadata.version("sdedit_jax")

__all__ = [
    "VE",
    "VP",
    "Cancelled",
    "Done",
    "Event",
    "Grid",
    "Prediction",
    "Prior",
    "Step",
    "Strength",
    "SubVP",
    "Tabulated",
    "canvas",
    "convert",
    "describe",
    "edit",
    "example",
    "gaussian",
    "invert",
    "ledits",
    "load_prior",
    "mixture",
    "reverse",
    "run",
    "stream",
    "text_edit",
    "to_t0",
    "uncertainty",
    "use_cache",
]

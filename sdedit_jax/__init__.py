"""Image editing with diffusion (SDE) priors in JAX."""

from sdedit_jax.api import edit, load_prior, text_edit
from sdedit_jax.api_text import invert, ledits
from sdedit_jax.convert import convert
from sdedit_jax.edits.sdedit import Request, SDEdit
from sdedit_jax.grids import Grid
from sdedit_jax.guide import Guide
from sdedit_jax.prior import Prior, gaussian, mixture
from sdedit_jax.rules import Rule
from sdedit_jax.samplers import Refine, reverse
from sdedit_jax.sde import VE, VP, SubVP, Tabulated
from sdedit_jax.strength import Strength, describe, to_t0

__version__ = "0.1.0"

__all__ = [
    "VE",
    "VP",
    "Grid",
    "Guide",
    "Prior",
    "Refine",
    "Request",
    "Rule",
    "SDEdit",
    "Strength",
    "SubVP",
    "Tabulated",
    "convert",
    "describe",
    "edit",
    "gaussian",
    "invert",
    "ledits",
    "load_prior",
    "mixture",
    "reverse",
    "text_edit",
    "to_t0",
]

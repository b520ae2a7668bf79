"""Solvers: the transition kernel of a reverse step, one file for each family."""

from sdedit_jax.diffusion.solvers.adaptive import Adaptive
from sdedit_jax.diffusion.solvers.ancestral import VARIANCES, Ancestral
from sdedit_jax.diffusion.solvers.base import (
    AdaptiveSolver,
    Predict,
    Prediction,
    Solver,
    StatefulPredictor,
    Step,
)
from sdedit_jax.diffusion.solvers.dpmpp import DPMpp
from sdedit_jax.diffusion.solvers.euler import EulerMaruyama, ProbabilityFlow, flow_drift
from sdedit_jax.diffusion.solvers.heun import Heun
from sdedit_jax.diffusion.solvers.plms import PLMS
from sdedit_jax.diffusion.solvers.reverse_diffusion import ReverseDiffusion
from sdedit_jax.diffusion.solvers.sa import SASolver
from sdedit_jax.diffusion.solvers.unipc import UniPC

__all__ = [
    "PLMS",
    "VARIANCES",
    "Adaptive",
    "AdaptiveSolver",
    "Ancestral",
    "DPMpp",
    "EulerMaruyama",
    "Heun",
    "Predict",
    "Prediction",
    "ProbabilityFlow",
    "ReverseDiffusion",
    "SASolver",
    "Solver",
    "StatefulPredictor",
    "Step",
    "UniPC",
    "flow_drift",
]

"""UniPC: a predictor and corrector for the probability flow (Zhao et al., 2302.04867)."""

from dataclasses import dataclass
from typing import ClassVar

import jax
from jax import Array

from sdedit_jax.diffusion.sde import SDE
from sdedit_jax.diffusion.solvers.base import Predict, Prediction, Step, denoised
from sdedit_jax.diffusion.solvers.multistep import (
    History,
    Rule,
    history,
    linear_by_h,
    linear_by_midpoint,
    multistep,
)

VARIANTS = ("bh1", "bh2")


@jax.tree_util.register_static
@dataclass(frozen=True)
class UniPC:
    """UniPC-p for predictions of x0: UniP-p, then UniC-p with the prediction at the step's end.

    UniP-p is the polynomial through p predictions. UniC-p is that through these and the new one, so
    the order is p + 1 (theorem 3.1). The new prediction is that of the next step: a step has one
    evaluation, and the last step is not corrected.

    Attributes:
        order: p, 2 or 3.
        variant: B(h) of the paper: h ("bh1") or e^h - 1 ("bh2"). They differ where the polynomial
            is linear, whose coefficient a_1 is 1 / 2.
        clip_x0: clip the predicted x0 to [-1, 1].
    """

    order: int = 2
    variant: str = "bh2"
    clip_x0: bool = False
    evaluations: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise ValueError(f"order must be 2 or 3, got {self.order}")
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {list(VARIANTS)}, got {self.variant!r}")

    def init(self, x: Array) -> History:
        return history(x, self.order)

    def step(
        self,
        process: SDE,
        memory: History,
        x: Array,
        prediction: Prediction,
        t: Array,
        s: Array,
        predict: Predict | None = None,
    ) -> tuple[Step, History]:
        del predict
        weigh = linear_by_h if self.variant == "bh1" else linear_by_midpoint
        x0 = denoised(process, x, t, prediction.eps, self.clip_x0)
        rule = Rule(self.order, corrector=self.order, weigh=weigh)
        return multistep(process, memory, x, x0, t, s, rule)

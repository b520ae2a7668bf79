"""UniPC: a predictor and corrector for the probability flow (Zhao et al., 2302.04867)."""

from dataclasses import dataclass

import jax
from jax import Array

from sdedit_jax.diffusion.solvers.multistep import (
    Multistep,
    Rule,
    linear_by_h,
    linear_by_midpoint,
)

VARIANTS = ("bh1", "bh2")


@jax.tree_util.register_static
@dataclass(frozen=True)
class UniPC(Multistep):
    """UniPC-p for predictions of x0: UniP-p, then UniC-p with the prediction at the step's end.

    UniP-p is the polynomial through p predictions. UniC-p is that through these and the new one, so
    the order is p + 1, as the paper states. The new prediction is that of the next step: a step has
    one evaluation, and the last step is not corrected.

    Attributes:
        order: p, 2 or 3.
        variant: B(h) of the paper: h ("bh1") or e^h - 1 ("bh2"). They differ where the polynomial
            is linear, whose coefficient a_1 is 1 / 2.
        clip_x0: clip the predicted x0 to [-1, 1].
    """

    order: int = 2
    variant: str = "bh2"
    clip_x0: bool = False

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise ValueError(f"order must be 2 or 3, got {self.order}")
        if self.variant not in VARIANTS:
            raise ValueError(f"variant must be one of {list(VARIANTS)}, got {self.variant!r}")

    @property
    def kept(self) -> int:
        return self.order

    def rule(self, t: Array) -> Rule:
        del t
        weigh = linear_by_h if self.variant == "bh1" else linear_by_midpoint
        return Rule(self.order, corrector=self.order, weigh=weigh)

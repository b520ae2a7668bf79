"""DPM-Solver++ for the probability flow and the reverse SDE (Lu et al., 2211.01095)."""

from dataclasses import dataclass

import jax
from jax import Array

from sdedit_jax.diffusion.sde import CLEAN
from sdedit_jax.diffusion.solvers.multistep import (
    FORMS,
    Moments,
    Multistep,
    Rule,
    linear_by_midpoint,
)


@jax.tree_util.register_static
@dataclass(frozen=True)
class DPMpp(Multistep):
    """DPM-Solver++ 2M and 3M, and SDE-DPM-Solver++ 2M and 3M.

    2M of the SDE in its released form (2M of the flow is Algorithm 2 of the paper):
    x_s = (sigma_s / sigma_t) q x + alpha_s (1 - q^2) D + sigma_s sqrt(1 - q^2) z, q = e^{-h},
    D = x0 + h / (2 h_last) (x0 - x0_last). The first step and a step to the clean end are of first
    order.

    Attributes:
        order: 2 or 3, the predictions that a step uses.
        sde: whether it solves the reverse SDE or the probability flow.
        clip_x0: clip the predicted x0 to [-1, 1].
        first_order_to: steps to this time or below it are of first order. diffusers takes its last
            step so when it has fewer than 15 (lower_order_final).
        form: "released": the weights of the authors' code. With two predictions they are those of
            the midpoint. With three the quadratic term has half its weight, so 3M has order 2.
            "exact": the integral of the polynomial, "heun" of diffusers for 2M. 3M of the flow then
            has order 3.
    """

    order: int = 2
    sde: bool = True
    clip_x0: bool = False
    first_order_to: float = CLEAN
    form: str = "released"

    def __post_init__(self) -> None:
        if self.order not in (2, 3):
            raise ValueError(f"order must be 2 or 3, got {self.order}")
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {list(FORMS)}, got {self.form!r}")

    @property
    def kept(self) -> int:
        return self.order - 1

    def rule(self, t: Array) -> Rule:
        del t
        rule = Rule(self.order, 1.0 if self.sde else 0.0, first_order_to=self.first_order_to)
        return rule._replace(weigh=_released) if self.form == "released" else rule


def _released(moments: Moments, y: Array, degree: Array) -> Moments:
    value, slope, *more = linear_by_midpoint(moments, y, degree)
    return [value, slope, *(m / 2 for m in more)]

"""SA-Solver: stochastic Adams methods between the flow and the SDE (Xue et al., 2309.05019)."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
from jax import Array

from sdedit_jax.diffusion.solvers.multistep import (
    FORMS,
    Multistep,
    Rule,
    linear_by_h,
)


@jax.tree_util.register_static
@dataclass(frozen=True)
class SASolver(Multistep):
    """SA-Predictor and SA-Corrector (coefficients: eq. 15 and 18), one evaluation a step.

    The corrector does the last step again with the same noise and the prediction at its end.

    Attributes:
        tau: scale of the noise, from 0 (probability flow) through 1 (reverse SDE) up; or a function
            of t that gives it. It is constant in a step.
        predictor: 1 to 3, the predictions that the predictor uses.
        corrector: 2 to 4, those of the corrector with the new one; 0: there is none.
        clip_x0: clip the predicted x0 to [-1, 1].
        form: "exact": the integral of the polynomial. "released": the weights of the authors' code,
            where the slope of a linear polynomial has the weight (1 + tau^2) h / 2.
    """

    tau: float | Callable[[Array], Array] = 1.0
    predictor: int = 2
    corrector: int = 2
    clip_x0: bool = False
    form: str = "exact"

    def __post_init__(self) -> None:
        if not callable(self.tau) and not 0 <= self.tau < float("inf"):
            raise ValueError(f"tau must be at least 0 and finite, got {self.tau}")
        for name, allowed in {"predictor": (1, 2, 3), "corrector": (0, 2, 3, 4)}.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {list(allowed)}, got {getattr(self, name)}"
                )
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {list(FORMS)}, got {self.form!r}")

    @property
    def kept(self) -> int:
        return max(self.predictor, self.corrector, 2) - 1

    def rule(self, t: Array) -> Rule:
        rule = Rule(self.predictor, self.tau(t) if callable(self.tau) else self.tau)
        if self.corrector:
            rule = rule._replace(corrector=self.corrector - 1)
        return rule._replace(weigh=linear_by_h) if self.form == "released" else rule

"""The self-check of a prior that a training publishes: an untrained one is said to be so."""

import tempfile
from pathlib import Path
from typing import Any

from sdedit_jax import caution
from sdedit_jax.priors.prior import Prior
from sdedit_jax.weights import selfcheck
from sdedit_jax.weights.convert import convert
from sdedit_jax.weights.selfcheck import Verdict


def check(prior: Prior, folder: Path, step: int) -> dict[str, Any]:
    """The verdict of the self-check for prior.json; a prior that fails gives one warning.

    Args:
        prior: with its parameters as published.
        folder, step: for the warning.
    """
    try:
        verdict = selfcheck.check(prior)
    except ValueError as error:  # the process has none of the check's noise levels
        verdict = Verdict(False, (), "", f"the prior was not checked: {error}")
    warn(verdict, folder, step)
    return selfcheck.as_json(verdict)


def check_folder(folder: Path, step: int) -> None:
    """Warn if a text prior's folder fails the self-check."""
    with tempfile.TemporaryDirectory() as aside:
        verdict = convert(folder, Path(aside) / "prior").verdict
    if verdict is not None:
        warn(verdict, folder, step)


def warn(verdict: Verdict, folder: Path, step: int) -> None:
    """Warn about a prior that fails."""
    if not verdict.passed:
        caution.warn(f"{folder} at step {step}: {verdict.message}")

"""The distance from its guide that a config asks of each result."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax.evaluation.opening import open_lpips
from sdedit_jax.modes.session import refuse_given
from sdedit_jax.pipeline import settings, target
from sdedit_jax.pipeline.target import FIELDS, Target


def open_target(config: ConfigDict, beside: Mapping[str, Any]) -> Target | None:
    """The target of a config, with the weights of its measure; None: it has none.

    Args:
        beside: the other fields that give a strength.

    Raises:
        ValueError: out of range, two targets or another strength beside it, a preset or grid
            without t0, or no weights.
    """
    given = {field: config[field] for field in FIELDS if config[field] is not None}
    if not given:
        return None
    for field in given:
        settings.check_takes_t0(config.preset, config.sampler.grid, field, "sampler.")
    settings.check_one_strength({**given, **beside})
    if config.target_l2 is not None:
        return target.by_l2(config.target_l2)
    return target.by_lpips(config.target_lpips, open_lpips(config.features, "target_lpips"))


def check_weights(config: ConfigDict, given: Mapping[str, Any]) -> None:
    """Raise ValueError for weights of LPIPS on the command line that nothing uses."""
    if config.target_lpips is None:
        own = [name for name in given if name.startswith("features.lpips_")]
        refuse_given(given, dict.fromkeys(own, "it has no effect without target_lpips"))

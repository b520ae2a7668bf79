"""Conflicting or unused command-line options are errors."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax.modes import kinds
from sdedit_jax.modes.session import refuse_given

OF_A_REPLAY = ("input", "only", "prior", "devices", "cache")
"""Fields that a replay takes from its config; the others are the recipe's."""

OF_A_CALIBRATION = ("input", "prior", "fit", "compute", "batch", "cache")
"""Fields that a calibration uses. It takes the prior without a class or prompt."""

OF_A_PAGE = ("prior", "compute", "devices", "cache")
"""Fields that a page uses, with those of `web`."""

FOUND_BY_AUTOTUNE = ("sampler.rule", "sampler.grid", "sampler.steps")


def check(mode: str, config: ConfigDict, given: Mapping[str, Any]) -> None:
    """Check that the fields given on the command line have an effect in this mode.

    Args:
        given: the fields of the config that the command line sets, by their dotted names. Values of
            the config file are not among them: they may give way.

    Raises:
        ValueError: a field that another one or the mode fixes.
    """
    given = {name: value for name, value in given.items() if value is not None}
    if mode == "replay":
        other = set(given) - set(OF_A_REPLAY)
        refuse_given(given, dict.fromkeys(other, "is the recipe's in a replay"))
    elif mode == "calibrate":
        other = set(given) - set(OF_A_CALIBRATION)
        refuse_given(given, dict.fromkeys(other, "has no effect in --mode=calibrate"))
    elif mode == "web":
        other = [name for name in given if name not in OF_A_PAGE and not name.startswith("web.")]
        refuse_given(given, dict.fromkeys(other, "has no effect in --mode=web"))
    elif mode == "measure" and "fit" in given and not config.get("resize"):
        refuse_given(given, {"fit": "it has no effect without resize"})
    elif "only" in given:
        refuse_given(given, {"only": "is for --mode=replay"})
    if mode == "autotune":
        refuse_given(given, dict.fromkeys(FOUND_BY_AUTOTUNE, "is found by --mode=autotune"))
        refuse_given(given, {"samples": "--mode=autotune takes as many as the budget allows"})
    else:
        own = [name for name in given if name == "budget" or name.startswith("autotune.")]
        refuse_given(given, dict.fromkeys(own, "is for --mode=autotune"))
    if mode != "web":
        own = [name for name in given if name.startswith("web.")]
        refuse_given(given, dict.fromkeys(own, "is for --mode=web"))
    if mode in ("edit", "sweep", "search", "autotune") and "input" in config:
        kinds.module_of(config).check_given(mode, config, given)

"""Conflicting or unused command-line options are errors."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax.modes import kinds
from sdedit_jax.modes.session import refuse_given

OF_A_REPLAY = ("input", "only", "prior", "devices", "cache", "trust")
"""Fields that a replay takes from its config; the others are the recipe's."""

OF_A_CALIBRATION = ("input", "prior", "fit", "compute", "batch", "cache")
"""Fields that a calibration uses. It takes the prior without a class or prompt."""

OF_A_PAGE = ("prior", "compute", "devices", "cache")
"""Fields that a page uses, with those of `web`."""

NOT_OF_AN_EVALUATION = ("uncertainty", "sheet_scale", "prompts", "masks", "report")
NOT_OF_AN_EVALUATION += ("options.strength_map", "options.mask", "options.invert")
NOT_OF_AN_EVALUATION += ("options.mask_channel",)
"""Fields that an evaluation ignores, with those of `sweep`: its data set gives masks and texts."""

OF_AN_EVALUATION = (
    "limit",
    "reference",
    "reference_split",
    "shard",
    "merge",
    "shard_size",
    "retry",
)
OF_AN_EVALUATION += ("unpack", "report_rows")
PARTS_OF_AN_EVALUATION = ("data", "cluster", "measures", "features")
"""Fields of an evaluation alone, in configs that edit pictures."""

NOT_OF_A_DOCTOR = (
    "samples",
    "uncertainty",
    "report",
    "sheet_scale",
    "auto_t0",
    "target_l2",
    "target_lpips",
)
"""Fields that a check of an edit ignores, with those of `sweep`."""

FOUND_BY_AUTOTUNE = ("sampler.rule", "sampler.grid", "sampler.steps")


def _of_an_evaluation(name: str) -> bool:
    """Whether a field is in a part of the config that an evaluation alone uses."""
    part = name.partition(".")[0]
    return part in PARTS_OF_AN_EVALUATION and not name.startswith("features.lpips")


def check(mode: str, config: ConfigDict, given: Mapping[str, Any]) -> None:
    """Check that the fields given on the command line have an effect in this mode.

    Args:
        mode, config: of which `modes.check_config` has found nothing wrong.
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
    elif mode == "doctor":
        other = [name for name in given if name in NOT_OF_A_DOCTOR or name.startswith("sweep.")]
        refuse_given(given, dict.fromkeys(other, "has no effect in --mode=doctor"))
    elif mode == "measure" and "fit" in given and not config.get("resize"):
        refuse_given(given, {"fit": "it has no effect without resize"})
    elif "only" in given:
        refuse_given(given, {"only": "is for --mode=replay"})
    if mode != "replay":
        refuse_given(given, {"trust": "is for --mode=replay"})
    if mode == "autotune":
        refuse_given(given, dict.fromkeys(FOUND_BY_AUTOTUNE, "is found by --mode=autotune"))
        refuse_given(given, {"samples": "--mode=autotune takes as many as the budget allows"})
    else:
        own = [name for name in given if name == "budget" or name.startswith("autotune.")]
        refuse_given(given, dict.fromkeys(own, "is for --mode=autotune"))
    if mode != "web":
        own = [name for name in given if name.startswith("web.")]
        refuse_given(given, dict.fromkeys(own, "is for --mode=web"))
    if mode == "evaluate":
        own = [n for n in given if n in NOT_OF_AN_EVALUATION or n.startswith("sweep.")]
        refuse_given(given, dict.fromkeys(own, "has no effect in --mode=evaluate"))
    elif "cluster" in config:
        own = [name for name in given if name in OF_AN_EVALUATION or _of_an_evaluation(name)]
        refuse_given(given, dict.fromkeys(own, "is for --mode=evaluate"))
    if mode in ("edit", "sweep", "search", "autotune", "evaluate", "doctor") and "input" in config:
        kinds.module_of(config).check_given(mode, config, given)

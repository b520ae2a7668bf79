"""Conflicting or unused command-line options are errors."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax.pipeline import settings

UNITS = ("sigma", "snr_db", "step")
"""Units in which a config may give the strength instead of t0."""

OF_A_REPLAY = ("input", "prior", "devices", "cache")
"""Fields that a replay takes from its config; the others are the recipe's."""

OF_A_SWEEP = {"t0": "sweep.t0", "seed": "sweep.seeds", "samples": "sweep.seeds"}
OF_A_LEDITS_SWEEP = {"scale": "sweep.scale", "seed": "sweep.seeds", "samples": "sweep.seeds"}


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
        _refuse(given, dict.fromkeys(set(given) - set(OF_A_REPLAY), "is the recipe's in a replay"))
    ledits = config.get("method") == "ledits"
    if mode == "sweep":
        fixed = OF_A_LEDITS_SWEEP if ledits else OF_A_SWEEP
        _refuse(given, {f: f"a sweep takes {other} instead" for f, other in fixed.items()})
    if mode not in ("edit", "sweep") or ledits or "sampler" not in config:
        return
    if settings.takes_share(config.preset):
        _refuse(given, {"t0": f'preset "{config.preset}" takes strength instead'})
    found = [name for name in ("t0", *UNITS, "strength") if name in given]
    if len(found) > 1:
        values = " and ".join(f"{name} {given[name]:g}" for name in found)
        raise ValueError(f"the strength is given twice, {values}; give one of them")
    if config.preset:
        parts = [(name.removeprefix("sampler."), name) for name in given]
        settings.check_preset(config.preset, {f: given[name] for f, name in parts if f != name})


def _refuse(given: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    for name in given:
        if name in reasons:
            raise ValueError(f"{name}: {reasons[name]}, got {given[name]!r}")

"""What was asked for on the command line: nothing of it goes without effect in silence."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from sdedit_jax import build
from sdedit_jax.run.session import UNITS

OF_A_REPLAY = ("input", "prior", "devices", "cache")
"""Fields that a replay takes from its config; the others are the recipe's."""

OF_A_SWEEP = {"t0": "sweep.t0", "seed": "sweep.seeds", "samples": "sweep.seeds"}


def check(mode: str, config: ConfigDict, asked: Mapping[str, Any]) -> None:
    """See that the fields asked for have an effect in this mode, beside each other.

    Args:
        asked: the fields of the config that the command line sets, by their dotted names. Defaults
            are not among them: what a config file says may give way.

    Raises:
        ValueError: a field that another one or the mode settles.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    if mode == "replay":
        _refuse(asked, dict.fromkeys(set(asked) - set(OF_A_REPLAY), "is the recipe's in a replay"))
    if mode not in ("edit", "sweep") or "method" in config or "sampler" not in config:
        return
    if mode == "sweep":
        _refuse(asked, {f: f"a sweep takes {other} instead" for f, other in OF_A_SWEEP.items()})
    if build.takes_share(config.preset):
        _refuse(asked, {"t0": f'preset "{config.preset}" takes strength instead'})
    said = [name for name in ("t0", *UNITS, "strength") if name in asked]
    if len(said) > 1:
        told = " and ".join(f"{name} {asked[name]:g}" for name in said)
        raise ValueError(f"the strength is said twice, {told}; give one of them")
    if config.preset:
        parts = [(name.removeprefix("sampler."), name) for name in asked]
        build.check_preset(config.preset, {f: asked[name] for f, name in parts if f != name})


def _refuse(asked: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    for name in asked:
        if name in reasons:
            raise ValueError(f"{name}: {reasons[name]}, got {asked[name]!r}")

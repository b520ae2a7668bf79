"""Averaged weights (EMA) that lie beside raw ones: their names, and the fields that describe them.

unet/                     unet_ema/               trainings with diffusers (EMAModel)
model012000.pt            ema_0.9999_012000.pt    trainings with guided-diffusion
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdedit_jax.files.wording import brief

FIELDS = (
    *("decay", "min_decay", "inv_gamma", "power"),
    *("use_ema_warmup", "update_after_step", "optimization_step"),
)
"""Fields that EMAModel of diffusers adds to config.json of a network that it saves."""
RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("decay", "min_decay"), (0, 1)),
    "inv_gamma": (1e-6, 1e9),
    "power": (0, 100),
    **dict.fromkeys(("update_after_step", "optimization_step"), (0, 1e12)),
}
RAW_FILE = re.compile(r"model(\d+)\.pt")


def folder_of(home: Path) -> Path:
    """The folder with the averages of a network in `home`, if there are any."""
    return home.with_name(f"{home.name}_ema")


def beside(path: Path) -> dict[str, str]:
    """Averages beside a source of raw weights -> what to do to take them."""
    raw = RAW_FILE.fullmatch(path.name)
    if raw and path.is_file():
        found = sorted(path.parent.glob(f"ema_*_{raw[1]}.pt"))
        return {f.name: f"averages of {path.name}; give this file to take them" for f in found}
    if (folder_of(path) / "config.json").is_file():
        return {folder_of(path).name: f"averages of {path.name}; give this folder to take them"}
    return {}


def check(averaging: Mapping[str, Any], file: Path) -> None:
    """Check the fields FIELDS of a config.json.

    Raises:
        ValueError: a value that is no number, or out of its range.
    """
    for name, value in averaging.items():
        low, high = RANGES.get(name, (0, 1))
        if value is not None and not (isinstance(value, int | float) and low <= value <= high):
            raise ValueError(
                f"source: {name} in {file} must be a number in [{low}, {high}], got {brief(value)}"
            )


def decay_of(averaging: Mapping[str, Any]) -> float:
    """The decay that EMAModel of diffusers used at the step of the averages.

    It rises from 0 to `decay`: 1 - (1 + i / inv_gamma)^-power with warm-up, else (1 + i) / (10 + i)
    at i steps after `update_after_step`.
    """
    start, step = (int(averaging.get(n) or 0) for n in ("update_after_step", "optimization_step"))
    i = max(0, step - start - 1)
    if i == 0:
        return 0.0
    gamma, power = float(averaging.get("inv_gamma", 1)), float(averaging.get("power", 2 / 3))
    warm = averaging.get("use_ema_warmup")
    rising = 1 - (1 + i / gamma) ** -power if warm else (1 + i) / (10 + i)
    least, most = float(averaging.get("min_decay") or 0), float(averaging.get("decay", 0.9999))
    return max(min(rising, most), least)

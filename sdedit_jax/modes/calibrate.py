"""--mode=calibrate: measure how a prior takes its own pictures, for automatic strengths."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from sdedit_jax import images
from sdedit_jax.modes import sdedit
from sdedit_jax.modes.files import Target, list_inputs, spread
from sdedit_jax.modes.sdedit import SDEditKind
from sdedit_jax.modes.session import header
from sdedit_jax.pipeline import auto_strength
from sdedit_jax.registry import included
from sdedit_jax.text.spelling import counted
from sdedit_jax.weights import lock, store

PICTURES = 96
"""At most, evenly spaced among the photos."""
LEAST = 24


def calibrate(config: ConfigDict, target: Target | None) -> int:
    """Calibrate config.prior on the photos config.input, or without an input on its own samples.

    The calibration is written to the prior's metadata.
    """
    if "auto_t0" not in config:
        raise ValueError("config: --mode=calibrate needs a config of SDEdit, such as base")
    folder, config.auto_t0 = included.prior(config.prior), ""
    with lock.locked(lock.file_of(folder, inside=False), "prior"):
        return calibrated(config, folder)


def calibrated(config: ConfigDict, folder: Path) -> int:
    """Calibrate the prior in a folder, which this process locks."""
    photos = photos_of(config)
    kind = sdedit.open_kind(config)
    cond, source = kind.cond_of(), "photos" if photos else "samples"
    count = len(photos) or PICTURES
    print("\n".join([*header(kind, 1), f"pictures  {count} {source}"]))
    pictures = read(kind, photos) if photos else samples(kind, cond)
    shown = tqdm(pictures, total=count, unit="picture", leave=False)
    values = auto_strength.calibrate(kind.prior, shown, cond, source)
    print(f"written   {store.add_metadata(folder, auto_strength.FIELD, values)}")
    return 0


def photos_of(config: ConfigDict) -> list:
    """The files of the photos; [] without an input.

    Raises:
        ValueError: there are too few.
    """
    if not config.input:
        return []
    files = list_inputs(config).inputs
    if len(files) < LEAST:
        raise ValueError(
            f"input: a calibration needs at least {LEAST} photos, {config.input} has"
            f" {counted(len(files), 'photo')}; without an input the prior's samples are taken"
        )
    return spread(files, PICTURES)


def read(kind: SDEditKind, files: list) -> Iterator[np.ndarray]:
    """The photos, fitted: uint8 [H, W, 3]."""
    for file in files:
        yield images.fit(images.flatten(images.read(file)), kind.size, kind.config.fit)[0]


def samples(kind: SDEditKind, cond: Any) -> Iterator[np.ndarray]:
    """Samples of the prior: uint8 [H, W, 3]."""
    return auto_strength.own_pictures(kind.prior, cond, PICTURES, kind.config.batch)

"""What a single file leaves open: prediction, schedule, heads; from the user, or as usual.

The prediction of Stable Diffusion 1 is eps. Stable Diffusion 2 was published with both, and no
tensor says which. Unless the user gives it, it is measured: for pure noise x, a network that
predicts eps gives x back, one that predicts v gives about -x0.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import registry
from sdedit_jax.priors.prior import Prior
from sdedit_jax.weights.families import diffusers
from sdedit_jax.weights.families.family import part as part_of
from sdedit_jax.weights.families.merge import same
from sdedit_jax.weights.single_file import unpack
from sdedit_jax.weights.source import Source

PREDICTIONS = {"eps": unpack.EPS, "v": unpack.V}
LARGE = 96
"""Side of the latents of the published models that predict v (768 pixels)."""
SIDE = 32
"""Side of the latent of the measurement."""
TABLE = 1e-3
"""Tolerance of alphas_cumprod; files in half precision have errors of 5e-4."""


class Opened(NamedTuple):
    """A source, the configuration that goes with it, and what was decided.

    Attributes:
        note: how the prediction was decided; "": not a single file.
        open: whether the prediction is still to be measured.
    """

    source: Source
    given: Mapping[str, Any]
    note: str = ""
    open: bool = False


def open_source(source: Source, given: Mapping[str, Any], prediction: str = "") -> Opened:
    """The source; a single file of Stable Diffusion as the folder of the same weights.

    Args:
        given: the user's configuration, {"unet": ..., "vae": ..., "text_encoder": ...,
            "scheduler": ...}, each part only where it differs from the published models.
        prediction: "eps", "v", or "": see this module.

    Raises:
        ValueError: an unknown prediction, or one for another kind of source; the given fields
            contradict the tensors.
    """
    if prediction:
        registry.pick(PREDICTIONS, prediction, "prediction")
    if not unpack.is_single_file(source):
        if prediction:
            raise ValueError(
                f"prediction: only single files of Stable Diffusion take it, got {prediction!r}"
                f" with {source.path}"
            )
        return Opened(source, given)
    found = unpack.unpack(source)
    parts = {part: part_of(given.get(part), part) for part in (*unpack.DESCRIBE, "scheduler")}
    own = parts["scheduler"].setdefault("prediction_type", PREDICTIONS.get(prediction))
    if prediction and own != PREDICTIONS[prediction]:
        raise ValueError(f"prediction: {prediction!r} contradicts {own!r} of the architecture")
    _check_given(found, parts)
    generation = found.config["index"][unpack.FILE]
    inpaints = found.config["unet"]["in_channels"] > found.config["unet"]["out_channels"]
    unet = parts["unet"]
    if own == unpack.V and generation == "2":
        unet.setdefault("sample_size", LARGE)
    filled = {
        part: fields | {n: v for n, v in parts[part].items() if v is not None}
        for part, fields in unpack.usual(found).items()
    }
    _check_table(found, filled["scheduler"])
    note = f"prediction {_short(filled)}, as given"
    if own is None:
        note = f"prediction eps, the one of Stable Diffusion {generation}; --config.prediction=v"
        note += " gives the other"
    measured = own is None and generation == "2" and not inpaints
    return Opened(found, {**given, **filled}, note, measured)


def measured(opened: Opened, prior: Prior) -> Opened:
    """The source with its prediction measured.

    Args:
        prior: made from `opened`, as if it predicted eps, with its parameters.
    """
    side = min(SIDE, int(np.min(opened.given["unet"]["sample_size"])))
    channels = opened.source.config["unet"]["in_channels"]
    x = jax.random.normal(jax.random.key(0), (side, side, channels))
    cond = prior.text.encode(prior.params, jnp.asarray(prior.text.tokenize("").ids))
    out = np.asarray(jax.jit(prior.eps)(prior.params, x, 1.0, cond))
    alike = float(np.corrcoef(out.reshape(-1), np.asarray(x).reshape(-1))[0, 1])
    kind = unpack.EPS if alike > 0.5 else unpack.V
    given = dict(opened.given)
    given["scheduler"] = {**given["scheduler"], "prediction_type": kind}
    if kind == unpack.V and given["unet"]["sample_size"] == unpack.SMALL:
        given["unet"] = {**given["unet"], "sample_size": LARGE}
    note = f"prediction {_short(given)}, measured: the output for pure noise has correlation"
    note += f" {alike:.2f} with it (1 is eps, 0 is v); --config.prediction sets it"
    return opened._replace(given=given, note=note, open=False)


def _short(given: Mapping[str, Any]) -> str:
    kind = given["scheduler"]["prediction_type"]
    return next((name for name, value in PREDICTIONS.items() if value == kind), kind)


def _check_given(found: Source, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ValueError where given fields contradict the tensors."""
    for part, own in parts.items():
        held = found.config.get(part, {})
        for name, value in own.items():
            if name in held and not name.startswith("_") and not same(held[name], value):
                raise ValueError(
                    f"architecture: {part}.{name} is {value!r} in what was given, but the tensors"
                    f" of {found.path} say {held[name]!r}"
                )


def _check_table(found: Source, scheduler: Mapping[str, Any]) -> None:
    """Raise ValueError where the file's table of alphas is not that of the scheduler."""
    held = found.config.get("alphas_cumprod")
    if held is None:
        return
    process = registry.process(diffusers.table(scheduler), "scheduler")
    made = 1 / (1 + np.exp(-np.asarray(process.log_snrs, np.float64)))
    if held.shape != made.shape or np.abs(held - made).max() > TABLE:
        raise ValueError(
            f"architecture: alphas_cumprod in {found.path} ({held.size} levels, {held[0]:.4g} to"
            f" {held[-1]:.4g}) are not those of its schedule ({made.size}, {made[0]:.4g} to"
            f" {made[-1]:.4g}); give the schedule with --config.architecture"
        )

"""The networks of NVlabs/edm (Karras et al. 2022, 2206.00364).

The pickles hold the arguments of their constructors, so `given` is not needed. If given,
{"family": "edm", "class_name": ..., "init_kwargs": {...}}, the arguments of the preconditioning's
constructor, must agree with the file.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax.text.spelling import one_of
from sdedit_jax.weights import conversion, store
from sdedit_jax.weights.families.family import Card, Family, Shapes, missing, part, steps
from sdedit_jax.weights.families.merge import merge
from sdedit_jax.weights.source import Source

NAME = "edm"

NETWORKS = {"SongUNet": "edm_song", "DhariwalUNet": "edm_dhariwal"}
USUAL = {  # preconditioning -> the network in it where its arguments name none
    "EDMPrecond": "DhariwalUNet",
    "VPPrecond": "SongUNet",
    "VEPrecond": "SongUNet",
    "iDDPMPrecond": "DhariwalUNet",
}
OUTSIDE = (
    *("class_name", "model_type", "img_channels", "use_fp16", "sigma_min", "sigma_max"),
    *("sigma_data", "beta_d", "beta_min", "M", "epsilon_t", "C_1", "C_2"),
)
"""Arguments of the preconditionings; all others are the network's."""
TRAINING = ("dropout", "label_dropout", "use_fp16")
"""Arguments without effect on the output; given values may differ from the file."""
SAMPLED = (0.002, 80.0)
"""The noise range of EDM's sampling, for models without bounds of their own."""


def recognise(source: Source) -> bool:
    """Whether it is a pickled preconditioning (EDM2's too), or the names are those of one."""
    known = source.config.get("class_name") in (*USUAL, "Precond")
    return known or "model.map_layer0.weight" in source.tensors


def describe(source: Source, given: Mapping[str, Any]) -> Card:
    """The card of an EDM checkpoint; see `Family.describe`."""
    found = _flat(source.config)
    if found.get("class_name") == "Precond":
        raise ValueError(
            f"source: {source.path} is a pickle of EDM2, whose networks are not supported; "
            "those of EDM are"
        )
    wanted = {k: v for k, v in _flat(given).items() if k not in TRAINING or k not in found}
    v = merge(NAME, found, wanted, ["class_name", "img_resolution", "img_channels"])
    one_of("class_name", v["class_name"], sorted(USUAL))
    network = one_of("model_type", v["model_type"], sorted(NETWORKS))
    _check_filters(source, v.get("resample_filter", [1, 1]))
    low, high, prediction = _preconditioning(source, v)
    return {
        "network": NETWORKS[network],
        "config": {name: value for name, value in v.items() if name not in OUTSIDE},
        "process": {"name": "ve", "sigma_min": low, "sigma_max": high},
        "prediction": prediction,
        "size": [v["img_resolution"], v["img_resolution"], v["img_channels"]],
        "range": [-1, 1],
    }


def names(source: Source, card: Card, shapes: Shapes) -> Mapping[str, str]:
    """The network is the attribute "model" of the preconditioning."""
    return {path: "model." + conversion.default_name(path) for path, _ in store.leaves(shapes)}


def unused(source: Source, card: Card) -> Mapping[str, str]:
    """The constants that the file holds as buffers."""
    filters = [name for name in source.tensors if name.endswith(".resample_filter")]
    return dict.fromkeys(filters, "a filter of the configuration") | {"u": "a table we compute"}


FAMILY = Family(NAME, recognise, describe, names, unused)


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a preconditioning and of the network in it, defaults between them filled."""
    if not config.get("class_name"):
        return {}
    kind, flat = config["class_name"], part(config.get("init_kwargs"), "init_kwargs")
    flat = {"class_name": kind, "model_type": USUAL.get(kind), "label_dim": 0} | flat
    if "img_channels" in flat:
        learned = 2 if kind == "iDDPMPrecond" else 1
        flat["in_channels"] = flat["img_channels"]
        flat["out_channels"] = flat["img_channels"] * learned
    # the arguments of the network itself take precedence
    model = {"model_type": config["model_class"]} if config.get("model_class") else {}
    return flat | model | part(config.get("model_kwargs"), "model_kwargs")


def _preconditioning(source: Source, v: Mapping[str, Any]) -> tuple[float, float, dict[str, Any]]:
    """Lowest and highest sigma of the model, in [-1, 1] units, and the prediction."""
    kind = v["class_name"]
    if kind == "VEPrecond":
        return v.get("sigma_min", 0.02), v.get("sigma_max", 100.0), {"name": "edm_ve"}
    if kind == "VPPrecond":
        betas = {"beta_d": v.get("beta_d", 19.9), "beta_min": v.get("beta_min", 0.1)}
        low, high = (_vp_sigma(t, **betas) for t in (v.get("epsilon_t", 1e-5), 1.0))
        return low, high, {"name": "edm_vp", "steps": steps(v.get("M", 1000), "M"), **betas}
    low, high = SAMPLED
    if kind == "EDMPrecond":
        low, high = max(low, v.get("sigma_min", 0)), min(high, v.get("sigma_max", math.inf))
        return low, high, {"name": "edm", "sigma_data": v.get("sigma_data", 0.5), "label": "log"}
    if "u" not in source.tensors:
        raise missing(NAME, ["u"])
    n, constants = (
        steps(v.get("M", 1000), "M"),
        {"c_1": v.get("C_1", 0.001), "c_2": v.get("C_2", 0.008)},
    )
    low, high = max(low, float(source.tensors["u"][-2])), min(high, float(source.tensors["u"][0]))
    return low, high, {"name": "edm_iddpm", "steps": n, **constants}


def _vp_sigma(t: float, beta_d: float, beta_min: float) -> float:
    return math.sqrt(math.expm1(beta_d * t**2 / 2 + beta_min * t))


def _check_filters(source: Source, taps: Any) -> None:
    """Check that the filters in the file are those of the configuration."""
    row = np.asarray(taps, np.float64) / np.sum(taps)
    for name, held in source.tensors.items():
        if not name.endswith(".resample_filter"):
            continue
        if held.shape != (1, 1, len(row), len(row)) or not np.allclose(
            held[0, 0], np.outer(row, row)
        ):
            raise ValueError(
                f"source: {name} in {source.path} is not the filter {taps} of its configuration"
            )

"""Unconditional models of diffusers: UNet2DModel, of the DDPM and of the NCSN++ kind.

`given` is {"family": "diffusers", "config": config.json, "scheduler": scheduler_config.json}; a
folder has both beside its weights. The network is that of config.json, with diffusers' defaults.
The process is the scheduler's table of betas, or the sigmas of ScoreSdeVeScheduler.

In published folders the scheduler is less reliable than the weights. A sigma_max that the user or
the catalogue gives takes precedence over the folder's, and the metadata notes it.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax.files.prior_fields import SCHEDULER
from sdedit_jax.files.schema import check_some
from sdedit_jax.files.wording import brief
from sdedit_jax.nets import foreign
from sdedit_jax.weights.families import diffusers_names, family
from sdedit_jax.weights.families.family import Card, Family, Shapes, missing
from sdedit_jax.weights.families.merge import same
from sdedit_jax.weights.source import Source

NAME = "diffusers"
NETWORK = "UNet2DModel"

VE = ("ScoreSdeVeScheduler", "VeSdeScheduler", "SdeVeScheduler")
TABLES = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "UniPCMultistepScheduler",
    "DEISMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "LMSDiscreteScheduler",
)
"""Schedulers of a table of betas, all with the defaults of `BETAS`."""
BETAS = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
SIGMAS = {"sigma_min": 0.01, "sigma_max": 1348.0}
PREDICTS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
LEARNED = "learned_range"
STEPS = ("timestep_spacing", "steps_offset", "set_alpha_to_one", "final_sigmas_type")
STEPS += ("variance_type", "clip_sample", "clip_sample_range", "thresholding")
"""Fields of the scheduler kept beside the table, for edits that repeat diffusers' steps."""


def recognise(source: Source) -> bool:
    """Whether config.json says so, or the tensors have diffusers' names and no cross-attention."""
    kind = source.config.get("unet", {}).get("_class_name")
    if kind is not None:
        return kind == NETWORK
    wanted = {"conv_in.weight", "time_embedding.linear_1.weight", "conv_norm_out.weight"}
    return wanted <= source.tensors.keys() and not any(".attn2." in n for n in source.tensors)


def describe(source: Source, given: Mapping[str, Any]) -> Card:
    """The card of a UNet2DModel; see `Family.describe`."""
    values = _network_values(source, given)
    scheduler, notes = _scheduler_values(source, given)
    config = {name: value for name, value in values.items() if not name.startswith("_")}
    learned = _learned(config, scheduler)
    exploding = kind_of(scheduler) in VE
    return {
        "network": "unet2d",
        "config": config,
        "process": _sigmas(scheduler) if exploding else table(scheduler),
        "prediction": {"name": "score_sde_ve"} if exploding else prediction(scheduler, learned),
        "size": _size(config),
        "range": [0, 1] if exploding else [-1, 1],
        **({} if exploding else {"scheduler": steps_of(scheduler)}),
        **({"notes": notes} if notes else {}),
    }


def names(source: Source, card: Card, shapes: Shapes) -> Mapping[str, str]:
    """The names of the first releases where the file has them: `query` for `to_q`, ..."""
    found = diffusers_names.attention(source, shapes)
    return found | diffusers_names.fourier(source, shapes)


def unused(source: Source, card: Card) -> Mapping[str, str]:
    """Fourier frequencies that are in the file under both names."""
    return diffusers_names.fourier_twice(source)


FAMILY = Family(NAME, recognise, describe, names, unused)


def _network_values(source: Source, given: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of the folder merged with the user's; common fields must agree."""
    own, users = (
        family.part(source.config.get("unet"), "unet"),
        family.part(given.get("config"), "config"),
    )
    if not own and not users:
        raise missing(NAME, ["config (config.json of the network)"])
    for kind in (own.get("_class_name"), users.get("_class_name")):
        if kind not in (None, NETWORK):
            raise ValueError(f"architecture: _class_name must be {NETWORK}, got {brief(kind)}")
    for name in own.keys() & users.keys():
        if not name.startswith("_") and not same(own[name], users[name]):
            raise ValueError(
                f"architecture: {name} is {brief(users[name])} in what was given, "
                f"but {brief(own[name])} in config.json of {source.path}"
            )
    return {**users, **own}


def _scheduler_values(source: Source, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The scheduler's fields, where the user's take precedence; and notes on the differences."""
    own, users = (family.part(c.get("scheduler"), "scheduler") for c in (source.config, given))
    if not own and not users:
        raise missing(NAME, ["scheduler (scheduler_config.json)"])
    notes = [
        f"{name} {brief(users[name])} as given, not {brief(own[name])} as in scheduler_config.json"
        for name in sorted(own.keys() & users.keys())
        if not name.startswith("_") and not same(own[name], users[name])
    ]
    return checked_scheduler({**own, **users}), notes


def checked_scheduler(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a scheduler_config.json that are not null.

    Raises:
        ValueError: a field of another type, or out of its range.
    """
    found = foreign.present(values)
    check_some(SCHEDULER, found, "architecture: scheduler")
    return found


def _size(config: Mapping[str, Any]) -> list[int]:
    sides = config.get("sample_size")
    if sides is None:
        raise missing(NAME, ["config.sample_size"])
    sides = [sides, sides] if isinstance(sides, int) else list(sides)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"architecture: sample_size must be a side or [H, W], got {sides}")
    return [*sides, config.get("in_channels", 3)]


def _learned(config: Mapping[str, Any], scheduler: Mapping[str, Any]) -> bool:
    """Whether the network gives a variance beside its prediction."""
    n, out = (config.get(name, 3) for name in ("in_channels", "out_channels"))
    kind = scheduler.get("variance_type")
    if out == n:
        return False
    if out == 2 * n and kind == LEARNED:
        return True
    raise ValueError(
        f"architecture: out_channels {out} for in_channels {n} needs a scheduler of variance_type "
        f"{LEARNED!r} and twice the channels, got {brief(kind)}"
    )


def kind_of(scheduler: Mapping[str, Any]) -> str:
    """The class of a scheduler; ValueError if it is none of VE and TABLES."""
    kind = scheduler.get("_class_name")
    if kind not in (*VE, *TABLES):
        raise ValueError(
            f"architecture: scheduler _class_name must be one of {sorted((*VE, *TABLES))}, "
            f"got {brief(kind)}"
        )
    return kind


def _sigmas(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """Pictures in [0, 1] have half the sigmas of pictures in [-1, 1]."""
    own = {name: scheduler.get(name, default) for name, default in SIGMAS.items()}
    ends = {name: 2 * family.number(value, name) for name, value in own.items()}
    return {"name": "ve", **ends}


def table(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """The process of a table of betas."""
    v = {**BETAS, **{name: scheduler[name] for name in BETAS if name in scheduler}}
    n, kind = steps(scheduler), v["beta_schedule"]
    rescaled = bool(scheduler.get("rescale_betas_zero_snr"))
    ends = {name: family.rate(v[name], name) for name in ("beta_start", "beta_end")}
    if scheduler.get("trained_betas") is not None:
        betas = [family.number(beta, "trained_betas") for beta in scheduler["trained_betas"]]
        return _listed(np.asarray(betas, np.float64), rescaled)
    if not isinstance(kind, str) or kind not in _TABLE_BETAS:
        raise ValueError(
            f"architecture: beta_schedule must be one of {sorted(_TABLE_BETAS)}, got {brief(kind)}"
        )
    if rescaled or kind == "sigmoid":
        return _listed(_TABLE_BETAS[kind](n, **ends), rescaled)
    if kind == "squaredcos_cap_v2":
        return {"name": "cosine", "n": n}
    return {"name": kind, "n": n, **ends}


def _linear(n: int, beta_start: float, beta_end: float) -> np.ndarray:
    return np.linspace(beta_start, beta_end, n)


def _scaled_linear(n: int, beta_start: float, beta_end: float) -> np.ndarray:
    return np.linspace(beta_start**0.5, beta_end**0.5, n) ** 2


def _sigmoid(n: int, beta_start: float, beta_end: float) -> np.ndarray:
    return (beta_end - beta_start) / (1 + np.exp(-np.linspace(-6, 6, n))) + beta_start


def _cosine(n: int, beta_start: float, beta_end: float) -> np.ndarray:
    """Nichol and Dhariwal (2102.09672) eq. 17; the ends do not matter."""
    f = np.cos((np.arange(n + 1) / n + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - f[1:] / f[:-1], 0.999)


_TABLE_BETAS = {
    "linear": _linear,
    "scaled_linear": _scaled_linear,
    "sigmoid": _sigmoid,
    "squaredcos_cap_v2": _cosine,
}


def _listed(betas: np.ndarray, rescaled: bool) -> dict[str, Any]:
    """A process of these betas; with `rescaled` its last level has no signal.

    The square roots of alpha^2 are shifted to end at 0 and stretched to start where they did (Lin
    et al., 2305.08891, algorithm 1).
    """
    if rescaled:
        root = np.sqrt(np.cumprod(1 - betas))
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
        kept = root**2
        betas = 1 - kept / np.concatenate([[1.0], kept[:-1]])
    return {"name": "betas", "betas": betas.tolist()}


def steps_of(scheduler: Mapping[str, Any]) -> dict[str, Any]:
    """The fields STEPS that a scheduler has; diffusers clips where clip_sample is left out."""
    return {"clip_sample": True} | {name: scheduler[name] for name in STEPS if name in scheduler}


def steps(scheduler: Mapping[str, Any]) -> int:
    """The number of levels of a scheduler's table."""
    trained = scheduler.get("trained_betas")
    given = scheduler.get("num_train_timesteps", 1000) if trained is None else len(trained)
    return family.steps(given, "num_train_timesteps")


def prediction(scheduler: Mapping[str, Any], learned: bool) -> dict[str, Any]:
    """The adapter's name and arguments; only what differs from its defaults."""
    old = {False: "sample"}.get(scheduler.get("predict_epsilon"), "epsilon")
    kind = scheduler.get("prediction_type", old)
    if not isinstance(kind, str) or kind not in PREDICTS:
        raise ValueError(
            f"architecture: prediction_type must be one of {sorted(PREDICTS)}, got {brief(kind)}"
        )
    out = {"name": "ddpm", "steps": steps(scheduler)}
    out |= {} if kind == "epsilon" else {"predicts": PREDICTS[kind]}
    return out | ({"learned_variance": True} if learned else {})

"""The fields of prior.json, and those of a scheduler_config.json of diffusers that are read.

Fields that a prior needs are required where it is made; here all may be missing. The numbers of a
network are checked by the network.
"""

from collections.abc import Mapping
from typing import Any

from sdedit_jax.files.schema import Each, Either, Fields, Many, Named, Plain, check_named
from sdedit_jax.files.values import (
    NAME,
    SHA256,
    Choice,
    Flag,
    Kind,
    Maybe,
    Real,
    Text,
    Whole,
    error,
)

COUNTS = ("num_classes", "num_class_embeds", "label_dim")
"""Fields of networks with the number of classes."""
LEVELS = Whole(2, 100_000)
SIGMA, RATE, BETA = Real(0, 1e6, above=True), Real(0, 1e6, above=True), Real(1e-12, 1)
PROSE = Text(100_000, lines=True)

SIGMAS = Fields(free={"sigma_min": SIGMA, "sigma_max": SIGMA})
RATES = Fields(free={"beta_min": RATE, "beta_max": RATE})
TABLE = Fields(free={"n": LEVELS, "beta_start": BETA, "beta_end": BETA})
TABLES: Mapping[str, Kind] = {
    "linear": TABLE,
    "scaled_linear": TABLE,
    "cosine": Fields(free={"n": LEVELS}),
    "betas": Fields({"betas": Many(BETA, LEVELS.high, 2)}),
}


class OneOf:
    """An object whose field `name` is that of its kind."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.kinds = kinds

    def check(self, value: Any, place: str) -> None:
        check_named(self.kinds, value, place)


PROCESSES: Mapping[str, Kind] = {
    "ve": SIGMAS,
    "vp": RATES,
    "subvp": RATES,
    **TABLES,
    "respaced": Fields(
        {"table": OneOf(TABLES), "kept": Many(Whole(0, LEVELS.high - 1), LEVELS.high, 2)}
    ),
}
STEPS = {"steps": Whole(1, 100_000)}
PREDICTS = {**STEPS, "predicts": NAME}
PREDICTIONS: Mapping[str, Kind] = {
    "score_sde_ve": Fields(),
    "score_sde_ve_discrete": Fields(free={"levels": LEVELS}),
    "score_sde_vp": Fields(),
    "ddpm": Fields(
        free={**PREDICTS, "learned_variance": Flag(), "label_scale": Real(0, 1e6, above=True)}
    ),
    "v": Fields(),
    "edm": Fields(free={"sigma_data": SIGMA, "label": NAME}),
    "edm_vp": Fields(free={**STEPS, "beta_d": RATE, "beta_min": RATE}),
    "edm_ve": Fields(),
    "edm_iddpm": Fields(free=STEPS),
    "stable_diffusion": Fields(free={**PREDICTS, "attention": Whole(1, 4096)}),
}

SCHEDULER_STEPS: Mapping[str, Kind] = {
    "timestep_spacing": NAME,
    "steps_offset": Whole(0, 100_000),
    "set_alpha_to_one": Flag(),
    "final_sigmas_type": NAME,
    "variance_type": NAME,
    "clip_sample": Flag(),
    "clip_sample_range": Real(0, 1e6),
    "thresholding": Flag(),
}
SCHEDULER: Mapping[str, Kind] = {
    **SCHEDULER_STEPS,
    "_class_name": NAME,
    "num_train_timesteps": LEVELS,
    "beta_start": BETA,
    "beta_end": BETA,
    "beta_schedule": NAME,
    "trained_betas": Many(BETA, LEVELS.high, 2),
    "rescale_betas_zero_snr": Flag(),
    "prediction_type": NAME,
    "predict_epsilon": Flag(),
    "sigma_min": SIGMA,
    "sigma_max": SIGMA,
}
"""Fields of scheduler_config.json that are read; it may have others."""

ROW = Many(Real(), 10_000)
FIT = Fields(
    {
        **dict.fromkeys(("center", "linear", "weights"), ROW),
        "quadratic": Many(ROW, 10_000),
        "constant": Real(),
        "offset": Real(),
        "limits": Each((Real(), Real())),
    }
)
PRIOR = Fields(
    free={
        "name": Text(4096),
        "network": NAME,
        "config": Named(Plain(100_000)),
        "process": OneOf(PROCESSES),
        "prediction": OneOf(PREDICTIONS),
        "size": Each((Whole(1, 16_384), Whole(1, 16_384), Choice((1, 3)))),
        "range": Each((Real(-1e6, 1e6), Real(-1e6, 1e6))),
        "std": Real(0, 1e6, above=True),
        "sha256": SHA256,
        "null_label": Whole(),
        "data": Fields(
            free={
                **dict.fromkeys(("source", "credit"), PROSE),
                "pictures": Whole(0, 10**12),
                "labels": Many(NAME, 1_000_000),
            }
        ),
        "training": Named(Plain(100_000)),
        "source": Either(((str, PROSE), (object, Named(Plain(100_000))))),
        "check": Maybe(Named(Plain())),
        "notes": Many(PROSE),
        "scheduler": Fields(free=SCHEDULER_STEPS),
        "ledits": Named(Named(Real(-1e6, 1e6)), 100),
        "auto_t0": Maybe(
            Fields(
                {"sigmas": Many(SIGMA, 64, 1), "draws": Whole(1, 1000)}
                | {"picture": FIT, "window": FIT},
                {"source": Text(4096), "pictures": Whole(0)},
            )
        ),
    }
)


def check(metadata: Mapping[str, Any]) -> None:
    """Check all fields of a prior.json that are there.

    Raises:
        ValueError: a wrong or unknown field, or fields that contradict each other.
    """
    PRIOR.check(metadata, "")
    labels = metadata.get("data", {}).get("labels")
    config = metadata.get("config", {})
    count = next((config[name] for name in COUNTS if config.get(name)), None)
    if labels and isinstance(count, int) and len(labels) != count:
        raise error("data.labels", f"a list of {count} values, as config has classes", labels)
    for part in ("picture", "window"):
        if calibration := metadata.get("auto_t0"):
            _check_fit(calibration[part], f"auto_t0.{part}")


def _check_fit(fit: Mapping[str, Any], place: str) -> None:
    """Check the lengths of the parts of a calibration against each other."""
    first = len(fit["linear"])
    Many(Many(Real(), first, first), first, first).check(fit["quadratic"], f"{place}.quadratic")
    whole = len(fit["center"])
    Many(Real(), whole, max(first, whole)).check(fit["weights"], f"{place}.weights")

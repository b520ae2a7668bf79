"""Names and metadata into conditions: class labels of a prior, and guidance by name."""

from collections.abc import Callable, Mapping
from typing import Any

from sdedit_jax.guidance.cfg import CFG
from sdedit_jax.priors import conditioning
from sdedit_jax.priors.adapters import PredictFn
from sdedit_jax.priors.conditioning import Classes
from sdedit_jax.priors.prior import Prior
from sdedit_jax.registry.names import pick

NO_NULL = ("adm", "unet2d")
"""Networks without a null label: each of their labels is a class. The null label of others is
num_classes, unless the metadata has a `null_label`."""

GUIDANCE: Mapping[str, Callable[[PredictFn], PredictFn]] = {"cfg": CFG}


def classes(prior: Prior) -> Classes | None:
    """The class labels of a prior; None: unknown, the prior has no metadata."""
    if not prior.metadata:
        return None
    config = prior.metadata.get("config", {})
    fields = ("num_classes", "num_class_embeds", "label_dim")  # names in the original configs
    count = next((config[field] for field in fields if config.get(field)), None)
    own = None if prior.metadata.get("network") in NO_NULL else count
    names = tuple(prior.metadata.get("data", {}).get("labels", ()))
    null = prior.metadata.get("null_label", own)
    return Classes(count, null, names if len(names) == count else ())


def check_label(prior: Prior, label: int | None) -> None:
    """Check that a prior knows a label, and has one if it requires one.

    Raises:
        ValueError: see conditioning.check_label.
    """
    conditioning.check_label(classes(prior), label)


def condition(
    prior: Prior, label: int | str | None, against: int | str | None = None, scale: float = 1.0
) -> Any:
    """The cond of class labels: None, a label, or a `CFGCond` of two labels.

    Raises:
        ValueError: see conditioning.class_cond.
    """
    return conditioning.class_cond(classes(prior), label, against, scale)


def guided(prior: Prior, name: str = "cfg") -> Prior:
    """The prior with a guided predictor, one of GUIDANCE; its cond is a `CFGCond`."""
    return prior.replace(predict=pick(GUIDANCE, name, "guidance.name")(prior.predict))

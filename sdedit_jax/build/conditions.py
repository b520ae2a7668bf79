"""What a prior is told: class labels, and guidance to one from another."""

import functools
from collections.abc import Callable
from typing import Any

from sdedit_jax import guidance
from sdedit_jax import prior as priors
from sdedit_jax.build.names import pick
from sdedit_jax.guidance import Classes
from sdedit_jax.prior import Prior

NO_NULL = ("adm", "unet2d")
"""Networks of whose labels each is a class; the null label of others is num_classes. A card with
`null_label` names a network's own."""

GUIDANCE: dict[str, Callable[[priors.PredictFn], priors.PredictFn]] = {
    "cfg": guidance.cfg,
}


def classes(prior: Prior) -> Classes | None:
    """The class labels of a prior; None: nothing is known of them."""
    if not prior.card:
        return None
    config = prior.card.get("config", {})
    fields = ("num_classes", "num_class_embeds", "label_dim")  # as the networks' originals say it
    count = next((config[field] for field in fields if config.get(field)), None)
    own = None if prior.card.get("network") in NO_NULL else count
    return Classes(count, prior.card.get("null_label", own))


def check_label(prior: Prior, cond: int | None) -> None:
    """See that a label is one that the prior knows, and that it gets one if it wants one.

    Raises:
        ValueError: see guidance.check_label.
    """
    guidance.check_label(classes(prior), cond)


def condition(
    prior: Prior, cond: int | None, against: int | str | None = None, scale: float = 1.0
) -> Any:
    """What the predictor gets as its cond: None, a label, or a Guided pair of labels.

    Raises:
        ValueError: see guidance.condition.
    """
    return guidance.condition(classes(prior), cond, against, scale)


def guided(prior: Prior, name: str = "cfg") -> Prior:
    """The prior with a guided predictor, one of GUIDANCE; its cond is a `Guided`."""
    pick(GUIDANCE, name, "guidance.name")
    return prior._replace(predict=_guided(name, prior.predict))


@functools.lru_cache(maxsize=16)
def _guided(name: str, predict: priors.PredictFn) -> priors.PredictFn:
    """The same function for the same predictor, so that equal plans are equal programs."""
    return GUIDANCE[name](predict)

"""Feature extractors by name: from pictures to the features on which sets of pictures are compared.

    hand               colours and edges of 8 x 8 cells, in units of the reference's spread
    a prior's name     the activations of its network, in the same units

Neither can be compared with published numbers. Networks trained for recognition, whose weights the
user has, are in recognition.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sdedit_jax import images
from sdedit_jax.evaluation import features
from sdedit_jax.evaluation.network import check_network, prior_features
from sdedit_jax.priors.prior import Prior

OWN = "not comparable with published numbers"


@dataclass(frozen=True)
class Extractor:
    """Features of pictures.

    Attributes:
        name: of the features; it stands beside every number.
        apply: uint8 [B, H, W, 3] -> float32 [B, D]. Row i depends on picture i alone.
        standardised: whether distances are taken in units of the reference's standard deviations.
        facts: what a reader of the numbers must know: the network, sha256 of the weights, the
            resizing, whether the numbers compare with published ones.
    """

    name: str
    apply: Callable[[np.ndarray], np.ndarray]
    standardised: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def in_batch(self, pictures: np.ndarray, rows: int) -> np.ndarray:
        """The features of at most `rows` pictures, computed in a batch of that size.

        The last picture fills the batch, so that programs compile once.
        """
        places = np.minimum(np.arange(rows), len(pictures) - 1)
        return self.apply(pictures[places])[: len(pictures)]


def hand() -> Extractor:
    """The hand-made features."""
    facts = {"features": list(features.HAND_MADE), "compares": OWN}
    return Extractor("hand", lambda p: features.hand_made(images.to_unit(p)), True, facts)


def of_prior(prior: Prior) -> Extractor:
    """Features of a prior's own network; pictures of another size are resized to the prior's.

    Raises:
        ValueError: a prior of another network than "ncsnpp".
    """
    check_network(prior)
    size, name = prior.shape[:2], str(prior.metadata.get("name") or "prior")

    def apply(pictures: np.ndarray) -> np.ndarray:
        fitted = np.stack([images.fit(picture, size)[0] for picture in pictures])
        return prior_features(prior, images.to_unit(fitted))

    facts = {
        "network": f"of the prior {name}",
        "sha256": prior.metadata.get("sha256", ""),
        "resize": f"area means to {images.size_text(size)}",
        "compares": OWN,
    }
    return Extractor(name, apply, True, facts)

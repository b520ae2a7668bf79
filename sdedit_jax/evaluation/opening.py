"""The measures that a config names, opened in one place: extractors of features, paired measures.

hand          False: without the hand-made features
prior         a prior whose network gives features; "": none
inception     weights of Inception: features of FID and KID
clip          folder of CLIP: features
lpips_vgg     weights of VGG: the paired measure lpips_vgg; lpips_alex: of AlexNet
lpips_heads   folder of the heads of LPIPS, vgg.pth and alex.pth; or the file of one
resize        how pictures are resized for Inception, such as "clean"
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sdedit_jax.evaluation import extractors
from sdedit_jax.evaluation.extractors import Extractor
from sdedit_jax.evaluation.paired import PAIRED, Paired, by_network
from sdedit_jax.text.spelling import one_of
from sdedit_jax.weights import load

LPIPS = {"lpips_vgg": "VGG", "lpips_alex": "AlexNet"}
"""Paired measures by networks. Their field has the same name."""


class Measures(NamedTuple):
    """The measures that can be taken.

    Attributes:
        paired: of a picture against another one, by name. extractors: for distances of sets.
        clip: CLIP's encoders, recognition.ClipModel, for text_measures.py; None: not given.
    """

    paired: Mapping[str, Paired]
    extractors: tuple[Extractor, ...]
    clip: Any = None

    def named(self, names: Sequence[str], field: str = "measures") -> list[Paired]:
        """Paired measures by name.

        Args:
            field: that has the names, for the message.

        Raises:
            ValueError: an unknown name, or a measure whose weights are not given.
        """
        for name in names:
            needed = [one for one in LPIPS if name.startswith(one)]
            if needed and name not in self.paired:
                raise ValueError(f"{field}: {name} needs its weights; give features.{needed[0]}")
            one_of(field, name, self.paired)
        return [self.paired[name] for name in names]


def open_measures(fields: Mapping[str, Any], compute: str = "float32") -> Measures:
    """The measures of `config.features`; fields that are missing or empty open nothing.

    Args:
        compute: of the prior's network.

    Raises:
        ValueError: weights that cannot be read, or two extractors of one name.
    """
    own = [extractors.hand()] if fields.get("hand", True) else []
    if fields.get("prior"):
        own.append(extractors.of_prior(load.load_prior(fields["prior"], compute)))
    clip = _clip(fields)
    if clip is not None:
        own.append(Extractor("clip", clip.images, False, clip.facts))
    found = [*own, *_inception(fields)]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise ValueError(f"features must have distinct names, got {names}; rename the prior")
    return Measures({**PAIRED, **_lpips(fields)}, tuple(found), clip)


def _clip(fields: Mapping[str, Any]) -> Any:
    if not fields.get("clip"):
        return None
    from sdedit_jax.evaluation import recognition

    return recognition.clip(fields["clip"])


def _inception(fields: Mapping[str, Any]) -> list[Extractor]:
    if not fields.get("inception"):
        return []
    from sdedit_jax.evaluation import recognition

    return [recognition.inception(fields["inception"], fields.get("resize") or "clean")]


def _lpips(fields: Mapping[str, Any]) -> dict[str, Paired]:
    """LPIPS by the networks whose weights are given, with its regions."""
    found: dict[str, Paired] = {}
    for name in _networks(fields):
        of = _opened(name, fields)
        definition = f"LPIPS 0.1 (Zhang et al. 2018) with {LPIPS[name]}, without resizing"
        found |= by_network(name, of, definition, of.facts)
    return found


def open_lpips(fields: Mapping[str, Any], user: str) -> Any:
    """LPIPS by the one network whose weights are given: a recognition.LpipsDistance.

    Args:
        user: the field that needs it, for messages.

    Raises:
        ValueError: no weights, those of two networks, or weights that are refused.
    """
    given = _networks(fields)
    names = " or ".join(f"features.{name}" for name in LPIPS)
    if not given:
        raise ValueError(f"{user} needs weights; give {names}, with features.lpips_heads")
    if len(given) > 1:
        raise ValueError(f"{user} takes one network; give {names}, got both")
    return _opened(given[0], fields)


def _networks(fields: Mapping[str, Any]) -> list[str]:
    """The names of LPIPS whose weights are given."""
    return [name for name in LPIPS if fields.get(name)]


def _opened(name: str, fields: Mapping[str, Any]) -> Any:
    """LPIPS by one of LPIPS.

    Raises:
        ValueError: no heads.
    """
    if not fields.get("lpips_heads"):
        raise ValueError(f"features.{name} needs features.lpips_heads, the folder of the heads")
    from sdedit_jax.evaluation import recognition

    net, heads = name.removeprefix("lpips_"), fields["lpips_heads"]
    heads = Path(heads, f"{net}.pth") if Path(heads).is_dir() else heads
    return recognition.lpips(net, fields[name], heads)

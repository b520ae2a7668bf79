"""The families of checkpoints, recognised by the contents of a file."""

from sdedit_jax.text.spelling import one_of
from sdedit_jax.weights.families import (
    diffusers,
    edm,
    guided_diffusion,
    score_sde,
    sdedit_ddpm,
    stable_diffusion,
)
from sdedit_jax.weights.families.family import Card, Family
from sdedit_jax.weights.source import Source

__all__ = ["FAMILIES", "Card", "Family", "family_of"]

FAMILIES: dict[str, Family] = {
    module.NAME: module.FAMILY
    for module in (diffusers, edm, guided_diffusion, score_sde, sdedit_ddpm, stable_diffusion)
}


def family_of(source: Source, name: str = "") -> Family:
    """The family of a source.

    Args:
        name: the expected family, if any.

    Raises:
        ValueError: no known family, or not the expected one.
    """
    if name:
        one_of("family", name, sorted(FAMILIES))
    found = [family for family in FAMILIES.values() if family.recognise(source)]
    if not found:
        some = sorted(source.tensors)[:3]
        raise ValueError(
            f"source: {source.path} belongs to no known family {sorted(FAMILIES)}; "
            f"examples of its tensor names: {some}"
        )
    if name and name != found[0].name:
        raise ValueError(f"source: {source.path} is a checkpoint of {found[0].name}, not of {name}")
    return found[0]

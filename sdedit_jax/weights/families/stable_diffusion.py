"""Stable Diffusion 1 and 2 in the folder layout of diffusers, and models shaped like them.

`given` is {"family": "stable_diffusion", "unet": config.json, "vae": config.json, "text_encoder":
config.json, "scheduler": scheduler_config.json}, each needed only if the folder lacks it. The
params are {"unet": .., "vae": .., "text_encoder": ..}. weights/single_file makes such a source of a
single file, whose tensors do not determine all fields: those that differ from the published models
must be given.
"""

from collections.abc import Mapping
from typing import Any

from sdedit_jax.weights.families import diffusers, diffusers_names
from sdedit_jax.weights.families.family import Card, Family, Shapes, missing
from sdedit_jax.weights.families.family import part as part_of
from sdedit_jax.weights.source import Source

NAME = "stable_diffusion"
NETWORK = "UNet2DConditionModel"

PARTS = ("unet", "vae", "text_encoder")
OWN = "_ledits"
"""Field of model_index.json: the prior's own numbers for presets of LEDITS. diffusers skips fields
with an underscore."""
OWN_FIELDS = ("ledits", "auto_t0")
"""Fields of the metadata that model_index.json may hold, with an underscore before the name."""
SMALL = 8
"""Least side of attention maps at a quarter of the latent's side; smaller latents use half."""


def recognise(source: Source) -> bool:
    """Whether it is a text-conditional pipeline, or the U-Net of one."""
    kind = source.config.get("unet", {}).get("_class_name")
    return "text_encoder" in source.config or kind == NETWORK


def describe(source: Source, given: Mapping[str, Any]) -> Card:
    """The card of a pipeline; see `Family.describe`."""
    if "index" not in source.config:
        raise ValueError(
            f"source: {source.path} is the U-Net alone; give the whole folder, with"
            " model_index.json, vae/, text_encoder/, tokenizer/ and scheduler/ beside unet/"
        )
    if "text_encoder_2" in source.config["index"]:
        raise ValueError(
            f"source: {source.path} is a folder of Stable Diffusion XL, which is not supported;"
            " give one of Stable Diffusion 1 or 2"
        )
    values = {part: _values(source, given, part) for part in (*PARTS, "scheduler")}
    scheduler = diffusers.checked_scheduler(values.pop("scheduler"))
    if diffusers.kind_of(scheduler) in diffusers.VE:
        kind = scheduler["_class_name"]
        raise ValueError(f"architecture: the scheduler {kind} has no table of betas")
    unet, vae, index = values["unet"], values["vae"], source.config["index"]
    factor = 2 ** (len(vae.get("block_out_channels", [64])) - 1)
    sides = _sides(unet, vae, factor)
    return {
        "network": NAME,
        "config": {p: {n: v for n, v in c.items() if n[0] != "_"} for p, c in values.items()},
        "process": diffusers.table(scheduler),
        "prediction": {
            **diffusers.prediction(scheduler, False),
            "name": NAME,
            "attention": 4 if min(sides) // 4 >= SMALL else 2,
        },
        "size": [*(side * factor for side in sides), vae.get("in_channels", 3)],
        "range": [-1, 1],
        "scheduler": diffusers.steps_of(scheduler),
        **{name: index[f"_{name}"] for name in OWN_FIELDS if f"_{name}" in index},
    }


def names(source: Source, card: Card, shapes: Shapes) -> Mapping[str, str]:
    """The old names of attention layers, and those of text encoders without `text_model.`."""
    text = diffusers_names.clip_text(_part(source, "text_encoder"), shapes["text_encoder"])
    own = {f"text_encoder/{path}": f"text_encoder.{name}" for path, name in text.items()}
    return diffusers_names.attention(source, shapes) | own


def unused(source: Source, card: Card) -> Mapping[str, str]:
    """The position ids of old text encoders."""
    found = diffusers_names.clip_positions(_part(source, "text_encoder"))
    return {f"text_encoder.{name}": why for name, why in found.items()}


FAMILY = Family(NAME, recognise, describe, names, unused)


def _values(source: Source, given: Mapping[str, Any], part: str) -> dict[str, Any]:
    """A part's configuration, the folder's before the user's."""
    own = (part_of(c.get(part), part) for c in (given, source.config))
    values = {name: value for config in own for name, value in config.items()}
    if not values:
        file = "scheduler_config.json" if part == "scheduler" else "config.json"
        raise missing(NAME, [f"{part} ({part}/{file})"])
    return values


def _part(source: Source, part: str) -> Source:
    """The tensors of one part under their own names."""
    start = f"{part}."
    own = {n.removeprefix(start): a for n, a in source.tensors.items() if n.startswith(start)}
    return source._replace(tensors=own)


def _sides(unet: Mapping[str, Any], vae: Mapping[str, Any], factor: int) -> list[int]:
    """[h, w] of the latent."""
    size = unet.get("sample_size")
    if size is None and isinstance(vae.get("sample_size"), int):
        size = vae["sample_size"] // factor
    if size is None:
        raise missing(NAME, ["unet.sample_size"])
    sides = [size] * 2 if isinstance(size, int) else list(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"architecture: sample_size must be a side or [h, w], got {sides}")
    return sides

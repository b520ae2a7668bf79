"""The DDPM U-Net of SDEdit, pytorch_diffusion and ermongroup/ddim.

`given` is {"family": "sdedit_ddpm", "config": ...} with the content of the original's yml. The
tensors determine all fields except image size, betas and dropout.
"""

import re
from collections.abc import Mapping
from typing import Any

from sdedit_jax.files.wording import brief
from sdedit_jax.weights.families.family import Card, Family, Shapes, part, rate, steps
from sdedit_jax.weights.families.merge import merge, reached
from sdedit_jax.weights.source import Source

NAME = "sdedit_ddpm"

FIELDS = (
    *("image_size", "in_channels", "out_ch", "ch", "ch_mult", "num_res_blocks"),
    *("attn_resolutions", "resamp_with_conv"),
)
BETAS = ("beta_schedule", "beta_start", "beta_end", "num_diffusion_timesteps")


def recognise(source: Source) -> bool:
    """Whether the names are `temb.dense...` and `down.L.block.B...`."""
    return "temb.dense.0.weight" in source.tensors and "conv_in.weight" in source.tensors


def describe(source: Source, given: Mapping[str, Any]) -> Card:
    """The card of an SDEdit checkpoint; see `Family.describe`."""
    config = part(given.get("config"), "config")
    values = {name: part(config.get(name), name) for name in ("data", "model", "diffusion")}
    flat = values["data"] | values["model"] | values["diffusion"]
    found = infer(source, flat.get("image_size"))
    v = merge(NAME, found, reached(flat, found), [*FIELDS, *BETAS])
    if v["beta_schedule"] != "linear":
        raise ValueError(
            f"architecture: beta_schedule must be linear, got {brief(v['beta_schedule'])}"
        )
    n = steps(v["num_diffusion_timesteps"], "num_diffusion_timesteps")
    ends = {name: rate(v[name], name) for name in ("beta_start", "beta_end")}
    side = v["image_size"]
    return {
        "network": "ddpm_unet",
        "config": {f: v[f] for f in FIELDS} | {"dropout": v.get("dropout", 0.0)},
        "process": {"name": "linear", "n": n, **ends},
        "prediction": {"name": "ddpm", "steps": n},
        "size": [side, side, v["in_channels"]],
        "range": [-1, 1],
    }


def infer(source: Source, image_size: int | None) -> dict[str, Any]:
    """The fields of the yml that the tensors determine."""
    shapes = {name: a.shape for name, a in source.tensors.items()}
    ch = shapes["conv_in.weight"][0]
    levels = _count(shapes, r"down\.(\d+)\.block\.0\.conv1\.weight")
    found = {
        "ch": ch,
        "in_channels": shapes["conv_in.weight"][1],
        "out_ch": shapes["conv_out.weight"][0] if "conv_out.weight" in shapes else None,
        "ch_mult": [shapes[f"down.{i}.block.0.conv1.weight"][0] // ch for i in range(levels)],
        "num_res_blocks": _count(shapes, r"down\.0\.block\.(\d+)\.conv1\.weight"),
    }
    if levels > 1:
        found["resamp_with_conv"] = "down.0.downsample.conv.weight" in shapes
    if image_size:
        attends = (i for i in range(levels) if f"down.{i}.attn.0.q.weight" in shapes)
        found["attn_resolutions"] = [image_size // 2**i for i in attends]
    return found


def names(source: Source, card: Card, shapes: Shapes) -> Mapping[str, str]:
    """The default names are those of the file."""
    return {}


def unused(source: Source, card: Card) -> Mapping[str, str]:
    """Every tensor is a weight."""
    return {}


FAMILY = Family(NAME, recognise, describe, names, unused)


def _count(names: Mapping[str, Any], pattern: str) -> int:
    """The number of different values of the pattern's group."""
    return len({m[1] for m in (re.fullmatch(pattern, name) for name in names) if m})

"""Checkpoints of OpenAI's guided-diffusion (and of improved-diffusion): plain state dicts.

`given` is {"unet_kwargs": {...}, "diffusion_kwargs": {...}}, the arguments of the original's
`UNetModel` and `create_gaussian_diffusion`, or the flags of its scripts, as its README lists them
for each model: {"image_size": 256, "num_channels": 256, "attention_resolutions": "32,16,8", ..}.
Fields that the tensors do not determine must be given: image_size, heads, the order of attention,
noise_schedule and the number of steps. The commands of the README contain all of them except the
order of attention, which is the old one in the scripts without a flag.
"""

import re
from collections.abc import Mapping
from typing import Any

from sdedit_jax.files.wording import brief
from sdedit_jax.nets import foreign
from sdedit_jax.weights.families.family import Card, Family, missing, number, part, steps
from sdedit_jax.weights.families.respacing import kept_steps
from sdedit_jax.weights.source import Source

NAME = "guided_diffusion"
CLASSES = 1000
"""Number of classes with the flag class_cond."""

SIDES = ("image_size", "in_channels", "model_channels", "out_channels", "num_res_blocks")
UNET = (*SIDES, "attention_resolutions", "dropout", "channel_mult", "conv_resample", "num_classes")
UNET += ("num_heads", "num_head_channels", "num_heads_upsample", "use_scale_shift_norm")
UNET += ("resblock_updown", "use_new_attention_order")
DIFFUSION = ("steps", "learn_sigma", "noise_schedule", "timestep_respacing", "predict_xstart")
DIFFUSION += ("rescale_timesteps",)
IDLE = ("use_checkpoint", "use_fp16", "dims", "use_kl", "rescale_learned_sigmas", "sigma_small")
"""Fields without effect on the network's output."""

TRAINED = ("dropout", "num_heads", "num_head_channels", "num_heads_upsample")
TRAINED += ("use_new_attention_order",)
"""Fields that the tensors do not determine and that have defaults in the original."""

RENAMED = {"num_channels": "model_channels", "diffusion_steps": "steps"}


def recognise(source: Source) -> bool:
    """Whether these are the tensors of a U-Net, an upsampler or a classifier of the original."""
    return (
        source.layout == "torch"
        and {"time_embed.0.weight", "input_blocks.0.0.weight"} <= source.tensors.keys()
        and not any(".transformer_blocks." in name for name in source.tensors)
    )


def describe(source: Source, given: Mapping[str, Any]) -> Card:
    """The card of a network of the original; see Family.

    Raises:
        ValueError: an upsampler or a classifier; a field is missing, unknown, or contradicts the
            tensors.
    """
    refuse_others(source)
    unet, diffusion = settings(given)
    found = inferred(source)
    compare(source, found, unet, diffusion)
    lacking = [f for f in ("image_size",) if f not in unet]
    if not {"num_heads", "num_head_channels"} & unet.keys():
        lacking.append("num_heads or num_head_channels")
    lacking += [f for f in ("use_new_attention_order",) if f not in unet]
    lacking += [f for f in ("noise_schedule", "steps") if f not in diffusion]
    if lacking:
        raise missing(NAME, lacking)
    chosen = {field: unet[field] for field in TRAINED if unet.get(field) is not None}
    config = {"image_size": unet["image_size"], **found, **chosen}
    n, channels = steps(diffusion["steps"], "steps"), found["in_channels"]
    prediction: Card = {"name": "ddpm", "steps": n}
    if found["out_channels"] == 2 * channels:
        prediction["learned_variance"] = True
    if diffusion.get("rescale_timesteps"):
        prediction["label_scale"] = 1000 / n
    return {
        "network": "adm",
        "config": config,
        "process": process(diffusion),
        "prediction": prediction,
        "size": [unet["image_size"], unet["image_size"], channels],
        "range": [-1, 1],
    }


FAMILY = Family(NAME, recognise, describe, lambda *_: {}, lambda *_: {})


# --- fields from the tensors ----------------------------------------------------------------------


def refuse_others(source: Source) -> None:
    """Raise ValueError for networks of the original that are not priors."""
    path, names = source.path, source.tensors.keys()
    if not any(name.startswith("output_blocks.") for name in names):
        raise ValueError(
            f"source: {path} is a classifier of guided-diffusion; only its diffusion models are"
            " priors"
        )
    if tensor(source, "input_blocks.0.0.weight")[1] == 6:
        raise ValueError(
            f"source: {path} is an upsampler of guided-diffusion, which needs a small picture"
            " beside the noisy one; only its other diffusion models are priors"
        )


def tensor(source: Source, name: str) -> tuple[int, ...]:
    """The shape of a tensor that must exist."""
    if name not in source.tensors:
        raise ValueError(f"source: {source.path} lacks the tensor {name}")
    return tuple(source.tensors[name].shape)


def inferred(source: Source) -> dict[str, Any]:
    """The fields of the network's configuration that names and shapes determine.

    Every level has num_res_blocks + 1 input blocks (the last one halves; the
    first is preceded by a convolution), and as many output blocks, the last of which doubles.
    """
    names = source.tensors.keys()
    channels, blocks = tensor(source, "time_embed.0.weight")[1], res_blocks(source)
    levels = numbers("output_blocks", names)[-1] // (blocks + 1) + 1
    firsts = [f"input_blocks.{1 + i * (blocks + 1)}" for i in range(levels)]
    widths = [tensor(source, f"{first}.0.out_layers.3.weight")[0] for first in firsts]
    emb = tensor(source, f"{firsts[0]}.0.emb_layers.1.weight")[0]
    ups = doublings(names)
    return {
        "in_channels": tensor(source, "input_blocks.0.0.weight")[1],
        "model_channels": channels,
        "out_channels": tensor(source, "out.2.weight")[0],
        "num_res_blocks": blocks,
        "attention_resolutions": [
            2**i for i, first in enumerate(firsts) if f"{first}.1.qkv.weight" in names
        ],
        "channel_mult": [w // channels if w % channels == 0 else w / channels for w in widths],
        "conv_resample": levels == 1 or bool(ups),
        "num_classes": (
            tensor(source, "label_emb.weight")[0] if "label_emb.weight" in names else None
        ),
        "use_scale_shift_norm": emb == 2 * widths[0],
        "resblock_updown": any(kind == "in_layers" for kind in ups.values()),
    }


def res_blocks(source: Source) -> int:
    """num_res_blocks: blocks before the first doubling, else before the first halving (which has no
    tensors where resampling has none), else of the one level."""
    names = source.tensors.keys()
    ups = doublings(names)
    if ups:
        return min(ups)
    there = numbers("input_blocks", names)
    gaps = [i for i in range(1, there[-1]) if i not in there]
    return gaps[0] - 1 if gaps else numbers("output_blocks", names)[-1]


def doublings(names: Any) -> dict[int, str]:
    """Output block -> "in_layers" or "conv", where it ends by doubling the resolution."""
    pattern = re.compile(r"output_blocks\.(\d+)\.[1-9]\d*\.(in_layers\.0|conv)\.weight")
    found = (pattern.fullmatch(name) for name in names)
    return {int(m[1]): m[2].split(".")[0] for m in found if m}


def numbers(blocks: str, names: Any) -> list[int]:
    """The numbers of the blocks that have tensors."""
    found = (re.match(rf"{blocks}\.(\d+)\.", name) for name in names)
    return sorted({int(m[1]) for m in found if m})


# --- given fields --------------------------------------------------------------------------------


def settings(given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of UNetModel and of the diffusion in `given`.

    Raises:
        ValueError: an unknown field.
    """
    kinds = ("unet_kwargs", "diffusion_kwargs")
    if any(kind in given for kind in kinds):
        unet, diffusion = (part(given.get(kind), kind) for kind in kinds)
        named = {**unet, **diffusion}
    else:
        named = flags({name: value for name, value in given.items() if name != "family"})
    known = {*UNET, *DIFFUSION, *IDLE}
    unknown = sorted(n for n, v in named.items() if n not in known and not foreign.is_off(v))
    if unknown:
        raise ValueError(f"architecture: unknown fields {unknown} of {NAME}")
    unet = {name: value for name, value in named.items() if name in UNET}
    return unet, {name: value for name, value in named.items() if name in DIFFUSION}


def flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of the original's scripts as arguments of its classes."""
    words = {"True": True, "False": False}
    order = {"use_new_attention_order": False} if given else {}
    named = order | {
        RENAMED.get(name, name): words.get(value, value) if isinstance(value, str) else value
        for name, value in given.items()
    }
    if "class_cond" in named:
        named["num_classes"] = CLASSES if named.pop("class_cond") else None
    places = named.pop("attention_resolutions", None)
    if places is not None and "image_size" in named:  # sizes, which stand for factors
        sizes = [
            steps(number(n, "attention_resolutions"), "attention_resolutions")
            for n in str(places).split(",")
        ]
        named["attention_resolutions"] = [named["image_size"] // size for size in sizes]
    widths = named.pop("channel_mult", "")
    if widths:
        parts = widths.split(",") if isinstance(widths, str) else widths
        named["channel_mult"] = [number(m, "channel_mult") for m in parts]
    return named


def compare(
    source: Source, found: Mapping[str, Any], unet: Mapping[str, Any], diffusion: Mapping[str, Any]
) -> None:
    """Raise ValueError where the configuration contradicts the tensors."""
    expected = {
        name: value for name, value in unet.items() if name in found and name != "channel_mult"
    }
    if "learn_sigma" in diffusion:
        expected["out_channels"] = (1 + bool(diffusion["learn_sigma"])) * found["in_channels"]
    if "channel_mult" in unet:
        expected["channel_mult"] = [float(m) for m in unet["channel_mult"]]
    if found["resblock_updown"]:
        expected.pop("conv_resample", None)
    if "attention_resolutions" in expected:
        reached = {2**i for i in range(len(found["channel_mult"]))}
        expected["attention_resolutions"] = sorted({*expected["attention_resolutions"]} & reached)
    for name, value in expected.items():
        if value != found[name]:
            raise ValueError(
                f"architecture: {name} is {brief(value)} by the configuration,"
                f" {found[name]} by the tensors of {source.path}"
            )


def process(diffusion: Mapping[str, Any]) -> Card:
    """The process of the metadata, with the steps that respacing keeps.

    Raises:
        ValueError: an unknown schedule or respacing, or a network that predicts x0.
    """
    n, name = steps(diffusion["steps"], "steps"), diffusion["noise_schedule"]
    if diffusion.get("predict_xstart"):
        raise ValueError(
            "architecture: predict_xstart must be False: only networks for eps are supported"
        )
    if name not in ("linear", "cosine"):
        raise ValueError(
            f"architecture: noise_schedule must be 'linear' or 'cosine', got {brief(name)}"
        )
    table: Card = {"name": name, "n": n}
    if name == "linear":  # the original stretches DDPM's betas to other numbers of steps
        table |= {"beta_start": 1000 / n * 1e-4, "beta_end": 1000 / n * 0.02}
    kept = kept_steps(n, diffusion.get("timestep_respacing") or "")
    return table if len(kept) == n else {"name": "respaced", "table": table, "kept": kept}

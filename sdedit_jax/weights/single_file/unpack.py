"""A single file of Stable Diffusion as the Source of the folder with the same weights.

The tensors determine widths, blocks, attention, channels and which text encoder it is. Heads,
groups of the norms, scaling of the latents and the schedule are in no tensor: they are those of the
published models (`usual`), unless an architecture file gives others.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from sdedit_jax.weights.single_file import names
from sdedit_jax.weights.source import Source

Tensors = dict[str, np.ndarray]

BUFFERS = (
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "logvar", "scale_factor"),
    *("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod"),
    *("sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "posterior_variance"),
    *("posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2"),
    *("lvlb_weights", "model_ema.decay", "model_ema.num_updates"),
)
"""Numbers of the training program that are computed here, or not needed."""
IDLE = re.compile(
    r"cond_stage_model\.(transformer\.)?(text_projection|logit_scale|transformer\.vision_model\..*)"
    r"|cond_stage_model\.transformer\.(text_model\.)?embeddings\.position_ids"
    r"|cond_stage_model\.model\.(text_projection|logit_scale|attn_mask)"
    r"|first_stage_model\.(loss|model_ema|discriminator)\..*"
)
"""Tensors that no part of the pipeline uses."""
FILE = "single_file"
"""Field of the index: "1" or "2", the generation of a single file."""
SMALL = 64
"""Side of the latents of the published models that predict eps (512 pixels)."""
EPS, V = "epsilon", "v_prediction"


def is_single_file(source: Source) -> bool:
    """Whether the tensors have the names of a whole Stable Diffusion 1 or 2."""
    starts = (names.UNET, names.VAE, "cond_stage_model.")
    return all(any(name.startswith(start) for name in source.tensors) for start in starts)


def unpack(source: Source) -> Source:
    """The Source of the folder, its tensors under the folder's names, views where possible.

    Raises:
        ValueError: averages are missing, or tensors have names that such a file does not have.
    """
    theirs = dict(source.tensors)
    left_out = dict(source.left_out) | _drop(theirs)
    ema, more = _averages(theirs, source)
    unet, vae = _part(theirs, names.UNET), _part(theirs, names.VAE)
    depth, levels = _depth(unet), _count(vae, r"encoder\.down\.(\d+)\..*")
    parts = {
        "unet": {names.unet(name, depth): a for name, a in unet.items()},
        "vae": {names.vae(name, levels): a for name, a in vae.items()},
    }
    generation, parts["text_encoder"], idle = _text(theirs)
    config = {part: _described(part, own, source) for part, own in parts.items()}
    config["index"] = {"_class_name": "StableDiffusionPipeline", FILE: generation}
    if "alphas_cumprod" in source.tensors:
        config["alphas_cumprod"] = np.asarray(source.tensors["alphas_cumprod"], np.float64)
    if theirs:
        raise ValueError(f"source: {source.path} has tensors without use: {sorted(theirs)[:5]}")
    tensors = {f"{part}.{name}": a for part, own in parts.items() for name, a in own.items()}
    left_out |= more | idle
    return source._replace(tensors=tensors, ema=ema, left_out=left_out, config=config)


def usual(source: Source) -> dict[str, Any]:
    """The fields that no tensor determines, of the published models of this generation."""
    second = source.config["index"][FILE] == "2"
    widths = source.config["unet"]["block_out_channels"]
    width = source.config["text_encoder"]["hidden_size"]
    heads = [max(n // 64, 1) for n in widths] if second else 8
    act = "gelu" if second else "quick_gelu"
    return {
        "unet": {"sample_size": SMALL, "norm_num_groups": 32, "attention_head_dim": heads},
        "vae": {"norm_num_groups": 32, "scaling_factor": 0.18215},
        "text_encoder": {"num_attention_heads": max(width // 64, 1), "hidden_act": act},
        "scheduler": {
            "_class_name": "DDIMScheduler",
            "beta_schedule": "scaled_linear",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "num_train_timesteps": 1000,
            "steps_offset": 1,
            "set_alpha_to_one": False,
            "prediction_type": EPS,
        },
    }


def _drop(theirs: Tensors) -> dict[str, str]:
    """Remove buffers and idle tensors; which, and why."""
    buffers = [name for name in theirs if name in BUFFERS]
    idle = [name for name in theirs if IDLE.fullmatch(name)]
    for name in (*buffers, *idle):
        del theirs[name]
    why = dict.fromkeys(buffers, "a table or number of the training program")
    return why | dict.fromkeys(idle, "not used by the model")


def _averages(theirs: Tensors, source: Source) -> tuple[bool | None, dict[str, str]]:
    """Put the averages of the U-Net in the place of its raw weights."""
    means = {n: theirs.pop(n) for n in list(theirs) if n.startswith("model_ema.")}
    if not means:
        return source.ema, {}
    raw = [name for name in theirs if name.startswith(names.UNET)]
    lacking = [name for name in raw if names.averaged(name) not in means]
    if lacking:
        raise ValueError(f"source: {source.path} has no average (model_ema.) of {lacking[:5]}")
    for name in raw:
        theirs[name] = means[names.averaged(name)]
    return True, {f"{names.UNET}*": "raw weights; their averages (model_ema.*) were taken"}


def _part(theirs: Tensors, start: str) -> Tensors:
    """The tensors with a prefix, taken out of `theirs`."""
    return {n.removeprefix(start): theirs.pop(n) for n in list(theirs) if n.startswith(start)}


def _text(theirs: Tensors) -> tuple[str, Tensors, dict[str, str]]:
    """The generation of the text encoder, its tensors, and those that are left out."""
    found = _part(theirs, names.OPEN_CLIP)
    if not found:
        clip = _part(theirs, names.CLIP)
        start = "" if any(name.startswith("text_model.") for name in clip) else "text_model."
        return "1", {start + name: a for name, a in clip.items()}, {}
    last = _count(found, r"transformer\.resblocks\.(\d+)\..*") - 1
    out, idle = {}, {}
    for name, a in found.items():
        three = names.open_clip_fused(name)
        if name.startswith(f"transformer.resblocks.{last}."):
            idle[f"{names.OPEN_CLIP}transformer.resblocks.{last}.*"] = (
                "the last layer; Stable Diffusion 2 reads the states before it"
            )
        elif three:
            out |= dict(zip(three, np.split(a, 3), strict=True))
        else:
            ours = names.open_clip(name)
            if ours is None:
                theirs[names.OPEN_CLIP + name] = a
            else:
                out[ours] = a
    return "2", out, idle


def _depth(unet: Tensors) -> int:
    """Residual blocks of a level on the way down."""
    halving = (re.fullmatch(r"input_blocks\.(\d+)\.0\.op\.weight", name) for name in unet)
    at = [int(found[1]) for found in halving if found]
    return min(at) - 1 if at else _count(unet, r"input_blocks\.(\d+)\..*") - 1


def _unet_config(unet: Tensors) -> dict[str, Any]:
    """The fields of the U-Net's config.json that the tensors (the folder's names) determine."""
    levels = _count(unet, r"down_blocks\.(\d+)\..*")
    reads = [f"down_blocks.{i}.attentions.0.norm.weight" in unet for i in range(levels)]
    ups = [f"up_blocks.{i}.attentions.0.norm.weight" in unet for i in range(levels)]
    ends = (a for name, a in unet.items() if name.endswith("attentions.0.proj_in.weight"))
    text = (a for name, a in unet.items() if name.endswith(".attn2.to_k.weight"))
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": unet["conv_in.weight"].shape[1],
        "out_channels": unet["conv_out.weight"].shape[0],
        "block_out_channels": _widths(unet, "down_blocks", levels),
        "layers_per_block": _count(unet, r"down_blocks\.0\.resnets\.(\d+)\..*"),
        "down_block_types": ["CrossAttnDownBlock2D" if r else "DownBlock2D" for r in reads],
        "up_block_types": ["CrossAttnUpBlock2D" if r else "UpBlock2D" for r in ups],
        "cross_attention_dim": next(text).shape[1],
        "use_linear_projection": next(ends).ndim == 2,
    }


def _vae_config(vae: Tensors) -> dict[str, Any]:
    levels = _count(vae, r"encoder\.down_blocks\.(\d+)\..*")
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": vae["encoder.conv_in.weight"].shape[1],
        "out_channels": vae["decoder.conv_out.weight"].shape[0],
        "block_out_channels": _widths(vae, "encoder.down_blocks", levels),
        "layers_per_block": _count(vae, r"encoder\.down_blocks\.0\.resnets\.(\d+)\..*"),
        "latent_channels": vae["decoder.conv_in.weight"].shape[1],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
    }


def _text_config(text: Tensors) -> dict[str, Any]:
    vocabulary, width = text["text_model.embeddings.token_embedding.weight"].shape
    return {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": text["text_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": _count(text, r"text_model\.encoder\.layers\.(\d+)\..*"),
        "max_position_embeddings": text["text_model.embeddings.position_embedding.weight"].shape[0],
    }


DESCRIBE = {"unet": _unet_config, "vae": _vae_config, "text_encoder": _text_config}


def _described(part: str, own: Tensors, source: Source) -> dict[str, Any]:
    try:
        return DESCRIBE[part](own)
    except (KeyError, StopIteration) as error:
        raise ValueError(f"source: {source.path} lacks tensors of its {part}: {error}") from None


def _widths(tensors: Tensors, blocks: str, levels: int) -> list[int]:
    firsts = (f"{blocks}.{i}.resnets.0.conv1.weight" for i in range(levels))
    return [tensors[name].shape[0] for name in firsts]


def _count(tensors: Mapping[str, Any], pattern: str) -> int:
    """The number of different values of the pattern's group."""
    return len({m[1] for m in (re.fullmatch(pattern, name) for name in tensors) if m})

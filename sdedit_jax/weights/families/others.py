"""Files that are no priors, recognised by the names of their tensors: each is called by name."""

import re
from typing import NamedTuple

from sdedit_jax.weights.source import Source

PIPELINE = "a whole Stable Diffusion 1 or 2 (folder, or single file)"


class Other(NamedTuple):
    """A kind of file.

    Attributes:
        pattern: of a tensor name that only this kind has.
        what: its name.
        advice: what to do instead.
    """

    pattern: str
    what: str
    advice: str


KINDS = (
    Other(
        r"lora_(unet|te\d?)_.*|.*[._](lora_(down|up|A|B)|lora\.(down|up)|hada_w1_a|lokr_w1)(\..*)?",
        "a LoRA",
        "it changes a model: merge it into its model first (fuse_lora and save_pretrained of"
        " diffusers, or kohya's merge script), then convert the result",
    ),
    Other(
        r"(control_model|controlnet_.*|input_hint_block)\..*|.*\.?controlnet_cond_embedding\..*",
        "a ControlNet",
        f"it steers a model by a second picture, which is not supported; give {PIPELINE}",
    ),
    Other(
        r"ip_adapter\..*|image_proj\..*",
        "an IP-Adapter",
        f"it steers a model by a second picture, which is not supported; give {PIPELINE}",
    ),
    Other(
        r"conditioner\.embedders\..*|(model\.diffusion_model\.)?label_emb\.0\.0\.weight"
        r"|add_embedding\.linear_1\.weight",
        "Stable Diffusion XL",
        f"it has two text encoders and another U-Net, which are not supported; give {PIPELINE}",
    ),
    Other(
        r"(model\.diffusion_model\.)?(joint_blocks|double_blocks|transformer_blocks\.0\.attn\.add)"
        r"[._].*",
        "a diffusion transformer (Stable Diffusion 3, FLUX)",
        f"its network is not supported; give {PIPELINE}",
    ),
    Other(
        r"((model|denoise_fn)\.)?(downs|ups)\.\d+\.\d+\.(block[12]|mlp)\..*",
        "a U-Net of denoising-diffusion-pytorch",
        "its blocks (norm of the channels, linear attention with memory) are in none of our"
        " networks; train a prior on the same pictures with --mode=train",
    ),
)
WHOLE = (
    Other(
        r"emb_params|clip_[lg]|\*|string_to_param\..*|<.*>",
        "a textual inversion",
        f"it is one more word for a model, which is not supported; give {PIPELINE}",
    ),
    Other(
        r"(first_stage_model\.|vae\.)?(encoder|decoder|(post_)?quant_conv|loss|model_ema)\..*",
        "the autoencoder (VAE) of a latent model alone",
        f"give {PIPELINE}; to use this autoencoder, put it into the folder's vae/",
    ),
    Other(
        r"(cond_stage_model\.)?(transformer\.)?text_model\..*",
        "the text encoder of a latent model alone",
        f"give {PIPELINE}",
    ),
    Other(
        r"(model\.diffusion_model|model_ema)\..*",
        "the U-Net of a latent model alone",
        f"give {PIPELINE}, with its autoencoder and text encoder",
    ),
)
"""Kinds all of whose tensors have such names."""


def check(source: Source) -> None:
    """Raise ValueError for a file that is of one of these kinds."""
    found = next((kind for kind in KINDS if _has(kind, source)), None)
    if found is None:
        found = next((kind for kind in WHOLE if _is(kind, source)), None)
    if found is not None:
        raise ValueError(f"source: {source.path} is {found.what}; {found.advice}")


def _has(kind: Other, source: Source) -> bool:
    return any(re.fullmatch(kind.pattern, name) for name in source.tensors)


def _is(kind: Other, source: Source) -> bool:
    return all(re.fullmatch(kind.pattern, name) for name in source.tensors)

"""prior.json into priors: networks, adapters, parts, tokenizers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sdedit_jax.diffusion.noise import seed_key
from sdedit_jax.nets.adm import ADM, ADMConfig
from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig
from sdedit_jax.nets.ddpm import DDPM, DDPMConfig
from sdedit_jax.nets.edm_dhariwal import DhariwalConfig, DhariwalUNet
from sdedit_jax.nets.edm_song import SongConfig, SongUNet
from sdedit_jax.nets.functional import COMPUTE, Network, network
from sdedit_jax.nets.ncsnpp import NCSNpp, NCSNppConfig
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.nets.sd_vae import SDVae, SDVaeConfig
from sdedit_jax.nets.unet2d import UNet2D, UNet2DConfig
from sdedit_jax.priors import adapters, latent
from sdedit_jax.priors.adapters import PredictFn
from sdedit_jax.priors.prior import Prior, Text
from sdedit_jax.registry.names import call, pick, process
from sdedit_jax.text import tokenizer

NETS = {
    "ncsnpp": (NCSNpp, NCSNppConfig.from_mapping),
    "score_sde_ddpm": (NCSNpp, NCSNppConfig.ddpm),
    "ddpm_unet": (DDPM, DDPMConfig.from_mapping),
    "unet2d": (UNet2D, UNet2DConfig.from_mapping),
    "adm": (ADM, ADMConfig.from_mapping),
    "edm_song": (SongUNet, SongConfig.from_mapping),
    "edm_dhariwal": (DhariwalUNet, DhariwalConfig.from_mapping),
}


PARTS = {
    "stable_diffusion": {
        "unet": (SDUNet, SDUNetConfig.from_mapping),
        "vae": (SDVae, SDVaeConfig.from_mapping),
        "text_encoder": (ClipText, ClipTextConfig.from_mapping),
    },
}
"""Networks of several parts, each with its own config and params: priors in latents."""

EXACT = ("mixture",)
"""Networks of prior.json that are closed forms; the pictures in the folder are the data."""

PRIORS: dict[str, Callable[..., PredictFn]] = {
    "score_sde_ve": adapters.ScoreSDEVE,
    "score_sde_ve_discrete": adapters.ScoreSDEVEDiscrete,
    "score_sde_vp": adapters.ScoreSDEVP,
    "ddpm": adapters.DDPM,
    "v": adapters.Velocity,
    "edm": adapters.EDM,
    "edm_vp": adapters.EDMVP,
    "edm_ve": adapters.EDMVE,
    "edm_iddpm": adapters.EDMIDDPM,
}

LATENT_PRIORS: dict[str, Callable[..., PredictFn]] = {
    "stable_diffusion": latent.StableDiffusion,
}


def prior_of(metadata: Mapping[str, Any], compute: str = "float32", name: str = "prior") -> Prior:
    """The prior that prior.json describes; its params are the shapes that they must have."""
    for field in ("network", "config", "process", "prediction", "size"):
        if field not in metadata:
            raise ValueError(f"{name}: prior.json lacks {field!r}")
    pick(COMPUTE, compute, "compute")
    if metadata["network"] in PARTS:
        return latent_prior_of(metadata, compute, name)
    kind = pick(NETS, metadata["network"], f"{name}: network")
    net = network(kind, metadata["config"], compute, name=name)
    made = process(metadata["process"], f"{name}: process")
    predict = call(PRIORS, metadata["prediction"], f"{name}: prediction", net, made)
    return Prior(
        made,
        predict,
        net.shapes,
        size_of(metadata, name),
        metadata=dict(metadata),
        stride=net.config.stride,
    )


def latent_prior_of(metadata: Mapping[str, Any], compute: str, name: str) -> Prior:
    """The prior of a network with PARTS; it reads texts once it has its tokenizer."""
    parts = {part: part_of(metadata, part, compute, name) for part in PARTS[metadata["network"]]}
    unet, vae = parts["unet"], parts["vae"]
    latent.check_parts(unet.config, vae.config, parts["text_encoder"].config, name)
    made, size = process(metadata["process"], f"{name}: process"), size_of(metadata, name)
    if any(side % vae.config.factor for side in size[:2]):
        raise ValueError(
            f"{name}: size in prior.json must have multiples of {vae.config.factor}, got {size}"
        )
    predict = call(LATENT_PRIORS, metadata["prediction"], f"{name}: prediction", unet, made)
    codec = latent.VaeCodec(vae)
    inpaints = unet.config.in_channels > unet.config.out_channels
    prepare = latent.PrepareInpaint(codec) if inpaints else None
    shapes = {part: net.shapes for part, net in parts.items()}
    stride = vae.config.factor  # the U-Net takes latents of any size
    return Prior(
        made, predict, shapes, size, codec, dict(metadata), prepare_cond=prepare, stride=stride
    )


def with_attention(metadata: Mapping[str, Any], attention: int, name: str) -> Mapping[str, Any]:
    """The metadata with attention maps of another size."""
    if metadata.get("network") not in PARTS:
        raise ValueError(f"attention: {name} does not read texts, got {attention}")
    kinds = metadata["config"]["unet"]["down_block_types"]
    sizes = [2**level for level, kind in enumerate(kinds) if "CrossAttn" in kind]
    if attention not in sizes:
        raise ValueError(f"attention must be one of {sizes} with {name}, got {attention}")
    return {**metadata, "prediction": {**metadata["prediction"], "attention": attention}}


def part_of(metadata: Mapping[str, Any], part: str, compute: str, name: str) -> Network:
    """One network of a prior with PARTS."""
    if part not in metadata["config"]:
        raise ValueError(f"{name}: config in prior.json lacks {part!r}")
    kind = PARTS[metadata["network"]][part]
    return network(kind, metadata["config"][part], compute, name=f"{name}: {part}")


def text_of(metadata: Mapping[str, Any], folder: str | Path, compute: str = "float32") -> Text:
    """How a prior reads texts, with the tokenizer in a folder.

    Raises:
        ValueError: no tokenizer, a damaged one, or one of another text encoder.
    """
    net = part_of(metadata, "text_encoder", compute, str(folder))
    found = tokenizer.read(folder)
    places = net.config.max_position_embeddings
    latent.check_tokens(found, net.config.vocab_size, places, str(folder))
    return Text(found.encode, latent.TextEncoder(net))


def size_of(metadata: Mapping[str, Any], name: str) -> tuple[int, int, int]:
    """(H, W, C) of the pictures of a prior.

    Raises:
        ValueError: it is not the size of pictures, or they are neither grey nor RGB.
    """
    size = metadata["size"]
    whole = isinstance(size, list | tuple) and all(type(n) is int and n > 0 for n in size)
    if not whole or len(size) != 3:
        raise ValueError(
            f"{name}: size in prior.json must be [height, width, channels], got {size!r}"
        )
    check_channels(size[2], f"{name}: channels of the pictures")
    return tuple(size)


def check_channels(channels: int, field: str) -> None:
    """Check that pictures with this number of channels can be edited.

    Raises:
        ValueError: it is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"{field} must be 1 (grey) or 3 (RGB), got {channels}")


def initial_params(metadata: Mapping[str, Any], seed: int) -> Any:
    """Freshly initialised parameters of the network of a prior."""
    kind = pick(NETS, metadata["network"], "network")
    return network(kind, metadata["config"]).init(seed_key(seed))

"""prior.json into priors: networks, conventions, parts, tokenizers."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sdedit_jax import images, latent, sde
from sdedit_jax import prior as priors
from sdedit_jax.build.names import call, check_kind, pick, process
from sdedit_jax.nets.adm import ADM, ADMConfig
from sdedit_jax.nets.clip_text import ClipText, ClipTextConfig
from sdedit_jax.nets.ddpm import DDPM, DDPMConfig
from sdedit_jax.nets.edm_dhariwal import DhariwalConfig, DhariwalUNet
from sdedit_jax.nets.edm_song import SongConfig, SongUNet
from sdedit_jax.nets.functional import COMPUTE, Functional, functional
from sdedit_jax.nets.ncsnpp import NCSNpp, NCSNppConfig
from sdedit_jax.nets.sd_unet import SDUNet, SDUNetConfig
from sdedit_jax.nets.sd_vae import SDVae, SDVaeConfig
from sdedit_jax.nets.unet2d import UNet2D, UNet2DConfig
from sdedit_jax.prior import Prior
from sdedit_jax.strength import t_from_log_snr
from sdedit_jax.text import tokenizer
from sdedit_jax.weights import store

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


PRIORS: dict[str, Callable[..., priors.PredictFn]] = {
    "score_sde_ve": priors.score_sde_ve,
    "score_sde_ve_discrete": priors.score_sde_ve_discrete,
    "score_sde_vp": priors.score_sde_vp,
    "ddpm": priors.ddpm,
    "v": priors.velocity,
    "edm": priors.edm,
    "edm_vp": priors.edm_vp,
    "edm_ve": priors.edm_ve,
    "edm_iddpm": priors.edm_iddpm,
}


LATENT_PRIORS: dict[str, Callable[..., priors.PredictFn]] = {
    "stable_diffusion": latent.stable_diffusion,
}


def load_prior(folder: str | Path, compute: str = "float32", attention: int | None = None) -> Prior:
    """The prior in a folder with prior.json and params/, checked against each other.

    Args:
        attention: see latent.stable_diffusion; None: the card's.

    Raises:
        ValueError: missing, damaged or contradicting files; an unknown network, process or compute.
    """
    card = store.read_card(folder)
    if attention is not None:
        card = _looking(card, attention, str(folder))
    if card.get("network") in EXACT:
        return exact_prior(card, Path(folder))
    made = prior_of(card, compute, str(folder))
    if card["network"] in PARTS:
        made = made._replace(text=text_of(card, folder, compute))
    if "sha256" not in card:
        raise ValueError(f"{folder}: prior.json lacks 'sha256'")
    shapes = made.params
    arrays, tree = jax.tree.flatten(store.load(Path(folder), shapes, sha256=card["sha256"]))
    for i, array in enumerate(arrays):  # one by one: not all of them twice
        arrays[i] = jax.block_until_ready(jnp.asarray(array, jnp.float32))
    return made._replace(params=jax.tree.unflatten(tree, arrays))


def exact_prior(card: Mapping[str, Any], folder: Path) -> Prior:
    """The exact prior of data that are the folder's pictures, each with noise of std card["std"].

    Its params are the pictures; the sha256 in its card is theirs.
    """
    for field in ("process", "size", "std"):
        if field not in card:
            raise ValueError(f"{folder}: prior.json lacks {field!r}")
    check_kind(card["std"], float, f"{folder}: std")
    side = size_of(card, str(folder))[0]
    files = images.find_inputs(folder)
    pictures = [images.fit(images.flatten(images.read(f)), side)[0] for f in files]
    means = np.stack([images.to_unit(p) for p in pictures])
    made = priors.mixture(process(card["process"], f"{folder}: process"), means, card["std"])
    return made._replace(card={**card, "sha256": store.digest(made.params)})


def prior_of(card: Mapping[str, Any], compute: str = "float32", name: str = "prior") -> Prior:
    """The prior that a card describes; its params are the shapes they must have."""
    for field in ("network", "config", "process", "prediction", "size"):
        if field not in card:
            raise ValueError(f"{name}: prior.json lacks {field!r}")
    pick(COMPUTE, compute, "compute")
    if card["network"] in PARTS:
        return latent_prior_of(card, compute, name)
    kind = pick(NETS, card["network"], f"{name}: network")
    net, _ = _network(*kind, card["config"], compute, name)
    made = process(card["process"], f"{name}: process")
    predict = call(PRIORS, card["prediction"], f"{name}: prediction", net.apply, made)
    return Prior(made, predict, net.shapes, size_of(card, name), card=dict(card))


def latent_prior_of(card: Mapping[str, Any], compute: str, name: str) -> Prior:
    """The prior of a card whose network has PARTS; it reads texts once it has its tokenizer."""
    parts = {part: part_of(card, part, compute, name) for part in PARTS[card["network"]]}
    (unet, c), (vae, v) = parts["unet"], parts["vae"]
    latent.check_parts(c, v, parts["text_encoder"][1], name)
    made, size = process(card["process"], f"{name}: process"), size_of(card, name)
    if size[0] % v.factor:
        raise ValueError(f"{name}: size in prior.json must be a multiple of {v.factor}, got {size}")
    predict = call(LATENT_PRIORS, card["prediction"], f"{name}: prediction", unet, made, c)
    codec = latent.codec(vae, v)
    see = latent.shown(codec) if c.in_channels > c.out_channels else None
    shapes = {part: net.shapes for part, (net, _) in parts.items()}
    return Prior(made, predict, shapes, size, codec, dict(card), see=see)


def _looking(card: Mapping[str, Any], attention: int, name: str) -> Mapping[str, Any]:
    """The card with the attention maps of another size."""
    if card.get("network") not in PARTS:
        raise ValueError(f"attention: {name} reads no texts, got {attention}")
    kinds = card["config"]["unet"]["down_block_types"]
    sizes = [2**level for level, kind in enumerate(kinds) if "CrossAttn" in kind]
    if attention not in sizes:
        raise ValueError(f"attention must be one of {sizes} with {name}, got {attention}")
    return {**card, "prediction": {**card["prediction"], "attention": attention}}


def part_of(card: Mapping[str, Any], part: str, compute: str, name: str) -> tuple[Functional, Any]:
    """One network of a card with PARTS, and its config."""
    if part not in card["config"]:
        raise ValueError(f"{name}: config in prior.json lacks {part!r}")
    kind = PARTS[card["network"]][part]
    return _network(*kind, card["config"][part], compute, f"{name}: {part}")


def _network(
    kind: Any, read_config: Callable[..., Any], values: Any, compute: str, name: str
) -> tuple[Functional, Any]:
    """A network and its config, of plain values.

    Raises:
        ValueError: values that no network can be built of.
    """
    try:
        config = read_config(values)
        return functional(lambda rngs: kind(config, rngs=rngs), compute), config
    except (TypeError, AttributeError, LookupError, ArithmeticError) as error:
        told = f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: no network can be built of this config ({told})") from error


def text_of(card: Mapping[str, Any], folder: str | Path, compute: str = "float32") -> priors.Text:
    """How the prior of a card reads texts, with the tokenizer in the folder.

    Raises:
        ValueError: no tokenizer, a damaged one, or one of another text encoder.
    """
    net, config = part_of(card, "text_encoder", compute, str(folder))
    found = tokenizer.read(Path(folder) / "tokenizer")
    latent.check_tokens(found, config.vocab_size, config.max_position_embeddings, str(folder))
    return latent.text(net, found)


def size_of(card: Mapping[str, Any], name: str) -> tuple[int, int, int]:
    """(H, W, C) of the pictures of a card's prior.

    Raises:
        ValueError: it is not the size of square pictures.
    """
    size = card["size"]
    whole = isinstance(size, list | tuple) and all(type(n) is int and n > 0 for n in size)
    if not whole or len(size) != 3 or size[0] != size[1]:
        raise ValueError(f"{name}: size in prior.json must be [side, side, channels], got {size!r}")
    return tuple(size)


def initial_params(card: Mapping[str, Any], seed: int) -> Any:
    """Freshly initialised parameters of the network of a card."""
    kind, read_config = pick(NETS, card["network"], "network")
    config = read_config(card["config"])
    net = functional(lambda rngs: kind(config, rngs=rngs))
    return net.init(jax.random.key(seed))


def as_process(prior: Prior, target: sde.SDE) -> Prior:
    """The same prior seen through another process, by equal noise-to-signal ratio.

    Noise outside the range of the prior's own process is answered at the end of that range.
    """
    if target == prior.process:
        return prior
    return prior._replace(process=target, predict=_through(prior.predict, prior.process, target))


@functools.lru_cache(maxsize=16)
def _through(predict: priors.PredictFn, own: sde.SDE, target: sde.SDE) -> priors.PredictFn:
    """The same function for the same arguments, so that equal plans are equal programs."""

    def seen(params: Any, x: Any, t: Any, cond: Any = None, key: Any = None) -> Any:
        at = t_from_log_snr(own, sde.log_snr(target, t))
        scale = sde.level(own, at)[0] / sde.level(target, t)[0]
        return predict(params, x * scale, at, cond, key)

    return seen

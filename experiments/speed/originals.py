"""The networks of the original programs, in PyTorch, with random weights and random inputs.

NCSN++, SDEdit's U-Net and guided-diffusion's come from checkouts of the originals, the others from
diffusers.
"""

import importlib
import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

SCORE_SDE, SDEDIT = "score_sde_pytorch", "SDEdit"
GUIDED = "guided-diffusion"


class Original(NamedTuple):
    """A network of another program.

    Attributes:
        net: the module.
        inputs: batch -> the tensors of one call.
        call: (net, inputs) -> the output.
        given: what our conversion needs to know beside the tensors: the card's fields or a config.
    """

    net: torch.nn.Module
    inputs: Callable[[int], tuple[torch.Tensor, ...]]
    call: Callable[..., torch.Tensor]
    given: Mapping[str, Any]


def make(name: str, checkouts: Path) -> Original:
    """One of ORIGINALS, with random weights.

    Args:
        checkouts: a folder with checkouts of the originals, under the names of their repositories.
    """
    torch.manual_seed(0)
    made = ORIGINALS[name](checkouts)
    draw(made.net)
    made.net.eval()
    return made


def draw(net: torch.nn.Module) -> None:
    """Random weights that keep activations of order 1 in every layer, none of them zero."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            value.normal_()
            if name.endswith("bias"):
                value.mul_(0.1)
            elif name == "all_modules.0.W":  # the Fourier frequencies
                value.mul_(16)
            elif value.ndim == 1:
                value.mul_(0.1).add_(1)
            else:
                value.div_(value[0].numel() ** 0.5)


def church_ncsnpp(checkouts: Path) -> Original:
    """score_sde's ve/church_ncsnpp_continuous; its CUDA operators are not built."""
    use(checkouts, SCORE_SDE, "models/ncsnpp.py")
    build, extension = torch_loader()
    extension.load = lambda *args, **kwargs: None
    try:  # its CUDA operators are built at import; on CPU it does not call them
        kind = importlib.import_module("models.ncsnpp").NCSNpp
        config = importlib.import_module("configs.ve.church_ncsnpp_continuous").get_config()
    finally:
        extension.load = build

    def inputs(batch: int) -> tuple[torch.Tensor, ...]:
        sigma = torch.logspace(-1, 1, batch)
        z = torch.randn(batch, 3, 256, 256)
        return torch.rand(batch, 3, 256, 256) + sigma[:, None, None, None] * z, sigma

    card = {"card": "score_sde_pytorch/ve/church_ncsnpp_continuous"}
    return Original(kind(config), inputs, plain_call, card)


def sdedit_ddpm(checkouts: Path) -> Original:
    """The DDPM U-Net of SDEdit's church_outdoor at 256 x 256."""
    use(checkouts, SDEDIT, "models/diffusion.py")
    import yaml

    file = checkouts / SDEDIT / "configs" / "church.yml"
    kind = importlib.import_module("models.diffusion").Model
    net = kind(namespace(yaml.safe_load(file.read_text())))
    return Original(net, steps_of(256), plain_call, {"card": "sdedit/church_outdoor"})


def adm(checkouts: Path) -> Original:
    """guided-diffusion's class-conditional ADM at 256 x 256."""
    use(checkouts, GUIDED, "guided_diffusion/unet.py")
    script = importlib.import_module("guided_diffusion.script_util")
    own = {"image_size": 256, "num_channels": 256, "num_res_blocks": 2, "learn_sigma": True}
    own |= {"class_cond": True, "attention_resolutions": "32,16,8", "num_head_channels": 64}
    own |= {"use_scale_shift_norm": True, "resblock_updown": True}
    net = script.create_model(**own)

    def inputs(batch: int) -> tuple[torch.Tensor, ...]:
        return *steps_of(256)(batch), torch.arange(batch) * 7

    return Original(net, inputs, plain_call, {"card": "guided_diffusion/256x256_diffusion"})


def unet2d(checkouts: Path) -> Original:
    """diffusers' UNet2DModel at google/ddpm-church-256."""
    from diffusers import UNet2DModel

    config = {"sample_size": 256, "layers_per_block": 2, "center_input_sample": False}
    config |= {"block_out_channels": (128, 128, 256, 256, 512, 512), "freq_shift": 1}
    config |= {"down_block_types": (*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D")}
    config |= {"up_block_types": ("UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4)}
    config |= {"downsample_padding": 0, "flip_sin_to_cos": False, "norm_eps": 1e-6}
    config |= {"attention_head_dim": None, "act_fn": "silu"}
    net = UNet2DModel(**config)
    scheduler = {"_class_name": "DDPMScheduler", "beta_schedule": "linear", "beta_start": 1e-4}
    scheduler |= {"beta_end": 0.02, "num_train_timesteps": 1000, "clip_sample": True}
    given = {"unet": plain_config(net), "scheduler": scheduler}
    return Original(net, steps_of(256), sample_call, given)


def sd_unet(checkouts: Path) -> Original:
    """The U-Net of Stable Diffusion 1.5: latents of 64 x 64, 77 tokens."""
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)

    def inputs(batch: int) -> tuple[torch.Tensor, ...]:
        x = torch.randn(batch, 4, 64, 64)
        return x, torch.full((batch,), 481.0), torch.randn(batch, 77, 768)

    return Original(net, inputs, sample_call, {"config": plain_config(net)})


def sd_vae(encodes: bool) -> Callable[[Path], Original]:
    """The encoder or the decoder of Stable Diffusion 1.5's autoencoder at 512 x 512."""

    def make(checkouts: Path) -> Original:
        from diffusers import AutoencoderKL

        types = {"down_block_types": ("DownEncoderBlock2D",) * 4}
        types |= {"up_block_types": ("UpDecoderBlock2D",) * 4, "sample_size": 512}
        net = AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **types)
        shape = (3, 512, 512) if encodes else (4, 64, 64)
        given = {"config": plain_config(net), "method": "encode" if encodes else "decode"}

        def call(net: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
            return net.encode(x).latent_dist.mean if encodes else net.decode(x).sample

        return Original(net, lambda batch: (torch.randn(batch, *shape),), call, given)

    return make


ORIGINALS: dict[str, Callable[[Path], Original]] = {
    "NCSN++ church 256": church_ncsnpp,
    "SDEdit DDPM 256": sdedit_ddpm,
    "ADM 256 with classes": adm,
    "UNet2DModel 256": unet2d,
    "SD 1.5 U-Net": sd_unet,
    "SD 1.5 VAE encoder": sd_vae(True),
    "SD 1.5 VAE decoder": sd_vae(False),
}


def plain_call(net: Callable, *inputs: torch.Tensor) -> torch.Tensor:
    """The output of a network that returns a tensor."""
    return net(*inputs)


def sample_call(net: Callable, *inputs: torch.Tensor) -> torch.Tensor:
    """The output of a network of diffusers."""
    return net(*inputs).sample


def steps_of(side: int) -> Callable[[int], tuple[torch.Tensor, ...]]:
    """Inputs of a DDPM: noise [B, 3, side, side] and steps [B]."""

    def inputs(batch: int) -> tuple[torch.Tensor, ...]:
        return torch.randn(batch, 3, side, side), torch.linspace(100.0, 900.0, batch)

    return inputs


def plain_config(net: Any) -> dict[str, Any]:
    """A config of diffusers as its config.json has it."""
    return {**json.loads(json.dumps(dict(net.config))), "_class_name": type(net).__name__}


def namespace(values: Any) -> Any:
    """Nested dicts as objects with attributes."""
    if not isinstance(values, dict):
        return values
    return types.SimpleNamespace(**{name: namespace(value) for name, value in values.items()})


def torch_loader() -> tuple[Callable, Any]:
    """torch's builder of C++ extensions and its module, which torch loads lazily."""
    extension = importlib.import_module("torch.utils.cpp_extension")
    return extension.load, extension


def use(checkouts: Path, name: str, file: str) -> None:
    """Put a checkout first on the path of imports."""
    folder = checkouts / name
    if not (folder / file).is_file():
        raise SystemExit(f"--checkouts: {folder} is no checkout of {name}")
    # a package `configs` on the path would hide the checkout's folder of this name
    others = [p for p in sys.path if not (Path(p) / "configs" / "__init__.py").exists()]
    sys.path[:] = [str(folder), *others]

"""The architecture of a score_sde network, inferred from its tensors.

The network is a list of modules (see nets/ncsnpp.layout). Residual blocks give the widths. The
first block with more input channels than the previous block has outputs is the first block of the
upsampling path, where skips are joined.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from sdedit_jax.weights.source import Source

Fields = dict[str, Any]


class Module(NamedTuple):
    """A module of the network: kind and widths of its first kernel."""

    index: int
    kind: str
    n_in: int = 0
    n_out: int = 0


def infer(source: Source, given: Mapping[str, Any]) -> Fields:
    """The fields of the configuration that the tensors determine; others are None or absent.

    Args:
        given: the configuration, of which `name` and `image_size` are read.
    """
    modules = list(_torch_modules(source) if source.layout == "torch" else _flax_modules(source))
    kinds = [m.kind for m in modules]
    convs = [m for m in modules if m.kind == "conv"]
    if not convs:
        return {}
    plain = given.get("name") == "ddpm"
    block_type = "ddpm" if plain else _block_type(source)
    fields = {"num_channels": convs[0].n_in, "nf": convs[0].n_out, "conditional": "dense" in kinds}
    fields |= noise_levels(source)
    fields |= _widths(modules, convs[0].n_out, block_type == "biggan", given.get("image_size"))
    into = _progressive_input(modules, convs[0].n_in)
    out = _progressive(convs)
    if block_type == "ddpm" and "ch_mult" in fields:
        pyramids = [into, out].count("residual") * (len(fields["ch_mult"]) - 1)
        fields["resamp_with_conv"] = kinds.count("resize") > pyramids
    if plain:
        return fields
    return fields | {
        "resblock_type": block_type,
        "embedding_type": "fourier" if "fourier" in kinds else "positional",
        "progressive_input": into,
        "progressive": out,
        "fir": any("Conv2d_0" in name for name in source.tensors) or None,
    }


def noise_levels(source: Source) -> Fields:
    """sigma_min, sigma_max and num_scales of the PyTorch program's falling buffer `sigmas`."""
    if "sigmas" not in source.tensors:
        return {}
    sigmas = np.asarray(source.tensors["sigmas"], np.float64)
    ends = {"sigma_max": sigmas[0], "sigma_min": sigmas[-1]}
    return {"num_scales": int(sigmas.size), **{k: float(f"{x:.6g}") for k, x in ends.items()}}


def _block_type(source: Source) -> str:
    """biggan blocks have a convolution as shortcut, ddpm blocks a matrix."""
    mark = r"ResnetBlockBigGANpp_" if source.layout == "flax" else r"all_modules\.\d+\.Conv_2\."
    return "biggan" if any(re.match(mark, name) for name in source.tensors) else "ddpm"


def _progressive_input(modules: list[Module], channels: int) -> str:
    """A residual pyramid begins at the picture's channels."""
    if any(m.kind == "combine" for m in modules):
        return "input_skip"
    begins = any(m.kind == "resize" and m.n_in == channels for m in modules)
    return "residual" if begins else "none"


def _progressive(convs: list[Module]) -> str:
    """Pictures at every level, features at the lowest one, or the picture at the end alone."""
    heads = convs[1:]
    if len(heads) < 2:
        return "none"
    return "output_skip" if heads[0].n_out == convs[0].n_in else "residual"


def _widths(modules: list[Module], nf: int, biggan: bool, side: int | None) -> Fields:
    """ch_mult, num_res_blocks and, if the image size is known, attn_resolutions."""
    blocks = [i for i, m in enumerate(modules) if m.kind == "block"]
    split = _first_up(modules, blocks, nf)
    if split is None:
        return {}
    levels = len(blocks) - 2 * split + 2
    falling = split - 2 - (levels - 1) * biggan
    if levels < 1 or falling < levels or falling % levels:
        return {}
    each = falling // levels
    starts = [blocks[level * (each + biggan)] for level in range(levels)]
    fields = {"num_res_blocks": each, "ch_mult": [modules[i].n_out // nf for i in starts]}
    if side and _ordered(modules):
        after = [modules[i + 1].kind == "attention" for i in starts]
        fields["attn_resolutions"] = [side // 2**i for i, here in enumerate(after) if here]
    return fields


def _ordered(modules: list[Module]) -> bool:
    """Whether modules are in the order of calls, which gives the level of attention layers."""
    return modules[0].index >= 0


def _first_up(modules: list[Module], blocks: list[int], nf: int) -> int | None:
    """The number of the first block of the upsampling path."""
    width = nf
    for number, i in enumerate(blocks):
        joined = i and modules[i - 1].kind == "combine" and modules[i].n_in == 2 * width
        if modules[i].n_in != width and not joined:
            return number
        width = modules[i].n_out
    return None


def _torch_modules(source: Source) -> Iterator[Module]:
    """The modules of a PyTorch file, in order."""
    parts: dict[int, dict[str, np.ndarray]] = {}
    for name, a in source.tensors.items():
        found = re.fullmatch(r"all_modules\.(\d+)\.(.+)", name)
        if found:
            parts.setdefault(int(found[1]), {})[found[2]] = a
    for index in sorted(parts):
        yield _module(index, parts[index], out=0, into=1, pixels=slice(2, 4))


def _flax_modules(source: Source) -> Iterator[Module]:
    """The modules of a JAX file: in order within each class only (index -1)."""
    parts: dict[tuple[str, int], dict[str, np.ndarray]] = {}
    for name, a in source.tensors.items():
        found = re.fullmatch(r"(\w+)_(\d+)/(.+)", name)
        if found:
            inner = found[3].replace("/", ".").replace("kernel", "weight")
            parts.setdefault((found[1], int(found[2])), {})[inner] = a
    for key in sorted(parts):
        yield _module(-1, parts[key], out=-1, into=-2, pixels=slice(0, 2))


def _module(
    index: int, part: Mapping[str, np.ndarray], out: int, into: int, pixels: slice
) -> Module:
    """Which kind of module has these tensors; `out`, `into` and `pixels` are axes of kernels."""
    if set(part) == {"W"}:
        return Module(index, "fourier")
    if "NIN_3.W" in part:
        return Module(index, "attention")
    kernel = part.get("weight")
    if kernel is not None and kernel.ndim == 4:
        return Module(index, "conv", kernel.shape[into], kernel.shape[out])
    if kernel is not None or "scale" in part:
        return Module(index, "dense" if kernel is not None and kernel.ndim == 2 else "norm")
    first = part.get("Conv_0.weight", part.get("Conv2d_0.weight"))
    if first is None:
        return Module(index, "unknown")
    kind = "combine" if first.shape[pixels] == (1, 1) else "resize"
    kind = "block" if "Conv_1.weight" in part else kind
    return Module(index, kind, first.shape[into], first.shape[out])

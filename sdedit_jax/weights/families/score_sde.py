"""score_sde's NCSN++, DDPM++ and DDPM, of the PyTorch and of the JAX program.

`given` is {"family": "score_sde", "config": {"data": ..., "model": ..., "training": ...}}, the
original's configuration. The tensors determine widths, blocks, attention, embedding and pyramids;
files of the PyTorch program also contain the noise levels. Image size, data range, FIR, the SDE and
the kind of labels are in no tensor.

A configuration may contain `process` and `prediction` as in prior.json, for a network of this
layout that was trained under another convention.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sdedit_jax.weights.families import score_sde_tensors
from sdedit_jax.weights.families.family import Card, Family, Shapes, number, part, steps
from sdedit_jax.weights.families.merge import merge, reached
from sdedit_jax.weights.source import Source

NAME = "score_sde"

DATA = ("image_size", "num_channels", "centered")
SWITCHES = ("nf", "ch_mult", "num_res_blocks", "attn_resolutions", "conditional", "nonlinearity")
NCSNPP = (
    *("fir", "fir_kernel", "skip_rescale", "resblock_type", "embedding_type"),
    *("progressive", "progressive_input", "progressive_combine"),
)
OPTIONAL = ("dropout", "resamp_with_conv", "init_scale", "fourier_scale")
LEVELS = ("sigma_min", "sigma_max", "num_scales")


def recognise(source: Source) -> bool:
    """Whether the names are `all_modules.N...`, or the class names of the JAX program."""
    if source.layout == "torch":
        return any(name.startswith("all_modules.") for name in source.tensors)
    return any(name.startswith(("ResnetBlock", "AttnBlock")) for name in source.tensors)


def describe(source: Source, given: Mapping[str, Any]) -> Card:
    """The card of a score_sde checkpoint; see `Family.describe`."""
    values = _flat(given)
    found = score_sde_tensors.infer(source, values)
    plain = values.get("name") == "ddpm"
    override = {name: given[name] for name in ("process", "prediction") if name in given}
    needed = ["name", *DATA, *SWITCHES, *(() if plain else NCSNPP), "scale_by_sigma"]
    if (found.get("resblock_type") or values.get("resblock_type")) == "ddpm" or plain:
        needed.append("resamp_with_conv")
    if not override:
        needed += ["sde", "continuous"]
    if values.get("fir") is False:
        values.setdefault("fir_kernel", (1, 3, 3, 1))
    v = merge(NAME, found, reached(values, found), needed)
    if not override:
        override = {"process": process(v), "prediction": prediction(v)}
    fields = [*DATA, *SWITCHES, *(() if plain else NCSNPP), *OPTIONAL, *LEVELS, "scale_by_sigma"]
    config = {f: _plain(v[f]) for f in fields if v.get(f) is not None}
    side = v["image_size"]
    return {
        "network": "score_sde_ddpm" if plain else "ncsnpp",
        "config": config,
        **override,
        "size": [side, side, v["num_channels"]],
        "range": [-1, 1] if v["centered"] else [0, 1],
    }


def process(v: Mapping[str, Any]) -> dict[str, Any]:
    """The process in units of pictures in [-1, 1]: VE models in [0, 1] have twice the sigma."""
    kind, unit = v["sde"], 1 if v["centered"] else 2
    if kind == "vesde":
        need(v, ["sigma_min", "sigma_max"])
        ends = {name: unit * number(v[name], name) for name in ("sigma_min", "sigma_max")}
        return {"name": "ve", **ends}
    if kind in ("vpsde", "subvpsde"):
        need(v, ["beta_min", "beta_max"])
        betas = {name: number(v[name], name) for name in ("beta_min", "beta_max")}
        if kind == "vpsde" and not v["continuous"]:
            n = steps(v.get("num_scales") or 1000, "num_scales")
            ends = {"beta_start": betas["beta_min"] / n, "beta_end": betas["beta_max"] / n}
            return {"name": "linear", "n": n, **ends}
        return {"name": "vp" if kind == "vpsde" else "subvp", **betas}
    raise ValueError(f"architecture: training.sde must be vesde, vpsde or subvpsde, got {kind!r}")


def prediction(v: Mapping[str, Any]) -> dict[str, Any]:
    """The convention of labels and outputs."""
    if v["sde"] == "vesde":
        if v["centered"]:
            raise ValueError("architecture: vesde with data.centered = True is not supported")
        if v["continuous"]:
            return {"name": "score_sde_ve"}
        need(v, ["num_scales"])
        return {"name": "score_sde_ve_discrete", "levels": steps(v["num_scales"], "num_scales")}
    if v["sde"] == "vpsde" and not v["continuous"]:
        return {"name": "ddpm", "steps": steps(v.get("num_scales") or 1000, "num_scales")}
    return {"name": "score_sde_vp"}


def need(v: Mapping[str, Any], fields: list[str]) -> None:
    """Check that the fields are known."""
    merge(NAME, {}, v, fields)


def names(source: Source, card: Card, shapes: Shapes) -> Mapping[str, str]:
    """The JAX program's names: class and number in the order of calls. PyTorch's need no change."""
    if source.layout == "torch":
        return {}
    found, modules = {}, shapes["all_modules"]
    for index, name in _numbered(card):
        for path in _paths(modules.get(str(index), {})):
            theirs = path.replace("Conv2d_0/kernel", "Conv2d_0/weight")
            found[f"all_modules/{index}/{path}"] = f"{name}/{theirs}"
    return found


def unused(source: Source, card: Card) -> Mapping[str, str]:
    """The buffer of noise levels, and dense layers of blocks without label."""
    out = {"sigmas": "noise levels, computed here"} if "sigmas" in source.tensors else {}
    if card["config"].get("conditional") is False:
        dense = (n for n in source.tensors if ".Dense_0." in n)
        out |= dict.fromkeys(dense, "layer that an unconditional network does not use")
    return out


FAMILY = Family(NAME, recognise, describe, names, unused)


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """The sections data, model and training merged; they share no field that is read."""
    config = part(given.get("config"), "config")
    sections = [part(config.get(name), name) for name in ("training", "data", "model")]
    return {**sections[0], **sections[1], **sections[2]}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _paths(tree: Mapping[str, Any], head: str = "") -> Iterator[str]:
    for name, child in tree.items():
        if isinstance(child, Mapping):
            yield from _paths(child, f"{head}{name}/")
        else:
            yield head + name


def _numbered(card: Card) -> Iterator[tuple[int, str]]:
    """(index in all_modules, name of the JAX program) of every module that has an index."""
    count, index = Counter(), 0
    for kind, indexed in _calls(card):
        if indexed:
            yield index, f"{kind}_{count[kind]}"
            index += 1
        count[kind] += 1


def _calls(card: Card) -> Iterator[tuple[str, bool]]:
    """(class, whether it has an index in all_modules) in the order in which the modules run."""
    c = card["config"]
    plain = card["network"] == "score_sde_ddpm"
    biggan = not plain and c["resblock_type"] == "biggan"
    block = "ResnetBlockDDPM" if plain else f"ResnetBlock{'BigGAN' if biggan else 'DDPM'}pp"
    attention = "AttnBlock" if plain else "AttnBlockpp"
    into = "none" if plain else c["progressive_input"]
    out = "none" if plain else c["progressive"]
    lowest = len(c["ch_mult"]) - 1
    attends = [c["image_size"] // 2**i in c["attn_resolutions"] for i in range(lowest + 1)]
    if not plain and c["embedding_type"] == "fourier":
        yield "GaussianFourierProjection", True
    if c["conditional"]:
        yield from [("Dense", True)] * 2
    yield "Conv", True
    for level in range(lowest + 1):
        yield from ([(block, True)] + [(attention, True)] * attends[level]) * c["num_res_blocks"]
        if level < lowest:
            yield block if biggan else "Downsample", True
            if into != "none":
                yield "Downsample", into == "residual"
            if into == "input_skip":
                yield "Combine", True
    yield from [(block, True), (attention, True), (block, True)]
    for level in range(lowest, -1, -1):
        yield from [(block, True)] * (c["num_res_blocks"] + 1)
        yield from [(attention, True)] * attends[level]
        if out != "none" and level < lowest:
            yield "Upsample", out == "residual"
        if out == "output_skip" or (out == "residual" and level == lowest):
            yield from [("GroupNorm", True), ("Conv", True)]
        if level:
            yield block if biggan else "Upsample", True
    if out != "output_skip":
        yield from [("GroupNorm", True), ("Conv", True)]

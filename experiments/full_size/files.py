"""Random checkpoint files of full size, in the layouts that the original programs wrote."""

import gzip
import json
import math
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sdedit_jax.weights.catalogue import Card

LAYOUTS = Path(__file__).parent / "layouts.json.gz"
"""{card: {"origin", "parameters", "cards" with these tensors, "tensors": {name: shape}}}, as the
original programs build them."""

Tensors = dict[str, np.ndarray]


def layout(name: str) -> Mapping[str, Any]:
    """The page of LAYOUTS that a card is on."""
    pages = json.loads(gzip.decompress(LAYOUTS.read_bytes())).values()
    return next(page for page in pages if name in page["cards"])


def write(card: Card, folder: Path, seed: int = 0) -> Path:
    """A file (or folder) in the layout of the card's release, filled with random weights.

    The weights keep activations near size 1; buffers have their true values.
    """
    rng = np.random.default_rng(seed)
    shapes = layout(card.name)["tensors"]
    tensors = {name: fill(name, tuple(shape), card, rng) for name, shape in shapes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    return writer_of(card)(card, tensors, folder)


def writer_of(card: Card) -> Callable[[Card, Tensors, Path], Path]:
    """The layout of a card's file: by publisher where one family has two, else by family."""
    own = {"score_sde": jax_checkpoint, "score_sde_pytorch": torch_checkpoint, "ddim": ddim_run}
    by_family = {"diffusers": hub_folder, "edm": edm_pickle}
    publisher = card.name.split("/")[0]
    return own.get(publisher) or by_family.get(card.family, state_dict)


# --- values ---------------------------------------------------------------------------------------


def fill(name: str, shape: tuple[int, ...], card: Card, rng: np.random.Generator) -> np.ndarray:
    """The values of one tensor."""
    last = name.replace("/", ".").rsplit(".", 1)[-1]
    if last == "sigmas":
        model = card.given["config"]["model"]
        ends = math.log(model["sigma_max"]), math.log(model["sigma_min"])
        return np.exp(np.linspace(*ends, model["num_scales"]))
    if last == "resample_filter":
        row = np.array(card.given["init_kwargs"].get("resample_filter", [1, 1]), np.float32)
        return (np.outer(row, row) / row.sum() ** 2)[None, None]
    drawn = rng.standard_normal(shape, np.float32)
    if last == "freqs" or name in ("all_modules.0.W", "time_proj.weight") or "Fourier" in name:
        return 16 * drawn
    if last == "scale" or (last == "weight" and len(shape) == 1):
        return 1 + 0.1 * drawn
    flax = "/" in name
    inputs = math.prod(shape[:-1] if flax or last == "W" else shape[1:])
    return drawn / np.float32(math.sqrt(inputs)) if last not in ("bias", "b") else 0.1 * drawn


# --- layouts --------------------------------------------------------------------------------------


def state_dict(card: Card, tensors: Tensors, folder: Path) -> Path:
    """SDEdit, pytorch_diffusion, guided-diffusion: the tensors by name."""
    return _torch_save(_torch(tensors), folder / "weights.ckpt")


def torch_checkpoint(card: Card, tensors: Tensors, folder: Path) -> Path:
    """score_sde_pytorch: raw weights by name, averages as a list; without the optimizer."""
    fixed = ("sigmas", "all_modules.0.W")  # the second is a matrix or absent unless Fourier
    averages = [a for n, a in tensors.items() if n not in fixed]
    raw = {n: a if n in fixed else 1.1 * a for n, a in tensors.items()}
    content = {
        "model": {f"module.{n}": a for n, a in _torch(raw).items()},
        "ema": {
            "decay": 0.999,
            "num_updates": 1,
            "shadow_params": list(_torch(dict(enumerate(averages))).values()),
        },
        "step": 1,
    }
    return _torch_save(content, folder / "checkpoint_1.pth")


def ddim_run(card: Card, tensors: Tensors, folder: Path) -> Path:
    """ermongroup/ddim: [raw weights, optimizer, epoch, step, averages]."""
    raw = {f"module.{n}": 1.1 * a for n, a in tensors.items()}
    optimizer = {"state": {}, "param_groups": []}
    return _torch_save([_torch(raw), optimizer, 1, 1, _torch(tensors)], folder / "ckpt.pth")


def jax_checkpoint(card: Card, tensors: Tensors, folder: Path) -> Path:
    """score_sde: flax's msgpack of the training state; without the optimizer."""
    from flax import serialization

    params: dict[str, Any] = {}
    for name, value in tensors.items():
        *head, last = name.split("/")
        inner = params
        for part in head:
            inner = inner.setdefault(part, {})
        inner[last] = value
    state = {"step": np.int32(1), "optimizer": {}, "lr": 2e-4, "model_state": {}}
    state |= {"ema_rate": 0.999, "params_ema": params, "rng": np.zeros(2, np.uint32)}
    path = folder / "checkpoint_1"
    path.write_bytes(serialization.msgpack_serialize(state))
    return path


def hub_folder(card: Card, tensors: Tensors, folder: Path) -> Path:
    """diffusers: config.json, scheduler_config.json and safetensors."""
    from safetensors.numpy import save_file

    (folder / "config.json").write_text(json.dumps(card.given["config"]))
    (folder / "scheduler_config.json").write_text(json.dumps(card.given["scheduler"]))
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    return folder


def edm_pickle(card: Card, tensors: Tensors, folder: Path) -> Path:
    """EDM: a pickled module whose class travels with it (here without its source text)."""
    made = _persistent()
    init = card.given["init_kwargs"]
    inner = ("img_resolution", "label_dim")
    outer = ("img_channels", "use_fp16", "model_type")
    model = {name: v for name, v in init.items() if name not in outer or name in inner}
    model |= {"in_channels": init["img_channels"], "out_channels": init["img_channels"]}
    classes = {(): (card.given["class_name"], init), ("model",): (init["model_type"], model)}
    ema = _module(_torch(tensors, parameters=True), (), classes, made)
    path = folder / "network-snapshot-000001.pkl"
    with path.open("wb") as file:
        pickle.dump({"ema": ema, "loss_fn": None, "augment_pipe": None}, file)
    return path


class _Pickled:
    """Pickles as the call by which EDM's files rebuild a module."""

    def __init__(self, rebuild: Callable[..., Any], meta: Mapping[str, Any]) -> None:
        self.call = rebuild, (meta,)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Mapping[str, Any]]]:
        return self.call


def _persistent() -> Callable[..., Any]:
    """A function that pickles under the name of EDM's own."""

    def _reconstruct_persistent_obj(meta: Any) -> Any:
        return meta

    module = types.ModuleType("torch_utils.persistence")
    _reconstruct_persistent_obj.__module__ = module.__name__
    _reconstruct_persistent_obj.__qualname__ = _reconstruct_persistent_obj.__name__
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    sys.modules |= {"torch_utils": types.ModuleType("torch_utils"), module.__name__: module}
    return _reconstruct_persistent_obj


def _module(
    tensors: Mapping[str, Any],
    path: tuple[str, ...],
    classes: Mapping[tuple[str, ...], tuple[str, Mapping[str, Any]]],
    rebuild: Callable[..., Any],
) -> Any:
    """The module at `path` with the tensors whose names, from there on, are given."""
    import torch

    own = {n: a for n, a in tensors.items() if "." not in n}
    heads = dict.fromkeys(n.split(".")[0] for n in tensors if "." in n)
    parts = {
        h: {n[len(h) + 1 :]: a for n, a in tensors.items() if n.startswith(h + ".")} for h in heads
    }
    children = OrderedDict((h, _module(t, (*path, h), classes, rebuild)) for h, t in parts.items())
    if path in (("model", "enc"), ("model", "dec")):
        container = torch.nn.ModuleDict()
        container.__dict__["_modules"] = children
        return container
    buffers = ("resample_filter", "freqs")
    name, arguments = classes.get(path, ("Module", {}))
    state = {
        "training": False,
        "_parameters": OrderedDict((n, a) for n, a in own.items() if n not in buffers),
        "_buffers": OrderedDict((n, a.data) for n, a in own.items() if n in buffers),
        "_non_persistent_buffers_set": set(),
        "_modules": children,
        "_init_args": (),
        "_init_kwargs": dict(arguments),
    }
    meta = {"type": "class", "version": 6, "module_src": "", "class_name": name, "state": state}
    return _Pickled(rebuild, meta)


def _torch(tensors: Mapping[Any, np.ndarray], parameters: bool = False) -> dict[Any, Any]:
    """The same arrays as torch tensors, or as torch parameters."""
    import torch

    made = {n: torch.from_numpy(np.ascontiguousarray(a)) for n, a in tensors.items()}
    if not parameters:
        return made
    return {n: torch.nn.Parameter(t, requires_grad=False) for n, t in made.items()}


def _torch_save(content: Any, path: Path) -> Path:
    import torch

    torch.save(content, path)
    return path

"""Networks of the golden cases with their weights put in.

The cases hold outputs of the original PyTorch and JAX code for seeded random weights. Weights are
read from `weights.npz` (torch names and layouts; the small cases kept in tests/goldens), else from
`checkpoint.pth` (torch needed), else from the flax 0.3 file of the JAX-only cases. score_sde's
weights are the EMA ones.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import golden_folder

from sdedit_jax.nets.ddpm import DDPM, DDPMConfig
from sdedit_jax.nets.functional import Network
from sdedit_jax.nets.ncsnpp import DDPM_VALUES, NCSNpp, NCSNppConfig

SCORE_SDE = [
    "ddpm_vp_cifar10_discrete",
    "ddpmpp_vp_cifar10_continuous",
    "ddpmpp_vp_cifar10_discrete",
    "ncsnpp_subvp_cifar10_continuous",
    "ncsnpp_switch_cat",
    "ncsnpp_switch_ddpmres_fir_noconv",
    "ncsnpp_ve_celebahq256",
    "ncsnpp_ve_church",
    "ncsnpp_ve_cifar10_continuous",
    "ncsnpp_ve_cifar10_discrete",
    "ncsnpp_ve_ffhq1024",
]
"""Cases of score_sde_pytorch."""

TO_TORCH = {
    "conv": lambda a: a.transpose(3, 2, 0, 1),
    "lin": np.transpose,
    "gn": np.ravel,
    "id": np.asarray,
}


def load_case(name, compute="float32"):
    """(apply, params, config, arrays) of a golden model case.

    `arrays` holds the case's io.npz with pictures as [B,H,W,C] (x, labels, model_output, ...).
    """
    folder = golden_folder(name)
    config = network_config(json.loads((folder / "config.json").read_text()))
    kind = DDPM if isinstance(config, DDPMConfig) else NCSNpp
    net = Network(kind, config, compute)
    params = to_params(torch_weights(folder), net.shapes)
    with np.load(folder / "io.npz") as file:
        arrays = {k: v.transpose(0, 2, 3, 1) if v.ndim == 4 else v for k, v in file.items()}
    return net.apply, params, config, arrays


def network_config(case):
    """The original's configuration as ours; fields without meaning for the network are left out."""
    kind = DDPMConfig if case["family"] == "sdedit_ddpm" else NCSNppConfig
    known = {field.name for field in dataclasses.fields(kind)}
    values = {**case["config"]["data"], **case["config"]["model"]}
    extra = DDPM_VALUES if values.get("name") == "ddpm" else {}
    return kind.from_mapping({k: v for k, v in values.items() if k in known} | extra)


def torch_weights(folder: Path):
    """Name -> array, with the names and layouts of the PyTorch original."""
    if (folder / "weights.npz").exists():
        return _unpack(folder / "weights.npz")
    if (folder / "checkpoint.pth").exists():
        return _from_pth(folder)
    return _from_flax(folder)


def to_params(weights, shapes):
    """Our tree from torch names: path + weight; dense and conv kernels turned; all used once."""
    left = dict(weights)

    def convert(tree, path):
        if isinstance(tree, dict):
            return {name: convert(child, [*path, name]) for name, child in tree.items()}
        last = {"kernel": "weight", "scale": "weight"}.get(path[-1], path[-1])
        a = left.pop(".".join([*path[:-1], last]))
        if path[-1] == "kernel":
            a = a.T if a.ndim == 2 else a.transpose(2, 3, 1, 0)
        assert a.shape == tree.shape, path
        return np.ascontiguousarray(a, np.float32)

    params = convert(shapes, [])
    assert not left, f"unused weights {sorted(left)}"
    return params


def _from_pth(folder):
    torch = pytest.importorskip("torch")
    file = torch.load(folder / "checkpoint.pth", weights_only=True)
    if "model" not in file:  # a plain state dict
        return {name: a.numpy() for name, a in file.items()}
    weights = {name.removeprefix("module."): a.numpy() for name, a in file["model"].items()}
    del weights["sigmas"]
    order = json.loads((folder / "modules.json").read_text())["shadow_params_order"]
    for name, a in zip(order, file["ema"]["shadow_params"], strict=True):
        weights[name.removeprefix("module.")] = a.numpy()
    return weights


def _from_flax(folder):
    from flax import serialization

    tree = serialization.msgpack_restore((folder / "flax" / "checkpoint_12").read_bytes())
    names = json.loads((folder / "modules.json").read_text())["torch_to_flax"]
    return {torch: TO_TORCH[kind](_at(tree["params_ema"], path)) for torch, path, kind in names}


def _pack(path, weights):
    """One flat array and a line per tensor (an npz entry costs more than a small tensor)."""
    lines = [" ".join(map(str, [name, *a.shape])) for name, a in weights.items()]
    flat = np.concatenate([np.ravel(a) for a in weights.values()]).astype(np.float32)
    np.savez_compressed(path, flat=flat, lines=np.array("\n".join(lines)))


def _unpack(path):
    with np.load(path) as file:
        flat, lines = file["flat"], str(file["lines"]).split("\n")
    weights, start = {}, 0
    for name, *shape in (line.split() for line in lines):
        shape = tuple(map(int, shape))
        weights[name] = flat[start : start + np.prod(shape, dtype=int)].reshape(shape)
        start += weights[name].size
    assert start == flat.size
    return weights


def _at(tree, path):
    for name in path.split("/"):
        tree = tree[name]
    return np.asarray(tree)


def copy_case(name, target):
    """Writes a case to `target` with EMA weights and only x, labels, model_output (float32)."""
    source, target = golden_folder(name), Path(target) / name
    target.mkdir(parents=True)
    _pack(target / "weights.npz", torch_weights(source))
    with np.load(source / "io.npz") as file:
        kept = {k: np.asarray(file[k], np.float32) for k in ("x", "labels", "model_output")}
    np.savez_compressed(target / "io.npz", **kept)
    case = json.loads((source / "config.json").read_text())
    kept = {k: v for k, v in case.items() if k in ("base_config", "overrides", "seed", "family")}
    kept["config"] = {k: case["config"][k] for k in ("data", "model")}
    kept["provenance"] = "outputs of the original score_sde code on CPU, seeded random weights"
    (target / "config.json").write_text(json.dumps(kept, indent=1) + "\n")

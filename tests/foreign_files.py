"""Writes a prior of ours in the layouts in which other programs keep theirs.

Written from the description of those layouts, not with our readers' tables: an import of such a
file must give the prior back. The averaged weights are the prior's; what a file holds beside them
(raw weights, the optimizer's state) is different, so that a wrong choice shows.
"""

import json
from pathlib import Path

import jax
import numpy as np

from sdedit_jax.weights import load

ORDER = ("GroupNorm_0", "Conv_0", "Dense_0", "GroupNorm_1", "Conv_1", "Conv_2")
ORDER += ("NIN_0", "NIN_1", "NIN_2", "NIN_3")
"""Children of a block as score_sde_pytorch registers them."""
LEVELS, STEP = 1000, 2308


def card_of(prior_folder):
    """prior.json of a prior."""
    return json.loads((Path(prior_folder) / "prior.json").read_text())


def given_for(prior_folder):
    """The architecture file that an import of these files needs."""
    card = card_of(prior_folder)
    own = card["config"]
    model = {name: own[name] for name in own if name not in ("image_size", "num_channels")}
    model |= {"name": "ncsnpp", "num_scales": LEVELS, "normalization": "GroupNorm"}
    data = {"image_size": own["image_size"], "num_channels": own["num_channels"]}
    data |= {"centered": own["centered"]}
    training = {"sde": "vesde", "continuous": True}
    config = {"data": data, "model": model, "training": training}
    kept = {name: card[name] for name in ("prediction", "process")}
    return {"family": "score_sde", "config": config, **kept}


def weights_of(prior_folder, change=None):
    """(averaged, raw) weights: {"all_modules/3/kernel": array}, the raw ones 20 percent off."""
    params = load.load_prior(prior_folder).params
    averaged = flat(change(params) if change else params)
    rng = np.random.default_rng(0)
    raw = {}
    for name, a in averaged.items():
        fixed = name == "all_modules/0/W"  # the frequencies are not trained
        noise = rng.standard_normal(a.shape).astype(np.float32)
        raw[name] = a if fixed else a * (1 + np.float32(0.2) * noise)
    return averaged, raw


def flat(tree, path=""):
    """{"a/b": float32 array} of nested dicts."""
    if not isinstance(tree, dict):
        return {path: np.asarray(jax.device_get(tree), np.float32)}
    parts = [flat(child, f"{path}/{name}" if path else name) for name, child in tree.items()]
    return {name: leaf for part in parts for name, leaf in part.items()}


def modules(weights):
    """{number: {name inside the module: array}}, by rising number."""
    found = {}
    for path, a in weights.items():
        _, number, name = path.split("/", 2)
        found.setdefault(int(number), {})[name] = a
    return {number: found[number] for number in sorted(found)}


# --- score_sde_pytorch ----------------------------------------------------------------------------


def torch_named(weights):
    """{"all_modules.3.weight": array} in the order in which the original registers them."""
    named = {}
    for number, leaves in modules(weights).items():
        for name in sorted(leaves, key=torch_place):
            *child, last = name.split("/")
            key = ".".join(["all_modules", str(number), *child, torch_last(last)])
            named[key] = torch_turned(leaves[name], last)
    return named


def torch_place(name):
    """Where a leaf of a block stands: by child, its weight before its bias."""
    *child, last = name.split("/")
    return (ORDER.index(child[0]) if child else 0, last in ("bias", "b"))


def torch_last(name):
    return "weight" if name in ("kernel", "scale") else name


def torch_turned(a, last):
    """[h, w, I, O] to [O, I, h, w], [I, O] of a Dense to [O, I]; NIN and the rest as they are."""
    if last != "kernel":
        return a
    return np.ascontiguousarray(a.transpose(3, 2, 0, 1) if a.ndim == 4 else a.T)


def write_score_sde_pth(path, prior_folder, change=None):
    """A checkpoint_N.pth of score_sde_pytorch.

    Args:
        path: file to write.
        prior_folder: of an NCSN++ prior without classes.
        change: params -> params, what goes wrong with the weights before they are written.
    """
    import torch

    averaged, raw = (torch_named(w) for w in weights_of(prior_folder, change))
    config = card_of(prior_folder)["config"]
    ends = np.log([config["sigma_max"], config["sigma_min"]])
    model = {"module.sigmas": torch.from_numpy(np.exp(np.linspace(*ends, LEVELS)))}
    model |= {f"module.{name}": torch.tensor(a) for name, a in raw.items()}
    trained = [name for name in averaged if not name.endswith("all_modules.0.W")]
    state = {
        i: {"step": STEP, **{kind: torch.full(raw[name].shape, 1e-4) for kind in ADAM}}
        for i, name in enumerate(trained)
    }
    groups = [{"lr": 2e-4, "betas": (0.9, 0.999), "params": list(range(len(trained)))}]
    shadow = [torch.tensor(averaged[name]) for name in trained]
    ema = {"decay": 0.9995, "num_updates": STEP, "shadow_params": shadow}
    optimizer = {"state": state, "param_groups": groups}
    torch.save({"optimizer": optimizer, "model": model, "ema": ema, "step": STEP}, path)


ADAM = ("exp_avg", "exp_avg_sq")


# --- score_sde, flax ------------------------------------------------------------------------------


def flax_named(weights):
    """Nested dict as score_sde's flax modules name it: class and number in call order."""
    counts, tree = {}, {}
    for leaves in modules(weights).values():
        kind = flax_class(leaves)
        name = f"{kind}_{counts.setdefault(kind, 0)}"
        counts[kind] += 1
        tree[name] = flax_module(leaves)
    return tree


def flax_class(leaves):
    """The class of a module, told by its leaves."""
    if "NIN_3/W" in leaves:
        return "AttnBlockpp"
    if "Conv_1/kernel" in leaves:
        return "ResnetBlockDDPMpp"
    if "kernel" in leaves:
        return "Conv" if leaves["kernel"].ndim == 4 else "Dense"
    return "GroupNorm" if "scale" in leaves else "GaussianFourierProjection"


def flax_module(leaves):
    """{child: {leaf}}; old flax keeps the leaves of a group norm as [1, 1, 1, C]."""
    tree = {}
    for name, a in leaves.items():
        *child, last = name.split("/")
        normed = (child and child[0].startswith("GroupNorm")) or "scale" in leaves
        node = tree.setdefault(child[0], {}) if child else tree
        node[last] = a.reshape(1, 1, 1, -1) if normed else a
    return tree


def write_score_sde_flax(path, prior_folder, change=None):
    """A checkpoint_N of score_sde in JAX: flax's msgpack of its State; arguments as above."""
    from flax import serialization

    averaged, raw = (flax_named(w) for w in weights_of(prior_folder, change))
    number = np.asarray(STEP, np.int32)
    moments = jax.tree.map(lambda a: {"grad_ema": a * 0, "grad_sq_ema": a * a}, raw)
    state = {
        "step": number,
        "optimizer": {"target": raw, "state": {"step": number, "param_states": moments}},
        "lr": 2e-4,
        "model_state": {},
        "ema_rate": 0.9995,
        "params_ema": averaged,
        "rng": np.asarray([0, 42], np.uint32),
    }
    Path(path).write_bytes(serialization.msgpack_serialize(state))
